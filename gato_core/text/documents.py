"""Text and images without a robot, as tokens: captions, answers and chat. Sections 2.1 and 3.2.

A document is a list of parts: strings, and images as uint8 (height, width, 3) with sides that are
multiples of 16. The paper does not print its prompts, so the wording is ours.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gato_core.text import pieces
from gato_core.tokenizer import Tokens, encode_document
from gato_core.vocab import Vocabulary

Part = str | np.ndarray


def caption(image: np.ndarray, words: str = "") -> list[Part]:
    """An image and what it shows."""
    return [image, words]


def question(image: np.ndarray, asked: str, answered: str = "") -> list[Part]:
    """An image, a question about it, and the answer."""
    return [image, f"Question: {asked} Answer:", f" {answered}" if answered else ""]


def turn(said: str, replied: str = "", image: np.ndarray | None = None) -> list[Part]:
    """One exchange of a chat, perhaps about an image; turns in a row are a conversation."""
    reply = f" {replied}\n" if replied else ""
    return [*([] if image is None else [image]), f"Human: {said}\nGato:", reply]


def tokenize(
    parts: Sequence[Part],
    vocabulary: Vocabulary,
    *,
    is_target: Sequence[bool] | None = None,
    ended: bool = False,
) -> Tokens[np.ndarray]:
    """The document's tokens (length,), followed by END if it is a whole one.

    Errors and is_target as of `encode_document`; a vocabulary without text is refused by name.
    """
    if vocabulary.num_text < pieces.num_pieces():
        raise ValueError(
            f"vocabulary: expected {pieces.num_pieces()} text ids, got {vocabulary.num_text}"
        )
    arrays = [pieces.encode(part) if isinstance(part, str) else part for part in parts]
    if ended:
        arrays.append(np.array([pieces.END]))
        is_target = is_target if is_target is None else [*is_target, True]
    return encode_document(arrays, vocabulary, is_target=is_target)
