"""Latency of one control step, stage by stage, at full context; the last line is JSON.

    python bench/control_step.py --presets control-2m control-5m --threads 1

The robot is the RGB-stacking Sawyer with two 64x64 cameras: 53 tokens a timestep. Weights are
random, which changes no time. CPU milliseconds are what a busy machine can still be compared by.
"""

from __future__ import annotations

import json
import platform
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import tyro

from gato_core.model import Gato, preset
from gato_core.policy import GatoPolicy
from gato_core.spec import Continuous, Image, Spec
from gato_core.tokenizer import Tokenizer

STAGES = ("tokenize", "prefill", "decode", "step", "cpu")


@dataclass(frozen=True)
class Options:
    """What to measure."""

    presets: tuple[str, ...] = ("control-2m", "control-5m", "control-12m")
    context_timesteps: int = 4
    image_size: int = 64
    num_steps: int = 200
    threads: int = 1
    device: str = "cpu"


def robot(image_size: int) -> Spec:
    """The benchmark's robot, by sizes alone."""

    def vector(size: int) -> Continuous:
        names = tuple(f"x{i}" for i in range(size))
        return Continuous((-1.0,) * size, (1.0,) * size, "1", names)

    cameras = {f"camera{i}/pixels": Image(image_size, image_size) for i in range(2)}
    joints = {"gripper": vector(1), "joints": vector(7), "pinch": vector(7)}
    return Spec(cameras | joints, vector(5), 0.05)


def measure(policy: GatoPolicy, options: Options) -> dict[str, dict[str, float]]:
    """Percentiles in milliseconds for each stage, after the context has filled."""
    rng = np.random.default_rng(0)
    milliseconds = {stage: [] for stage in STAGES}
    for _ in range(options.context_timesteps + 5 + options.num_steps):
        observation = {
            key: rng.integers(0, 256, m.shape, dtype=np.uint8)
            if isinstance(m, Image)
            else rng.uniform(m.low, m.high).astype(np.float32)
            for key, m in policy.spec.observation.items()
        }
        wall, cpu = time.perf_counter(), time.process_time()
        policy.step(observation)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        seconds = policy.seconds
        stages = (seconds.tokenize, seconds.prefill, seconds.decode, wall, cpu)
        for stage, value in zip(STAGES, stages):
            milliseconds[stage].append(1e3 * value)
    return {
        stage: percentiles(values[-options.num_steps :]) for stage, values in milliseconds.items()
    }


def percentiles(values: list[float]) -> dict[str, float]:
    return {f"p{p}": round(float(np.percentile(values, p)), 2) for p in (50, 95, 99)}


def cpu_name() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    torch.set_num_threads(options.threads)
    spec, results = robot(options.image_size), []
    for name in options.presets:
        for action_mode in ("autoregressive", "parallel"):
            for dtype in (torch.float32, torch.bfloat16):
                config = replace(
                    preset(name),
                    action_mode=action_mode,
                    context_timesteps=options.context_timesteps,
                )
                model = Gato(config).to(device=options.device, dtype=dtype)
                policy = GatoPolicy(model, Tokenizer(spec, config.vocabulary))
                row = {"preset": name, "action_mode": action_mode, "dtype": str(dtype)[6:]}
                row |= measure(policy, options)
                results.append(row)
                shown = "  ".join(
                    f"{stage} {row[stage]['p50']:.1f}/{row[stage]['p99']:.1f}" for stage in STAGES
                )
                print(f"{name:12s} {action_mode:14s} {row['dtype']:8s} p50/p99 ms  {shown}")
    machine = {"cpu": cpu_name(), "torch": torch.__version__, "threads": options.threads}
    tokens = {"tokens_per_timestep": spec.tokens_per_timestep}
    print(
        json.dumps(
            {**machine, **tokens, "context_timesteps": options.context_timesteps, "ms": results}
        )
    )


if __name__ == "__main__":
    main()
