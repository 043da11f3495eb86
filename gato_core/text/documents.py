"""Text and images without a robot, as tokens: captions, answers and chat. Sections 2.1 and 3.2.

The paper does not print its prompts, so the wording is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from gato_core.text import pieces
from gato_core.text.pictures import Picture
from gato_core.tokenizer import PATCH, Tokens, encode_document
from gato_core.vocab import Vocabulary

Part = str | np.ndarray | Picture


@dataclass(frozen=True)
class Document:
    """Strings, and images as uint8 (height, width, 3) with sides that are multiples of 16.

    Pictures that are yet to be read stand for such images.
    is_target: which parts are predicted in training; all text, as in the paper, if not given.
    """

    parts: Sequence[Part]
    is_target: Sequence[bool] | None = None

    def __post_init__(self) -> None:
        if self.is_target is not None and len(self.is_target) != len(self.parts):
            raise ValueError(
                f"is_target: expected {len(self.parts)}, one a part, got {len(self.is_target)}"
            )


def caption(image: Part, words: str = "") -> Document:
    """An image and what it shows; without words what a caption follows."""
    return Document((image, words), (False, True))


def question(asked: str, answered: str = "", image: Part | None = None) -> Document:
    """A question, perhaps about an image, and the answer; without one what an answer follows.

    Only answers are targets: a network that learned to ask would go on to do so after an image.
    """
    return _after(image, [(f"Question: {asked} Answer:", f" {answered}" if answered else "")])


def chat(turns: Sequence[tuple[str, str]], image: Part | None = None) -> Document:
    """What was said and replied in turn, perhaps about an image. Replies are targets."""
    return _after(
        image, [(f"Human: {said}\nGato:", f" {reply}\n" if reply else "") for said, reply in turns]
    )


def tokenize(
    document: Document, vocabulary: Vocabulary, *, ended: bool = False
) -> Tokens[np.ndarray]:
    """The document's tokens (length,), followed by END if it is a whole one.

    Errors as of `encode_document` and `pieces.of`.
    """
    arrays = [_array(part, vocabulary) for part in document.parts]
    is_target = document.is_target
    if ended:
        arrays.append(np.array([pieces.END]))
        is_target = is_target if is_target is None else [*is_target, True]
    return encode_document(arrays, vocabulary, is_target=is_target)


def _array(part: Part, vocabulary: Vocabulary) -> np.ndarray:
    """Text as ids (n,), an image as it is."""
    if isinstance(part, str):
        return pieces.encode(part, vocabulary)
    return part.read() if isinstance(part, Picture) else part


def crop(
    tokens: Tokens[np.ndarray], num_tokens: int, rng: np.random.Generator
) -> Tokens[np.ndarray]:
    """At most num_tokens of them: all, or a stretch from anywhere that has a target. Section 3.2.

    Raises ValueError where nothing is a target.
    """
    # a target needs a token before it
    targets = np.flatnonzero(tokens.target[1:]) + 1
    if not len(targets) or num_tokens < 2:
        raise ValueError(f"document: expected targets within {num_tokens} tokens, got none")
    length = len(tokens.id)
    if length <= num_tokens:
        return tokens
    starts = np.arange(length - num_tokens + 1)
    next_target = targets[np.minimum(np.searchsorted(targets, starts + 1), len(targets) - 1)]
    starts = starts[(next_target > starts) & (next_target < starts + num_tokens)]
    start = int(rng.choice(starts))
    stop = start + num_tokens
    first, last = (int((tokens.id[:end] == PATCH).sum()) for end in (start, stop))
    target = tokens.target[start:stop].copy()
    target[0] = False
    return replace(
        tokens,
        id=tokens.id[start:stop],
        local_position=tokens.local_position[start:stop],
        target=target,
        patch=tokens.patch[first:last],
        patch_interval=tokens.patch_interval[first:last],
    )


def _after(image: Part | None, pairs: Sequence[tuple[str, str]]) -> Document:
    """Pairs of what is given and what is learned, after an image if there is one."""
    parts = [part for pair in pairs for part in pair]
    is_target = [False, True] * len(pairs)
    if image is None:
        return Document(tuple(parts), tuple(is_target))
    return Document((image, *parts), (False, *is_target))
