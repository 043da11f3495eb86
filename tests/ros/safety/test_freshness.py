import threading

import numpy as np
import pytest
from rclpy.clock import ROSClock
from rclpy.clock_type import ClockType
from rclpy.time import Time

from gato_ros.common.cadence import Cadence
from gato_ros.policy.triggers import ClockTrigger, StateTrigger
from gato_ros.safety.freshness import Latest, Limits, Sample, stale_streams
from gato_ros.sim.motors import CommandInput
from gato_ros.sim.pacing import Pace

LIMITS = Limits(arrival=0.15, stamp=0.2, wall=1.0)
MS = 1_000_000


def sample(stamp: float, arrival: float, wall: float) -> Sample:
    return Sample("message", int(stamp * MS), int(arrival * MS), int(wall * MS))


def stale(samples: dict, now: float, wall: float, limits: Limits = LIMITS) -> list[str]:
    return stale_streams(samples, {"a": limits, "b": limits}, int(now * MS), int(wall * MS))


def test_fresh_streams_have_nothing_to_say():
    both = {"a": sample(950, 960, 960), "b": sample(980, 990, 990)}
    assert stale(both, 1000, 1000) == []


def test_each_way_of_growing_old_is_noticed():
    fresh = sample(1000, 1000, 1000)
    for other, words in (
        (sample(1000, 800, 1000), "b: arrived 0.200 s ago, expected at most 0.150 s"),
        (sample(700, 1000, 1000), "b: stamped 0.300 s ago"),
        (sample(1300, 1000, 1000), "b: stamped 0.300 s ago"),
        (sample(1000, 1000, -500), "b: arrived by the wall clock 1.500 s ago"),
    ):
        (line,) = stale({"a": fresh, "b": other}, 1000, 1000)
        assert line.startswith(words)
    assert stale({"a": fresh}, 1000, 1000) == ["b: no message yet"]


def test_an_age_of_the_limit_is_fresh_and_each_stream_has_one_line():
    half = Limits(arrival=0.5, stamp=0.5, wall=0.5)
    just = {"a": sample(500, 500, 500), "b": sample(1500, 500, 500)}
    assert stale(just, 1000, 1000, half) == []
    lines = stale({"a": sample(499, 499, 499), "b": just["b"]}, 1000, 1000, half)
    assert len(lines) == 1 and lines[0].startswith("a: arrived 0.501 s ago")


def test_stamps_may_be_left_unchecked():
    old = {"a": sample(1, 1000, 1000), "b": sample(1, 1000, 1000)}
    assert stale(old, 1000, 1000, Limits(arrival=0.15, stamp=0.0, wall=1.0)) == []


def test_state_trigger_waits_for_the_whole_set_and_counts_what_it_missed():
    latest = Latest(["a", "b"])
    trigger = StateTrigger(latest, control_timestep=0.05)
    latest.put("a", sample(50, 50, 50))
    assert trigger.wait(0.0) is None
    latest.put("b", sample(50, 51, 51))
    assert trigger.wait(0.0).num_missed == 0
    assert trigger.wait(0.0) is None
    for stream in ("a", "b"):
        latest.put(stream, sample(200, 200, 200))
    due = trigger.wait(0.0)
    assert (due.num_missed, due.wall) == (2, 200 * MS)
    trigger.restart()
    for stream in ("a", "b"):
        latest.put(stream, sample(900, 900, 900))
    assert trigger.wait(0.0).num_missed == 0


def test_clock_trigger_skips_what_is_late_and_survives_a_jump_backwards():
    clock = ROSClock()
    clock._set_ros_time_is_active(True)

    def set_time(milliseconds: int) -> None:
        clock.set_ros_time_override(
            Time(nanoseconds=milliseconds * MS, clock_type=ClockType.ROS_TIME)
        )

    set_time(10_000)
    trigger = ClockTrigger(clock, control_timestep=0.05)
    assert trigger.wait(0.01) is None
    threading.Timer(0.05, set_time, [10_050]).start()
    assert trigger.wait(10.0).num_missed == 0
    set_time(10_210)
    assert trigger.wait(0.01).num_missed == 2
    assert trigger.wait(0.01) is None
    set_time(1_000)
    assert trigger.wait(0.01) is None
    set_time(1_050)
    assert trigger.wait(0.01).num_missed == 0


def test_cadence_counts_every_tick_that_was_due():
    cadence = Cadence(0.05)
    for i, latency in enumerate((0.01, 0.02, 0.06, 0.01)):
        cadence.tick(i * 0.05, latency, {"policy": latency / 2})
    cadence.miss(1)
    report = cadence.report()
    assert (report["num_ticks"], report["num_late"], report["num_missed"]) == (4, 1, 1)
    assert report["on_time_fraction"] == pytest.approx(3 / 5)
    assert report["rate_hz"] == pytest.approx(20.0)
    assert report["latency_ms"]["total"]["max"] == pytest.approx(60.0)
    assert report["latency_ms"]["policy"]["p50"] == pytest.approx(7.5)


def test_robot_stands_still_without_commands_for_too_long():
    commands = CommandInput(timeout=0.1)
    assert not commands.ctrl(0.0).any() and not commands.has_begun
    commands.put_gripper(255.0)
    commands.put_arm([0.5] * 7, now=1.0)
    for now in (1.0, 1.05):
        assert commands.ctrl(now).tolist() == [0.5] * 7 + [255.0]
    assert not commands.ctrl(1.1).any()
    commands.put_arm([0.25] * 7, now=1.2)
    assert commands.ctrl(1.2)[0] == 0.25


def test_a_late_command_answers_no_newer_state():
    """A robot that took it for an answer would lag one step behind the policy for ever."""
    commands = CommandInput(timeout=0.1)
    commands.put_arm([0.5] * 7, now=0.0)
    commands.expect()
    assert not commands.wait(0.0)
    commands.put_arm([0.6] * 7, now=0.05)
    assert commands.wait(0.0)


def test_a_lost_deadline_is_not_caught_up_with():
    pace, stop = Pace(0.01, factor=1.0), threading.Event()
    pace.wait(stop)
    threading.Event().wait(0.1)
    pace.wait(stop)
    assert 0.0 < pace.remaining() <= 0.01
    assert pace.num_late == 1


@pytest.mark.parametrize("interval, expected", [(10, 20), (25, 20), (50, 20), (100, 10)])
def test_joint_trigger_ticks_at_the_control_rate_whatever_a_multiple_the_joints_have(
    interval, expected
):
    latest = Latest(["joints", "camera"])
    trigger = StateTrigger(latest, control_timestep=0.05, awaited=["joints"])
    rng = np.random.default_rng(0)
    num_ticks = num_missed = 0
    for stamp in range(interval, 1001, interval):
        stamp += rng.uniform(-1, 1)  # ms; no publisher is exact
        latest.put("joints", sample(stamp, stamp, stamp))
        if due := trigger.wait(0.0):
            num_ticks += 1
            num_missed += due.num_missed
    assert num_ticks == expected
    assert num_missed == (0 if interval <= 50 else 9)


def test_a_stamp_that_goes_backwards_is_a_new_tick():
    latest = Latest(["joints"])
    trigger = StateTrigger(latest, control_timestep=0.05)
    for stamp in (5000, 100, 150):
        latest.put("joints", sample(stamp, stamp, stamp))
        assert trigger.wait(0.0).num_missed == 0
