"""Measures which preset meets which control rate on this machine: `gato bench`.

Weights are random, which changes no time. CPU milliseconds are what a busy machine can still be
compared by. The rate that is met follows from the 99th percentile of wall time; beside it is the
one that CPU time would allow, which is what an idle machine meets with one thread.
"""

from __future__ import annotations

import copy
import json
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro

from gato_core.deploy.packed import pack
from gato_core.embodiment import ActionMode, Embodiment
from gato_core.model import Gato, preset
from gato_core.policy import GatoPolicy
from gato_core.spec import Continuous, Image, Modality, Spec
from gato_core.tokenizer import Tokenizer
from gato_core.tools.roofline import Machine, measure_machine, passes
from gato_core.vocab import Vocabulary

NUM_SPECIAL_PIECES = 4  # text ids that every vocabulary with text has
STAGES = ("tokenize", "network", "step", "cpu")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class BenchConfig:
    """Measures control steps at full context, and tells which rates the presets meet here.

    example: gato bench --presets control-2m control-5m --threads 1
    """

    presets: tuple[str, ...] = ("control-2m", "control-5m", "control-12m")
    """Presets of the network, with random weights."""
    checkpoint: Path | None = None
    """A checkpoint's folder, to measure it and its robot instead of presets."""
    action_modes: tuple[ActionMode, ...] = ("autoregressive", "parallel")
    dtypes: tuple[str, ...] = ("float32", "bfloat16")
    context_timesteps: int = 4
    image_size: int = 64
    """Pixels a side of the two cameras of the benchmark's robot."""
    rates: tuple[float, ...] = (5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0)
    """Control rates in Hz to tell about."""
    num_steps: int = 200
    threads: int = 1
    device: str = "cpu"
    """A torch device; on cuda each step is one replay of a captured graph."""

    def __post_init__(self) -> None:
        for name in self.dtypes:
            if name not in DTYPES:
                raise ValueError(f"dtypes: expected {sorted(DTYPES)}, got {name!r}")
        for name in self.presets:
            preset(name)
        for mode in self.action_modes:
            Tokenizer(self.embodiment(mode), Vocabulary())  # refuses cameras that are none
        for name in ("num_steps", "threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected >= 1, got {getattr(self, name)}")

    def embodiment(self, action_mode: ActionMode) -> Embodiment:
        """The benchmark's robot with this context. Errors as of `Embodiment`."""
        return Embodiment("robot", robot(self.image_size), self.context_timesteps, action_mode)


def robot(image_size: int) -> Spec:
    """The benchmark's robot, by sizes alone: 53 tokens a timestep with two 64x64 cameras."""

    def vector(size: int) -> Continuous:
        names = tuple(f"x{i}" for i in range(size))
        return Continuous((-1.0,) * size, (1.0,) * size, "1", names)

    cameras: dict[str, Modality] = {
        f"camera{i}/pixels": Image(image_size, image_size) for i in range(2)
    }
    joints = {"gripper": vector(1), "joints": vector(7), "pinch": vector(7)}
    return Spec({**cameras, **joints}, vector(5), 0.05)


