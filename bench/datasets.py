"""Time and memory of `gato inspect` on a dataset of 1,000 episodes.

python bench/datasets.py                  writes the dataset into a temporary folder first
python bench/datasets.py --html           with the page of pictures
Prints seconds of one core (CPU time, all threads) and the peak of the process; the last line is
JSON. The goal: 60 s and 1 GB.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from gato_core.dataset import DatasetWriter
from gato_core.episode import Episode
from gato_core.spec import Continuous, Image, Spec

JOINTS = Continuous((-3.0,) * 7, (3.0,) * 7, "rad", tuple(f"j{i}" for i in range(7)))


@dataclass(frozen=True)
class BenchConfig:
    episodes: int = 1000
    timesteps: int = 200
    image_size: int = 64
    html: bool = False


def write(root: Path, config: BenchConfig) -> None:
    """Two cameras that see a moving gradient, seven joints."""
    size = config.image_size
    cameras = {f"{name}/pixels": Image(size, size) for name in ("left", "right")}
    spec = Spec(cameras | {"arm/angle": JOINTS}, JOINTS, 0.05)
    rng = np.random.default_rng(0)
    base = np.linspace(0, 200, size, dtype=np.float32)[None, :, None] + rng.normal(
        0, 6, (size, size, 3)
    )
    with DatasetWriter(root, spec) as writer:
        for seed in range(config.episodes):
            steps = rng.normal(0, 0.02, (config.timesteps, 7)).cumsum(0).clip(-3, 3)
            shifts = rng.integers(0, size, config.timesteps)
            frames = np.stack([np.roll(base, s, 1) for s in shifts]).clip(0, 255).astype(np.uint8)
            writer.add(
                Episode(
                    {"left/pixels": frames, "right/pixels": frames[::-1],
                     "arm/angle": steps.astype(np.float32)},
                    np.gradient(steps, axis=0).astype(np.float32),
                    np.zeros(config.timesteps, np.float32),
                    task="wave", source="bench", seed=seed, success=True,
                )
            )  # fmt: skip


def main() -> int:
    config = tyro.cli(BenchConfig, description=__doc__)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "dataset"
        write(root, config)
        command = [sys.executable, "-m", "gato_core.cli", "inspect", str(root)]
        command += ["--html", str(Path(folder) / "page.html")] if config.html else []
        begin = time.monotonic()
        one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=one_thread)
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        found = json.loads(done.stdout.splitlines()[-1])
    figures = {
        "episodes": found["episodes"],
        "timesteps": found["timesteps"],
        "megabytes": found["megabytes"],
        "cpu_s": round(used.ru_utime + used.ru_stime, 1),
        "wall_s": round(time.monotonic() - begin, 1),
        "peak_mb": round(used.ru_maxrss / 1e3),
        "html": config.html,
    }
    print("\n".join(f"{name}: {value}" for name, value in figures.items()))
    print(json.dumps(figures))
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
