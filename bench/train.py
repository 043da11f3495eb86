"""How fast training is, what its input pipeline costs, and what a GPU would make of it.

    python bench/train.py --yardstick YARDSTICK.py
    python bench/train.py --preset control-2m --dataset datasets/train --batch-size 48

An update is forward, backward and AdamW. With a yardstick, a file with a class Ref whose
train_setup() and train() do one on a sequence of two 80x80 images and 20 values over 13 timesteps,
both take turns in one process, and tokens per CPU-second are told as ratios to it. With a dataset,
updates get their batches from it through the pipeline of `gato train`, and the share of time spent
waiting for them is told. MFU is the share of the processor's measured peak that the model's
arithmetic comes to: 6 operations a weight and token, attention and patches counted beside.
The last line is JSON.
"""

from __future__ import annotations

import importlib.util
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
import tyro
from control_step import YARDSTICK_CONTEXT, yardstick_robot

from gato_core.dataset import Dataset
from gato_core.embodiment import ActionMode, Embodiment
from gato_core.model import Gato, preset
from gato_core.spec import Image, Spec
from gato_core.tokenizer import Tokenizer
from gato_core.tools.bench import hardware, robot
from gato_core.tools.roofline import measure_machine, patch_flops
from gato_training.config import TrainConfig, changed
from gato_training.learner import Learner, prepare
from gato_training.run import make_optimizer
from gato_training.sequences import Batch, Sampling, Sequences, ahead, made_up_batch, split

NEKO = {"tokens_per_cpu_second": 90.0, "yardstick": 169.5}  # measured together, one thread


@dataclass(frozen=True)
class Options:
    """What to measure."""

    preset: str = "79m"
    yardstick: Path | None = None
    dataset: Path | None = None
    """Where batches come from; made up, if not given."""
    batch_size: int = 1
    context_timesteps: int = YARDSTICK_CONTEXT
    action_mode: ActionMode = "autoregressive"
    precisions: tuple[str, ...] = ("fp32", "bf16")
    checkpoint_activations: bool = False
    compile: bool = False
    num_updates: int = 5
    threads: int = 1
    device: str = "cpu"


def batches(spec: Spec, options: Options, tokenizer: Tokenizer) -> Iterator[Batch]:
    """Without end: made up once, or drawn from a dataset and prepared in the background."""
    sampling = Sampling(options.context_timesteps, options.batch_size, 0)
    if options.dataset is None:
        batch = made_up_batch(tokenizer, options.context_timesteps, options.batch_size)
        while True:
            yield batch
    dataset = Dataset(options.dataset)
    source = Sequences([dataset], split([dataset], 0.0, False)[0], tokenizer, sampling)
    yield from ahead(source.batch, range(10**9), 4)


class Updates:
    """Updates of a fresh network; counts tokens and seconds spent waiting for batches."""

    def __init__(self, spec: Spec, options: Options, precision: str) -> None:
        sizes = preset(options.preset)
        body = Embodiment("robot", spec, options.context_timesteps, options.action_mode)
        config = changed(
            TrainConfig(),
            precision=precision,
            checkpoint_activations=options.checkpoint_activations,
            compile=options.compile,
        )
        self.device = torch.device(options.device)
        tokenizer = Tokenizer(body, sizes.vocabulary)
        self.learner = Learner(Gato(sizes), {"": tokenizer}, config).to(self.device)
        prepare(self.learner.model, config.machine)
        self.optimizer = make_optimizer(config.optimizer, self.learner)
        self.batches = batches(spec, options, tokenizer)
        self.bf16 = precision == "bf16"
        self.num_tokens, self.waited, self.taken = 0, 0.0, 0.0

    def update(self) -> None:
        """One step of the optimizer."""
        begun = time.perf_counter()
        batch = next(self.batches)
        self.waited += time.perf_counter() - begun
        self.num_tokens += batch.num_tokens
        self.learner(batch)[0].backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        self.taken += time.perf_counter() - begun