def made_up(spec: Spec, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A random observation that fits the Spec."""
    return {key: _made_up(modality, rng) for key, modality in spec.observation.items()}


def _made_up(modality: Modality, rng: np.random.Generator) -> np.ndarray:
    match modality:
        case Image(shape=shape):
            return rng.integers(0, 256, shape, dtype=np.uint8)
        case Continuous(low=low, high=high):
            return rng.uniform(low, high).astype(np.float32)
    return rng.integers(0, getattr(modality, "num_values", NUM_SPECIAL_PIECES), modality.shape)


def measure(policy: GatoPolicy, spec: Spec, num_steps: int, num_before: int) -> dict[str, dict]:
    """Percentiles in milliseconds of each stage, after num_before steps that fill the context."""
    rng = np.random.default_rng(0)
    milliseconds: dict[str, list[float]] = {stage: [] for stage in STAGES}
    for _ in range(num_before + num_steps):
        observation = made_up(spec, rng)
        wall, cpu = time.perf_counter(), time.process_time()
        policy.step(observation)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        seconds = policy.seconds
        for stage, value in zip(STAGES, (seconds.tokenize, seconds.network, wall, cpu)):
            milliseconds[stage].append(1e3 * value)
    return {stage: percentiles(values[num_before:]) for stage, values in milliseconds.items()}


def percentiles(values: list[float]) -> dict[str, float]:
    return {f"p{p}": round(float(np.percentile(values, p)), 3) for p in (50, 95, 99)}


def cpu_name() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def commit() -> str | None:
    """The repository's commit, if this is one."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    result = subprocess.run(command, capture_output=True, text=True)
    return result.stdout.strip() or None


def hardware(device: str, threads: int) -> dict:
    """What the last line says about where the figures come from."""
    gpu = torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else None
    machine = {"cpu": cpu_name(), "gpu": gpu, "threads": threads}
    return machine | {"torch": torch.__version__, "commit": commit()}


def _models(config: BenchConfig) -> Iterator[tuple[str, Gato, Embodiment]]:
    """Names, float32 models and their robots, one after the other: large ones need the room."""
    if config.checkpoint is not None:
        from gato_core import checkpoint

        loaded = checkpoint.load(config.checkpoint)
        for embodiment in loaded.embodiments.values():
            # a copy: packing is for good
            yield str(config.checkpoint), copy.deepcopy(loaded.model), embodiment
        return
    for name in config.presets:
        for mode in config.action_modes:
            yield name, Gato(preset(name)), config.embodiment(mode)


def _row(
    name: str, model: Gato, embodiment: Embodiment, machine: Machine, config: BenchConfig
) -> dict:
    floor = sum(each.seconds(machine) for each in passes(model, embodiment))
    row: dict = {"preset": name, "embodiment": embodiment.name}
    row |= {"action_mode": embodiment.action_mode}
    policy = GatoPolicy.of(pack(model), Tokenizer(embodiment, model.config.vocabulary))
    row |= measure(policy, embodiment.spec, config.num_steps, embodiment.context_timesteps + 5)
    row["roofline_ms"] = round(1e3 * floor, 3)
    for key, stage in (("meets_hz", "step"), ("idle_hz", "cpu")):
        met = [rate for rate in config.rates if row[stage]["p99"] <= 1e3 / rate]
        row[key] = max(met, default=None)
    return row


def _rows(dtype: str, config: BenchConfig) -> list[dict]:
    """Measures every model in one dtype, and shows each row as it is there."""
    machine, rows = measure_machine(config.device, DTYPES[dtype]), []
    for name, model, embodiment in _models(config):
        model = model.to(device=config.device, dtype=DTYPES[dtype])
        row = _row(name, model, embodiment, machine, config) | {"dtype": dtype}
        row["gb_per_s"] = round(machine.bandwidth / 1e9, 1)
        row["gflop_per_s"] = round(machine.flops / 1e9, 1)
        rows.append(row)
        _show(row)
    return rows


def _show(row: dict) -> None:
    stages = "  ".join(
        f"{stage} " + "/".join(f"{value:.1f}" for value in row[stage].values()) for stage in STAGES
    )
    meets, idle = (f"{row[key]:g} Hz" if row[key] else "no rate" for key in ("meets_hz", "idle_hz"))
    print(
        f"{row['preset']:12s} {row['action_mode']:14s} {row['dtype']:8s} "
        f"meets {meets} (idle {idle})  roofline {row['roofline_ms']:.1f}  {stages}",
        flush=True,
    )


def main() -> int:
    config = tyro.cli(BenchConfig, description=__doc__)
    if torch.device(config.device).type == "cuda" and not torch.cuda.is_available():
        print(f"gato bench: expected a GPU for --device {config.device}, got none", file=sys.stderr)
        return 1
    torch.set_num_threads(config.threads)
    print("milliseconds as p50/p95/p99; cpu is CPU time, of all threads")
    try:
        rows = [row for dtype in config.dtypes for row in _rows(dtype, config)]
    except (ValueError, OSError) as error:
        print(f"gato bench: {error}", file=sys.stderr)
        return 1
    print(json.dumps(hardware(config.device, config.threads) | {"ms": rows}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
