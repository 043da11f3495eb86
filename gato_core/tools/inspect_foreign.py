"""Says what is in a LeRobot folder or a robomimic file, and what would hinder its conversion."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from gato_core.data import features
from gato_core.data.features import ACTION, REWARD
from gato_core.data.folder import EpisodeFiles
from gato_core.importers import lerobot, robomimic

SIZE = 16  # of a draft's pictures: any that there is


def inspect_lerobot(path: Path) -> dict:
    """Counts and features of another's folder; every number and three pictures an episode are read.

    Raises as EpisodeFiles does.
    """
    files = EpisodeFiles(path)
    _, warnings = lerobot.draft_spec(files, SIZE)
    table = files.info["features"]
    cameras = [name for name in table if lerobot.is_camera(table[name])]
    problems = [line for line in warnings if line.startswith(f"{ACTION}: ")]  # always used
    for name in cameras:
        try:
            files.check_cameras([name])
            problems += [
                text for i in range(len(files.rows)) for text in _unreadable(files, i, name)
            ]
        except ValueError as error:
            problems.append(str(error))
    if REWARD in table and not np.isfinite(files.column(REWARD)).all():
        problems.append(f"{REWARD}: expected finite values, got NaN or infinity")
    return {
        "kind": "lerobot",
        "sound": not problems,
        "problems": problems,
        "warnings": files.warnings + [line for line in warnings if line not in problems],
        "episodes": len(files.rows),
        "successes": sum(row["gato/success"] for row in files.rows),
        "timesteps": sum(row["length"] for row in files.rows),
        "frames_per_second": files.info["fps"],
        "robot_type": files.info["robot_type"],
        "tasks": dict(Counter(row["gato/task"] for row in files.rows)),
        "features": {name: _told(table[name]) for name in table if name not in features.SCALARS},
        "next": f"gato convert {path} spec.json --to spec",
    }


def inspect_demonstrations(path: Path) -> dict:
    """Counts, names and shapes of a robomimic file. Raises as DemonstrationFile does."""
    with robomimic.DemonstrationFile(path) as file:
        spec, warnings = robomimic.draft_spec(file, SIZE)
        problems = [line for line in warnings if line.startswith(f"{ACTION}: ")]  # always used
        try:
            robomimic.check(file, spec)
        except ValueError as error:
            problems.append(str(error))
        lengths = [len(file.array(demo, "actions")) for demo in file.demos]
        first = file.observations(file.demos[0])
        return {
            "kind": "hdf5",
            "sound": not problems,
            "problems": problems,
            "warnings": file.warnings + [line for line in warnings if line not in problems],
            "episodes": len(file.demos),
            "successes": sum(file.successes),
            "timesteps": sum(lengths),
            "frames_per_second": file.rate,
            "task": file.task,
            "features": {name: f"{one.dtype} {one.shape[1:]}" for name, one in first.items()}
            | {"actions": str(spec.action.shape)},
            "next": f"gato convert {path} spec.json --to spec",
        }


def _unreadable(files: EpisodeFiles, i: int, name: str) -> list[str]:
    """What is wrong with the first, the middle or the last picture of an episode."""
    length = files.rows[i]["length"]
    for t in sorted({0, length // 2, length - 1}):
        try:
            picture = lerobot.picture(files, i, name, t)
        except ValueError as error:
            return [str(error)]
        if t == length // 2 and np.ptp(picture) == 0:
            return [f"episode {i}: {name}: blank image at timestep {t}"]
    return []


def _told(feature: Mapping) -> str:
    names = features.labels(feature) if feature["dtype"] not in ("image", "video") else None
    shape = "x".join(str(side) for side in feature["shape"])
    return f"{feature['dtype']} {shape}" + (f": {', '.join(names)}" if names else "")
