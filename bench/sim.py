"""Speed of the RGB-stacking environment: control steps, resets, cameras, cores, and the original.

    python bench/sim.py [--steps 100] [--resets 5] [--scaling 2 ...]
    python bench/sim.py --original /tmp/original/bin/python --code /tmp/rgb_stacking

Settings take turns within one process, so a machine that slows down slows all of them. Times are
CPU time of the process (software rendering included), medians and 95th percentiles over single
steps. Only the scaling over cores is wall time and needs an idle machine. The original is
google-deepmind/rgb_stacking in an environment of its own, which tests/compat/compare.py says how
to make. Cameras draw with MUJOCO_GL or the first of EGL (a graphics card, if there is one) and
OSMesa. The last line is JSON.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import itertools
import json
import multiprocessing
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("LP_NUM_THREADS", "1")

import numpy as np

import gato_sim
from gato_sim.domains.rgb_stacking.scene.scene import PHYSICS
from gato_sim.run import gl

TASK = "rgb_test_triplet1"
CAMERAS = ("basket_front_left", "basket_front_right")
VIEWS = {"state": ((), 64), "2x64": (CAMERAS, 64), "2x128": (CAMERAS, 128)}
# ms of CPU time on one core: what the project has set itself
GOALS = {
    "benchmark state": {"step": 11, "reset": 600},
    "benchmark 2x64": {"step": 14, "reset": 600},
    "stable state": {"step": 4.5, "reset": 300},
    "stable 2x64": {"step": 7, "reset": 300},
    "stable 2x128": {"step": 10, "reset": 300},
}
SCALING_GOAL = 0.9


def processor() -> str:
    """The CPU's model name."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def renderer() -> str:
    """What draws the images: the backend and OpenGL's name of it."""
    from OpenGL import GL

    context = gl.make_context(16, 16)
    name = GL.glGetString(GL.GL_RENDERER).decode()
    context.free()
    return f"{os.environ['MUJOCO_GL']}, {name}"


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


def load(physics: str, view: str, task: str = TASK):
    """An environment of one row."""
    cameras, size = VIEWS[view]
    return gato_sim.load(task, seed=0, physics=physics, cameras=cameras, image_size=size)


def measure(num_steps: int, num_resets: int) -> dict[str, dict]:
    """{"physics view": {"step": summary, "reset": summary}} over random actions."""
    rows = itertools.product(PHYSICS, VIEWS)
    environments = {f"{physics} {view}": load(physics, view) for physics, view in rows}
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


def measure_new_objects(num_resets: int) -> dict[str, dict]:
    """Resets that also exchange the objects, with two cameras."""
    rows = {}
    for physics in PHYSICS:
        env = load(physics, "2x64", "rgb_train_random")
        env.reset()
        times = [milliseconds(env.reset) for _ in range(num_resets)]
        rows[f"{physics} 2x64, new objects"] = {"reset": summary(times)}
        env.close()
    return rows


def step_rate(physics: str, view: str, num_steps: int, barrier, rates) -> None:
    """Control steps a second (wall time) of one of several environments that start together."""
    env = load(physics, view)
    env.reset()
    barrier.wait()
    started = time.perf_counter()
    for _ in range(num_steps):
        env.step(np.zeros(5))
    rates.put(num_steps / (time.perf_counter() - started))
    env.close()


def measure_scaling(counts: list[int], num_steps: int) -> dict[str, dict]:
    """Control steps a second of N processes together, and per process against one alone."""
    context = multiprocessing.get_context("spawn")
    rows = {}
    for physics, view in itertools.product(PHYSICS, ("state", "2x64")):
        alone = None
        for count in (1, *counts):
            barrier, rates = context.Barrier(count), context.Queue()
            arguments = (physics, view, num_steps, barrier, rates)
            processes = [context.Process(target=step_rate, args=arguments) for _ in range(count)]
            for process in processes:
                process.start()
            total = sum(rates.get(timeout=600) for _ in processes)
            for process in processes:
                process.join()
            alone = alone or total
            rows[f"{physics} {view}, {count} processes"] = {
                "steps_per_second": round(total, 1),
                "per_process": round(total / count / alone, 3),
            }
    return rows


def measure_original(python: Path, code: Path, num_steps: int, num_resets: int) -> dict:
    """The same figures of google-deepmind/rgb_stacking, by a program in its own environment."""
    program = Path(__file__).parent / "sim_original.py"
    command = [python, program, "--code", code, "--task", TASK]
    command += ["--steps", num_steps, "--resets", num_resets]
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if result.returncode:
        raise RuntimeError(f"{python}: the original did not run:\n{result.stderr[-2000:]}")
    return json.loads(result.stdout.splitlines()[-1])


def print_rows(results: dict[str, dict]) -> None:
    print(
        f"{'':28}{'step median':>12}{'p95':>8}{'goal':>6}{'reset median':>14}{'p95':>8}{'goal':>6}"
    )
    for name, row in results.items():
        goal, line = GOALS.get(name, {}), f"{name:28}"
        for part, width, digits in (("step", 12, 2), ("reset", 14, 0)):
            if part in row:
                line += f"{row[part]['median_ms']:{width}.{digits}f}"
                line += f"{row[part]['p95_ms']:8.{digits}f}{goal.get(part, ''):>6}"
            else:
                line += " " * (width + 14)
        print(line.rstrip())
    print("ms of CPU time")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--resets", type=int, default=5)
    parser.add_argument("--scaling", type=int, nargs="*", default=[], help="numbers of processes")
    parser.add_argument("--original", type=Path, help="python of the original's environment")
    parser.add_argument("--code", type=Path, help="checkout of google-deepmind/rgb_stacking")
    arguments = parser.parse_args()
    if (arguments.original is None) != (arguments.code is None):
        parser.error("expected --original and --code together, got one")
    drawn = renderer()
    results = measure(arguments.steps, arguments.resets)
    results |= measure_new_objects(arguments.resets)
    if arguments.original:
        results |= measure_original(
            arguments.original, arguments.code, arguments.steps, arguments.resets
        )
    print_rows(results)
    scaling = measure_scaling(arguments.scaling, arguments.steps) if arguments.scaling else {}
    for name, row in scaling.items():
        print(
            f"{name:32}{row['steps_per_second']:8.1f} steps/s, per process {row['per_process']:.2f}"
            f" of one alone (goal {SCALING_GOAL})"
        )
    record = {
        "bench": "sim",
        "hardware": processor(),
        "renderer": drawn,
        "mujoco": importlib.metadata.version("mujoco"),
        "commit": commit(),
        "task": TASK,
        "num_steps": arguments.steps,
        "num_resets": arguments.resets,
        "results": results,
        "scaling": scaling,
    }
    print(json.dumps(record))
    return 0


if __name__ == "__main__":
    sys.exit(main())
