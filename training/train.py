"""Trains or fine-tunes a policy on demonstrations: `gato train`."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
import tyro

from gato_core import checkpoint
from gato_core.embodiment import Embodiment
from gato_core.model import Gato, ModelConfig, preset, with_text
from gato_core.spec import Image, Text
from gato_core.text.learn_words import with_words
from gato_core.tokenizer import Tokenizer
from gato_training.config import NetworkConfig, TrainConfig, take_preset
from gato_training.learner import Learner
from gato_training.loop import go
from gato_training.mixture import Mixture, Source
from gato_training.run import Run, continue_from, describe, last_of, start
from gato_training.run_log import card, memory
from gato_training.run_log.memory import Estimate, Kept
from gato_training.run_log.processes import Processes, joined
from gato_training.sources import Opened, check_alike, mixtures, open_folders

EMBODIED = ("context_timesteps", "action_mode", "sees_past_actions")
OVERRIDDEN = ("stochastic_depth", "dropout")


def train(config: TrainConfig) -> dict:
    """Runs to the end of steps or hours, or to a signal; returns a summary.

    Raises ValueError, before anything is written, for unsound data, other Specs, an existing run,
    a resumed one with other options, too little memory.
    """
    with joined() as processes:
        return train_among(processes, config)


def train_among(processes: Processes, config: TrainConfig) -> dict:
    """What `train` does, in one of processes that have joined already."""
    begun = begin(processes, config)
    run, model = begun.run, begun.run.learner.model
    said = (
        f"{config.folder}: {sum(p.numel() for p in model.parameters()) / 1e6:.1f} M parameters, "
        f"{begun.training}, {run.device.type} {config.optimizer.precision}, {processes.num} "
        f"processes, from step {run.step}\nmemory: {begun.memory}"
    )
    summary = go(run, begun.training, begun.held_out, begun.provenance, said)
    told = {"estimated_gb": round(begun.memory.total / 1e9, 2)}
    told |= {"embodiments": list(begun.run.learner.tokenizers)}
    return summary | told | {"estimate": dataclasses.asdict(begun.memory)}


class Begun(NamedTuple):
    """A run that is ready to go, and what it goes on."""

    run: Run
    training: Mixture
    held_out: dict[str, Source]
    provenance: dict
    memory: Estimate


def begin(processes: Processes, config: TrainConfig) -> Begun:
    """Everything but the first update; nothing is written. Errors as of `train`."""
    check(config, processes)
    last = last_of(config)
    source = last or config.network.init_from
    known = checkpoint.embodiments(source) if source else {}
    opened = open_folders(config.data, config.machine.memory_gb / processes.num_local, known)
    sizes = sizes_of(config.network, source, has_text(opened))
    bodies = bodies_of(config.network, opened, known)
    options = config.data, config.optimizer.seed, opened, bodies, sizes.vocabulary
    training, held_out = mixtures(*options)
    everybody = known | bodies
    learner, estimate = learner_of(config, sizes, opened, everybody, training, processes, source)
    device = learner.model.embedding.weight.device
    provenance = describe(config, opened, processes, device, last)
    run = start(config, learner, processes)
    if last is not None:
        continue_from(run, last)
    return Begun(run, training, held_out, provenance, estimate)


def check(config: Any, processes: Processes) -> None:
    """Raises ValueError for a run that cannot be; sets torch's threads."""
    num_cores = (os.cpu_count() or 1) // processes.num_local
    torch.set_num_threads(config.machine.threads or max(1, num_cores))
    if config.optimizer.accumulate % processes.num:
        raise ValueError(
            f"accumulate: expected a multiple of the {processes.num} processes, which share the "
            f"batches of an update out, got {config.optimizer.accumulate}"
        )


