"""Trains or fine-tunes a policy on demonstrations: `gato train`."""

from __future__ import annotations

import contextlib
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

from gato_core.dataset import Dataset
from gato_core.model import Gato, to_tensors
from gato_training import config as configs
from gato_training import loss
from gato_training.config import PRESETS, TrainConfig
from gato_training.journal import Journal, Meter, progress_line
from gato_training.run import Run, continue_from, describe, save, start
from gato_training.sequences import Batch, Sampling, Sequences, ahead, split


def learning_rate(config: TrainConfig, step: int, progress: float) -> float:
    """Linear warm-up, then a cosine that reaches its floor when progress is 1. Appendix D."""
    warm = min(1.0, (step + 1) / (config.warmup_steps + 1))
    cosine = 0.5 * (1.0 + math.cos(math.pi * min(progress, 1.0)))
    return (
        config.learning_rate * warm * (config.final_fraction + (1 - config.final_fraction) * cosine)
    )


def train(config: TrainConfig) -> dict:
    """Runs to the end of steps or hours, or to a signal; returns a summary.

    Raises ValueError, before anything is written, for unsound data, other Specs, an existing run.
    """
    last = config.folder / "checkpoints/last"
    resumes = config.resume and last.exists()
    if config.folder.exists() and not config.resume:
        raise ValueError(f"{config.folder}: expected a new run's name or --resume, got an old run")
    if not config.data:
        raise ValueError("data: expected at least one dataset folder, got none")
    torch.set_num_threads(config.threads or os.cpu_count() or 1)
    datasets = [Dataset(d, memory_gb=config.memory_gb / len(config.data)) for d in config.data]
    run = start(config, datasets[0].spec, last if resumes else None)
    if resumes:
        continue_from(run, last)
    training, held_out = sequences(run, datasets)
    config.folder.mkdir(parents=True, exist_ok=True)
    configs.save(config, config.folder / "config.json")
    provenance = describe(run, datasets)
    print(_opening(run, datasets, training), flush=True)
    with Journal(config.folder, tensorboard=config.tensorboard) as journal, stopping() as stop:
        measured = loop(run, training, held_out, journal, provenance, stop)
    summary = {"checkpoint": str(last), "step": run.step, "hours": round(run.seconds / 3600, 3)}
    return summary | {"finished": run.progress >= 1, **measured}


def sequences(run: Run, datasets: list[Dataset]) -> tuple[Sequences, Sequences | None]:
    """What to train on, and what to measure on: other episodes, without augmentation."""
    config = run.config
    sampling = Sampling(
        context_timesteps=run.model.config.context_timesteps,
        batch_size=config.batch_size,
        seed=config.seed,
        weights=config.weights,
        prompt_fraction=config.prompt_fraction,
        prompt_timesteps=config.prompt_timesteps,
        shift=config.shift,
        color=config.color,
        position_keys=config.auxiliary_keys if config.auxiliary else (),
        position_origin=config.auxiliary_origin,
    )
    parts = [split(dataset, config.held_out, config.successes_only) for dataset in datasets]
    training = Sequences(datasets, [part[0] for part in parts], run.tokenizer, sampling)
    held = [part[1] for part in parts]
    if not any(held):
        return training, None
    plain = replace(sampling, shift=0, color=0.0, weights=(), seed=config.seed + 1)
    return training, Sequences(datasets, held, run.tokenizer, plain)


def loop(
    run: Run,
    training: Sequences,
    held_out: Sequences | None,
    journal: Journal,
    provenance: dict,
    stop: Stop,
) -> dict[str, float]:
    """Updates until the run is over; returns the last measurements."""
    config = run.config
    measured: dict[str, float] = {}
    meter = Meter(run)
    last_batch = config.steps * config.accumulate
    batches = ahead(training.batch, run.step * config.accumulate, last_batch, config.prefetch)
    with contextlib.closing(batches):
        while run.progress < 1.0 and not stop.asked:
            meter.add(update(run, batches, meter))
            if run.step % config.log_every == 0:
                values = meter.values(run)
                journal.write(run.step, values)
                print(progress_line(run.step, values, measured), flush=True)
            if run.step % config.evaluate_every == 0 and held_out is not None:
                measured = evaluate(run, held_out)
                journal.write(run.step, measured)
            if run.step % config.save_every == 0:
                save(run, provenance, measured)
            meter.tick(run)
    if held_out is not None and not stop.asked:
        measured = evaluate(run, held_out)
        journal.write(run.step, measured)
    if run.step % config.save_every:  # else it is saved already
        save(run, provenance, measured)
    return measured


