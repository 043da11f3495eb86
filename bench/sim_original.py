"""CPU time of google-deepmind/rgb_stacking's own environment; `bench/sim.py` starts it there.

Two rows: as released, where three 128x128 images are drawn at every step whatever is observed, and
with the cameras' sensors removed. The last line is JSON, like the rows of bench/sim.py.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "compat"))
from original import build, without_cameras


def measure(env, num_steps: int, num_resets: int) -> dict:
    """{"step": summary, "reset": summary}, ms of CPU time of this process."""
    rng, times = np.random.default_rng(0), {"step": [], "reset": []}

    def timed(part: str, work) -> None:
        start = time.process_time()
        work()
        times[part].append(1e3 * (time.process_time() - start))

    low, high = (0.07, 0.07, 0.07, 1.0, 255.0), (-0.07, -0.07, -0.07, -1.0, -255.0)
    for _ in range(num_resets):
        timed("reset", env.reset)
        for _ in range(num_steps // num_resets):
            action = rng.uniform(high, low).astype(np.float32)
            timed("step", lambda: env.step(action))  # noqa: B023
    return {
        part: {
            "median_ms": round(float(np.median(values)), 2),
            "p95_ms": round(float(np.percentile(values, 95)), 2),
        }
        for part, values in times.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--code", type=Path, required=True)
    parser.add_argument("--task", required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--resets", type=int, required=True)
    arguments = parser.parse_args()
    environments = {
        "original, state": without_cameras(arguments.code, arguments.task),
        "original, 3x128": build(arguments.code, arguments.task, "STATE_ONLY"),
    }
    rows = {
        name: measure(env, arguments.steps, arguments.resets) for name, env in environments.items()
    }
    print(json.dumps(rows), flush=True)
    # dm_control's renderer cannot be freed after Python's thread pools have ended.
    os._exit(0)


if __name__ == "__main__":
    main()