def learner_of(
    config: TrainConfig,
    sizes: ModelConfig,
    opened: Opened,
    bodies: Mapping[str, Embodiment],
    training: Mixture,
    processes: Processes,
    source: str | Path | None,
) -> tuple[Learner, Estimate]:
    """Made from the seed, or with a checkpoint's weights; and what its training will need.

    Raises ValueError for another Spec, and where the memory will not do.
    """
    torch.manual_seed(config.optimizer.seed)
    device = torch.device(best_device(config.machine.device))
    program = memory.resident()
    images = memory.image_bytes(opened.datasets, config.machine.memory_gb)

    def expected(kept: Mapping[str, Kept]) -> Estimate:
        needs = kept, images, program, processes
        estimate = memory.estimate(config, sizes, training.sources, *needs)
        room = memory.room(device, processes, memory.resident() - program)
        memory.check(estimate, config, **room)
        return estimate

    expected(dict.fromkeys(training.sources, memory.NOTHING))  # before it is made
    model = network(sizes, source)
    specs = [opened.spec(name) for name in opened.robots]
    has_images = any(isinstance(m, Image) for spec in specs for m in spec.observation.values())
    if not has_images and not opened.documents:
        model.patch_embedder.requires_grad_(False)  # else it would decay, unused
    tokenizers = {name: Tokenizer(body, sizes.vocabulary) for name, body in bodies.items()}
    learner = Learner(model, tokenizers, config, len(training.sources)).to(device)
    named = training.sources.items()
    return learner, expected({name: memory.kept(learner, each, name) for name, each in named})


def network(sizes: ModelConfig, source: str | Path | None) -> Gato:
    """Fresh weights, or those of the checkpoint to go on from or to begin with."""
    if source is None:
        return Gato(sizes)
    loaded = checkpoint.load(source)
    grows = sizes.vocabulary.num_text > loaded.model.config.vocabulary.num_text
    weights = with_words(loaded.model) if grows else loaded.model
    model = Gato(sizes)
    model.load_state_dict(weights.state_dict())
    return model


def sizes_of(
    network: NetworkConfig, source: str | Path | None = None, needs_text: bool = False
) -> ModelConfig:
    """A checkpoint's sizes or the preset's, with what the options override; with ids for text."""
    if source is not None:
        sizes = checkpoint.sizes(source)
    elif network.model is None:
        raise ValueError("model: expected a preset or --init-from, got neither")
    else:
        sizes = preset(network.model)
    if needs_text:
        sizes = with_text(sizes)
    options = {name: getattr(network, name) for name in OVERRIDDEN}
    return dataclasses.replace(sizes, **{k: v for k, v in options.items() if v is not None})


def bodies_of(
    network: NetworkConfig, opened: Opened, known: Mapping[str, Embodiment]
) -> dict[str, Embodiment]:
    """What is learned, by name: an embodiment that is known, or new, with what options override."""
    options = {name: getattr(network, name) for name in EMBODIED}
    options = {name: value for name, value in options.items() if value is not None}
    if options.get("action_mode") == "parallel":
        options.setdefault("sees_past_actions", False)
    options["temperature"] = 0.0  # what suits new weights wants to be measured anew
    bodies = {}
    for name, datasets in opened.robots.items():
        body = known.get(name) or Embodiment(name, opened.spec(name))
        check_alike(name, body.spec, datasets[0])
        bodies[name] = dataclasses.replace(body, **options)
        if network.context_tokens:
            length = max(1, network.context_tokens // body.spec.tokens_per_timestep)
            bodies[name] = dataclasses.replace(bodies[name], context_timesteps=length)
    return bodies


def has_text(opened: Opened) -> bool:
    """Whether there are words, in documents or in what a robot observes."""
    modalities = (m for name in opened.robots for m in opened.spec(name).observation.values())
    return bool(opened.documents) or any(isinstance(m, Text) for m in modalities)


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
    if summary.get("embodiments") == []:
        print(f"to hear it: gato caption PICTURE --checkpoint {summary['checkpoint']}")
    else:
        print(f"to measure it: gato evaluate --checkpoint {summary['checkpoint']}")
    print(json.dumps(summary))
