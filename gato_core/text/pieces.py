"""Strings to the ids of a text vocabulary and back: shipped SentencePiece models. Section 2.1.

`gato vocabulary` trained the models; a .json beside each says from what.
"""

from __future__ import annotations

import functools
import hashlib
import json
import warnings
from pathlib import Path

import numpy as np
from sentencepiece import SentencePieceProcessor

from gato_core.vocab import ENGLISH, SMALL, Vocabulary

FOLDER = Path(__file__).parent
SHIPPED = {"english": ENGLISH, "small": SMALL}
# the first pieces of every model that `gato vocabulary` trains
UNKNOWN, END, PADDING, NEW_LINE = 0, 1, 2, 3
SPACE_MARK = "▁"  # what SentencePiece writes for a space


@functools.cache
def load(path: Path) -> SentencePieceProcessor:
    """The pieces of a model file. Raises ValueError unless END and PADDING are where we say."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a SentencePiece model, got no file")
    try:
        pieces = SentencePieceProcessor(model_proto=path.read_bytes())
    except RuntimeError as error:
        raise ValueError(f"{path}: expected a SentencePiece model, got {error}") from error
    got = (pieces.unk_id(), pieces.eos_id(), pieces.pad_id(), pieces.piece_to_id("\n"))
    if got != (UNKNOWN, END, PADDING, NEW_LINE):
        raise ValueError(
            f"{path}: expected unknown, end, padding and new line as pieces 0 to 3, got {got}"
        )
    return pieces


@functools.cache
def of(vocabulary: Vocabulary) -> SentencePieceProcessor:
    """The shipped pieces of a vocabulary. Raises ValueError naming them where it has others."""
    for name, shipped in SHIPPED.items():
        # checkpoints of before there were two named none
        sha256 = vocabulary.pieces_sha256 or shipped.pieces_sha256
        if (vocabulary.num_text, sha256) == (shipped.num_text, shipped.pieces_sha256):
            return load(FOLDER / f"{name}.model")
    if not vocabulary.num_text:
        raise ValueError("vocabulary: expected text ids, got a network without any")
    known = ", ".join(f"{name} ({one})" for name, one in SHIPPED.items())
    raise ValueError(f"vocabulary: expected one of {known}, got {vocabulary}")


def sha256(pieces: SentencePieceProcessor) -> str:
    """Which string each id is, as one hash; other versions of SentencePiece write other files."""
    strings = [pieces.id_to_piece(id) for id in range(len(pieces))]
    return hashlib.sha256(json.dumps(strings).encode()).hexdigest()


def encode(string: str, vocabulary: Vocabulary = ENGLISH) -> np.ndarray:
    """A string's int64 ids (n,). Characters without a piece of their own become their bytes."""
    pieces = of(vocabulary)
    # the mark itself would come back as a space
    mark = [pieces.piece_to_id(f"<0x{byte:02X}>") for byte in SPACE_MARK.encode()]
    first, *others = (pieces.encode(part) for part in string.split(SPACE_MARK))
    return np.array(sum(([*mark, *part] for part in others), start=first), np.int64)


def decode(ids: np.ndarray, vocabulary: Vocabulary = ENGLISH) -> str:
    """The string up to the first END. Raises ValueError for ids that are no pieces."""
    pieces = of(vocabulary)
    ids = np.asarray(ids)
    if ids.size and (ids.min() < 0 or ids.max() >= len(pieces)):
        raise ValueError(f"text: expected ids in [0, {len(pieces)}), got {ids.min()}..{ids.max()}")
    end = np.flatnonzero(ids == END)
    return pieces.decode(ids[: end[0]].tolist() if len(end) else ids.tolist())


def fit(string: str, num_tokens: int, vocabulary: Vocabulary = ENGLISH) -> np.ndarray:
    """A Text observation's int64 ids (num_tokens,): padded at its end, or cut with a warning."""
    ids = encode(string, vocabulary)
    if len(ids) > num_tokens:
        kept = decode(ids[:num_tokens], vocabulary)
        warnings.warn(
            f"{string!r}: expected at most {num_tokens} tokens, got {len(ids)}; cut to {kept!r}",
            stacklevel=2,
        )
    ids = ids[:num_tokens]
    return np.pad(ids, (0, num_tokens - len(ids)), constant_values=PADDING)
