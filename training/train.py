"""Trains or fine-tunes a policy on demonstrations: `gato train`."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace

import torch
import tyro
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from gato_core.dataset import Dataset
from gato_core.model import to_tensors
from gato_training import config as configs
from gato_training import loss
from gato_training.config import PRESETS, TrainConfig
from gato_training.data.augment import Augmentation
from gato_training.learner import Learner, exchanging
from gato_training.run import Run, continue_from, describe, save, start
from gato_training.run_log import card, memory
from gato_training.run_log.journal import Journal, Meter
from gato_training.run_log.processes import Processes, joined, wait_for_all
from gato_training.sequences import Batch, Sampling, Sequences, ahead, few, split


def learning_rate(config: TrainConfig, step: int, progress: float) -> float:
    """Linear warm-up, then a cosine that reaches its floor when progress is 1. Appendix D."""
    warm = min(1.0, (step + 1) / (config.warmup_steps + 1))
    cosine = 0.5 * (1.0 + math.cos(math.pi * min(progress, 1.0)))
    return (
        config.learning_rate * warm * (config.final_fraction + (1 - config.final_fraction) * cosine)
    )


def train(config: TrainConfig) -> dict:
    """Runs to the end of steps or hours, or to a signal; returns a summary.

    Raises ValueError, before anything is written, for unsound data, other Specs, an existing run,
    too little memory.
    """
    with joined() as processes:
        return train_among(processes, config)


def train_among(processes: Processes, config: TrainConfig) -> dict:
    """What `train` does, in one of processes that have joined already."""
    last = config.folder / "checkpoints/last"
    resumes = config.resume and last.exists()
    check(config, processes)
    torch.set_num_threads(config.threads or max(1, (os.cpu_count() or 1) // processes.num_local))
    memory_gb = config.memory_gb / len(config.data) / processes.num_local
    datasets = [Dataset(d, memory_gb=memory_gb) for d in config.data]
    run = start(config, datasets, processes, last if resumes else None)
    if resumes:
        continue_from(run, last)
    training, held_out = sequences(run, datasets)
    wait_for_all(processes)  # with their checks, before anything is written
    if processes.is_first:
        config.folder.mkdir(parents=True, exist_ok=True)
        configs.save(config, config.folder / "config.json")
        print(_opening(run, datasets, training), flush=True)
    provenance = describe(run, datasets)
    with Journal(config, processes) as journal, stopping(processes) as stop:
        measured = loop(run, training, held_out, journal, provenance, stop)
    summary = {"checkpoint": str(last), "step": run.step, "hours": round(run.seconds / 3600, 3)}
    summary |= {"finished": run.progress >= 1, "peak_gb": round(memory.peak() / 1e9, 2)}
    summary |= {"estimated_gb": round(run.memory.total / 1e9, 2)}
    return summary | {"estimate": dataclasses.asdict(run.memory), **measured}


def check(config: TrainConfig, processes: Processes) -> None:
    """Raises ValueError for a run that cannot be."""
    if config.folder.exists() and not config.resume:
        raise ValueError(f"{config.folder}: expected a new run's name or --resume, got an old run")
    if not config.data:
        raise ValueError("data: expected at least one dataset folder, got none")
    if config.accumulate % processes.num:
        raise ValueError(
            f"accumulate: expected a multiple of the {processes.num} processes, which share the "
            f"batches of an update out, got {config.accumulate}"
        )


def sequences(run: Run, datasets: list[Dataset]) -> tuple[Sequences, Sequences | None]:
    """What to train on, and what to measure on: other episodes, without augmentation."""
    config = run.config
    sampling = Sampling(
        context_timesteps=run.sizes.context_timesteps,
        batch_size=config.batch_size,
        seed=config.seed,
        weights=config.weights,
        prompt_fraction=config.prompt_fraction,
        prompt_timesteps=config.prompt_timesteps,
        augmentation=config.augmentation,
        side_task=config.side_task if config.auxiliary else None,
        mirror=config.mirror,
    )
    chosen, held = split(datasets, config.held_out, config.successes_only)
    if config.few_shot is not None:
        chosen = few(chosen, config.few_shot, config.few_shot_series)
    training = Sequences(datasets, chosen, run.tokenizer, sampling)
    if not any(held):
        return training, None
    plain = replace(
        sampling, augmentation=Augmentation(), mirror=0.0, weights=(), seed=config.seed + 1
    )
    return training, Sequences(datasets, held, run.tokenizer, plain, prompts=chosen)


def loop(
    run: Run,
    training: Sequences,
    held_out: Sequences | None,
    journal: Journal,
    provenance: dict,
    stop: Stop,
) -> dict[str, float]:
    """Updates until the run is over; returns the last measurements."""
    config, processes = run.config, run.processes
    measured: dict[str, float] = {}
    if run.progress >= 1.0:
        return measured
    meter = Meter(run)
    first, last = run.step * config.accumulate, config.steps * config.accumulate
    numbers = range(first + processes.rank, last, processes.num)
    batches = ahead(training.batch, numbers, config.prefetch)
    with contextlib.closing(batches):
        while run.progress < 1.0 and not stop.asked:
            meter.add(update(run, batches, meter))
            stop.asked = meter.agree(run, stop.asked)
            if run.step % config.log_every == 0:
                journal.progress(run.step, meter.values(run), measured)
            if run.step % config.evaluate_every == 0 and held_out is not None:
                measured = evaluate(run, held_out)
                journal.write(run.step, measured)
            if run.step % config.save_every == 0 and run.progress < 1.0:
                save(run, provenance, measured)
    if held_out is not None and not stop.asked and run.step % config.evaluate_every:
        measured = evaluate(run, held_out)
        journal.write(run.step, measured)
    save(run, provenance, measured)
    if processes.is_first:
        _draw(config)
    return measured


def update(run: Run, batches: Iterator[Batch], meter: Meter) -> dict[str, Tensor]:
    """One step of the optimizer; returns what it minimised."""
    config, learner = run.config, run.learner
    rate = learning_rate(config, run.step, run.progress)
    for group in run.optimizer.param_groups:
        group["lr"] = rate
    learner.train()
    totals: dict[str, Tensor] = {}
    num_batches = config.accumulate // run.processes.num
    for number in range(num_batches):
        batch = meter.wait(batches)
        torch.manual_seed(batch.noise_seed)
        with exchanging(run.forward, number == num_batches - 1):
            losses = objective(run, batch, run.forward)[0]
            total = losses["loss"] + config.auxiliary * losses.get("auxiliary", 0.0)
            (total / num_batches).backward()
        for name, value in losses.items():
            totals[name] = totals.get(name, 0.0) + value.detach() / num_batches
    norm = nn.utils.clip_grad_norm_(learner.parameters(), config.clip or math.inf)
    run.optimizer.step()
    run.optimizer.zero_grad(set_to_none=True)
    if config.ema is not None:
        average(run.averaged, learner, min(config.ema, (1 + run.step) / (10 + run.step)))
    run.step += 1
    norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
    return totals | {"gradient_norm": norm, "learning_rate": torch.tensor(rate)}


def objective(run: Run, batch: Batch, learner: nn.Module) -> tuple[dict[str, Tensor], Tensor]:
    """The losses of a batch, and its logits (N, V)."""
    tokens = to_tensors(batch.tokens, run.device)
    label_N, answer_MS = (
        None if array is None else torch.from_numpy(array).to(run.device)
        for array in (batch.labels, batch.answers)
    )
    bf16 = run.config.precision == "bf16"
    with torch.autocast(run.device.type, torch.bfloat16, enabled=bf16):
        return learner(tokens, label_N, answer_MS)


@torch.no_grad()
def average(averaged: Learner, learner: Learner, decay: float) -> None:
    """Moves the averaged weights towards the learner's, by 1 - decay."""
    for mean, value in zip(averaged.parameters(), learner.parameters()):
        mean.lerp_(value, 1.0 - decay)


