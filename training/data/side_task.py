"""Labels of the side task: positions of objects, and of the gripper's next action.

Not in the paper. The answers come from the simulator; a policy never sees them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gato_core.dataset import Dataset

TURN_SCALE = 0.05  # metres that the cosine and sine of twice a turn are worth: 0.1 rad is 1 cm
_GOAL_SIZE = 5


@dataclass(frozen=True)
class SideTask:
    """Questions about privileged poses (7,), xyz and quaternion wxyz, relative to `origin`'s.

    keys: whose positions are asked for. trigger: an action dimension, such as the gripper's; asked
    for is the origin's own pose when this action next changes its sign, or at the episode's end if
    it does not any more; not known in episodes without a change. "" asks for none.
    """

    keys: tuple[str, ...]
    origin: str
    trigger: str = ""

    @property
    def num_positions(self) -> int:
        return 3 * len(self.keys)

    @property
    def size(self) -> int:
        """Numbers in an answer: positions, then the goal's position and its turn's (cos, sin)."""
        return self.num_positions + (_GOAL_SIZE if self.trigger else 0)

    @property
    def reflection(self) -> np.ndarray:
        """float32 (size,): factors that make an answer that of the mirrored scene, y to -y."""
        goal = [1, -1, 1, 1, -1] if self.trigger else []
        return np.array([1, -1, 1] * len(self.keys) + goal, np.float32)

    def answers(self, dataset: Dataset) -> np.ndarray:
        """float32 (num_timesteps, size), metres, episode after episode; NaN: not known.

        Raises ValueError where the dataset lacks a pose or the action dimension.
        """
        self.check(dataset)
        origin_T7 = dataset.column(f"privileged.{self.origin}")
        parts = [dataset.column(f"privileged.{key}")[:, :3] - origin_T7[:, :3] for key in self.keys]
        if self.trigger:
            action = dataset.column("action")
            signal_T = action[:, dataset.spec.action.names.index(self.trigger)]
            parts.append(_goals(origin_T7, signal_T, dataset.lengths))
        return np.concatenate(parts, axis=1).astype(np.float32)

    def check(self, dataset: Dataset) -> None:
        """Raises ValueError where the dataset cannot answer."""
        for key in (*self.keys, self.origin):
            feature = dataset.info["features"].get(f"privileged.{key}")
            if feature is None or feature["shape"] != [7]:
                got = feature and feature["shape"]
                raise ValueError(
                    f"{dataset.root}: privileged.{key}: expected a pose of 7 numbers, got {got}"
                )
        if self.trigger and self.trigger not in dataset.spec.action.names:
            raise ValueError(
                f"{dataset.root}: expected an action {self.trigger!r}, "
                f"got {list(dataset.spec.action.names)}"
            )


def next_changes(signal_T: np.ndarray) -> np.ndarray:
    """For each timestep the next at which the sign is another than just before; else the last."""
    last = len(signal_T) - 1
    positive = signal_T > 0
    changes = np.flatnonzero(positive[1:] != positive[:-1]) + 1
    place = np.searchsorted(changes, np.arange(len(signal_T)), side="right")
    return np.append(changes, last)[place]


def _goals(pose_T7: np.ndarray, signal_T: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """(T, 5): from each pose to the one at the next change in its episode; NaN if none has one."""
    begins = np.cumsum(lengths) - lengths
    positive = signal_T > 0
    acts = [
        np.any(positive[begin : begin + n] != positive[begin]) for begin, n in zip(begins, lengths)
    ]
    next_T = np.concatenate(
        [begin + next_changes(signal_T[begin : begin + n]) for begin, n in zip(begins, lengths)]
    )
    turn_T = 2.0 * (_yaw(pose_T7[next_T]) - _yaw(pose_T7))  # fingers are alike: half a turn is none
    turn_T2 = TURN_SCALE * np.stack([np.cos(turn_T), np.sin(turn_T)], axis=1)
    goals = np.concatenate([pose_T7[next_T, :3] - pose_T7[:, :3], turn_T2], axis=1)
    return np.where(np.repeat(acts, lengths)[:, None], goals, np.nan)


def _yaw(pose_T7: np.ndarray) -> np.ndarray:
    """rad (T,): direction of the pose's x axis in the horizontal plane."""
    w, x, y, z = pose_T7[:, 3:].T
    return np.arctan2(2 * (x * y + w * z), 1 - 2 * (y * y + z * z))
