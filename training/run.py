"""A training run: the network, its average, its optimizer; begun, saved and taken up again."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from gato_core import checkpoint
from gato_core.dataset import Dataset
from gato_core.model import Gato, ModelConfig, preset
from gato_core.spec import Spec
from gato_core.storage import read_json
from gato_core.tokenizer import Tokenizer
from gato_training import loss, state
from gato_training.config import TrainConfig


@dataclass
class Run:
    """All that changes while training, and what acts on it."""

    config: TrainConfig
    tokenizer: Tokenizer
    model: Gato
    averaged: Gato  # what is measured and saved; the model itself without EMA
    side_task: SideTask | None
    optimizer: torch.optim.Optimizer
    smoothed: Tensor | None
    device: torch.device
    step: int = 0
    seconds: float = 0.0
    num_timesteps: int = 0

    @property
    def progress(self) -> float:
        """From 0 to 1, when steps or hours are used up."""
        hours = self.config.hours
        return max(self.step / self.config.steps, self.seconds / (hours * 3600.0) if hours else 0.0)

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        named = {f"model.{name}": p for name, p in self.model.named_parameters()}
        if self.side_task is not None:
            named |= {f"head.{name}": p for name, p in self.side_task.head.named_parameters()}
        return named


class SideTask:
    """A linear head on the separators' features that tells where objects are."""

    def __init__(self, models: list[Gato], num_values: int, num_action_tokens: int) -> None:
        self.head = nn.Linear(models[0].config.width, num_values)
        self._stride = num_action_tokens
        self._x_BQD = torch.empty(0)
        for model in models:
            model.norm.register_forward_hook(self._keep)

    def positions(self, target_BL: Tensor) -> Tensor:
        """Metres (M, 3 * objects), one row a timestep, from the pass just done."""
        # outputs stand one before each target: every A-th is a separator's
        x_BTD = self._x_BQD[:, :: self._stride]
        place_T = torch.arange(x_BTD.shape[1], device=target_BL.device) * self._stride
        exists_BT = place_T < target_BL.sum(1, keepdim=True)
        return self.head(x_BTD[exists_BT]).float() * loss.AUXILIARY_SCALE

    def _keep(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self._x_BQD = output


def start(config: TrainConfig, spec: Spec, resumed: Path | None = None) -> Run:
    """A new run: the network made from the seed, or taken from a checkpoint."""
    torch.manual_seed(config.seed)
    device = torch.device(config.device if config.device != "auto" else _best_device())
    if source := resumed or config.init_from:
        loaded = checkpoint.load(source)
        if differences := loaded.spec.differences(spec):
            listed = "\n  ".join(differences)
            raise ValueError(f"{config.data[0]}: unlike the Spec of {source}:\n  {listed}")
        model = Gato(_changed(config, loaded.model.config))
        model.load_state_dict(loaded.model.state_dict())
    else:
        if config.model is None:
            raise ValueError("model: expected a preset or --init-from, got neither")
        model = Gato(_changed(config, preset(config.model)))
    model.to(device)
    averaged = model
    if config.ema is not None:
        averaged = Gato(model.config).to(device)
        averaged.load_state_dict(model.state_dict())
    side_task = None
    if config.auxiliary:
        num_values = 3 * len(config.auxiliary_keys)
        side_task = SideTask([model, averaged], num_values, spec.num_action_tokens)
        side_task.head.to(device)
    tokenizer = Tokenizer(spec, model.config.vocabulary)
    smoothed = None
    if config.target_smoothing and tokenizer.action_ids[1] == model.config.vocabulary.separator:
        smoothed = loss.smoothed_targets(config.target_smoothing).to(device)
    optimizer = make_optimizer(config, model, side_task)
    return Run(config, tokenizer, model, averaged, side_task, optimizer, smoothed, device)


def make_optimizer(
    config: TrainConfig, model: Gato, side_task: SideTask | None
) -> torch.optim.Optimizer:
    """AdamW; biases and the gains of norms do not decay."""
    parameters = list(model.parameters()) + (list(side_task.head.parameters()) if side_task else [])
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, fused=True)


def save(run: Run, provenance: dict, measured: dict[str, float]) -> None:
    """A checkpoint of the averaged weights with the training state, which then becomes `last`."""
    folder = run.config.folder / "checkpoints"
    path = folder / str(run.step)
    numbers = {name: getattr(run, name) for name in ("step", "seconds", "num_timesteps")}
    with torch.random.fork_rng():  # making the golden sample draws numbers
        generators = torch.get_rng_state()
        checkpoint.save(
            path,
            run.averaged,
            run.averaged.config,
            run.tokenizer.spec,
            provenance | numbers | {"measured": measured},
        )
        torch.set_rng_state(generators)
        state.save(path, run.parameters, run.optimizer, numbers)
    state.point_last(folder, path)
    state.remove_old(folder, run.config.keep)


def continue_from(run: Run, path: Path) -> None:
    """Takes up the training state of a checkpoint, whose weights `start` has loaded as averages."""
    numbers = state.load(path, run.parameters, run.optimizer)
    for name, value in numbers.items():
        setattr(run, name, value)


def describe(run: Run, datasets: list[Dataset]) -> dict:
    """Where the weights come from, JSON-ready."""
    data = [
        {
            "path": path,
            "episodes": dataset.num_episodes,
            "successes": int(dataset.successes.sum()),
            "timesteps": dataset.num_timesteps,
            "triplets": _named(dataset, "triplets"),
            "physics": _named(dataset, "physics"),
        }
        for path, dataset in zip(run.config.data, datasets)
    ]
    known = {part["path"] for part in data}
    data += [part for part in _earlier_data(run.config) if part["path"] not in known]
    return {
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "train": dataclasses.asdict(run.config),
        "data": data,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {run.device.type}",
    }


def _earlier_data(config: TrainConfig) -> list[dict]:
    """What the weights that this run began with, or goes on from, were trained on."""
    last = config.folder / "checkpoints/last"
    source = last if config.resume and last.exists() else config.init_from
    if source is None:
        return []
    return read_json(Path(source) / "config.json")["provenance"].get("data", [])


def _named(dataset: Dataset, name: str) -> list[str]:
    """What the episodes' `info` say under this name, each once; empty if they do not."""
    values = {json.loads(row["gato/info"]).get(name) for row in dataset.rows}
    return sorted(value for value in values if value is not None)


def _changed(config: TrainConfig, model: ModelConfig) -> ModelConfig:
    """The sizes with what the run's configuration overrides."""
    names = ("context_timesteps", "action_mode", "stochastic_depth", "dropout")
    changes = {name: getattr(config, name) for name in names if getattr(config, name) is not None}
    return replace(model, **changes)


def _best_device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"
