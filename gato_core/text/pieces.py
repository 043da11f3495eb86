"""Strings to the ids of the text vocabulary and back: a shipped SentencePiece model. Section 2.1.

`gato vocabulary` trained the model; english.json beside it says from what.
"""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
from sentencepiece import SentencePieceProcessor

MODEL = Path(__file__).with_name("english.model")
# the first pieces of every model that `gato vocabulary` trains
UNKNOWN, END, PADDING, NEW_LINE = 0, 1, 2, 3
SPACE_MARK = "▁"  # what SentencePiece writes for a space


@functools.cache
def load(path: Path = MODEL) -> SentencePieceProcessor:
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


def num_pieces(path: Path = MODEL) -> int:
    """How many ids there are: 32,000 in the shipped model."""
    return len(load(path))


def encode(string: str, path: Path = MODEL) -> np.ndarray:
    """A string's int64 ids (n,). Characters without a piece of their own become their bytes."""
    pieces = load(path)
    # the mark itself would come back as a space
    mark = [pieces.piece_to_id(f"<0x{byte:02X}>") for byte in SPACE_MARK.encode()]
    first, *others = (pieces.encode(part) for part in string.split(SPACE_MARK))
    return np.array(sum(([*mark, *part] for part in others), start=first), np.int64)


def decode(ids: np.ndarray, path: Path = MODEL) -> str:
    """The string up to the first END. Raises ValueError for ids that are no pieces."""
    pieces = load(path)
    ids = np.asarray(ids)
    if ids.size and (ids.min() < 0 or ids.max() >= len(pieces)):
        raise ValueError(f"text: expected ids in [0, {len(pieces)}), got {ids.min()}..{ids.max()}")
    end = np.flatnonzero(ids == END)
    return pieces.decode(ids[: end[0]].tolist() if len(end) else ids.tolist())


def fit(string: str, num_tokens: int, path: Path = MODEL) -> np.ndarray:
    """The int64 ids (num_tokens,) of a Text observation: cropped or padded at its end."""
    ids = encode(string, path)[:num_tokens]
    return np.pad(ids, (0, num_tokens - len(ids)), constant_values=PADDING)
