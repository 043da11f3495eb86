"""CPU time of the RGB-stacking environment: control steps and resets, both physics, cameras.

    python bench/sim.py [--steps 100] [--resets 5]

Settings take turns within one process, so a machine that slows down slows all of them. Times are
CPU time of the process (software rendering included), medians and 95th percentiles over single
steps; the last line is JSON.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import itertools
import json
import platform
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import gato_sim
from gato_sim.scene import PHYSICS

TASK = "rgb_test_triplet1"
CAMERAS = ("basket_front_left", "basket_front_right")
VIEWS = {"state": ((), 64), "2x64": (CAMERAS, 64), "2x128": (CAMERAS, 128)}


def processor() -> str:
    """The CPU's model name."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def commit() -> str:
    """The short hash of the working tree's commit, "unknown" outside a repository."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    result = subprocess.run(command, capture_output=True, text=True)
    return result.stdout.strip() or "unknown"


def milliseconds(work) -> float:
    """CPU time that one call took."""
    start = time.process_time()
    work()
    return 1e3 * (time.process_time() - start)


def summary(times: list[float]) -> dict[str, float]:
    """Median and 95th percentile, ms."""
    return {
        "median_ms": round(float(np.median(times)), 2),
        "p95_ms": round(float(np.percentile(times, 95)), 2),
    }


def measure(num_steps: int, num_resets: int) -> dict[str, dict]:
    """{"physics view": {"step": summary, "reset": summary}} over random actions."""
    environments = {
        f"{physics} {view}": gato_sim.load(
            TASK, seed=0, physics=physics, cameras=cameras, image_size=size
        )
        for physics, (view, (cameras, size)) in itertools.product(PHYSICS, VIEWS.items())
    }
    steps = {name: [] for name in environments}
    resets = {name: [] for name in environments}
    rng = np.random.default_rng(0)
    for episode in range(num_resets):
        for name, env in environments.items():
            resets[name].append(milliseconds(env.reset))
        for _ in range(num_steps // num_resets):
            action = rng.uniform(env.action_spec().minimum, env.action_spec().maximum)
            for name, env in environments.items():
                steps[name].append(milliseconds(lambda: env.step(action)))  # noqa: B023
        print(f"{episode + 1} of {num_resets} episodes", file=sys.stderr)
    for env in environments.values():
        env.close()
    return {n: {"step": summary(steps[n]), "reset": summary(resets[n])} for n in environments}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--resets", type=int, default=5)
    arguments = parser.parse_args()
    results = measure(arguments.steps, arguments.resets)
    print(f"{'':18}{'step median':>12}{'p95':>8}{'reset median':>14}{'p95':>8}  ms")
    for name, row in results.items():
        step, reset = row["step"], row["reset"]
        print(
            f"{name:18}{step['median_ms']:12.2f}{step['p95_ms']:8.2f}"
            f"{reset['median_ms']:14.0f}{reset['p95_ms']:8.0f}"
        )
    record = {
        "bench": "sim",
        "hardware": processor(),
        "mujoco": importlib.metadata.version("mujoco"),
        "commit": commit(),
        "task": TASK,
        "num_steps": arguments.steps,
        "num_resets": arguments.resets,
        "results": results,
    }
    print(json.dumps(record))
    return 0


if __name__ == "__main__":
    sys.exit(main())
