"""Trains or fine-tunes a policy on demonstrations: `gato train`."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
import tyro

from gato_core import checkpoint
from gato_core.dataset import Dataset
from gato_core.model import Gato, ModelConfig, preset
from gato_core.spec import Spec
from gato_core.tokenizer import Tokenizer
from gato_training.config import NetworkConfig, TrainConfig, take_preset
from gato_training.learner import Learner
from gato_training.loop import go
from gato_training.run import continue_from, describe, last_of, start
from gato_training.run_log import card, memory
from gato_training.run_log.memory import Estimate, Kept
from gato_training.run_log.processes import Processes, joined
from gato_training.sequences import training_and_held_out

OVERRIDDEN = ("context_timesteps", "action_mode", "stochastic_depth", "dropout")


def train(config: TrainConfig) -> dict:
    """Runs to the end of steps or hours, or to a signal; returns a summary.

    Raises ValueError, before anything is written, for unsound data, other Specs, an existing run,
    a resumed one with other options, too little memory.
    """
    with joined() as processes:
        return train_among(processes, config)


def train_among(processes: Processes, config: TrainConfig) -> dict:
    """What `train` does, in one of processes that have joined already."""
    check(config, processes)
    last, datasets = last_of(config), opened(config, processes)
    learner, estimate = learner_of(config, datasets, processes, last)
    sizes, options = learner.model.config, (config.data, config.optimizer.seed)
    training, held_out = training_and_held_out(
        *options, datasets, learner.tokenizer, sizes.context_timesteps
    )
    device = learner.model.embedding.weight.device
    provenance = describe(config, datasets, processes, device, last)
    run = start(config, learner, processes)
    if last is not None:
        continue_from(run, last)
    said = (
        f"{config.folder}: {sum(p.numel() for p in learner.model.parameters()) / 1e6:.1f} M "
        f"parameters, {sum(dataset.num_episodes for dataset in datasets)} episodes, "
        f"{training.num_windows} sequences of {sizes.context_timesteps} timesteps, "
        f"{device.type} {config.optimizer.precision}, {processes.num} processes, "
        f"from step {run.step}\nmemory: {estimate}"
    )
    summary = go(run, training, held_out, provenance, said)
    told = {"estimated_gb": round(estimate.total / 1e9, 2)}
    return summary | told | {"estimate": dataclasses.asdict(estimate)}


def check(config: Any, processes: Processes) -> None:
    """Raises ValueError for a run that cannot be."""
    if not config.data.folders:
        raise ValueError("data: expected at least one dataset folder, got none")
    if config.optimizer.accumulate % processes.num:
        raise ValueError(
            f"accumulate: expected a multiple of the {processes.num} processes, which share the "
            f"batches of an update out, got {config.optimizer.accumulate}"
        )


def opened(config: Any, processes: Processes) -> list[Dataset]:
    """The datasets; and torch's threads as asked for."""
    machine, folders = config.machine, config.data.folders
    torch.set_num_threads(machine.threads or max(1, (os.cpu_count() or 1) // processes.num_local))
    memory_gb = machine.memory_gb / len(folders) / processes.num_local
    return [Dataset(folder, memory_gb=memory_gb) for folder in folders]


def learner_of(
    config: TrainConfig, datasets: list[Dataset], processes: Processes, last: Path | None
) -> tuple[Learner, Estimate]:
    """Made from the seed, or with a checkpoint's weights; and what its training will need.

    Raises ValueError for another Spec, and where the memory will not do.
    """
    torch.manual_seed(config.optimizer.seed)
    device = torch.device(best_device(config.machine.device))
    program = memory.resident()

    def expected(sizes: ModelConfig, kept: Kept) -> Estimate:
        estimate = memory.estimate(config, sizes, datasets, kept, program, processes)
        room = memory.room(device, processes, memory.resident() - program)
        memory.check(estimate, config, **room)
        return estimate

    if config.network.model is not None:
        expected(sizes_of(config.network), memory.NOTHING)  # before it is made
    model = network(config, datasets[0].spec, last)
    tokenizer = Tokenizer(datasets[0].spec, model.config.vocabulary)
    learner = Learner(model, tokenizer, config).to(device)
    return learner, expected(model.config, memory.kept(learner))


def network(config: TrainConfig, spec: Spec, last: Path | None) -> Gato:
    """Fresh weights, or those of the checkpoint to go on from or to begin with."""
    source = last or config.network.init_from
    if source is None:
        return Gato(sizes_of(config.network))
    loaded = checkpoint.load(source)
    if differences := loaded.spec.differences(spec):
        listed = "\n  ".join(differences)
        raise ValueError(f"{config.data.folders[0]}: unlike the Spec of {source}:\n  {listed}")
    model = Gato(sizes_of(config.network, loaded.model.config))
    model.load_state_dict(loaded.model.state_dict())
    return model


def sizes_of(network: NetworkConfig, model: ModelConfig | None = None) -> ModelConfig:
    """The preset's sizes, or others, with what the options override."""
    if model is None:
        if network.model is None:
            raise ValueError("model: expected a preset or --init-from, got neither")
        model = preset(network.model)
    options = {name: getattr(network, name) for name in OVERRIDDEN}
    return dataclasses.replace(model, **{k: v for k, v in options.items() if v is not None})


def best_device(name: str) -> str:
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"


def parse(arguments: list[str]) -> TrainConfig:
    """The preset named by --preset (control if none), changed by the other flags."""
    default, rest = take_preset(arguments, "control")
    return tyro.cli(TrainConfig, default=default, args=rest, prog="gato train")


def main(arguments: list[str] | None = None) -> int:
    """Returns 0; 1 with a message for bad data, bad flags or a full disk. The last line is JSON."""
    try:
        summary = train(parse(sys.argv[1:] if arguments is None else arguments))
    except (ValueError, OSError) as error:
        print(f"gato train: {error}", file=sys.stderr)
        return 1
    if os.environ.get("RANK", "0") == "0":
        print(f"model card: {summary['checkpoint']}/{card.FILE}")
        tell(summary)
    return 0


def tell(summary: dict) -> None:
    """What to do next, and a line of JSON."""
    if not summary["finished"]:
        print("to go on: the same command with --resume")
    print(f"to measure it: gato evaluate --checkpoint {summary['checkpoint']}")
    print(json.dumps(summary))
