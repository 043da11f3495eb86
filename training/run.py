"""A training run: network, averaged weights and optimizer; created, saved and resumed."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from gato_core import checkpoint
from gato_core.dataset import Dataset
from gato_core.model import Gato, ModelConfig, preset
from gato_core.spec import Spec
from gato_core.tokenizer import Tokenizer
from gato_training import state
from gato_training.config import TrainConfig
from gato_training.learner import Learner, prepare, replicate, shard
from gato_training.run_log import card, memory, origin
from gato_training.run_log.memory import Estimate, Kept
from gato_training.run_log.processes import Processes, wait_for_all

NUMBERS = ("step", "seconds", "num_timesteps")  # of a run, that it goes on from


@dataclass
class Run:
    """All that changes while training, and what acts on it."""

    config: TrainConfig
    processes: Processes
    tokenizer: Tokenizer
    learner: Learner
    averaged: Learner  # what is measured and saved; the learner itself without EMA
    forward: nn.Module  # the learner, or around it what exchanges gradients
    optimizer: torch.optim.Optimizer
    device: torch.device
    memory: Estimate
    step: int = 0
    seconds: float = 0.0
    num_timesteps: int = 0

    @property
    def progress(self) -> float:
        """From 0 to 1, when steps or hours are used up."""
        hours = self.config.hours
        return max(self.step / self.config.steps, self.seconds / (hours * 3600.0) if hours else 0.0)

    @property
    def sizes(self) -> ModelConfig:
        return self.learner.model.config


def start(
    config: TrainConfig,
    datasets: Sequence[Dataset],
    processes: Processes,
    resumed: Path | None = None,
) -> Run:
    """A new run: the network made from the seed, or taken from a checkpoint.

    Raises ValueError for another Spec, and where the memory will not do.
    """
    torch.manual_seed(config.seed)
    device = torch.device(config.device if config.device != "auto" else _best_device())
    spec, program = datasets[0].spec, memory.resident()

    def expected(sizes: ModelConfig, kept: Kept) -> Estimate:
        estimate = memory.estimate(config, sizes, datasets, kept, program, processes)
        memory.check(estimate, config, **_room(device, processes, memory.resident() - program))
        return estimate

    if config.model is not None:
        expected(changed(config, preset(config.model)), memory.NOTHING)  # before it is made
    model = _network(config, spec, resumed)
    tokenizer = Tokenizer(spec, model.config.vocabulary)
    learner = Learner(model, tokenizer, config).to(device)
    averaged = learner
    if config.ema is not None:
        averaged = Learner(Gato(model.config), tokenizer, config).to(device)
        averaged.load_state_dict(learner.state_dict())
    estimate = expected(model.config, memory.kept(learner, config))
    forward = _spread(config, learner, averaged, processes)
    optimizer = make_optimizer(config, learner)
    return Run(
        config, processes, tokenizer, learner, averaged, forward, optimizer, device, estimate
    )


def _spread(
    config: TrainConfig, learner: Learner, averaged: Learner, processes: Processes
) -> nn.Module:
    """What to call for the losses, so that all processes' gradients are one."""
    prepare(learner, config)
    if processes.num == 1:
        return learner
    if config.sharding == "ddp":
        return replicate(learner)
    for each in {id(x): x for x in (learner, averaged)}.values():
        shard(each, processes.num)
    return learner


def _room(device: torch.device, processes: Processes, taken: int) -> dict[str, int]:
    """Bytes for what the estimate counts, of which some are taken already."""
    host = memory.host_room(processes.num_local)
    if device.type == "cuda":
        gpu = torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_allocated(device)
        return {"host_room": host, "gpu_room": gpu}
    return {"host_room": host + taken}


def _network(config: TrainConfig, spec: Spec, resumed: Path | None) -> Gato:
    """Fresh weights, or those of the checkpoint to go on from or to begin with."""
    if source := resumed or config.init_from:
        loaded = checkpoint.load(source)
        if differences := loaded.spec.differences(spec):
            listed = "\n  ".join(differences)
            raise ValueError(f"{config.data[0]}: unlike the Spec of {source}:\n  {listed}")
        model = Gato(changed(config, loaded.model.config))
        model.load_state_dict(loaded.model.state_dict())
        return model
    if config.model is None:
        raise ValueError("model: expected a preset or --init-from, got neither")
    return Gato(changed(config, preset(config.model)))


def make_optimizer(config: TrainConfig, learner: Learner) -> torch.optim.Optimizer:
    """AdamW; biases and the gains of norms do not decay."""
    parameters = list(learner.parameters())
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
    weights = state.whole(run.averaged.model.state_dict())
    if run.processes.is_first:
        _write(run, path, weights, tensors, provenance | numbers | {"measured": measured})
        state.point_last(folder, path)
        state.remove_old(folder, run.config.keep)
    wait_for_all(run.processes)


def _write(
    run: Run, path: Path, weights: dict[str, Tensor], tensors: dict[str, Tensor], provenance: dict
) -> None:
    with torch.device("meta"):
        model = Gato(run.sizes)
    model.load_state_dict(weights, assign=True)

    def beside(folder: Path) -> None:
        state.save(folder, tensors, {name: provenance[name] for name in NUMBERS})
        text = card.card(path, run.sizes, run.tokenizer.spec, provenance)
        (folder / card.FILE).write_text(text)

    checkpoint.save(path, model, run.sizes, run.tokenizer.spec, provenance, beside=beside)


def continue_from(run: Run, path: Path) -> None:
    """Takes up the training state of a checkpoint, whose weights `start` has loaded as averages."""
    numbers = state.load(path, run.learner, run.averaged, run.optimizer)
    for name, value in numbers.items():
        setattr(run, name, value)


def describe(run: Run, datasets: list[Dataset]) -> dict:
    """Where the weights come from, JSON-ready."""
    config = run.config
    last = config.folder / "checkpoints/last"
    earlier = last if config.resume and last.exists() else config.init_from
    data = origin.data(config.data, datasets, earlier)
    made = origin.making(run.device, run.processes.num)
    return made | {"train": dataclasses.asdict(config), "data": data}


def changed(config: TrainConfig, model: ModelConfig) -> ModelConfig:
    """The sizes with what the run's configuration overrides."""
    names = ("context_timesteps", "action_mode", "stochastic_depth", "dropout")
    changes = {name: getattr(config, name) for name in names if getattr(config, name) is not None}
    return replace(model, **changes)


def _best_device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"
