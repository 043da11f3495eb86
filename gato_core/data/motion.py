"""Movement in a dataset's numbers: idle beginnings, standing still, jumps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gato_core.spec import Continuous, Discrete

STILL = 0.01  # of a dimension's limits: less away from the first timestep is no movement
STANDING = 2e-4  # of a dimension's limits: less from one timestep to the next is standing still
JUMP = 0.2  # of a dimension's limits from one timestep to the next
RARE = 5  # times the 99.9th percentile of its steps: a gripper that opens jumps all the time

Vector = tuple[str, Continuous | Discrete, np.ndarray]


@dataclass(frozen=True)
class Jump:
    """A step of one dimension that is far larger than its others."""

    episode: int
    timestep: int
    dimension: str
    before: float
    after: float


def first_motion(vectors: Sequence[Vector], still: float = STILL) -> int:
    """The first timestep whose values (T, n) are not those of the first; T if none moves."""
    moved = np.zeros(len(vectors[0][2]), bool)
    for _, modality, values in vectors:
        moved |= (np.abs(values - values[0]) > still * _range(modality)).any(1)
    return int(moved.argmax()) if moved.any() else len(moved)


def standing(vectors: Sequence[Vector], ends: np.ndarray) -> np.ndarray:
    """Per episode the share of timesteps in which nothing moves. ends: of each, in all."""
    still = np.ones(int(ends[-1]), bool)
    for _, modality, values in vectors:
        step = np.abs(np.diff(values, axis=0, prepend=values[:1]))
        still &= (step <= STANDING * _range(modality)).all(1)
    begins = np.concatenate([[0], ends[:-1]])
    still[begins] = False  # nothing comes before the first
    counts = np.add.reduceat(still, begins)
    return counts / np.maximum(ends - begins - 1, 1)


def jumps(vectors: Sequence[Vector], ends: np.ndarray) -> list[Jump]:
    """The largest first, by share of their limits."""
    found: list[tuple[float, Jump]] = []
    begins = np.concatenate([[0], ends[:-1]])
    for key, modality, values in vectors:
        if not isinstance(modality, Continuous) or len(values) < 2:
            continue
        step = np.abs(np.diff(values.astype(np.float64), axis=0)) / _range(modality)
        step[begins[1:] - 1] = 0.0
        usual = np.quantile(step, 0.999, axis=0)
        for row, column in np.argwhere(step > np.maximum(JUMP, RARE * usual)):
            episode = int(np.searchsorted(ends, row, side="right"))
            name = f"{key}/{modality.names[column]}"
            place = episode, int(row + 1 - begins[episode]), name
            jump = Jump(*place, float(values[row, column]), float(values[row + 1, column]))
            found.append((float(step[row, column]), jump))
    return [jump for _, jump in sorted(found, key=lambda pair: -pair[0])]


def _range(modality: Continuous | Discrete) -> np.ndarray:
    """What a share is of; any change of an integer is a movement."""
    if isinstance(modality, Continuous):
        return np.array(modality.high) - np.array(modality.low)
    return np.zeros(modality.num_tokens)
