"""Simulated time against the wall clock."""

from __future__ import annotations

import time

from gato_ros.common.stopping import Stop


class Pace:
    """Deadlines one timestep apart, `factor` times real time; factor 0: as fast as possible.

    A deadline missed by more than a timestep is not caught up with: the schedule starts anew.
    """

    def __init__(self, timestep: float, factor: float) -> None:
        self.period = timestep / factor if factor else 0.0
        self.num_late = 0
        self.restart()

    def restart(self) -> None:
        """The next deadline is now."""
        self._deadline = time.monotonic()

    def wait(self, stop: Stop) -> None:
        """Sleeps until the next deadline, or `stop`; late by over a fifth of a period counts."""
        late = time.monotonic() - self._deadline
        if late < 0:
            stop.wait(-late)
        elif self.period:
            self.num_late += late > 0.2 * self.period
        if late > self.period:
            self.restart()
        self._deadline += self.period

    def remaining(self) -> float:
        """Seconds until the next deadline."""
        return self._deadline - time.monotonic()
