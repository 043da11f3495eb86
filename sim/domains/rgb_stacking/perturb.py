"""Noise injection: disturbs the executed actions and keeps the labels the expert's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gato_sim.arm.sawyer import MAX_ANGULAR_VELOCITY


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
    fumbles: int = 0  # at most, in an episode: the gripper closes early and goes as if it held
    fumble_probability: float = 1 / 80  # that one begins while the gripper shall be open
    fumble_closing_steps: tuple[int, int] = (6, 22)
    fumble_moving_steps: tuple[int, int] = (0, 25)
    fumble_rise: tuple[float, float] = (0.0, 0.07)  # m/s
    fumble_velocity: float = 0.04  # m/s, standard deviation along x and y
    spin_steps: int = 0  # at the start: the gripper turns at full speed while the arm waits
    spin_reversal_probability: float = 1 / 20


PRESETS = {
    "mild": PerturbConfig(),
    "rough": PerturbConfig(fumbles=2, drop_fraction=0.25),
    "spin": PerturbConfig(spin_steps=30),
}
SPIN_WAIT = 0.2  # share of the arm's own velocity while the gripper spins


def load(name: str, seed: int) -> Perturbation:
    """A Perturbation for one episode. Raises ValueError listing the presets if unknown."""
    if name not in PRESETS:
        raise ValueError(f"perturb: expected one of {sorted(PRESETS)}, got {name!r}")
    return Perturbation(PRESETS[name], np.random.default_rng(seed))


class Perturbation:
    """Clean action (5,) to executed action, for one episode: pushes, drops, fumbles, a spin."""

    def __init__(self, config: PerturbConfig, rng: np.random.Generator) -> None:
        self.config, self.rng = config, rng
        self._push: np.ndarray = np.zeros((0, 4))
        self._closing = False
        self._steps_since_change = 0
        self._drop_in = np.inf
        if rng.random() < config.drop_fraction:
            self._drop_in = int(rng.integers(*config.drop_after, endpoint=True))
        self._drop_left = int(rng.integers(*config.drop_steps, endpoint=True))
        self._fumbles_left = config.fumbles
        self._fumble: np.ndarray = np.zeros((0, 4))
        self._spin_left = config.spin_steps
        self._spin = MAX_ANGULAR_VELOCITY * rng.choice((-1, 1)) if config.spin_steps else 0.0

    def __call__(self, action: np.ndarray) -> np.ndarray:
        """The action to execute, float32 (5,); the argument is left as it is."""
        executed = np.array(action, dtype=np.float32)
        closing = bool(action[4] > 0)
        self._steps_since_change = self._steps_since_change + 1 if closing == self._closing else 0
        self._closing = closing
        if self._spin_left > 0:
            return self._spun(executed)
        executed[:4] += self._next_push()
        if closing and self._steps_since_change >= self._drop_in and self._drop_left > 0:
            self._drop_left -= 1
            executed[4] = -executed[4]
        if len(self._fumble) == 0 and not closing:
            self._fumble = self._next_fumble()
        if len(self._fumble):
            executed[:4], self._fumble = self._fumble[0], self._fumble[1:]
            executed[4] = abs(executed[4])
        return executed

    def _spun(self, executed: np.ndarray) -> np.ndarray:
        """One scene under many turns of the gripper, each with the label that belongs to it."""
        self._spin_left -= 1
        if self.rng.random() < self.config.spin_reversal_probability:
            self._spin = -self._spin
        executed[:3] *= SPIN_WAIT
        executed[3] = self._spin
        return executed

    def _next_fumble(self) -> np.ndarray:
        """Velocities (n, 4) of closing, then moving away; mostly none."""
        config = self.config
        if self._fumbles_left == 0 or self.rng.random() >= config.fumble_probability:
            return np.zeros((0, 4))
        self._fumbles_left -= 1
        closing = int(self.rng.integers(*config.fumble_closing_steps, endpoint=True))
        moving = int(self.rng.integers(*config.fumble_moving_steps, endpoint=True))
        x, y = self.rng.normal(scale=config.fumble_velocity, size=2)
        away = np.array([x, y, self.rng.uniform(*config.fumble_rise), 0.0])
        return np.concatenate([np.zeros((closing, 4)), np.tile(away, (moving, 1))])

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
