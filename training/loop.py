"""Updates until a run is over: the schedule, the average, measurements, signals."""

from __future__ import annotations

import contextlib
import math
import signal
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from gato_training import config as configs
from gato_training.config import OptimizerConfig
from gato_training.learner import exchanging
from gato_training.mixture import Source
from gato_training.run import Run, save
from gato_training.run_log import memory
from gato_training.run_log.journal import Journal, Meter
from gato_training.run_log.processes import Processes, wait_for_all
from gato_training.sequences import ahead


def go(
    run: Run, training: Source, held_out: Mapping[str, Source], provenance: dict, said: str
) -> dict:
    """Runs to the end of steps or hours, or to a signal; returns a summary."""
    config, processes = run.config, run.processes
    wait_for_all(processes)  # with their checks, before anything is written
    if processes.is_first:
        config.folder.mkdir(parents=True, exist_ok=True)
        configs.save(config, config.folder / "config.json")
        print(said, flush=True)
    with Journal(config, processes) as journal, stopping(processes) as stop:
        measured = loop(run, training, held_out, journal, provenance, stop)
    last = config.folder / "checkpoints/last"
    summary = {"checkpoint": str(last), "step": run.step, "hours": round(run.seconds / 3600, 3)}
    summary |= {"finished": run.progress >= 1, "peak_gb": round(memory.peak() / 1e9, 2)}
    return summary | measured


def loop(
    run: Run,
    training: Source,
    held_out: Mapping[str, Source],
    journal: Journal,
    provenance: dict,
    stop: Stop,
) -> dict[str, float]:
    """Updates until the run is over; returns the last measurements."""
    optimizer, machine, processes = run.config.optimizer, run.config.machine, run.processes
    measured: dict[str, float] = {}
    if run.progress >= 1.0:
        return measured
    meter = Meter(run)
    first, last = run.step * optimizer.accumulate, optimizer.steps * optimizer.accumulate
    numbers = range(first + processes.rank, last, processes.num)
    batches = ahead(training.batch, numbers, machine.prefetch)
    with contextlib.closing(batches):
        while run.progress < 1.0 and not stop.asked:
            update(run, batches, meter)
            stop.asked = meter.agree(run, stop.asked)
            if run.step % machine.log_every == 0:
                journal.progress(run.step, meter.values(run), measured)
            if run.step % machine.evaluate_every == 0 and held_out:
                measured = evaluate(run, held_out)
                journal.write(run.step, measured)
            if run.step % machine.save_every == 0 and run.progress < 1.0:
                save(run, provenance, measured)
    if held_out and not stop.asked and run.step % machine.evaluate_every:
        measured = evaluate(run, held_out)
        journal.write(run.step, measured)
    save(run, provenance, measured)
    if processes.is_first:
        _draw(run.config.folder)
    return measured


def update(run: Run, batches: Iterator, meter: Meter) -> None:
    """One step of the optimizer, on the mean of its micro-batches' losses."""
    options, learner = run.config.optimizer, run.learner
    rate = learning_rate(options, run.step, run.progress)
    for group in run.optimizer.param_groups:
        group["lr"] = rate
    learner.train()
    num_batches = options.accumulate // run.processes.num
    for number in range(num_batches):
        batch = meter.wait(batches)
        torch.manual_seed(batch.noise_seed)
        with exchanging(run.forward, number == num_batches - 1):
            total, losses, *_ = run.forward(batch)
            (total / num_batches).backward()
        meter.add(losses)
    norm = nn.utils.clip_grad_norm_(learner.parameters(), options.clip or math.inf)
    run.optimizer.step()
    run.optimizer.zero_grad(set_to_none=True)
    learner.follow()
    if options.ema is not None:
        average(run.averaged, learner, min(options.ema, (1 + run.step) / (10 + run.step)))
    run.step += 1
    norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
    meter.add({"gradient_norm": norm, "learning_rate": torch.tensor(rate)})


def learning_rate(options: OptimizerConfig, step: int, progress: float) -> float:
    """Linear warm-up, then a cosine that reaches its floor when progress is 1. Appendix D."""
    warm = min(1.0, (step + 1) / (options.warmup_steps + 1))
    cosine = 0.5 * (1.0 + math.cos(math.pi * min(progress, 1.0)))
    floor = options.final_fraction
    return options.learning_rate * warm * (floor + (1 - floor) * cosine)


@torch.no_grad()
def average(averaged: nn.Module, learner: nn.Module, decay: float) -> None:
    """Moves the averaged weights towards the learner's, by 1 - decay."""
    for mean, value in zip(averaged.parameters(), learner.parameters()):
        mean.lerp_(value, 1.0 - decay)


def evaluate(run: Run, held_out: Mapping[str, Source]) -> dict[str, float]:
    """Figures of the averaged weights, always on the same sequences of each source.

    Of several sources each has its own, and `held_out/loss` is their mean. Every process comes to
    the same figures by itself.
    """
    numbers = range(run.config.machine.num_evaluation_batches)
    result: dict[str, float] = {}
    losses = []
    for name, source in held_out.items():
        batches = (replace(source.batch(number), source=name) for number in numbers)
        figures = run.averaged.measure(batches)
        losses.append(figures["loss"])
        where = "held_out" if len(held_out) == 1 else f"held_out/{name}"
        result |= {f"{where}/{key}": value for key, value in figures.items()}
    return result | {"held_out/loss": sum(losses) / len(losses)}


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


def _draw(folder: Path) -> None:
    """The loss curve as a picture, where matplotlib is installed."""
    try:
        from gato_training.run_log import pictures
    except ModuleNotFoundError as error:
        print(f"no picture of the losses: {error.name} is not installed", file=sys.stderr)
        return
    pictures.losses(folder / "log.jsonl", folder / "loss.png")
