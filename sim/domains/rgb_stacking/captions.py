"""Captions, questions and answers about a picture, from what is true of the moment it shows."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations

import numpy as np

from gato_sim.domains.rgb_stacking.facts import Facts
from gato_sim.domains.rgb_stacking.objects import COLORS

NUM_QUESTIONS = 3  # about a picture
_HANDS = {
    "open": ("the gripper is open", "the fingers are open"),
    "closed": ("the gripper is closed on nothing", "the fingers are closed and empty"),
}
_HELD = ("the gripper holds the {} object", "the robot has the {} object between its fingers")


def caption(facts: Facts, rng: np.random.Generator) -> str:
    """A sentence or two of all that is beyond doubt, in an order and wording that vary."""
    clauses = [_standing(top, base, rng) for top, base in facts.on.items()]
    if floor := sorted(facts.floor, key=COLORS.index):
        clauses.append(_lying(floor, rng))
    if facts.held is not None:
        clauses.append(_one_of(_HELD, rng).format(facts.held))
    elif facts.gripper in _HANDS:
        clauses.append(_one_of(_HANDS[facts.gripper], rng))
    order = rng.permutation(len(clauses))
    return _sentence([clauses[i] for i in order] or ["a robot's gripper over three objects"])


def questions(facts: Facts, rng: np.random.Generator) -> list[tuple[str, str]]:
    """(question, answer) of at most NUM_QUESTIONS kinds, each drawn from what can be asked."""
    kinds = [list(kind) for kind in (_about_tops(facts), _about_places(facts), _about_pairs(facts),
                                     _about_gripper(facts), _about_sides(facts))]  # fmt: skip
    askable = [kind for kind in kinds if kind]
    chosen = rng.choice(len(askable), size=min(NUM_QUESTIONS, len(askable)), replace=False)
    return [askable[k][rng.integers(len(askable[k]))] for k in chosen]


def _about_tops(facts: Facts) -> Iterator[tuple[str, str]]:
    """Only where every object's place is beyond doubt, or another might be on top."""
    if len(facts.place) < len(COLORS):
        return
    tops = [top for top in facts.on if top not in facts.on.values()]
    answer = " and ".join(f"the {top} one" for top in tops) if tops else "none"
    yield "which object is on top of another?", answer
    yield "how many objects lie on the floor of the basket?", str(len(facts.floor))


def _about_places(facts: Facts) -> Iterator[tuple[str, str]]:
    words = {"floor": "on the floor of the basket", "gripper": "in the gripper"}
    for color, place in facts.place.items():
        answer = words.get(place, f"on the {place} object")
        yield f"where is the {color} object?", answer


def _about_pairs(facts: Facts) -> Iterator[tuple[str, str]]:
    """As often yes as no where there is a stack."""
    place = facts.place
    wrong = [
        (top, base) for top, base in permutations(COLORS, 2) if place.get(top, base) != base
    ]  # fmt: skip
    right = list(facts.on.items())
    for top, base in right * max(1, len(wrong)) + wrong * max(1, len(right)):
        answer = "yes" if facts.on.get(top) == base else "no"
        yield f"is the {top} object on the {base} one?", answer


def _about_gripper(facts: Facts) -> Iterator[tuple[str, str]]:
    if not facts.gripper:
        return
    yield "is the gripper open?", "yes" if facts.gripper == "open" else "no"
    if facts.held is not None:
        yield "what does the gripper hold?", f"the {facts.held} object"
    elif facts.gripper != "holding":
        yield "what does the gripper hold?", "nothing"


def _about_sides(facts: Facts) -> Iterator[tuple[str, str]]:
    for one, other in permutations(COLORS, 2):
        if (is_left := facts.is_left(one, other)) is not None:
            side = "left" if is_left else "right"
            yield f"is the {one} object left or right of the {other} one?", side


def _standing(top: str, base: str, rng: np.random.Generator) -> str:
    wordings = (
        "the {} object is stacked on the {} one",
        "the {} object stands on top of the {} object",
        "a {} object on a {} one",
    )
    return _one_of(wordings, rng).format(top, base)


def _lying(colors: list[str], rng: np.random.Generator) -> str:
    """What the basket carries."""
    if len(colors) == len(COLORS) and rng.random() < 0.5:
        return "all three objects lie in the basket"
    names = " and ".join([", ".join(colors[:-1]), colors[-1]] if colors[1:] else colors)
    objects, lies = ("object", "lies") if len(colors) == 1 else ("objects", "lie")
    return f"the {names} {objects} {lies} on the floor"


def _sentence(clauses: list[str]) -> str:
    text = "; ".join(clauses)
    return text[0].upper() + text[1:] + "."


def _one_of(wordings: tuple[str, ...], rng: np.random.Generator) -> str:
    return wordings[rng.integers(len(wordings))]
