"""Reads recordings to observation arrays: megabytes of messages a second.

    python bench/bags.py --seconds 30

Two cameras and joint states at 20 Hz for each size of picture, noise on a smooth background so that
they compress as real ones do, with our recorder's compression. Reading ends with the arrays that a
policy gets; `convert` also writes the dataset, PNG compression included. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from gato_core.dataset import DatasetWriter
from gato_core.episode import Episode
from gato_core.importers.bags import Bag
from gato_core.spec import Image, Spec
from gato_ros.bags import export, reader
from gato_sim.arm.arm import NULL_SPACE_ANGLES
from gato_sim.arm.controller import Controller
from gato_sim.domains.rgb_stacking.tasks import PINCH_KEY, downward, robot_spec

SIZES = ((64, 64), (128, 128), (480, 640))
ROW = "{:>9} {:>7} {:>8} | {:>11} {:>7} {:>13} | {:>11} {:>7}"


def recorded(folder: Path, spec: Spec, num_timesteps: int) -> None:
    """Writes a recording of the Sawyer standing still, its cameras noisy."""
    rng = np.random.default_rng(0)
    observation = {}
    for key, modality in spec.observation.items():
        if isinstance(modality, Image):
            background = np.linspace(40, 200, modality.width)[None, :, None]
            noise = rng.normal(0, 3, (8, *modality.shape))
            frames = np.clip(background + noise, 0, 255).astype(np.uint8)
            observation[key] = frames[np.arange(num_timesteps) % 8]
        else:
            observation[key] = np.zeros((num_timesteps, *modality.shape), np.float32)
    observation["sawyer/joints/angle"][:] = NULL_SPACE_ANGLES
    observation[PINCH_KEY][:] = downward(Controller().pinch_pose(NULL_SPACE_ANGLES))
    action = np.zeros((num_timesteps, spec.action.num_tokens), np.float32)
    reward = np.zeros(num_timesteps, np.float32)
    episode = Episode(observation, action, reward, "bench", "bench", 0, success=True)
    export.write(folder, spec, episode)


def sized(spec: Spec, height: int, width: int) -> Spec:
    images = {k: Image(height, width) for k, m in spec.observation.items() if isinstance(m, Image)}
    return Spec(spec.observation | images, spec.action, spec.control_timestep)


def read(folder: Path, spec: Spec) -> int:
    with Bag(folder) as bag:
        return sum(1 for _ in reader.timesteps(reader.plan(bag, spec, {})))


def convert(folder: Path, spec: Spec, out: Path) -> None:
    with Bag(folder) as bag, DatasetWriter(out, spec) as writer:
        for episode in reader.episodes(reader.plan(bag, spec, {}), "", False):
            writer.add(episode)


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """CPU and wall seconds."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall


def measure(folder: Path, height: int, width: int, seconds: float) -> dict:
    spec = sized(robot_spec(), height, width)
    steps = round(seconds * 20 if height < 480 else seconds * 4)
    recording = folder / f"{height}"
    recorded(recording, spec, steps)
    payload = steps * (2 * height * width * 3 + 400) / 1e6
    disk = sum(file.stat().st_size for file in recording.iterdir()) / 1e6
    read(recording, spec)  # warm: imports, page cache
    cpu, wall = min(timed(lambda: read(recording, spec)) for _ in range(3))
    all_cpu, all_wall = timed(lambda: convert(recording, spec, folder / f"out-{height}"))
    result = {
        "pictures": f"{width}x{height}",
        "megabytes": payload,
        "megabytes_on_disk": disk,
        "read_mb_per_cpu_second": payload / cpu,
        "read_mb_per_second": payload / wall,
        "read_timesteps_per_cpu_second": round(steps / cpu),
        "convert_mb_per_cpu_second": payload / all_cpu,
        "convert_mb_per_second": payload / all_wall,
    }
    return {key: round(v, 1) if isinstance(v, float) else v for key, v in result.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=30.0, help="of robot time")
    seconds = parser.parse_args().seconds
    print(f"{'':>27}| {'read: MB':>33} | {'convert: MB':>19}")
    units = ("/CPU s", "/s", "steps/CPU s", "/CPU s", "/s")
    print(ROW.format("pictures", "MB", "on disk", *units))
    results = []
    with tempfile.TemporaryDirectory() as name:
        for height, width in SIZES:
            results.append(measure(Path(name), height, width, seconds))
            print(ROW.format(*results[-1].values()))
    print(json.dumps({"results": results}))


if __name__ == "__main__":
    main()
