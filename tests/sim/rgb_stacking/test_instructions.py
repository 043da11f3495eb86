"""Stacks in words: every wording says one stack, is understood, and fits its tokens."""

import warnings

import numpy as np
import pytest

from gato_core.text import pieces
from gato_core.vocab import ENGLISH, SMALL
from gato_sim.domains.rgb_stacking import instructions
from gato_sim.domains.rgb_stacking.objects import STACKS


@pytest.mark.parametrize("stack", STACKS)
def test_every_wording_is_of_one_stack_and_fits_either_vocabulary(stack):
    sentences = instructions.wordings(stack)
    assert len(set(sentences)) == len(sentences) >= 5
    for sentence in sentences:
        assert instructions.stack_of(sentence) == stack
        assert instructions.plain(sentence) == instructions.instruction(stack)
        for vocabulary in (SMALL, ENGLISH):
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # that it was cut
                pieces.fit(sentence, instructions.NUM_TOKENS, vocabulary)


def test_all_wordings_are_drawn_and_a_seed_draws_the_same():
    drawn = [instructions.draw("red_on_blue", np.random.default_rng(seed)) for seed in range(100)]
    assert set(drawn) == set(instructions.wordings("red_on_blue"))
    assert drawn[7] == instructions.draw("red_on_blue", np.random.default_rng(7))


@pytest.mark.parametrize(
    ("sentence", "stack"),
    [
        ("Put the GREEN object on the blue one", "green_on_blue"),
        ("could you stack blue above the red block?", "blue_on_red"),
        ("red onto green, please", "red_on_green"),
    ],
)
def test_ones_own_words_are_understood(sentence, stack):
    assert instructions.stack_of(sentence) == stack


@pytest.mark.parametrize(
    "sentence",
    ["", "put it there", "put red on it", "red on red", "red, green on blue", "blue beside red"]
    + ["on blue put red", "put the greenish thing on the bluest"],
)
def test_words_that_ask_for_no_stack_are_refused_with_an_example(sentence):
    with pytest.raises(ValueError, match="expected one of red, green, blue on another, such as"):
        instructions.stack_of(sentence)
    assert instructions.plain(sentence) == sentence
