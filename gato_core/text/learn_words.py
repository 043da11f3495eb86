"""Adds a text vocabulary to a network that has none: other ids keep their meaning and move up."""

from __future__ import annotations

from dataclasses import replace

from gato_core.model import Gato
from gato_core.vocab import SMALL, Vocabulary


def with_text_ids(old: Vocabulary, words: Vocabulary = SMALL) -> Vocabulary:
    """A vocabulary without text with it. Raises ValueError where it has text."""
    if old.num_text:
        raise ValueError(f"model: expected no text ids, got {old.num_text}")
    # discrete values shared their rows with continuous ones, and still do
    return Vocabulary(words.num_text, old.discrete_offset + words.num_text, words.pieces_sha256)


def with_words(model: Gato, words: Vocabulary = SMALL) -> Gato:
    """A copy of a network without text ids that has them, as fresh as those of a new network.

    What it answers to all that is no text stays the same. Raises ValueError where it has text.
    """
    vocabulary, num_text = with_text_ids(model.config.vocabulary, words), words.num_text
    grown = Gato(replace(model.config, vocabulary=vocabulary))
    weights = model.state_dict()
    embedding = grown.state_dict()["embedding.weight"]
    embedding[num_text:] = weights["embedding.weight"]
    grown.load_state_dict({**weights, "embedding.weight": embedding})
    return grown.to(model.embedding.weight.device).train(model.training)
