"""Simulated latency: actions take effect later, as if the policy had needed that time."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import dm_env
import numpy as np


class Pace:
    """One policy in one environment; without `latency` an action takes effect at once.

    env: its `step(action, after=seconds)` takes None for "the last action goes on", lasts
    `control_timestep` seconds, and clips actions to the limits of `action_spec`. latency: asked
    after each action for the seconds the policy took. The action takes effect that much after its
    observation; observations that arrive meanwhile are dropped, and the command before it lasts.
    perturb: turns the policy's action into the executed one.
    """

    def __init__(
        self,
        env: dm_env.Environment,
        policy,
        *,
        latency: Callable[[], float] | None = None,
        perturb: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> None:
        self._env, self._policy = env, policy
        self._latency, self._perturb = latency, perturb
        self._step_ns = round(env.control_timestep * 1e9)
        self._limits = env.action_spec()
        self._action = self._executed = np.zeros(self._limits.shape, np.float32)
        self._busy_ns = 0  # from the present step on; whole, for 0.2 - 3 * 0.05 is not 0.05

    def step(
        self, observation: Mapping[str, np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray, dm_env.TimeStep]:
        """The policy's newest action and the executed one, float32 (A,); the timestep after them.

        An action that takes effect late counts as executed from the step that asked for it on.
        """
        if self._busy_ns > 0:
            self._busy_ns -= self._step_ns
            return self._action, self._executed, self._env.step(None)
        self._action = np.array(self._policy.step(observation), np.float32)
        wanted = self._action if self._perturb is None else self._perturb(self._action)
        self._executed = np.clip(wanted, self._limits.minimum, self._limits.maximum)
        after = 0.0 if self._latency is None else self._latency()
        self._busy_ns = round(after * 1e9) - self._step_ns
        return self._action, self._executed, self._env.step(wanted, after=after)
