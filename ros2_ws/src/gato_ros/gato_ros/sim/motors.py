"""The simulated robot's command input: the newest command, and a watchdog."""

from __future__ import annotations

import threading
import time

import numpy as np


class CommandInput:
    """The newest command and its age in simulated time; too old an arm command counts as zero."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self.num_timeouts = 0
        self.arrived_at = 0.0  # by the wall clock, s
        self._changed = threading.Condition()
        self.restart()

    def restart(self) -> None:
        """Forgets all commands: a new episode begins when the next arrives."""
        with self._changed:
            self._velocities = np.zeros(7)
            self._gripper = 0.0
            self._arrival: float | None = None
            self._is_new = False

    def put_arm(self, velocities: np.ndarray, now: float) -> None:
        """A command (7,) in rad/s that arrived at simulated time `now`."""
        with self._changed:
            self._velocities, self._arrival, self._is_new = velocities, now, True
            self.arrived_at = time.monotonic()
            self._changed.notify_all()

    def put_gripper(self, command: float) -> None:
        """The gripper's command, +-255."""
        with self._changed:
            self._gripper = command

    def expect(self) -> None:
        """From now on `wait` looks for a newer command: one that came late answers no new state."""
        with self._changed:
            self._is_new = False

    def wait(self, timeout: float) -> bool:
        """Whether an arm command came since `expect`, waiting up to `timeout` s for one."""
        with self._changed:
            return self._changed.wait_for(lambda: self._is_new, max(0.0, timeout))

    @property
    def has_begun(self) -> bool:
        """Whether any arm command came since `restart`."""
        return self._arrival is not None

    def ctrl(self, now: float) -> np.ndarray:
        """What the motors get at simulated time `now`, float64 (8,); zero without a command."""
        with self._changed:
            # half a millisecond: sums of timesteps are not exact
            if self._arrival is None or now - self._arrival > self._timeout - 0.0005:
                self.num_timeouts += 1
                return np.zeros(8)
            return np.append(self._velocities, self._gripper)
