"""What is to be put on what, in words: a sentence of each stack in several wordings, and back."""

from __future__ import annotations

import re

import numpy as np

from gato_sim.domains.rgb_stacking.objects import COLORS, check_stack, colors_of

# The first is the task's own sentence, which datasets of one stack and evaluations have.
WORDINGS = (
    "stack the {top} object on the {base} object",
    "put the {top} object on the {base} one",
    "place the {top} block on top of the {base} block",
    "put {top} on {base}",
    "set the {top} piece onto the {base} piece",
    "the {top} object goes on the {base} object",
    "please stack {top} on top of {base}",
    "pick up the {top} object and put it on the {base} one",
)
NUM_TOKENS = 16  # of the longest wording in either shipped vocabulary, and room for one's own
_ON = "(?:on|onto|upon|atop|over|above)"


def instruction(stack: str) -> str:
    """The task of a stack in words: "stack the red object on the blue object"."""
    return wordings(stack)[0]


def wordings(stack: str) -> tuple[str, ...]:
    """All our sentences of a stack. Raises ValueError listing the stacks for an unknown one."""
    check_stack(stack)
    top, base = colors_of(stack)
    return tuple(wording.format(top=top, base=base) for wording in WORDINGS)


def draw(stack: str, rng: np.random.Generator) -> str:
    """One of the wordings."""
    return str(rng.choice(wordings(stack)))


def stack_of(sentence: str) -> str:
    """The stack that a sentence asks for: of two colours the first on the second.

    Raises ValueError with an example where it names not two, or not one on the other.
    """
    words = sentence.lower()
    colors = tuple(dict.fromkeys(re.findall(rf"\b({'|'.join(COLORS)})\b", words)))
    if len(colors) == 2 and re.search(rf"\b{colors[0]}\b.*\b{_ON}\b.*\b{colors[1]}\b", words):
        return "_on_".join(colors)
    raise ValueError(
        f"instruction: expected one of {', '.join(COLORS)} on another, such as "
        f"{WORDINGS[1].format(top='green', base='blue')!r}, got {sentence!r}"
    )


def plain(sentence: str) -> str:
    """The task's own sentence for whatever wording of it; other sentences stay as they are."""
    try:
        return instruction(stack_of(sentence))
    except ValueError:
        return sentence
