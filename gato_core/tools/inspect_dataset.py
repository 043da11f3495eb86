"""Summarises a dataset: counts, limits, movement, repeated episodes, pictures, and its faults."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from gato_core.data import motion
from gato_core.data.edits_select import listed
from gato_core.data.features import ACTION, STATE, state_slices
from gato_core.data.identity import repeated
from gato_core.data.metadata import read_history
from gato_core.dataset import Dataset
from gato_core.episode import Episode
from gato_core.importers.admission import CLIPPED_TOO_MANY
from gato_core.spec import Continuous, Image, summary

IDLE_START = 10  # timesteps: a demonstration that begins later wants trimming
MOST = 20  # jumps that are listed


def inspect_dataset(path: Path) -> dict:
    """Counts, coverage of the Spec's limits, timestamps and images. Raises as Dataset does."""
    dataset = Dataset(path, memory_gb=0.0)
    problems: list[str] = []
    warnings: list[str] = []
    dimensions: dict[str, dict[str, float]] = {}
    with np.errstate(invalid="ignore"):  # NaN is named with its timestep where episodes are read
        for name, modality, values in vectors(dataset):
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
    unreadable = _check_images(dataset)
    problems += unreadable
    with np.errstate(invalid="ignore"):
        moving, told = _motion(dataset, compare=not unreadable)
    warnings += [*dataset.warnings, *told]
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
        "megabytes": megabytes(path),
        "spec": summary(dataset.spec),
        "privileged": [key for key in dataset.info["features"] if key.startswith("privileged.")],
        "history": [one.get("command") for one in read_history(path)],
        **moving,
        "dimensions": dimensions,
    }


def _motion(dataset: Dataset, *, compare: bool) -> tuple[dict, list[str]]:
    """Standing still, idle beginnings, jumps and repeated episodes; and warnings of them.

    compare: whether every episode can be read, and so be compared with the others.
    """
    ends = np.cumsum(dataset.lengths)
    every = vectors(dataset)
    observed = [one for one in every if one[0] != ACTION] or every
    warnings, found = [], {}
    if every:
        parts = [
            [(key, modality, values[start:stop]) for key, modality, values in every]
            for start, stop in zip([0, *ends], ends)
        ]
        starts = np.array([motion.first_motion(part) for part in parts])
        late = np.flatnonzero(starts > IDLE_START)
        if len(late):
            warnings.append(
                f"{len(late)} episodes stand still for more than {IDLE_START} timesteps before "
                f"anything moves: {listed(late.tolist())}; `gato dataset trim` takes that away"
            )
        jumps = motion.jumps(observed, ends)
        for jump in jumps[:3]:
            warnings.append(
                f"episode {jump.episode}, timestep {jump.timestep}: {jump.dimension} jumps from "
                f"{jump.before:.4g} to {jump.after:.4g}"
            )
        found = {
            "still": round(float(motion.standing(observed, ends).mean()), 3),
            "idle_timesteps": int(starts.sum()),
            "jumps": len(jumps),
        }
    doubles = repeated(dataset) if compare else {}
    if doubles:
        warnings.append(
            f"{len(doubles)} episodes repeat earlier ones: {listed(sorted(doubles))}; `gato "
            "dataset delete --duplicates` takes them away"
        )
    return found | {"repeated": len(doubles)}, warnings


def vectors(dataset: Dataset) -> list[tuple[str, Continuous, np.ndarray]]:
    """(key, modality, values (num_timesteps, n)) of everything continuous."""
    found: list[tuple[str, Continuous, np.ndarray]] = []
    if slices := state_slices(dataset.spec):
        state = dataset.column(STATE)
        for key, modality in dataset.spec.observation.items():
            if isinstance(modality, Continuous):
                found.append((key, modality, state[:, slices[key]]))
    if isinstance(dataset.spec.action, Continuous):
        found.append((ACTION, dataset.spec.action, dataset.column(ACTION)))
    return found


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
    """Reads every episode, which verifies checksums and numbers, and decodes one of its frames.

    Of a video the first and the last, too: these are what another episode's times would miss.
    """
    problems = []
    table = dataset.info["features"].values()
    is_video = any(feature["dtype"] == "video" for feature in table)
    for i, length in enumerate(dataset.lengths.tolist()):
        middle = length // 2
        try:
            for t in sorted({0, middle, length - 1}) if is_video else [middle]:
                episode = dataset.read(i, t, t + 1)
                problems += _blank(dataset, i, t, episode) if t == middle else []
        except ValueError as error:
            problems.append(str(error))
    return problems


def _blank(dataset: Dataset, i: int, t: int, episode: Episode) -> list[str]:
    return [
        f"episode {i}: {key}: blank image at timestep {t}"
        for key, modality in dataset.spec.observation.items()
        if isinstance(modality, Image) and episode.observation[key].std() == 0
    ]


def _spread(values: np.ndarray) -> dict[str, int]:
    return {"min": int(values.min()), "median": int(np.median(values)), "max": int(values.max())}


def _counts(values) -> dict[str, int]:
    unique, counts = np.unique(list(values), return_counts=True)
    return dict(zip(unique.tolist(), counts.tolist()))


def megabytes(path: Path) -> float:
    """Size of all files of a folder."""
    return round(sum(p.stat().st_size for p in path.rglob("*") if p.is_file()) / 1e6, 1)
