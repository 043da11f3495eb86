"""The 152 RGB objects: their ids by set, their mesh files, and the benchmark's triplets.

A task says which objects lie in the basket and, if it is not red on blue, what is to be stacked:
"rgb_test_triplet3", "r3,s0,b2", "rgb_test_triplet1:blue_on_green".
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from gato_sim.domains.rgb_stacking.scene import assets

COLORS = ("red", "green", "blue")
RED_ON_BLUE = "red_on_blue"  # the benchmark's own
STACKS = tuple(f"{top}_on_{base}" for top in COLORS for base in COLORS if top != base)
TEST_TRIPLETS = {
    "rgb_test_triplet1": ("r3", "s0", "b2"),
    "rgb_test_triplet2": ("r5", "g2", "b3"),
    "rgb_test_triplet3": ("r6", "g3", "b5"),
    "rgb_test_triplet4": ("s0", "g5", "b6"),
    "rgb_test_triplet5": ("r2", "g6", "s0"),
}
# Random tasks draw each colour independently from one set of ids.
RANDOM_TASKS = {"rgb_train_random": "train", "rgb_heldout_random": "heldout"}
TASKS = (*TEST_TRIPLETS, *RANDOM_TASKS)
_FOLDERS = {"train": "train", "heldout": "heldout", "test": "test_triplets"}
_MESHES = "dm_robotics/manipulation/props/rgb_objects/assets/rgb_v1.3/meshes"


@cache
def _mesh_files() -> dict[str, dict[str, Path]]:
    """{set name: {object id: STL file}}; a file's name starts with the id, then parameters."""
    root = assets.path() / _MESHES
    return {
        name: {file.name.split("_")[0]: file for file in sorted((root / folder).glob("*.stl"))}
        for name, folder in _FOLDERS.items()
    }


def object_ids(set_name: str) -> tuple[str, ...]:
    """Sorted ids of "train" (103), "heldout" (36) or "test" (13). The sets are disjoint."""
    if set_name not in _FOLDERS:
        raise ValueError(f"object set: expected one of {sorted(_FOLDERS)}, got {set_name!r}")
    return tuple(sorted(_mesh_files()[set_name]))


def mesh_file(object_id: str) -> Path:
    """The STL file of one object (metres). Raises ValueError naming near ids if unknown."""
    for files in _mesh_files().values():
        if object_id in files:
            return files[object_id]
    known = sorted(name for files in _mesh_files().values() for name in files)
    raise ValueError(f"object id: expected one of {', '.join(known)}; got {object_id!r}")


def split_task(task: str) -> tuple[str, str]:
    """The objects part of a task and its stack, one of STACKS.

    Raises ValueError listing the stacks for an unknown one.
    """
    name, colon, stack = task.partition(":")
    if not colon:
        return name, RED_ON_BLUE
    check_stack(stack)
    return name, stack


def join_task(name: str, stack: str) -> str:
    """The task of objects and stack; the inverse of `split_task`."""
    return name if stack == RED_ON_BLUE else f"{name}:{stack}"


def check_stack(stack: str) -> None:
    """Raises ValueError listing the stacks unless this is one."""
    if stack not in STACKS:
        raise ValueError(f"stack: expected one of {', '.join(STACKS)}; got {stack!r}")


def colors_of(stack: str) -> tuple[str, str]:
    """What is put on what: ("red", "blue") of "red_on_blue"."""
    top, base = stack.split("_on_")
    return top, base


def parse_task(task: str) -> tuple[str, str, str] | None:
    """The (red, green, blue) ids a task fixes, None if it draws them at random.

    A task is a name in TASKS or three ids "r3,s0,b2", with a stack or without. Raises ValueError
    listing what is valid.
    """
    task, _ = split_task(task)
    if task in RANDOM_TASKS:
        return None
    if task in TEST_TRIPLETS:
        return TEST_TRIPLETS[task]
    ids = tuple(part.strip() for part in task.split(","))
    if len(ids) != 3:
        raise ValueError(
            f"task: expected one of {', '.join(TASKS)}, or red, green and blue ids like "
            f"'r3,s0,b2'; got {task!r}"
        )
    for object_id in ids:
        mesh_file(object_id)
    return ids


def draw_triplet(task: str, rng: np.random.Generator) -> tuple[str, str, str]:
    """The task's (red, green, blue) ids; a random task draws three with replacement.

    The original draws with replacement too (RGB-objects' `random_triplet`). Its held-out task
    also contains the 13 test objects; ours draws from the 36 held-out ids alone, so neither
    random task ever shows a test object.
    """
    fixed = parse_task(task)
    if fixed is not None:
        return fixed
    name, _ = split_task(task)
    red, green, blue = rng.choice(object_ids(RANDOM_TASKS[name]), size=3, replace=True)
    return str(red), str(green), str(blue)
