"""Batches of documents: what `Sequences` draws from episodes, drawn from text and images.

Batch number k is a function of (seed, k) alone. Paper, sections 2.3 and 3.2: it concatenates five
pairs of image and text and crops them; here a sequence is one document, so that what a network is
asked about is what it saw in training, and a longer one is cropped.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gato_core.spec import PATCH_SIZE
from gato_core.text.documents import crop, tokenize
from gato_core.text.sources import Documents
from gato_core.tokenizer import batch, encode_document
from gato_core.vocab import Vocabulary
from gato_training.sequences import Batch, noise_seed


@dataclass(frozen=True)
class DocumentBatches:
    """Draws documents of the chosen numbers, each as likely, as sequences of up to num_tokens."""

    documents: Documents
    numbers: Sequence[int]
    vocabulary: Vocabulary
    num_tokens: int
    batch_size: int
    seed: int

    def __post_init__(self) -> None:
        if not len(self.numbers):
            raise ValueError(f"{self.documents.root}: expected documents to learn from, got none")

    def __str__(self) -> str:
        return f"{len(self.numbers)} documents"

    @property
    def num_sequences(self) -> int:
        """Of a batch."""
        return self.batch_size

    @property
    def num_pixels(self) -> int:
        """Bytes of the largest picture."""
        return self.documents.num_patches * PATCH_SIZE**2 * 3

    def made_up(self, num_sequences: int) -> Batch:
        """A batch of the longest sequences without data, half of each a picture where it fits."""
        num_patches = min(self.documents.num_patches, self.num_tokens // 2)
        picture = np.zeros((PATCH_SIZE, PATCH_SIZE * num_patches, 3), np.uint8)
        words = np.zeros(self.num_tokens - num_patches, np.int64)
        row = encode_document([picture, words], self.vocabulary)
        tokens = batch([row] * num_sequences, self.vocabulary.separator)
        return Batch(tokens, tokens.id[tokens.target], None, 0, 0)

    def draw(self, number: int) -> list[int]:
        """Which documents are in batch `number`."""
        rng = np.random.default_rng((self.seed, number))
        return [self.numbers[i] for i in rng.integers(len(self.numbers), size=self.batch_size)]

    def batch(self, number: int) -> Batch:
        """Batch `number`, read and tokenized, padded to its longest. Errors as of Documents."""
        rng = np.random.default_rng((self.seed, number, 1))
        whole = [
            tokenize(self.documents[i], self.vocabulary, ended=True) for i in self.draw(number)
        ]
        rows = [crop(tokens, self.num_tokens, rng) for tokens in whole]
        tokens = batch(rows, self.vocabulary.separator)
        return Batch(tokens, tokens.id[tokens.target], None, 0, noise_seed(self.seed, number))


def split(documents: Documents, held_out: float) -> tuple[list[int], list[int]]:
    """Numbers to train on and to measure on. A document stays on its side as others are added.

    One at least is held out if there are two, unless held_out is 0.
    """
    place = [zlib.crc32(str(i).encode()) / 2**32 for i in range(len(documents))]
    held = [i for i, x in enumerate(place) if x < held_out]
    if held_out and not held and len(place) > 1:
        held = [int(np.argmin(place))]
    kept = set(held)
    return [i for i in range(len(place)) if i not in kept], held
