"""Episode: the arrays of one attempt at a task, in time order."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from gato_core.spec import Spec


@dataclass
class Episode:
    """Arrays over T timesteps of one episode.

    observation: {key: (T, *shape)} exactly as the Spec's modalities say, before each action.
    action: float32 (T, A), the label a policy should imitate, in the Spec's unit.
    reward: float32 (T,), received after each action.
    privileged: {key: float32 (T, n)}, simulator ground truth; never part of an observation.
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

    def __len__(self) -> int:
        return len(self.action)

    def check(self, spec: Spec) -> None:
        """Raises ValueError or KeyError when the arrays do not fit the Spec or differ in length."""
        num_timesteps = len(self.action)
        if num_timesteps == 0:
            raise ValueError("episode: expected at least one timestep, got none")
        if self.action.shape != (num_timesteps, *spec.action.shape):
            raise ValueError(
                f"action: expected ({num_timesteps}, {spec.action.num_tokens}), "
                f"got {self.action.shape}"
            )
        if not np.isfinite(self.action).all():
            step, dimension = np.argwhere(~np.isfinite(self.action))[0]
            raise ValueError(
                f"action: expected finite values, got {self.action[step]} at timestep {step} "
                f"({spec.action.names[dimension]})"
            )
        arrays = self.observation | self.privileged | {"reward": self.reward}
        for key, value in arrays.items():
            if len(value) != num_timesteps:
                raise ValueError(f"{key}: expected {num_timesteps} timesteps, got {len(value)}")
        for t in range(num_timesteps):
            spec.check_observation({key: value[t] for key, value in self.observation.items()})
