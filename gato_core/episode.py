"""Episode: the arrays of one attempt at a task, in time order."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from gato_core.spec import Spec


@dataclass
class Episode:
    """Arrays over T timesteps of one episode.

    observation: {key: (T, *shape)} exactly as the Spec's modalities say, before each action; Text
    is strings (T,).
    action: float32 (T, A), the label a policy should imitate, in the Spec's unit.
    executed: like action, what the robot did instead, where noise or another policy acted; None
    where nobody says, and then it did the action.
    terminated: whether the task itself ended after the last timestep, so that no reward can follow;
    False where time ran out or the recording just stops.
    reward: float32 (T,), received after each action.
    privileged: {key: float32 (T, n)}, simulator ground truth; never part of an observation.
    task says what was to be done, in words that other episodes of the same task share.
    source says who acted (e.g. "expert", a checkpoint's name), `info` what made it (physics,
    versions, object ids); it must be JSON-ready.
    """

    observation: dict[str, np.ndarray]
    action: np.ndarray
    reward: np.ndarray
    task: str
    source: str
    seed: int
    success: bool
    privileged: dict[str, np.ndarray] = field(default_factory=dict)
    info: dict = field(default_factory=dict)
    executed: np.ndarray | None = None
    terminated: bool = False

    def __len__(self) -> int:
        return len(self.action)

    def check(self, spec: Spec) -> None:
        """Raises ValueError or KeyError when the arrays do not fit the Spec or differ in length."""
        num_timesteps = len(self.action)
        if num_timesteps == 0:
            raise ValueError("episode: expected at least one timestep, got none")
        _check_action("action", self.action, num_timesteps, spec)
        if self.executed is not None:
            _check_action("executed", self.executed, num_timesteps, spec)
        arrays = self.observation | self.privileged | {"reward": self.reward}
        for key, value in arrays.items():
            if len(value) != num_timesteps:
                raise ValueError(f"{key}: expected {num_timesteps} timesteps, got {len(value)}")
        for t in range(num_timesteps):
            try:
                spec.check_observation({key: value[t] for key, value in self.observation.items()})
            except ValueError as error:
                raise ValueError(f"{error} at timestep {t}") from error


def _check_action(name: str, action: np.ndarray, num_timesteps: int, spec: Spec) -> None:
    expected = (num_timesteps, *spec.action.shape)
    if action.shape != expected:
        raise ValueError(f"{name}: expected {expected}, got {action.shape}")
    if not np.isfinite(action).all():
        step, dimension = np.argwhere(~np.isfinite(action))[0]
        raise ValueError(
            f"{name}: expected finite values, got {action[step]} at timestep {step} "
            f"({spec.action.names[dimension]})"
        )
