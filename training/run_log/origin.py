"""Provenance of trained weights: data, command, commit, versions, machine."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from gato_core.data.storage import read_json
from gato_core.dataset import Dataset
from gato_core.text.sources import Documents
from gato_core.tools.bench import commit, cpu_name


def command() -> str:
    """What was typed to start this process."""
    program = os.path.basename(sys.argv[0]).split()  # "gato train", as gato_core.cli sets it
    return shlex.join([*program, *sys.argv[1:]])


def making(device: torch.device, num_processes: int = 1) -> dict:
    """Command, versions, commit and machine of this process, JSON-ready."""
    return {
        "command": command(),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
        "commit": commit(),
        "machine": _machine(device, num_processes),
    }


def data(
    datasets: Sequence[Dataset],
    documents: Sequence[Documents] = (),
    earlier: str | Path | None = None,
) -> list[dict]:
    """For each dataset its size, object sets and physics, JSON-ready.

    Then what the checkpoint `earlier` names, whose weights the run began with or goes on from.
    By `triplets`, and by how many episodes do not say theirs, `gato evaluate` tells whether a
    checkpoint may have seen the test objects.
    """
    now = [
        {
            "path": str(dataset.root),
            "episodes": dataset.num_episodes,
            "successes": int(dataset.successes.sum()),
            "timesteps": dataset.num_timesteps,
            "triplets": _named(dataset, "triplets"),
            "episodes_of_unknown_triplets": dataset.num_episodes
            - len(dataset.information("triplets")),
            "physics": _named(dataset, "physics"),
        }
        for dataset in datasets
    ]
    now += [{"path": str(each.root), "documents": len(each)} for each in documents]
    if earlier is None:
        return now
    before = read_json(Path(earlier) / "config.json")["provenance"].get("data")
    known = [_identity(part) for part in now]
    return now + [part for part in before or [_unknown(earlier)] if _identity(part) not in known]


def _identity(part: dict) -> tuple:
    """Two folders of one path differ by these."""
    unknown = part.get("episodes_of_unknown_triplets", 0) > 0
    return part["path"], tuple(part.get("triplets", [])), unknown


def _unknown(earlier: str | Path) -> dict:
    """What a checkpoint that does not say it was trained on."""
    counts = dict.fromkeys(("episodes", "successes", "timesteps"), 0)
    return {"path": f"unknown data of {earlier}", **counts, "triplets": [], "physics": []}


def _named(dataset: Dataset, name: str) -> list[str]:
    """What the episodes' `info` say under this name, each once; empty if they do not."""
    return sorted(set(dataset.information(name)))


def _machine(device: torch.device, num_processes: int) -> str:
    """The processor or the GPUs, and how many processes shared the work."""
    on_gpu = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if on_gpu else cpu_name()
    threads = "" if on_gpu else f", {torch.get_num_threads()} threads"
    return f"{name}, {os.cpu_count()} cores, {num_processes} processes{threads}"