@torch.no_grad()
def evaluate(run: Run, held_out: Sequences) -> dict[str, float]:
    """Loss, hard loss and action errors of the averaged weights, always on the same sequences.

    Every process comes to the same figures by itself.
    """
    run.averaged.eval()
    num_batches = run.config.num_evaluation_batches
    sums: dict[str, float] = {}
    bins = []
    for number in range(num_batches):
        batch = held_out.batch(number)
        losses, logits_NV = objective(run, batch, run.averaged)
        id_N = torch.from_numpy(batch.labels).to(run.device)
        is_action_N = loss.is_action(to_tensors(batch.tokens, run.device))
        hard = loss.masked_loss(logits_NV, id_N, is_action_N, run.tokenizer.action_ids)
        for name, value in (losses | {"hard_loss": hard}).items():
            sums[name] = sums.get(name, 0.0) + value.item() / num_batches
        bins.append(loss.action_bins(logits_NV, id_N, is_action_N, run.tokenizer))
    got_MA, label_MA = (torch.cat(part) for part in zip(*bins))
    errors = loss.action_errors(got_MA, label_MA, run.tokenizer.spec.action)
    return {f"held_out/{name}": value for name, value in (sums | errors).items()}


class Stop:
    """Whether a signal asked the run to end."""

    asked = False


