"""Episodes at a lower rate: fewer observations, and actions joined to one for each of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gato_core.episode import Episode
from gato_core.spec import Continuous, Discrete

VELOCITIES = ("rad/s", "m/s", "deg/s", "1/s")
JOININGS = ("mean", "last", "sum")


def joining(action: Continuous | Discrete, chosen: str | None) -> str:
    """How the actions within a timestep become one. Raises ValueError where nobody says it.

    Velocities are averaged, so that the way is the same; targets want the last, differences the
    sum, and the unit does not tell these two apart.
    """
    if isinstance(action, Discrete):
        if chosen not in (None, "last"):
            raise ValueError(f"actions: expected last for discrete actions, got {chosen}")
        return "last"
    if chosen is not None:
        return chosen
    if action.unit in VELOCITIES:
        return "mean"
    raise ValueError(
        f"actions: expected {', '.join(JOININGS)}, how those of one timestep become one: the unit "
        f"{action.unit!r} does not tell, got none"
    )


def resampled(episode: Episode, ratio: float, how: str) -> Episode:
    """Every `ratio`-th timestep, the newest where it is no whole number; rewards are added up."""
    length = len(episode)
    count = int(np.floor((length - 1) / ratio + 1e-9)) + 1
    kept = np.floor(np.arange(count) * ratio + 1e-9).astype(int)
    ends = np.append(kept[1:], length)
    parts = list(zip(kept.tolist(), ends.tolist()))

    def joined(values: np.ndarray, how: str) -> np.ndarray:
        reduce = {"mean": lambda v: v.mean(0), "last": lambda v: v[-1], "sum": lambda v: v.sum(0)}
        return np.stack([reduce[how](values[a:b]) for a, b in parts]).astype(values.dtype)

    executed = episode.executed
    return replace(
        episode,
        observation={key: value[kept] for key, value in episode.observation.items()},
        action=joined(episode.action, how),
        executed=None if executed is None else joined(executed, how),
        reward=joined(episode.reward, "sum"),
        privileged={key: value[kept] for key, value in episode.privileged.items()},
        info=episode.info | {"resampled": {"ratio": round(ratio, 6), "actions": how}},
    )
