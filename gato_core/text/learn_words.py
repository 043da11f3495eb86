"""Adds a text vocabulary to a network that has none: other ids keep their meaning and move up."""

from __future__ import annotations

from gato_core.model import Gato, with_text


def with_words(model: Gato) -> Gato:
    """A copy of a network without text ids that has them, as fresh as those of a new network.

    What it answers to all that is no text stays the same. Raises ValueError where it has text.
    """
    if num_text := model.config.vocabulary.num_text:
        raise ValueError(f"model: expected no text ids, got {num_text}")
    grown = Gato(with_text(model.config))
    weights = model.state_dict()
    embedding = grown.state_dict()["embedding.weight"]
    embedding[grown.config.vocabulary.num_text :] = weights["embedding.weight"]
    grown.load_state_dict({**weights, "embedding.weight": embedding})
    return grown.to(model.embedding.weight.device).train(model.training)
