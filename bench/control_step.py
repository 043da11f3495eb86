"""One control step at full context by every way there is to run it; the last line is JSON.

    python bench/control_step.py --preset control-5m
    python bench/control_step.py --preset 79m --yardstick YARDSTICK.py
    python bench/control_step.py --checkpoint checkpoints/control --dataset datasets/train
    python bench/control_step.py --checkpoint checkpoints/control --before ../an-older-checkout

All run in one process and in turn, so that a busy machine disturbs them alike; CPU time is what to
compare. With a dataset, also the share of action tokens on which each agrees with float32 torch
over the observations of its first episodes. A yardstick is a file with a class Ref(dtype) whose
step() is a control step of two 80x80 images and 20 values with 13 timesteps of context. With an
older checkout its step and this one's, each in a process of its own, take turns instead.
`gato bench` tells the latency of each stage, and which control rates that meets.
"""

from __future__ import annotations

import copy
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro

from gato_core import checkpoint
from gato_core.dataset import Dataset
from gato_core.deploy import onnx
from gato_core.deploy.packed import pack
from gato_core.embodiment import ActionMode, Embodiment
from gato_core.model import Gato, preset
from gato_core.policy import GatoPolicy, Policy
from gato_core.spec import Continuous, Image, Spec
from gato_core.tokenizer import Tokenizer
from gato_core.tools.bench import hardware, made_up, percentiles, robot

YARDSTICK_CONTEXT = 13
NUM_WARM_UP = 10


@dataclass(frozen=True)
class Options:
    """What to measure."""

    preset: str = "control-5m"
    checkpoint: Path | None = None
    """A checkpoint's folder, instead of a preset with random weights."""
    dataset: Path | None = None
    """Where observations come from; made up, if not given."""
    yardstick: Path | None = None
    before: Path | None = None
    """Another checkout of this repository, to compare the step of a checkpoint with."""
    embodiment: str | None = None
    """Which of the checkpoint's, where there are several."""
    action_mode: ActionMode = "autoregressive"
    context_timesteps: int = 4
    num_steps: int = 30
    num_compared: int = 200
    """Timesteps of the dataset whose action tokens are compared."""
    threads: int = 1
    onnx: bool = True


def yardstick_robot() -> Spec:
    """The yardstick's workload: 76 tokens a timestep."""

    def vector(size: int) -> Continuous:
        names = tuple(f"x{i}" for i in range(size))
        return Continuous((-1.0,) * size, (1.0,) * size, "1", names)

    cameras = {f"camera{i}/pixels": Image(80, 80) for i in range(2)}
    return Spec(cameras | {"values": vector(20)}, vector(5), 0.05)


def ways(model: Gato, body: Embodiment, options: Options) -> dict[str, Policy]:
    """Policies by the way they run one model."""
    tokenizer = Tokenizer(body, model.config.vocabulary)

    def packed(dtype: torch.dtype) -> GatoPolicy:
        return GatoPolicy.of(pack(copy.deepcopy(model).to(dtype)), tokenizer, temperature=0.0)

    policies: dict[str, Policy] = {
        "float32": GatoPolicy.of(model, tokenizer, temperature=0.0),
        "float32, packed": packed(torch.float32),
        "bfloat16, packed": packed(torch.bfloat16),
    }
    if options.onnx:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "model.onnx"
            onnx.export(model, body, file)
            policies["onnx float32"] = onnx.load(file, threads=options.threads, temperature=0.0)
    return policies


def observations(spec: Spec, dataset: Path | None) -> Iterator[dict[str, np.ndarray]]:
    """Without end if made up, else those of a dataset's episodes."""
    if dataset is None:
        rng = np.random.default_rng(0)
        while True:
            yield made_up(spec, rng)
    data = Dataset(dataset)
    for number in range(data.num_episodes):
        episode = data.episode(number)
        for t in range(len(episode)):
            yield {key: episode.observation[key][t] for key in spec.observation}


def agreement(policies: dict[str, Policy], spec: Spec, options: Options) -> dict[str, float]:
    """Share of action tokens that equal the first policy's; each goes on with its own actions."""
    same: dict[str, list] = {name: [] for name in policies}
    for policy in policies.values():
        policy.reset()
    for _, observation in zip(range(options.num_compared), observations(spec, options.dataset)):
        actions = {name: policy.step(observation) for name, policy in policies.items()}
        first = next(iter(actions.values()))
        for name, action in actions.items():
            same[name].append(action == first)
    return {name: round(float(np.mean(values)), 4) for name, values in same.items()}