def flops_per_token(model: Gato, spec: Spec, context_timesteps: int) -> float:
    """Of an update: forward and twice as much backward. Recomputed activations do not count.

    The last block works at the separator and the action tokens only, and attention is causal.
    """
    config, length = model.config, context_timesteps * spec.tokens_per_timestep
    targets = spec.num_action_tokens / spec.tokens_per_timestep
    block = model.blocks[0]
    first = block.attention.query_key_value.weight.numel()
    others = (block.attention.out, block.feed_forward.up, block.feed_forward.down)
    other = sum(layer.weight.numel() for layer in others)
    attention = config.num_heads * config.key_size * length
    num_full = config.num_layers - 1 + targets
    blocks = config.num_layers * first + num_full * (other + attention)
    num_patches = sum(m.num_tokens for m in spec.observation.values() if isinstance(m, Image))
    patches = num_patches * patch_flops(model) / spec.tokens_per_timestep
    head = targets * config.vocabulary.size * config.width
    return 3.0 * (2.0 * (blocks + head) + patches)


def in_turn(steps: dict[str, Callable[[], object]], number: int) -> dict[str, dict[str, list]]:
    """CPU and wall seconds of steps that take turns, after one each that does not count."""
    seconds = {name: {"cpu": [], "wall": []} for name in steps}
    for turn in range(number + 1):
        for name, step in steps.items():
            cpu, wall = time.process_time(), time.perf_counter()
            step()
            if turn:
                seconds[name]["cpu"].append(time.process_time() - cpu)
                seconds[name]["wall"].append(time.perf_counter() - wall)
    return seconds


def load_yardstick(path: Path, threads: int):
    """Its Ref, ready to train."""
    os.environ["THREADS"] = str(threads)
    module_spec = importlib.util.spec_from_file_location("yardstick", path)
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    reference = module.Ref()
    reference.train_setup()
    return reference


def speeds(name: str, found: dict[str, list], tokens: float, base: float | None) -> dict:
    """Tokens per second of CPU and of wall time, and the ratios to the yardstick and to NEKO."""
    row = {"name": name, "tokens_per_cpu_second": round(tokens / median(found["cpu"]), 1)}
    row["tokens_per_second"] = round(tokens / median(found["wall"]), 1)
    if base is not None:
        ratio = row["tokens_per_cpu_second"] / base
        neko = NEKO["tokens_per_cpu_second"] / NEKO["yardstick"]
        row |= {"to_yardstick": round(ratio, 3), "to_neko": round(ratio / neko, 2)}
    return row


def utilisation(each: Updates, spec: Spec, tokens: float, found: dict, options: Options) -> float:
    """Share of the measured peak of this dtype: by wall time on a GPU, CPU time on a CPU."""
    on_gpu = each.device.type == "cuda"
    seconds = median(found["wall"]) if on_gpu else median(found["cpu"]) / options.threads
    peak = measure_machine(options.device, torch.bfloat16 if each.bf16 else torch.float32).flops
    flops = flops_per_token(each.learner.model, spec, options.context_timesteps)
    return flops * tokens / seconds / peak


def measure(options: Options, spec: Spec) -> list[dict]:
    """One row for the yardstick, if there is one, and for each precision."""
    ours = {name: Updates(spec, options, name) for name in options.precisions}
    steps: dict[str, Callable[[], object]] = {}
    rows, base = [], None
    if options.yardstick is not None:
        reference = load_yardstick(options.yardstick, options.threads)
        steps["yardstick"] = reference.train
    steps |= {name: each.update for name, each in ours.items()}
    found = in_turn(steps, options.num_updates)
    if options.yardstick is not None:
        num_tokens = YARDSTICK_CONTEXT * spec.tokens_per_timestep
        rows.append(speeds("yardstick", found["yardstick"], num_tokens, None))
        base = rows[0]["tokens_per_cpu_second"]
    for name, each in ours.items():
        tokens = each.num_tokens / (options.num_updates + 1)
        row = speeds(name, found[name], tokens, base)
        row["stall_fraction"] = round(each.waited / each.taken, 4)
        row["mfu"] = round(utilisation(each, spec, tokens, found[name], options), 3)
        rows.append(row)
    return rows


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    torch.set_num_threads(options.threads)
    spec = Dataset(options.dataset).spec if options.dataset else robot(64)
    if options.yardstick is not None:
        spec = yardstick_robot()
    rows = measure(options, spec)
    for row in rows:
        print(" ".join(f"{key}={value}" for key, value in row.items()))
    what = {"preset": options.preset, "batch_size": options.batch_size}
    what |= {"context_timesteps": options.context_timesteps}
    print(json.dumps(hardware(options.device, options.threads) | what | {"rows": rows}))


if __name__ == "__main__":
    main()
