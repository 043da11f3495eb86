"""Summarises a dataset, recording or checkpoint and lists its faults: `gato inspect`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import tyro

from gato_core.cli import told
from gato_core.data.features import ACTION, STATE, state_slices
from gato_core.dataset import Dataset
from gato_core.importers.admission import CLIPPED_TOO_MANY
from gato_core.importers.bags import recordings
from gato_core.importers.robomimic import SUFFIXES as HDF5_SUFFIXES
from gato_core.spec import Continuous, Image, summary
from gato_core.tools.inspect_bag import inspect_recordings
from gato_core.tools.inspect_foreign import inspect_demonstrations, inspect_lerobot

if TYPE_CHECKING:
    from gato_core.baseline import Actor
    from gato_core.model import Gato


@dataclass(frozen=True)
class InspectConfig:
    """Says what is in a dataset, a recording or a checkpoint, and whether it is sound.

    Also in data of others, before `gato convert`: a LeRobot folder or robomimic's HDF5; and in
    documents: JSON lines, webdataset shards, captions of COCO, questions of VQAv2.

    example: gato inspect datasets/train
    """

    path: Annotated[Path, tyro.conf.Positional]
    """The folder of a dataset, of a checkpoint, of a recording or of several, of documents; or a
    file .mcap, .hdf5, .jsonl, .tar or .json."""


def inspect(path: Path) -> dict:
    """What is there, with lists of `problems`, which make it unsound, and of `warnings`."""
    if not path.exists():
        return _unsound("nothing", f"{path}: expected a folder or a recording, got none")
    kind = "nothing"
    try:
        kind = _kind(path)
        if kind == "dataset":
            return inspect_dataset(path)
        if kind == "checkpoint":
            return inspect_checkpoint(path)
        if kind == "recording":
            return inspect_recordings(path)
        if kind == "lerobot":
            return inspect_lerobot(path)
        if kind == "hdf5":
            return inspect_demonstrations(path)
        if kind == "documents":
            from gato_core.tools.inspect_documents import inspect_documents  # the extra `text`

            return inspect_documents(path)
    except ModuleNotFoundError as error:
        extra = "text" if error.name in ("PIL", "sentencepiece") else "import"
        return _unsound(kind, f"{error.name} is not installed; the extra `{extra}` adds it")
    except (ValueError, KeyError, OSError) as error:
        return _unsound(kind, told(error))
    return _unsound(
        kind,
        f"{path}: expected meta/info.json, model.safetensors, metadata.yaml, .mcap, .hdf5, "
        ".jsonl, .tar or .json, got none",
    )


def _kind(path: Path) -> str:
    if (path / "meta").exists():
        return "dataset" if (path / "gato.json").exists() else "lerobot"
    if path.suffix in HDF5_SUFFIXES:
        return "hdf5"
    if (path / "model.safetensors").exists():
        return "checkpoint"
    if recordings(path):
        return "recording"
    from gato_core.text.sources import are_documents

    return "documents" if are_documents(path) else "nothing"


def inspect_dataset(path: Path) -> dict:
    """Counts, coverage of the Spec's limits, timestamps and images. Raises as Dataset does."""
    dataset = Dataset(path, memory_gb=0.0)
    problems: list[str] = []
    warnings: list[str] = []
    dimensions: dict[str, dict[str, float]] = {}
    for name, modality, values in _vectors(dataset):
        dimensions |= _dimensions(name, modality, values)
    for name, found in dimensions.items():
        if found["clipped"] > CLIPPED_TOO_MANY:
            problems.append(f"{name}: {100 * found['clipped']:.1f} % beyond the Spec's limits")
        elif found["clipped"]:
            warnings.append(f"{name}: {100 * found['clipped']:.2f} % beyond the Spec's limits")
        if found["std"] == 0:
            warnings.append(f"{name}: always {found['mean']:.6g}")
    if not dataset.successes.any():
        warnings.append("no episode ended in success: train with --no-successes-only")
    problems += _check_images(dataset)
    warnings += dataset.warnings
    return {
        "kind": "dataset",
        "sound": not problems,
        "problems": problems,
        "warnings": warnings,
        "episodes": dataset.num_episodes,
        "successes": int(dataset.successes.sum()),
        "timesteps": dataset.num_timesteps,
        "hours": round(dataset.num_timesteps * dataset.spec.control_timestep / 3600, 3),
        "lengths": _spread(dataset.lengths),
        "frames_per_second": dataset.info["fps"],
        "robot_type": dataset.info["robot_type"],
        "tasks": _counts(row["gato/task"] for row in dataset.rows),
        "objects": len({json.dumps(objects) for objects in dataset.information("objects")}),
        "sources": _counts(row["gato/source"] for row in dataset.rows),
        "megabytes": _megabytes(path),
        "spec": summary(dataset.spec),
        "privileged": [key for key in dataset.info["features"] if key.startswith("privileged.")],
        "dimensions": dimensions,
    }


