"""When a control tick is due: at deadlines of a clock, or when new messages are there."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection
from dataclasses import dataclass

from rclpy.clock import Clock, JumpThreshold, TimeJump
from rclpy.duration import Duration

from gato_ros.policy.grid import StampGrid
from gato_ros.safety.freshness import Latest


@dataclass(frozen=True)
class Due:
    """A tick: the monotonic time (ns) it was due at, and how many before it were missed."""

    wall: int
    num_missed: int


class StateTrigger:
    """Due as soon as each awaited stream has a message with a new stamp: the least age.

    Awaits all streams, for robots whose sensors publish at the control rate such as the simulated
    one, or the joints alone, for cameras of another rate. Streams of a multiple of the control rate
    are thinned out by the grid of their stamps.
    """

    def __init__(
        self, latest: Latest, control_timestep: float, awaited: Collection[str] | None = None
    ) -> None:
        self._latest = latest
        self._awaited = tuple(awaited or latest.streams)
        self._period = round(control_timestep * 1e9)
        self._stamps: dict[str, int | None] = dict.fromkeys(self._awaited)
        self.restart()

    def restart(self) -> None:
        """A pause counts as no missed tick; a state that was answered is not answered again."""
        self._grid = StampGrid(self._period)

    def wait(self, timeout: float) -> Due | None:
        """The next tick, or None when none was due within `timeout` s."""
        end = time.monotonic() + timeout
        while self._latest.wait_for_set(self._stamps, max(0.0, end - time.monotonic())):
            samples = self._latest.snapshot()
            if not samples.keys() >= set(self._awaited):
                return None  # forgotten meanwhile, as when the clock jumped
            self._stamps = {stream: samples[stream].stamp for stream in self._awaited}
            num_missed = self._grid.tick(max(self._stamps.values()))
            if num_missed is not None:
                return Due(max(samples[stream].wall for stream in self._awaited), num_missed)
        return None


class ClockTrigger:
    """Due at absolute deadlines of a node's clock, simulated or not; deadlines gone by are skipped.

    For robots whose sensors have rates of their own.
    """

    def __init__(self, clock: Clock, control_timestep: float) -> None:
        self._clock = clock
        self._period = round(control_timestep * 1e9)
        self._moved = threading.Condition()
        threshold = JumpThreshold(
            min_forward=Duration(nanoseconds=1),
            min_backward=Duration(nanoseconds=-1),
            on_clock_change=True,
        )
        # in simulated time every /clock message is such a jump
        self._jumps = clock.create_jump_callback(threshold, post_callback=self._on_jump)
        self.restart()

    def restart(self) -> None:
        """The next deadline is one control timestep from now."""
        self._deadline = self._clock.now().nanoseconds + self._period

    def wait(self, timeout: float) -> Due | None:
        """The next tick, or None when none was due within `timeout` s of wall time."""
        end = time.monotonic() + timeout
        while (early := self._deadline - self._clock.now().nanoseconds) > 0:
            if early > 2 * self._period:  # the clock jumped backwards
                self.restart()
            remaining = end - time.monotonic()
            if remaining <= 0:
                return None
            self._sleep(early / 1e9, remaining)
        num_missed = -early // self._period
        self._deadline += (num_missed + 1) * self._period
        return Due(time.monotonic_ns() - (-early % self._period), num_missed)

    def _sleep(self, early: float, remaining: float) -> None:
        if not self._clock.ros_time_is_active:
            time.sleep(min(early, remaining))
            return
        with self._moved:
            if self._clock.now().nanoseconds < self._deadline:
                self._moved.wait(remaining)

    def _on_jump(self, _: TimeJump) -> None:
        with self._moved:
            self._moved.notify_all()
