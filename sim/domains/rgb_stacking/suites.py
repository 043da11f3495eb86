"""Objects and seeds of each episode: fixed suites for evaluation, seeded draws for collection.

Object sets, disjoint by construction:
    train       training objects demonstrations are collected with (93 of the 103)
    selection   the other 10 training objects: unseen in demonstrations, so that checkpoints and
                settings can be chosen without looking at the test triplets
    heldout     the 36 held-out objects
    mastery     the five test triplets, for Skill Mastery only
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from gato_sim.domains.rgb_stacking import objects
from gato_sim.domains.rgb_stacking.instructions import instruction, stack_of
from gato_sim.suites import Trial, stable_seed

ANY = "any"  # in place of a stack: each episode draws one
NUM_SELECTION_OBJECTS = 10
TRIPLET_SETS = ("train", "selection", "heldout", "mastery")
SUITES = {
    "skill-generalization": tuple(objects.TEST_TRIPLETS),
    "skill-mastery": tuple(objects.TEST_TRIPLETS),
    "selection": ("selection",),
    "train": ("train",),
    "blue-on-green": ("rgb_test_triplet1:blue_on_green",),
    "any-stack": tuple(objects.join_task("selection", stack) for stack in objects.STACKS),
}


def trial(task: str, index: int, seed: int) -> Trial:
    """One episode of a task, its objects drawn."""
    drawn = draw_objects(task, seed)
    _, stack = objects.split_task(drawn)
    return Trial(task, index, seed, drawn, instruction(stack))


def set_ids(name: str) -> tuple[str, ...]:
    """Sorted object ids of the set `train`, `selection` or `heldout`."""
    if name == "heldout":
        return objects.object_ids("heldout")
    ids = objects.object_ids("train")
    selection = sorted(
        sorted(ids, key=lambda i: stable_seed("selection", i))[:NUM_SELECTION_OBJECTS]
    )
    return tuple(selection) if name == "selection" else tuple(sorted(set(ids) - set(selection)))


def draw_objects(task: str, seed: int) -> str:
    """Ids "red,green,blue" for one episode, drawn from a set with replacement; with the stack.

    task: one of TRIPLET_SETS, a task name, or ids; the last two say it all already. Of any of them
    ":any" stacks one of the six pairs of colours.
    """
    triplets, _, asked = task.partition(":")
    if asked == ANY:
        rng = np.random.default_rng(stable_seed("stack", seed))
        return objects.join_task(_draw_ids(triplets, seed), str(rng.choice(objects.STACKS)))
    triplets, stack = objects.split_task(task)
    return objects.join_task(_draw_ids(triplets, seed), stack)


def _draw_ids(triplets: str, seed: int) -> str:
    rng = np.random.default_rng(stable_seed("objects", seed))
    if triplets == "mastery":
        return ",".join(tuple(objects.TEST_TRIPLETS.values())[rng.integers(5)])
    if triplets in TRIPLET_SETS:
        return ",".join(str(i) for i in rng.choice(set_ids(triplets), size=3))
    return ",".join(objects.draw_triplet(triplets, rng))


def check_collectable(triplets: str, stack: str = objects.RED_ON_BLUE) -> None:
    """Raises ValueError for unknown triplets, and for reserved objects asked for by their ids.

    Test objects are asked for by name, `mastery` or a test triplet's, which their dataset keeps.
    """
    if stack != ANY:
        objects.check_stack(stack)
    if triplets in TRIPLET_SETS or triplets in objects.TEST_TRIPLETS:
        return
    if "," not in triplets:
        raise ValueError(
            f"triplets: expected one of {', '.join(TRIPLET_SETS)}, a test triplet's name, or red, "
            f"green and blue ids like 'r25,x37,y26'; got {triplets!r}"
        )
    ids = objects.parse_task(triplets)
    reserved = {"test": objects.object_ids("test"), "selection": set_ids("selection")}
    for purpose, kept in reserved.items():
        if clash := sorted(set(ids) & set(kept)):
            ask = "mastery' or a triplet's name" if purpose == "test" else "selection'"
            raise ValueError(
                f"triplets: expected no {purpose} objects unless '--triplets {ask} asks for "
                f"them, got {clash} in {triplets!r}"
            )


def told(trials: Iterable[Trial], sentence: str) -> list[Trial]:
    """The same objects and seeds, with what a sentence asks for as their task.

    Raises ValueError for words that ask for no stack, or for another than a task's.
    """
    stack, changed = stack_of(sentence), []
    for one in trials:
        name, _, named = one.task.partition(":")
        if named not in ("", ANY, stack):
            raise ValueError(f"instruction: expected words for {named}, got {sentence!r}")
        ids, _ = objects.split_task(one.objects)
        changed.append(
            replace(
                one,
                task=objects.join_task(name, stack),
                objects=objects.join_task(ids, stack),
                instruction=sentence,
            )
        )
    return changed


def trials(suite: Sequence[str], num_episodes: int) -> Iterator[Trial]:
    """`num_episodes` trials of each task of a suite, or of tasks given one by one.

    Raises ValueError naming the valid suites and tasks before the first trial.
    """
    name = " ".join(suite)
    tasks = SUITES.get(name, tuple(suite))
    for task in tasks:
        triplets, _, stack = task.partition(":")
        if triplets not in TRIPLET_SETS:
            try:
                objects.parse_task(triplets if stack == ANY else task)
            except ValueError as error:
                raise ValueError(
                    f"suite: expected one of {', '.join(SUITES)}, or tasks; {error}"
                ) from None
    label = name if name in SUITES else "tasks"
    return (
        trial(task, index, stable_seed(label, task, index))
        for index in range(num_episodes)
        for task in tasks
    )