def update(run: Run, batches: Iterator[Batch], meter: Meter) -> dict[str, Tensor]:
    """One step of the optimizer; returns what it minimised."""
    config = run.config
    rate = learning_rate(config, run.step, run.progress)
    for group in run.optimizer.param_groups:
        group["lr"] = rate
    run.model.train()
    totals: dict[str, Tensor] = {}
    for _ in range(config.accumulate):
        batch = meter.wait(batches)
        run.num_timesteps += batch.num_timesteps
        losses = objective(run, batch)[0]
        total = losses["loss"] + config.auxiliary * losses.get("auxiliary", 0.0)
        (total / config.accumulate).backward()
        for name, value in losses.items():
            totals[name] = totals.get(name, 0.0) + value.detach() / config.accumulate
    norm = nn.utils.clip_grad_norm_(run.parameters.values(), config.clip or math.inf)
    run.optimizer.step()
    run.optimizer.zero_grad(set_to_none=True)
    if config.ema is not None:
        average(run.averaged, run.model, min(config.ema, (1 + run.step) / (10 + run.step)))
    run.step += 1
    return totals | {"gradient_norm": norm, "learning_rate": torch.tensor(rate)}


def objective(
    run: Run, batch: Batch, model: Gato | None = None
) -> tuple[dict[str, Tensor], Tensor]:
    """The losses of a batch, and its logits (N, V)."""
    tokens = to_tensors(batch.tokens, run.device)
    bf16 = run.config.precision == "bf16"
    with torch.autocast(run.device.type, torch.bfloat16, enabled=bf16):
        logits_NV = (model or run.model)(tokens)
    id_N = tokens.id[tokens.target]
    action_ids, is_action_N = run.tokenizer.action_ids, loss.is_action(tokens)
    losses = {"loss": loss.masked_loss(logits_NV, id_N, is_action_N, action_ids, run.smoothed)}
    if run.side_task is not None:
        true_M3 = torch.from_numpy(batch.positions).to(run.device)
        got_M3 = run.side_task.positions(tokens.target)
        losses["auxiliary"] = loss.auxiliary_loss(got_M3, true_M3)
        losses["position_error"] = (got_M3 - true_M3).abs().mean().detach()  # metres
    return losses, logits_NV


@torch.no_grad()
def average(averaged: Gato, model: Gato, decay: float) -> None:
    """Moves the averaged weights towards the model's, by 1 - decay."""
    for mean, value in zip(averaged.parameters(), model.parameters()):
        mean.lerp_(value, 1.0 - decay)


@torch.no_grad()
def evaluate(run: Run, held_out: Sequences) -> dict[str, float]:
    """Loss, hard loss and action errors of the averaged weights, always on the same sequences."""
    run.averaged.eval()
    num_batches = run.config.num_evaluation_batches
    sums: dict[str, float] = {}
    bins = []
    for number in range(num_batches):
        batch = held_out.batch(number)
        losses, logits_NV = objective(run, batch, run.averaged)
        tokens = to_tensors(batch.tokens, run.device)
        id_N, is_action_N = tokens.id[tokens.target], loss.is_action(tokens)
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
def stopping() -> Iterator[Stop]:
    """Ctrl-C and termination end the run after the update at hand, with a checkpoint."""
    stop = Stop()

    def ask(*_: object) -> None:
        if stop.asked:
            raise KeyboardInterrupt
        stop.asked = True
        print("\nstopping after this update; once more to stop at once", flush=True)

    old = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def parse(arguments: list[str]) -> TrainConfig:
    """The preset named by --preset (control if none), changed by the other flags."""
    name = "control"
    if "--preset" in arguments:
        place = arguments.index("--preset")
        name = arguments[place + 1] if place + 1 < len(arguments) else ""
        arguments = arguments[:place] + arguments[place + 2 :]
    if name not in PRESETS:
        raise ValueError(f"--preset: expected one of {sorted(PRESETS)}, got {name!r}")
    return tyro.cli(TrainConfig, default=PRESETS[name], args=arguments, prog="gato train")


def main(arguments: list[str] | None = None) -> int:
    """Returns 0; 1 with a message for bad data, bad flags or a full disk. The last line is JSON."""
    try:
        config = parse(sys.argv[1:] if arguments is None else arguments)
        summary = train(config)
    except (ValueError, OSError) as error:
        print(f"gato train: {error}", file=sys.stderr)
        return 1
    if not summary["finished"]:
        print("to go on: the same command with --resume")
    print(f"to measure it: gato evaluate --checkpoint {summary['checkpoint']}")
    print(json.dumps(summary))
    return 0


def _opening(run: Run, datasets: list[Dataset], training: Sequences) -> str:
    size = sum(p.numel() for p in run.model.parameters()) / 1e6
    episodes = sum(dataset.num_episodes for dataset in datasets)
    return (
        f"{run.config.folder}: {size:.1f} M parameters, {episodes} episodes, "
        f"{training.num_windows} sequences of {run.model.config.context_timesteps} timesteps, "
        f"{run.device.type} {run.config.precision}, from step {run.step}"
    )
