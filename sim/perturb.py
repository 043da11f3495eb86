"""Disturbs what is executed while the label stays clean, so that demonstrations show recoveries."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PerturbConfig:
    """How often and how strongly. Probabilities are per control step unless said otherwise."""

    push_probability: float = 1 / 60  # that a push begins where none is under way
    push_steps: tuple[int, int] = (5, 15)
    push_velocity: float = 0.05  # m/s, standard deviation per axis at the middle of a push
    push_yaw_rate: float = 0.6  # rad/s
    quiet_steps: int = 15  # no push this soon after the gripper changed its mind
    drop_fraction: float = 0.08  # of episodes in which the gripper opens once while carrying
    drop_after: tuple[int, int] = (14, 50)  # steps of closing before it opens
    drop_steps: tuple[int, int] = (10, 16)


PRESETS = {"mild": PerturbConfig()}


def load(name: str, seed: int) -> Perturbation:
    """A Perturbation for one episode. Raises ValueError listing the presets if unknown."""
    if name not in PRESETS:
        raise ValueError(f"perturb: expected one of {sorted(PRESETS)}, got {name!r}")
    return Perturbation(PRESETS[name], np.random.default_rng(seed))


class Perturbation:
    """Clean action (5,) to executed action, for one episode: smooth pushes, rarely a drop."""

    def __init__(self, config: PerturbConfig, rng: np.random.Generator) -> None:
        self.config, self.rng = config, rng
        self._push: np.ndarray = np.zeros((0, 4))
        self._closing = False
        self._steps_since_change = 0
        self._drop_in = np.inf
        if rng.random() < config.drop_fraction:
            self._drop_in = int(rng.integers(*config.drop_after, endpoint=True))
        self._drop_left = int(rng.integers(*config.drop_steps, endpoint=True))

    def __call__(self, action: np.ndarray) -> np.ndarray:
        """The action to execute, float32 (5,); the argument is left as it is."""
        executed = np.array(action, dtype=np.float32)
        closing = bool(action[4] > 0)
        self._steps_since_change = self._steps_since_change + 1 if closing == self._closing else 0
        self._closing = closing
        executed[:4] += self._next_push()
        if closing and self._steps_since_change >= self._drop_in and self._drop_left > 0:
            self._drop_left -= 1
            executed[4] = -executed[4]
        return executed

    def _next_push(self) -> np.ndarray:
        """This step's velocity error (4,): half a sine over the steps of a push, else zero."""
        quiet = self._steps_since_change < self.config.quiet_steps
        if len(self._push) == 0 and not quiet and self.rng.random() < self.config.push_probability:
            num_steps = int(self.rng.integers(*self.config.push_steps, endpoint=True))
            linear = self.rng.normal(scale=self.config.push_velocity, size=3)
            peak = np.append(linear, self.rng.normal(scale=self.config.push_yaw_rate))
            phase = (np.arange(num_steps) + 0.5) / num_steps
            self._push = np.sin(np.pi * phase)[:, None] * peak
        push, self._push = (self._push[:1], self._push[1:])
        return push[0] if len(push) else np.zeros(4)
