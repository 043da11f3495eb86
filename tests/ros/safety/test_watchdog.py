"""The Hold step by step, in a time of its own; sequences of faults are in test_rule.py."""

import time

import pytest

from gato_ros.common.clocks import Clocks
from gato_ros.safety.hold import Hold, Watchdog

MS = 1_000_000


class Robot:
    """Counts holds; stands when told to."""

    def __init__(self, *, is_simulated: bool = False) -> None:
        self.wall = self.now = 1000 * MS
        self.held: list[bool] = []  # whether from rest
        self.stands, self.error = False, ""
        clocks = Clocks(lambda: self.now, lambda: self.wall, lambda: is_simulated)
        self.told: list[str] = []
        self.control = Hold(self, clocks, 0.1, 0.05, 2.0, tell=self.told.append)
        self.control.open()

    def hold(self, *, from_rest: bool) -> None:
        if self.error:
            raise ValueError(self.error)
        self.held.append(from_rest)

    def stands_still(self, since: int) -> bool:
        return self.stands

    def move(self) -> bool:
        return self.control.move(lambda: None, self.control.epoch)

    def go_on(self, milliseconds: int, rate: float = 1.0) -> None:
        for _ in range(milliseconds):
            self.wall += MS
            self.now += round(MS * rate)
            self.control.poll()


def test_a_command_counts_as_long_as_it_says_and_holds_are_repeated_until_it_stands():
    robot = Robot()
    assert robot.move()
    robot.go_on(99)
    assert not robot.held and robot.control.is_moving
    robot.go_on(2)
    assert robot.held == [False] and robot.told == ["no command for 0.100 s"]
    robot.go_on(500)
    assert len(robot.held) == 11 and not any(robot.held)
    robot.stands = True
    robot.go_on(500)
    assert robot.control.is_resting and len(robot.held) == 11


def test_a_stop_holds_what_was_never_moved_and_tells_when_it_cannot():
    robot = Robot()
    robot.error = "no angles"
    assert robot.control.stop("asked") == "no angles"
    robot.go_on(200)
    robot.error = ""
    robot.go_on(10)
    assert robot.held and robot.control.unsent == "", "it is tried again"
    assert not robot.move()
    assert robot.control.rearm() == "asked" and robot.move()
    other = Robot()
    assert other.control.stop("asked") == "" and other.held == [True], "from rest"


def test_a_command_that_could_not_be_sent_holds():
    robot = Robot()

    def refuse() -> None:
        raise ValueError("cannot publish")

    assert not robot.control.move(refuse, robot.control.epoch)
    assert robot.held and "cannot publish" in robot.control.reason


def test_a_simulated_clock_that_goes_back_or_stands_still_holds():
    robot = Robot(is_simulated=True)
    robot.move()
    robot.now -= 300 * MS
    robot.go_on(1)
    assert robot.held
    robot.control.rearm()
    robot.move()
    robot.held.clear()
    robot.go_on(1990, rate=0.0)
    assert not robot.held, "until max_pause of the wall clock"
    robot.go_on(20, rate=0.0)
    assert robot.held


def test_what_was_decided_before_a_hold_no_longer_counts():
    robot = Robot()
    epoch = robot.control.epoch
    robot.control.stop("asked")
    robot.control.rearm()
    assert not robot.control.move(lambda: None, epoch)
    robot.control.shut("deactivated")
    assert not robot.move()


@pytest.mark.parametrize("fails", [False, True])
def test_the_watchdog_outlives_what_it_cannot_repair(fails):
    robot = Robot()
    errors: list[str] = []
    calls = []

    def poll() -> float:
        calls.append(time.monotonic())
        if fails:
            raise RuntimeError("of ours")
        return 0.001

    robot.control.poll = poll
    watchdog = Watchdog(robot.control, errors.append)
    end = time.monotonic() + 5.0
    while len(calls) < 5 and time.monotonic() < end:
        time.sleep(0.005)
    watchdog.end()
    assert len(calls) >= 5
    assert bool(errors) == fails
