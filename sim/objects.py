"""The 152 RGB objects: their ids by set, their mesh files, and the benchmark's triplets."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from gato_sim import assets

COLORS = ("red", "green", "blue")
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


def parse_task(task: str) -> tuple[str, str, str] | None:
    """The (red, green, blue) ids a task fixes, None if it draws them at random.

    A task is a name in TASKS or three ids "r3,s0,b2". Raises ValueError listing what is valid.
    """
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
    red, green, blue = rng.choice(object_ids(RANDOM_TASKS[task]), size=3, replace=True)
    return str(red), str(green), str(blue)
