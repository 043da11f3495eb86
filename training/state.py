"""What a run needs to go on exactly where it was: safetensors and JSON, never pickle."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from gato_core.storage import read_json, replacing, write_json

TENSORS, NUMBERS = "training_state/state.safetensors", "training_state/state.json"


def save(
    checkpoint: Path,
    parameters: Mapping[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
    numbers: Mapping,
) -> None:
    """Adds the raw weights, the optimizer's moments, the generators and `numbers` (JSON)."""
    tensors = {f"weight/{name}": p.detach() for name, p in parameters.items()}
    for name, parameter in parameters.items():
        moments = optimizer.state[parameter]
        tensors |= {f"optimizer/{key}/{name}": value for key, value in moments.items()}
    tensors["generator/cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["generator/cuda"] = torch.cuda.get_rng_state()
    with replacing(checkpoint / TENSORS) as path:
        save_file({name: value.cpu().contiguous() for name, value in tensors.items()}, path)
    write_json(checkpoint / NUMBERS, numbers)


def load(
    checkpoint: Path,
    parameters: Mapping[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
) -> dict:
    """Inverts `save` in place and returns the numbers.

    Raises FileNotFoundError for a checkpoint without it, ValueError for a damaged or other one.
    """
    numbers = read_json(checkpoint / NUMBERS)
    try:
        tensors = load_file(checkpoint / TENSORS)
    except SafetensorError as error:
        raise ValueError(f"{checkpoint / TENSORS}: damaged: {error}") from error
    expected = {f"weight/{name}": tuple(p.shape) for name, p in parameters.items()}
    got = {name: tuple(t.shape) for name, t in tensors.items() if name.startswith("weight/")}
    if expected != got:
        odd = sorted(set(expected.items()) ^ set(got.items()))
        raise ValueError(f"{checkpoint}: expected this configuration's weights, unlike are {odd}")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[f"weight/{name}"])
            optimizer.state[parameter] = _moments(tensors, name, parameter)
    torch.set_rng_state(tensors["generator/cpu"])
    if torch.cuda.is_available() and "generator/cuda" in tensors:
        torch.cuda.set_rng_state(tensors["generator/cuda"])
    return numbers


def point_last(folder: Path, checkpoint: Path) -> None:
    """Makes folder/last lead to the checkpoint, in one step."""
    link = folder / ".last"
    link.unlink(missing_ok=True)
    link.symlink_to(checkpoint.name)
    os.replace(link, folder / "last")


def remove_old(folder: Path, keep: int) -> None:
    """Removes all but the newest checkpoints of a run."""
    steps = sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())
    for step in steps[:-keep]:
        shutil.rmtree(folder / str(step))


def _moments(tensors: Mapping[str, Tensor], name: str, parameter: nn.Parameter) -> dict:
    moments = {}
    for full, value in tensors.items():
        kind, key, *rest = full.split("/")
        if kind == "optimizer" and rest == [name]:
            moments[key] = value.to(parameter.device)
    return moments