def inspect_checkpoint(path: Path) -> dict:
    """Sizes, Spec and provenance; loading replays the golden sample and raises on a mismatch."""
    from gato_core import baseline, checkpoint  # torch: only where there is a network to look at

    network: Gato | Actor
    names: tuple[str, ...]
    if checkpoint.kind(path) == checkpoint.KIND:
        network, spec, provenance = checkpoint.load(path)
        names = ("num_layers", "width", "context_timesteps", "action_mode")
    else:
        network, provenance = actor, _ = baseline.load(path)
        spec, names = actor.spec, ("channels", "width", "num_components")
    return {
        "kind": "checkpoint",
        "sound": True,
        "problems": [],
        "warnings": [],
        "network": checkpoint.kind(path),
        "parameters": sum(p.numel() for p in network.parameters()),
        **{name.removeprefix("num_"): getattr(network.config, name) for name in names},
        "megabytes": _megabytes(path),
        "spec": summary(spec),
        "resumable": (path / "training_state").is_dir(),
        "provenance": provenance,
    }


def main() -> int:
    """Prints the findings and a last line of JSON; 1 if unsound."""
    found = inspect(tyro.cli(InspectConfig, prog="gato inspect").path)
    for line in report(found):
        print(line)
    print(json.dumps(found))
    return 0 if found["sound"] else 1


def report(found: dict) -> list[str]:
    """The findings as lines for people."""
    lines = []
    for key, value in found.items():
        if key == "spec":
            lines += ["spec:", *(f"  {line}" for line in value)]
        elif key == "topics":
            lines.append(f"  {'topic':<36} {'messages':>8} {'Hz':>7} {'silent s':>8}  type")
            lines += [_topic_row(name, topic) for name, topic in value.items()]
        elif key == "dimensions":
            lines.append(_row("dimension", ("low", "min", "mean", "std", "max", "high", "clipped")))
            lines += [_row(name, values.values()) for name, values in value.items()]
        elif key not in ("problems", "warnings", "sound"):
            lines.append(
                f"{key}: {value if isinstance(value, str | int | float) else json.dumps(value)}"
            )
    lines += [f"warning: {text}" for text in found["warnings"]]
    lines += [f"PROBLEM: {text}" for text in found["problems"]]
    return [*lines, "sound" if found["sound"] else "UNSOUND"]


def _vectors(dataset: Dataset) -> list[tuple[str, Continuous, np.ndarray]]:
    """(key, modality, values (num_timesteps, n)) of everything continuous."""
    vectors: list[tuple[str, Continuous, np.ndarray]] = []
    if slices := state_slices(dataset.spec):
        state = dataset.column(STATE)
        for key, modality in dataset.spec.observation.items():
            if isinstance(modality, Continuous):
                vectors.append((key, modality, state[:, slices[key]]))
    if isinstance(dataset.spec.action, Continuous):
        vectors.append((ACTION, dataset.spec.action, dataset.column(ACTION)))
    return vectors


def _dimensions(key: str, modality: Continuous, values: np.ndarray) -> dict[str, dict[str, float]]:
    """Per dimension its limits, what was seen, and the share beyond the limits."""
    found = {}
    for name, low, high, value in zip(modality.names, modality.low, modality.high, values.T):
        slack = 1e-6 * (high - low)  # limits reached exactly are not clipped by rounding
        clipped = (
            0.0 if modality.mu_law else np.mean((value < low - slack) | (value > high + slack))
        )
        value = value.astype(np.float64)
        found[f"{key}/{name}"] = {
            "low": low,
            "min": float(value.min()),
            "mean": float(value.mean()),
            "std": float(value.std()) if value.min() < value.max() else 0.0,
            "max": float(value.max()),
            "high": high,
            "clipped": float(clipped),
        }
    return found


def _check_images(dataset: Dataset) -> list[str]:
    """Reads every episode, which verifies checksums and numbers, and decodes one of its frames."""
    problems = []
    for i, length in enumerate(dataset.lengths.tolist()):
        try:
            episode = dataset.read(i, length // 2, length // 2 + 1)
        except ValueError as error:
            problems.append(str(error))
            continue
        for key, modality in dataset.spec.observation.items():
            if isinstance(modality, Image) and episode.observation[key].std() == 0:
                problems.append(f"episode {i}: {key}: blank image at timestep {length // 2}")
    return problems


def _unsound(kind: str, problem: str) -> dict:
    return {"kind": kind, "sound": False, "problems": [problem], "warnings": []}


def _spread(values: np.ndarray) -> dict[str, int]:
    return {"min": int(values.min()), "median": int(np.median(values)), "max": int(values.max())}


def _counts(values) -> dict[str, int]:
    unique, counts = np.unique(list(values), return_counts=True)
    return dict(zip(unique.tolist(), counts.tolist()))


def _megabytes(path: Path) -> float:
    return round(sum(p.stat().st_size for p in path.rglob("*") if p.is_file()) / 1e6, 1)


def _topic_row(name: str, topic: dict) -> str:
    numbers = f"{topic['messages']:>8} {topic['hz']:>7} {topic['longest_silence_s']:>8}"
    return f"  {name:<36} {numbers}  {topic['type']}"


def _row(name: str, values) -> str:
    cells = [f"{v:>9}" if isinstance(v, str) else f"{v:>9.4g}" for v in values]
    return f"  {name:<28}" + " ".join(cells)
