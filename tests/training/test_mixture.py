"""Mixtures: which source a micro-batch is of, and that it is what that source alone would give."""

from dataclasses import dataclass

import numpy as np
import pytest

from gato_training.mixture import Mixture
from gato_training.sequences import Batch


@dataclass(frozen=True)
class Numbered:
    """A source whose batches tell its own number and theirs."""

    own: int

    def batch(self, number: int) -> Batch:
        return Batch(None, np.array([self.own, number]), None, 0, 0)


def mixture(weights, seed=0) -> Mixture:
    sources = {name: Numbered(i) for i, name in enumerate(weights)}
    return Mixture(sources, weights, seed)


def test_a_micro_batch_is_a_function_of_seed_and_number_whatever_is_added_behind():
    two = mixture({"a": 2.0, "b": 1.0})
    three = mixture({"a": 2.0, "b": 1.0, "c": 1.0})
    moved = 0
    for k in range(400):
        before, after = two.batch(k), three.batch(k)
        assert before.source == two.name(k) and before.labels[1] == k
        moved += after.source == "c"
        assert after.source == "c" or (after.labels == before.labels).all()
    assert 60 < moved < 140
    assert [two.name(k) for k in range(50)] != [mixture(two.weights, 1).name(k) for k in range(50)]


def test_weights_are_how_often_a_source_is_drawn():
    drawn = [mixture({"a": 3.0, "b": 0.0, "c": 1.0}).name(k) for k in range(2000)]
    assert 0.72 < drawn.count("a") / len(drawn) < 0.78 and "b" not in drawn


@pytest.mark.parametrize(
    "weights", [{"a": 0.0, "b": 0.0}, {"a": -1.0, "b": 2.0}, {"a": float("nan"), "b": 1.0}]
)
def test_weights_that_add_up_to_nothing_are_refused(weights):
    with pytest.raises(ValueError, match="weights: expected numbers of 0 or more for"):
        mixture(weights)