@contextlib.contextmanager
def stopping(processes: Processes) -> Iterator[Stop]:
    """Ctrl-C and termination end the run after the update at hand, with a checkpoint."""
    stop = Stop()

    def ask(*_: object) -> None:
        # torchrun passes Ctrl-C on to processes that the terminal has already told
        if stop.asked and processes.num == 1:
            raise KeyboardInterrupt
        stop.asked = True
        if processes.is_first:
            print("\nstopping after this update; once more to stop at once", flush=True)

    old = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def take_preset(arguments: list[str], default: str) -> tuple[str, list[str]]:
    """The preset named by --preset, and the other flags. Raises ValueError for an unknown one."""
    name = default
    if "--preset" in arguments:
        place = arguments.index("--preset")
        name = arguments[place + 1] if place + 1 < len(arguments) else ""
        arguments = arguments[:place] + arguments[place + 2 :]
    if name not in PRESETS:
        raise ValueError(f"--preset: expected one of {sorted(PRESETS)}, got {name!r}")
    return name, arguments


def parse(arguments: list[str]) -> TrainConfig:
    """The preset named by --preset (control if none), changed by the other flags."""
    name, rest = take_preset(arguments, "control")
    return tyro.cli(TrainConfig, default=PRESETS[name], args=rest, prog="gato train")


def main(arguments: list[str] | None = None) -> int:
    """Returns 0; 1 with a message for bad data, bad flags or a full disk. The last line is JSON."""
    try:
        config = parse(sys.argv[1:] if arguments is None else arguments)
        summary = train(config)
    except (ValueError, OSError) as error:
        print(f"gato train: {error}", file=sys.stderr)
        return 1
    if os.environ.get("RANK", "0") == "0":
        if not summary["finished"]:
            print("to go on: the same command with --resume")
        print(f"model card: {summary['checkpoint']}/{card.FILE}")
        print(f"to measure it: gato evaluate --checkpoint {summary['checkpoint']}")
        print(json.dumps(summary))
    return 0


def _draw(config: TrainConfig) -> None:
    """The loss curve as a picture, where matplotlib is installed."""
    try:
        from gato_training.run_log import pictures
    except ModuleNotFoundError as error:
        print(f"no picture of the losses: {error.name} is not installed", file=sys.stderr)
        return
    pictures.losses(config.folder / "log.jsonl", config.folder / "loss.png")


def _opening(run: Run, datasets: list[Dataset], training: Sequences) -> str:
    size = sum(p.numel() for p in run.learner.model.parameters()) / 1e6
    episodes = sum(dataset.num_episodes for dataset in datasets)
    return (
        f"{run.config.folder}: {size:.1f} M parameters, {episodes} episodes, "
        f"{training.num_windows} sequences of {run.sizes.context_timesteps} timesteps, "
        f"{run.device.type} {run.config.precision}, {run.processes.num} processes, "
        f"from step {run.step}\nmemory: {run.memory}"
    )
