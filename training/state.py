"""Training state for bit-exact resumption, as safetensors and JSON; never pickle.

Files hold whole tensors, however many processes share them, so a run may go on with another number
of processes. What the network draws follows from the seed and the batch's number: no generator is
kept.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from gato_core.data.storage import read_json

TENSORS, NUMBERS = "training_state/state.safetensors", "training_state/state.json"


def whole(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors on the CPU, put together from the parts of all processes, which must all call."""
    full = {
        name: value.full_tensor() if isinstance(value, DTensor) else value.detach()
        for name, value in tensors.items()
    }
    return {name: value.cpu().contiguous() for name, value in full.items()}


def tensors(
    learner: nn.Module, averaged: nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, Tensor]:
    """The raw weights, the optimizer's moments and averages of what is not the policy."""
    parameters = dict(learner.named_parameters())
    found = {f"weight/{name}": value.detach() for name, value in parameters.items()}
    for name, parameter in parameters.items():
        moments = optimizer.state[parameter]
        found |= {f"optimizer/{key}/{name}": value for key, value in moments.items()}
    if averaged is not learner:
        found |= {f"average/{name}": p.detach() for name, p in _beside_policy(averaged).items()}
    return whole(found)


def save(checkpoint: Path, tensors: Mapping[str, Tensor], numbers: Mapping) -> None:
    """Adds tensors and `numbers` (JSON) to a checkpoint that is being written."""
    (checkpoint / TENSORS).parent.mkdir()
    save_file(dict(tensors), checkpoint / TENSORS)
    (checkpoint / NUMBERS).write_text(json.dumps(numbers) + "\n")


def load(
    checkpoint: Path, learner: nn.Module, averaged: nn.Module, optimizer: torch.optim.Optimizer
) -> dict:
    """Puts in place what `tensors` took and returns the numbers.

    Raises FileNotFoundError for a checkpoint without it, ValueError for a damaged or other one.
    """
    numbers = read_json(checkpoint / NUMBERS)
    try:
        stored = load_file(checkpoint / TENSORS)
    except SafetensorError as error:
        raise ValueError(f"{checkpoint / TENSORS}: damaged: {error}") from error
    parameters = dict(learner.named_parameters())
    expected = {f"weight/{name}": tuple(p.shape) for name, p in parameters.items()}
    got = {name: tuple(t.shape) for name, t in stored.items() if name.startswith("weight/")}
    if expected != got:
        odd = sorted(set(expected.items()) ^ set(got.items()))
        raise ValueError(f"{checkpoint}: expected this configuration's weights, unlike are {odd}")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(_like(parameter, stored[f"weight/{name}"]))
            optimizer.state[parameter] = _moments(stored, name, parameter)
        for name, mean in _beside_policy(averaged).items():  # older runs did not average it
            mean.copy_(_like(mean, stored.get(f"average/{name}", stored[f"weight/{name}"])))
    return numbers


def point_last(folder: Path, checkpoint: Path) -> None:
    """Makes folder/last lead to the checkpoint, in one step."""
    link = folder / ".last"
    link.unlink(missing_ok=True)
    link.symlink_to(checkpoint.name)
    os.replace(link, folder / "last")


def remove_old(folder: Path, keep: int) -> None:
    """Removes all but the newest checkpoints of a run, and what killed programs left."""
    for left in folder.glob(".*.*"):
        shutil.rmtree(left)
    steps = sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())
    for step in steps[:-keep]:
        shutil.rmtree(folder / str(step))


def _beside_policy(averaged: nn.Module) -> dict[str, Tensor]:
    """Averages that the checkpoint itself does not hold."""
    policy = set(averaged.policy.parameters())
    return {name: p for name, p in averaged.named_parameters() if p not in policy}


def _like(parameter: Tensor, value: Tensor) -> Tensor:
    """A stored tensor on the parameter's device, or this process's part of it."""
    value = value.to(parameter.device)
    if not isinstance(parameter, DTensor) or value.shape != parameter.shape:
        return value
    # everybody has read the same file: nothing to send
    mesh, placements = parameter.device_mesh, parameter.placements
    return distribute_tensor(value, mesh, placements, src_data_rank=None)


def _moments(stored: Mapping[str, Tensor], name: str, parameter: nn.Parameter) -> dict:
    moments = {}
    for full, value in stored.items():
        kind, key, *rest = full.split("/")
        if kind == "optimizer" and rest == [name]:
            moments[key] = _like(parameter, value)
    return moments
