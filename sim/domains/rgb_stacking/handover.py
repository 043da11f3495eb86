"""DAgger with handover: a trained policy acts, the expert labels its states and takes over.

The dataset aggregation of Ross et al. (2011, DAgger), by stretches of an episode: the states are
those that the policy gets itself into, the labels are the expert's throughout.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from gato_core.episode import Episode

POLICY_STEPS = (15, 70)  # control steps the trained policy keeps the arm
EXPERT_STEPS = (20, 60)
MAX_POLICY_SHARE = 0.6  # of the episode; after it the expert finishes
EPISODE_STEPS = 400


class Handover:
    """Policy protocol: `step` returns the expert's action, `executed` what moves the arm."""

    def __init__(self, expert, actor, *, seed: int) -> None:
        self._expert, self._actor = expert, actor
        self._rng = np.random.default_rng(seed)
        self._actors_turn = False
        self._steps_left = 0
        self._step = 0
        self._action: np.ndarray | None = None

    def reset(self, prompt: Episode | None = None) -> None:
        """A new episode: a coin decides who begins."""
        self._expert.reset(prompt)
        self._step = 0
        self._actors_turn = bool(self._rng.random() < 0.5)
        self._take_turn()

    def step(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        """The expert's action float32 (5,), whoever moves the arm: the label."""
        label = self._expert.step(observation)
        if self._steps_left == 0:
            tired = self._step > MAX_POLICY_SHARE * EPISODE_STEPS
            self._actors_turn = not self._actors_turn and not tired
            self._take_turn()
        self._steps_left -= 1
        self._step += 1
        self._action = self._actor.step(observation) if self._actors_turn else label
        return label

    def executed(self, action: np.ndarray) -> np.ndarray:
        """The action float32 (5,) to execute in place of the label of this step."""
        assert self._action is not None
        return self._action

    def _take_turn(self) -> None:
        steps = POLICY_STEPS if self._actors_turn else EXPERT_STEPS
        self._steps_left = int(self._rng.integers(*steps, endpoint=True))
        if self._actors_turn:
            self._actor.reset()
