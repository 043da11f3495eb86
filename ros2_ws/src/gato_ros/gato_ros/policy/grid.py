"""Chooses the messages of a faster stream that are nearest to the control rate's grid."""

from __future__ import annotations

from collections import deque

MEMORY = 9  # stamps, whose mean interval tells the stream's rate
MIN_CORRECTION = 1 / 8  # of the error, by which the grid follows the stamps
JITTER = 0.3  # of a control timestep, by which an interval may look shorter than it is


class StampGrid:
    """Thins a stream of a multiple of the control rate, and counts the ticks it lacks.

    The grid follows the stamps slowly, so one that is late by less than half a control timestep
    makes the next one, on time, no sooner: both are ticks. Measured from the late stamp itself the
    next would come too soon and pass for one to thin out. A slow drift between the clock of the
    sensors and the control rate costs no tick either. Stamps and periods are in ns.
    """

    def __init__(self, period: int) -> None:
        self._period = period
        self._stamps: deque[int] = deque(maxlen=MEMORY)
        self._num_ticks = 0  # since the grid began

    def tick(self, stamp: int) -> int | None:
        """The number of ticks missed before this stamp; None if the stamp is no tick.

        The first stamp begins the grid, and so does one behind its predecessor (the clock jumped)
        or later than half a control timestep.
        """
        if not self._stamps or stamp < self._stamps[-1]:
            return self._begin(stamp, 0)
        self._stamps.append(stamp)
        error = stamp - (self._nominal + self._period)
        if error > self._period / 2:
            return self._begin(stamp, max(1, round(error / self._period)))
        if error < -self._tolerance():
            return None
        self._num_ticks += 1
        # the mean error of the first ones: the stamp that began the grid may itself be late
        self._nominal += self._period + error * max(MIN_CORRECTION, 1 / self._num_ticks)
        return 0

    def _begin(self, stamp: int, num_missed: int) -> int:
        self._stamps.clear()
        self._stamps.append(stamp)
        self._nominal, self._num_ticks = stamp, 1
        return num_missed

    def _tolerance(self) -> float:
        """How much sooner than due a stamp may be: half the stream's interval, thinned or not."""
        span = max(1, self._stamps[-1] - self._stamps[0])
        num_sets = self._period * (len(self._stamps) - 1) / span  # in a control timestep
        return self._period / (2 * max(1, int(num_sets + JITTER)))
