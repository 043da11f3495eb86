"""Who holds the robot: the one object that every command passes, and its watchdog.

From the first command to the end of the process one of two things is so: the newest command on the
wire is younger than `hold_after`, or a hold has left since and is repeated until the robot stands
still or an operator rearms. Ticks, callbacks and transitions report to it; none of them is trusted
to send a hold, or to come again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from gato_ros.common.clocks import Clocks

MOVING, HOLDING, RESTING = "moving", "holding", "resting"
LOOK = 0.02  # s between looks at the most
SIMULATED = 0.005  # s between looks at a clock that may jump
RETRY = 5_000_000  # ns until a hold that could not be sent is tried again
MIN_HOLDS = 3  # that leave before the robot is believed to stand
MAX_TEXT = 500  # characters of a reason: messages may bring any string


class Robot(Protocol):
    """What is held."""

    def hold(self, *, from_rest: bool) -> None:
        """Publishes a hold; `from_rest`: whatever moves it now, it was not commanded here.

        Raises ValueError where it cannot know how.
        """

    def stands_still(self, since: int) -> bool:
        """Whether states that arrived after `since` (monotonic ns) say so."""


class Hold:
    """Lets commands pass while it may, and holds the robot when they stay away.

    hold_after: s that a command counts: on the wall clock, or in simulated time on the node's own
    (and a period more), where `max_pause` is what the wall clock allows. period: s between holds.
    tell: hears why the watchdog held, in its thread. Thread-safe; `poll` is the watchdog's, see
    `Watchdog`.
    """

    def __init__(
        self,
        robot: Robot,
        clocks: Clocks,
        hold_after: float,
        period: float,
        max_pause: float,
        send_errors: tuple[type[Exception], ...] = (),
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._robot, self._clocks = robot, clocks
        self._hold_after, self._period = round(hold_after * 1e9), round(period * 1e9)
        self._max_pause = round(max_pause * 1e9)
        self._idle = min(LOOK, hold_after / 2)
        self._send_errors, self._tell = (ValueError, *send_errors), tell
        self._lock = threading.Lock()
        self._phase, self._is_open = RESTING, False
        self._epoch = 0
        self._reason = self._stop_reason = self._unsent = ""
        self._sent_now = self._sent_wall = 0  # of the newest command
        self._held_at = self._next_at = 0  # wall, of the first hold and of the next
        self._num_sent = 0  # holds since the first
        self._has_moved = False
        self.counts = dict.fromkeys(("num_holds", "num_expired", "num_unsent", "num_stops"), 0)

    # What ticks do.

    @property
    def epoch(self) -> int:
        """Grows with each hold, stop and rearm: what was decided before it no longer counts."""
        return self._epoch

    def open(self) -> None:
        """From now on commands may pass."""
        with self._lock:
            self._is_open, self._has_moved = True, False

    def move(self, send: Callable[[], None], epoch: int) -> bool:
        """Whether the command left, by `send`; not if anything came between since `epoch`."""
        with self._lock:
            if not self._is_open or self._stop_reason or epoch != self._epoch:
                return False
            if self._phase == MOVING and self._left() <= 0:
                self._expire()
                return False
            # not when it has left: the process may be suspended in between
            self._sent_now, self._sent_wall = self._clocks.now(), self._clocks.wall()
            try:
                send()
            except self._send_errors as error:
                # a part of it may have left
                self._begin_hold(f"command not sent: {error}")
                return False
            self._phase, self._has_moved, self._reason = MOVING, True, ""
            return True

    # What holds.

    def hold(self, reason: str) -> bool:
        """Holds if it moves; whether it did."""
        with self._lock:
            was_moving = self._phase == MOVING
            if was_moving:
                self._begin_hold(reason)
            return was_moving

    def shut(self, reason: str) -> None:
        """Lets no command pass any more, and holds if the robot may be in motion."""
        with self._lock:
            self._is_open = False
            if self._phase == MOVING:
                self._begin_hold(reason)

    def stop(self, reason: str) -> str:
        """Holds at once and until `rearm`, moving or not; why no hold could leave, or ""."""
        with self._lock:
            if not self._stop_reason:
                self._stop_reason = reason[:MAX_TEXT]
                self.counts["num_stops"] += 1
            self._begin_hold(reason)
            return self._unsent

    def rearm(self) -> str:
        """Lets commands pass again, and ends the holds; the reason of the stop, or ""."""
        with self._lock:
            reason, self._stop_reason = self._stop_reason, ""
            if self._phase == HOLDING:
                self._phase = RESTING
            self._reason = ""
            self._epoch += 1
            return reason

    def _begin_hold(self, reason: str) -> None:
        if self._phase == MOVING:
            self.counts["num_holds"] += 1
        from_rest = self._phase == RESTING
        self._phase, self._reason = HOLDING, reason[:MAX_TEXT]
        self._epoch += 1
        self._held_at, self._num_sent = self._clocks.wall(), 0
        self._send_hold(from_rest=from_rest)

    def _send_hold(self, *, from_rest: bool = False) -> None:
        self._next_at = self._clocks.wall() + self._period
        try:
            self._robot.hold(from_rest=from_rest)
        except self._send_errors as error:
            self._unsent = str(error)[:MAX_TEXT]
            self._next_at = self._clocks.wall() + min(self._period, RETRY)
            self.counts["num_unsent"] += 1
        else:
            self._unsent = ""
            self._num_sent += 1

    def _expire(self) -> None:
        self.counts["num_expired"] += 1
        silence = (self._clocks.wall() - self._sent_wall) / 1e9
        self._begin_hold(f"no command for {silence:.3f} s")

    def _left(self) -> int:
        """ns for which the newest command still counts; 0 or less: no more."""
        silence = self._clocks.wall() - self._sent_wall
        if not self._clocks.is_simulated():
            return self._hold_after - silence
        age = self._clocks.now() - self._sent_now
        if age < 0:  # the clock went back
            return 0
        # a clock that ticks once a control step is up to a step behind when a command leaves
        most = self._hold_after + self._period
        return min(most - age, max(self._hold_after, self._max_pause) - silence)

    # What the watchdog does.

    def poll(self) -> float:
        """Holds if it must; s after which to look again at the latest."""
        with self._lock:
            if self._phase == MOVING and (left := self._left()) > 0:
                return min(left / 1e9, SIMULATED if self._clocks.is_simulated() else self._idle)
            expired = self._phase == MOVING
            if expired:
                self._expire()
            pause = self._repeat()
        if expired:
            self._tell(self._reason)
        return pause

    def _repeat(self) -> float:
        """Holds again when it is time, until the robot stands still; s until the next look."""
        if self._phase == HOLDING and self._clocks.wall() >= self._next_at:
            if self._num_sent >= MIN_HOLDS and self._robot.stands_still(self._held_at):
                self._phase = RESTING
            else:
                self._send_hold()
        if self._phase == HOLDING:
            return min(self._idle, max(0.0, (self._next_at - self._clocks.wall()) / 1e9))
        return self._idle

    # What is told.

    @property
    def is_moving(self) -> bool:
        return self._phase == MOVING

    @property
    def is_resting(self) -> bool:
        """Whether nothing is commanded and nothing needs to be repeated."""
        return self._phase == RESTING

    @property
    def has_moved(self) -> bool:
        """Whether a command has passed since `open`."""
        return self._has_moved

    @property
    def reason(self) -> str:
        """Why it holds."""
        return self._reason

    @property
    def stop_reason(self) -> str:
        """Why it is stopped; empty: it is not."""
        return self._stop_reason

    @property
    def unsent(self) -> str:
        """Why the newest hold could not leave; empty: it did."""
        return self._unsent


class Watchdog:
    """The thread that polls a Hold until it is ended."""

    def __init__(self, hold: Hold, on_error: Callable[[str], None]) -> None:
        self._hold, self._on_error = hold, on_error
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        pause = 0.0
        while not self._end.wait(pause):
            try:
                pause = self._hold.poll()
            except Exception as error:  # whatever it is: the next look may still hold the robot
                self._on_error(f"the watchdog failed: {error!r}")
                pause = LOOK

    def end(self) -> None:
        """Returns once the thread has ended."""
        self._end.set()
        self._thread.join()
