"""Success rates of a checkpoint by `gato evaluate`, a program: this room has no simulator."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gato_core.data.storage import read_json
from gato_training.config import check


@dataclass(frozen=True)
class Suite:
    """What to evaluate on; the fields are options of `gato evaluate`."""

    suite: str
    """Of `gato evaluate`; not of the test triplets where results choose something."""
    episodes: int
    """Evaluated of each task of the suite; the paper's few-shot points are 50."""
    physics: str = "stable"
    max_steps: int = 400
    """Control steps of an episode."""
    workers: int = 1
    """Processes of an evaluation."""

    def __post_init__(self) -> None:
        check(self, "> 0", "episodes", "max_steps")

    @property
    def title(self) -> str:
        return f"{self.suite}, {self.physics} physics, {self.episodes} episodes a task"


def by_gato(suite: Suite, checkpoint: Path, out: Path, name: str, extra: Sequence = ()) -> dict:
    """The summary in out/name; an evaluation goes on by itself where it was stopped.

    Actions are the likeliest, whatever a checkpoint's own temperature, so that all are alike.
    extra: further options. Raises ValueError where it fails, KeyboardInterrupt where it is stopped.
    """
    options = {
        "checkpoint": checkpoint,
        "suite": suite.suite,
        "episodes": suite.episodes,
        "physics": suite.physics,
        "max-steps": suite.max_steps,
        "temperature": 0.0,
        "workers": suite.workers,
        "videos": 0,
        "out": out,
        "name": name,
    }
    flags = [str(part) for key, value in options.items() for part in (f"--{key}", value)]
    command = [sys.executable, "-m", "gato_core.cli", "evaluate", *flags, *map(str, extra)]
    done = subprocess.run(command, stdout=subprocess.DEVNULL)
    if done.returncode == 130:
        raise KeyboardInterrupt
    if done.returncode:
        raise ValueError(f"gato evaluate: expected status 0, got {done.returncode}: {command}")
    return read_json(out / name / "summary.json")