def time_in_turn(steps: dict[str, Callable[[], object]], num_steps: int) -> dict[str, dict]:
    """Percentiles of milliseconds, wall and CPU, of steps that take turns."""
    milliseconds = {name: {"wall": [], "cpu": []} for name in steps}
    for _ in range(num_steps):
        for name, step in steps.items():
            wall, cpu = time.perf_counter(), time.process_time()
            step()
            milliseconds[name]["wall"].append(1e3 * (time.perf_counter() - wall))
            milliseconds[name]["cpu"].append(1e3 * (time.process_time() - cpu))
    return {
        name: {clock: percentiles(values) for clock, values in clocks.items()}
        for name, clocks in milliseconds.items()
    }


def compare(checkpoint: Path, before: Path, num_steps: int) -> dict[str, dict]:
    """Milliseconds, p50, of two checkouts' steps in turn, and the median of the pairs' ratios."""
    here = Path(__file__).resolve()
    checkouts = {"before": before.resolve(), "after": here.parent.parent}
    command = [sys.executable, str(here.with_name("step_server.py"))]
    servers = {
        name: subprocess.Popen(
            [*command, str(root), str(checkpoint)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name, root in checkouts.items()
    }
    rows: dict[str, list] = {name: [] for name in servers}
    for number in range(num_steps + NUM_WARM_UP):
        for name in ("before", "after") if number % 2 else ("after", "before"):
            servers[name].stdin.write("\n")
            servers[name].stdin.flush()
            rows[name].append([float(ms) for ms in servers[name].stdout.readline().split()])
    for server in servers.values():
        server.communicate()
    ms = {name: np.array(row)[NUM_WARM_UP:] for name, row in rows.items()}
    found: dict[str, dict] = {}
    for column, clock in enumerate(("wall", "cpu")):
        found[clock] = {n: round(float(np.median(x[:, column])), 3) for n, x in ms.items()}
        ratio = np.median(ms["after"][:, column] / ms["before"][:, column])
        found[clock]["ratio"] = round(float(ratio), 3)
    return found


def load_yardstick(path: Path, threads: int) -> dict[str, Callable[[], object]]:
    """Its steps, float32 first."""
    os.environ["THREADS"] = str(threads)
    module_spec = importlib.util.spec_from_file_location("yardstick", path)
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    dtypes = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    return {f"yardstick {name}": module.Ref(dtype).step for name, dtype in dtypes.items()}


def subject(options: Options) -> tuple[Gato, Embodiment]:
    """The model in float32, and its robot."""
    if options.checkpoint is not None:
        loaded = checkpoint.load(options.checkpoint)
        return loaded.model, loaded.embodiment(options.embodiment)
    context, spec = options.context_timesteps, robot(64)
    if options.yardstick is not None:
        context, spec = YARDSTICK_CONTEXT, yardstick_robot()
    body = Embodiment("robot", spec, context, options.action_mode)
    return Gato(preset(options.preset)), body


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    torch.set_num_threads(options.threads)
    if options.before is not None:
        if options.checkpoint is None:
            raise SystemExit("--before: expected a --checkpoint that both load, got none")
        print(json.dumps(compare(options.checkpoint, options.before, options.num_steps)))
        return
    model, body = subject(options)
    spec = body.spec
    policies = ways(model, body, options)
    agreed = agreement(policies, spec, options) if options.dataset else {}
    source = observations(spec, None)
    for _ in range(body.context_timesteps + 2):
        observation = next(source)
        for policy in policies.values():
            policy.step(observation)
    steps = load_yardstick(options.yardstick, options.threads) if options.yardstick else {}
    steps |= {name: lambda p=p: p.step(next(source)) for name, p in policies.items()}
    results = time_in_turn(steps, options.num_steps)
    base = next(iter(results.values()))["cpu"]["p50"]
    for name, row in results.items():
        row |= {"ratio": round(row["cpu"]["p50"] / base, 3), "agreement": agreed.get(name)}
        print(
            f"{name:20s} ratio {row['ratio']:.2f}  cpu {row['cpu']}  wall {row['wall']}  ", end=""
        )
        print("" if row["agreement"] is None else f"agreement {row['agreement']:.3f}")
    what = {"model": str(options.checkpoint or options.preset), "tokens": spec.tokens_per_timestep}
    what |= {"action_mode": body.action_mode}
    what |= {"context_timesteps": body.context_timesteps}
    print(json.dumps(hardware("cpu", options.threads) | what | {"ms": results}))


if __name__ == "__main__":
    main()
