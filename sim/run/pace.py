"""Steps of policy and environment in turn, as if the policy took its time: simulated latency."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import dm_env
import numpy as np

from gato_sim.constants import CONTROL_TIMESTEP
from gato_sim.domains.rgb_stacking.environment import Environment


class Pace:
    """One policy in one environment; without `latency` an action takes effect at once.

    latency: asked after each action for the seconds the policy took. The action takes effect that
    much after its observation; what is observed meanwhile passes a busy policy by, and the command
    before it lasts. perturb: turns the policy's action (5,) into the executed one.
    """

    def __init__(
        self,
        env: Environment,
        policy,
        *,
        latency: Callable[[], float] | None = None,
        perturb: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> None:
        self._env, self._policy = env, policy
        self._latency, self._perturb = latency, perturb
        self._action: np.ndarray | None = None
        self._busy = 0.0  # s, from the present step on

    def step(self, observation: Mapping[str, np.ndarray]) -> tuple[np.ndarray, dm_env.TimeStep]:
        """The policy's newest action float32 (5,), and the timestep after 0.05 s."""
        if self._busy > 0:
            self._busy -= CONTROL_TIMESTEP
            return self._action, self._env.step(None)
        self._action = np.array(self._policy.step(observation), np.float32)
        executed = self._action if self._perturb is None else self._perturb(self._action)
        after = 0.0 if self._latency is None else self._latency()
        self._busy = after - CONTROL_TIMESTEP
        return self._action, self._env.step(executed, after=after)
