"""What is let into a dataset: what it holds already, what is unlike the Spec, what is doubtful."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from gato_core.data import identity
from gato_core.dataset import Dataset
from gato_core.episode import Episode
from gato_core.spec import Continuous, Image, Modality, Spec

BEYOND = 0.5  # of one dimension's values in an episode: the limits are in another unit
CLIPPED_TOO_MANY = 0.05  # of one dimension's values: the limits do not fit the robot


class Present:
    """The episodes that a dataset holds already, by their content; each is met once."""

    def __init__(self, root: Path, rows: list[dict]) -> None:
        self._rows: dict[str, list[dict]] = {}
        self._met: list[tuple[dict, Episode]] = []
        dataset = None
        for i, row in enumerate(rows):
            content = json.loads(row["gato/info"]).get(identity.CONTENT)
            if content is None:  # as conversions wrote them that went by names
                dataset = dataset or Dataset(root, memory_gb=0.0)
                content = identity.content(dataset.episode(i))
            self._rows.setdefault(content, []).append(row)

    @property
    def num_met(self) -> int:
        return len(self._met)

    def has(self, episode: Episode) -> bool:
        rows = self._rows.get(episode.info[identity.CONTENT])
        if rows:
            self._met.append((rows.pop(0), episode))
            return True
        return False

    def told(self, out: Path) -> list[str]:
        """What was met, and what is said of it now that was not said then."""
        if not self._met:
            return []
        names = [json.dumps(place(episode)) for _, episode in self._met[:3]]
        lines = [
            f"{len(self._met)} episodes are in {out} already, by their content, and were not "
            f"added again: {', '.join(names)}{', ...' if len(self._met) > 3 else ''}"
        ]
        for key, name in (("gato/success", "success"), ("gato/task", "task")):
            other = [row for row, episode in self._met if row[key] != getattr(episode, name)]
            if other:
                numbers = ",".join(str(row["episode_index"]) for row in other)
                lines.append(
                    f"{len(other)} of them are there with another {name}, which stays; `gato "
                    f"dataset relabel {out} --out {out} --episodes {numbers} --{name} ...` "
                    "changes it"
                )
        return lines


class Doubts:
    """What is converted and yet would make `gato inspect` call the dataset unsound."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._beyond: dict[str, np.ndarray] = {}
        self._names: dict[str, tuple[str, ...]] = {}
        self._num_timesteps = 0
        self._blank: dict[str, int] = {}

    def look_at(self, episode: Episode) -> None:
        self._num_timesteps += len(episode)
        for key, modality, values in _vectors(episode, self._spec):
            beyond = ((values < modality.low) | (values > modality.high)).sum(0)
            self._beyond[key] = self._beyond.get(key, 0) + beyond
            self._names[key] = modality.names
        for key, seen in self._spec.observation.items():
            if isinstance(seen, Image) and np.ptp(episode.observation[key][len(episode) // 2]) == 0:
                self._blank[key] = self._blank.get(key, 0) + 1

    def told(self) -> list[str]:
        lines = [f"{key}: blank pictures in {n} episodes" for key, n in self._blank.items()]
        for key, beyond in self._beyond.items():
            for name, share in zip(self._names[key], beyond / self._num_timesteps):
                if share > CLIPPED_TOO_MANY:
                    lines.append(f"{key}/{name}: {share:.1%} beyond the Spec's limits")
        return [f"{line}; gato inspect calls it unsound" for line in lines]


def typed(values: np.ndarray, modality: Modality, where: str) -> np.ndarray:
    """Numbers (T, n) as the modality has them. Raises ValueError for a fraction of an integer."""
    if isinstance(modality, Continuous):
        return float32(values)
    if not np.array_equal(values, np.nan_to_num(values).astype(np.int64)):
        raise ValueError(f"{where}: expected whole numbers, got {values.ravel()[:5]}")
    return values.astype(np.int64)


def float32(values: np.ndarray) -> np.ndarray:
    """What is too large becomes infinite, and is named as such where episodes are checked."""
    with np.errstate(over="ignore"):
        return values.astype(np.float32)


def place(episode: Episode) -> dict:
    """Where an episode comes from, as its converter says it."""
    return {key: value for key, value in episode.info.items() if key != identity.CONTENT}


def check_limits(episode: Episode, spec: Spec) -> None:
    """Raises ValueError listing dimensions that are mostly beyond the Spec's limits."""
    problems = []
    for key, modality, values in _vectors(episode, spec):
        for name, low, high, value in zip(modality.names, modality.low, modality.high, values.T):
            beyond = np.mean((value < low) | (value > high))
            if beyond > BEYOND:
                problems.append(
                    f"{key}/{name}: expected {low:g} to {high:g} {modality.unit}, got "
                    f"{value.min():g} to {value.max():g}, {beyond:.0%} beyond: another unit?"
                )
    if problems:
        raise ValueError("unlike the Spec:\n  " + "\n  ".join(problems))


def _vectors(episode: Episode, spec: Spec) -> list[tuple[str, Continuous, np.ndarray]]:
    """(key, modality, values (T, n)) of all that has limits: everything continuous, no mu-law."""
    values = episode.observation | {"action": episode.action}
    modalities = {**spec.observation, "action": spec.action}
    limited = {k: m for k, m in modalities.items() if isinstance(m, Continuous) and not m.mu_law}
    return [(key, modality, values[key]) for key, modality in limited.items()]
