"""A training run: network, averaged weights and optimizer; created, saved and resumed."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from gato_core.data.storage import read_json
from gato_training import state
from gato_training.config import FREE, OptimizerConfig, TrainConfig, differences, flat
from gato_training.learner import Learner, prepare, shard
from gato_training.run_log import origin
from gato_training.run_log.processes import Processes, wait_for_all
from gato_training.sources import Opened

NUMBERS = ("step", "seconds", "num_timesteps")  # of a run, that it goes on from


@dataclass
class Run:
    """All that changes while training, and what acts on it.

    config: a TrainConfig, or another with a folder, an optimizer and a machine.
    learner: tells of a batch what to minimise and figures to show; measures, and writes a
    checkpoint of what acts, its policy (Learner in learner.py, and the baselines').
    """

    config: Any
    processes: Processes
    learner: nn.Module
    averaged: nn.Module  # what is measured and saved; the learner itself without EMA
    forward: nn.Module  # the learner, or around it what exchanges gradients
    optimizer: torch.optim.Optimizer
    step: int = 0
    seconds: float = 0.0
    num_timesteps: int = 0

    @property
    def device(self) -> torch.device:
        return next(self.learner.parameters()).device

    @property
    def progress(self) -> float:
        """From 0 to 1, when steps or hours are used up."""
        steps, hours = self.config.optimizer.steps, self.config.optimizer.hours
        return max(self.step / steps, self.seconds / (hours * 3600.0) if hours else 0.0)


def start(config: Any, learner: nn.Module, processes: Processes) -> Run:
    """A run that stands at its beginning."""
    averaged = learner
    if config.optimizer.ema is not None:
        averaged = copy.deepcopy(learner)
    forward = _spread(config, learner, averaged, processes)
    optimizer = make_optimizer(config.optimizer, learner)
    return Run(config, processes, learner, averaged, forward, optimizer)


def _spread(
    config: TrainConfig, learner: Learner, averaged: Learner, processes: Processes
) -> nn.Module:
    """What to call for the losses, so that all processes' gradients are one."""
    if isinstance(learner, Learner):
        prepare(learner.model, config.machine)
    if processes.num == 1:
        return learner
    if config.machine.sharding == "ddp":
        # a batch of one source may leave unused what another needs
        several = learner.num_sources > 1
        return DistributedDataParallel(
            learner, broadcast_buffers=False, find_unused_parameters=several
        )
    for each in {id(x): x for x in (learner, averaged)}.values():
        shard(each, processes.num)
    return learner


def make_optimizer(config: OptimizerConfig, learner: nn.Module) -> torch.optim.Optimizer:
    """AdamW; biases and the gains of norms do not decay."""
    parameters = [p for p in learner.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, fused=True)


def save(run: Run, provenance: dict, measured: dict[str, float]) -> None:
    """A checkpoint of the averaged weights with the training state, which then becomes `last`.

    Raises OSError when it cannot be written; the one before is still whole and still `last` then.
    """
    folder = run.config.folder / "checkpoints"
    path = folder / str(run.step)
    numbers = {name: getattr(run, name) for name in NUMBERS}
    tensors = state.tensors(run.learner, run.averaged, run.optimizer)
    weights = state.whole(run.averaged.policy.state_dict())
    if run.processes.is_first:
        made = provenance | numbers | {"measured": measured}
        run.averaged.write(path, weights, made, lambda f: state.save(f, tensors, numbers))
        state.point_last(folder, path)
        state.remove_old(folder, run.config.machine.num_checkpoints)
    wait_for_all(run.processes)


def continue_from(run: Run, path: Path) -> None:
    """Takes up the training state of a checkpoint, whose weights are loaded as averages already."""
    numbers = state.load(path, run.learner, run.averaged, run.optimizer)
    for name, value in numbers.items():
        setattr(run, name, value)


def last_of(config: Any) -> Path | None:
    """The checkpoint to go on from, if --resume asks for it and there is one.

    Raises ValueError for an old run that would be overwritten, and for other options than those
    it was begun with, naming all of them.
    """
    if not config.resume:
        if config.folder.exists():
            raise ValueError(
                f"{config.folder}: expected a new run's name or --resume, got an old run"
            )
        return None
    last = config.folder / "checkpoints/last"
    if not last.exists():
        return None
    stored = read_json(last / "config.json")["provenance"]["train"]
    if isinstance(stored.get("keep"), int):  # what num_checkpoints was called once
        del stored["keep"]
    if lines := differences(stored, flat(config), FREE):
        raise ValueError(
            f"{config.folder}: expected to go on with the options it was begun with, but for "
            f"steps, hours and the machine's:\n  " + "\n  ".join(lines)
        )
    return last


def describe(
    config: Any,
    opened: Opened,
    processes: Processes,
    device: torch.device,
    last: Path | None,
) -> dict:
    """Where the weights come from, JSON-ready.

    last: the checkpoint that is gone on from. Raises ValueError where its datasets were others.
    """
    sources = opened.datasets, list(opened.documents.values())
    if last is not None:
        _check_data(last, origin.data(*sources))
    earlier = last or getattr(config.network, "init_from", None)
    made = origin.making(device, processes.num)
    return made | {"train": flat(config), "data": origin.data(*sources, earlier)}


def _check_data(last: Path, now: list[dict]) -> None:
    stored = read_json(last / "config.json")["provenance"]["data"]
    before = {part["path"]: part for part in reversed(stored)}  # its own stand before earlier ones
    for part in now:
        lines = differences(before.get(part["path"], {}), part)
        if lines:
            raise ValueError(
                f"{part['path']}: expected to go on with the data it was begun with:\n  "
                + "\n  ".join(lines)
            )
