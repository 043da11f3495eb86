"""The robot's clock through a recording: where it goes back, and which messages are of one run."""

import numpy as np
import pytest

from gato_core.importers import clocks
from gato_core.importers.bags import NO_STAMP
from gato_core.importers.clocks import LEFT_OUT

START = 1_700_000_000_000_000_000  # ns since 1970: more digits than float64 has
PERIOD = 20_000_000


def ticks(count, first=START, period=PERIOD):
    return first + period * np.arange(count)


def test_a_clock_that_goes_forward_is_one_run():
    assert clocks.runs_of(ticks(50)).tolist() == [0] * 50
    assert clocks.runs_of(np.repeat(ticks(25), 2)).tolist() == [0] * 50  # it may stand still


@pytest.mark.parametrize("back", [100_000_000, 2_000_000_000, START])
def test_a_clock_that_is_set_back_begins_another_run(back):
    stamps = np.concatenate([ticks(50), ticks(50, START + 50 * PERIOD - back)])
    assert clocks.runs_of(stamps).tolist() == [0] * 50 + [1] * 50


def test_a_message_that_was_overtaken_begins_no_run():
    stamps = ticks(50)
    stamps[[20, 21]] = stamps[[21, 20]]
    assert clocks.runs_of(stamps).tolist() == [0] * 50


@pytest.mark.parametrize("off", [365 * 86_400 * 10**9, -(10**9), -START])
def test_a_single_stamp_far_off_is_left_out(off):
    stamps = ticks(50)
    stamps[20] += off
    expected = [0] * 50
    expected[20] = LEFT_OUT
    assert clocks.runs_of(stamps).tolist() == expected


def test_a_clock_that_is_none_is_refused():
    with pytest.raises(ValueError, match="clock that goes forward, got 24 times back in 100"):
        clocks.runs(np.tile(ticks(4), 25), ticks(100))


def test_messages_without_stamps_are_placed_by_when_they_came():
    """A simulator at half speed, recorded by a wall clock far away."""
    stamps = ticks(20, PERIOD)
    clock = clocks.runs(stamps, START + 2 * stamps)
    unset = np.full(20, NO_STAMP)
    axis = START + 2 * stamps + PERIOD
    found = clocks.placed(unset, axis, clock)
    np.testing.assert_array_equal(found.times[:-1], stamps[:-1] + PERIOD // 2)
    assert not found.runs.any()
    late = clocks.placed(unset[:1], START + 2 * stamps[-1:], clock)
    assert late.times[0] == stamps[-1]


def test_pictures_that_came_after_a_reset_belong_to_the_run_their_stamp_is_of():
    """A camera is 60 ms late: its last pictures of the first run arrive in the second."""
    joints = np.concatenate([ticks(50, 0), ticks(50, 0)])
    axis = ticks(100)
    clock = clocks.runs(joints, axis)
    assert len(clock) == 2
    found = clocks.placed(joints, axis + 3 * PERIOD, clock)
    np.testing.assert_array_equal(found.times, joints)
    assert found.runs.tolist() == [0] * 50 + [1] * 50


def test_a_stream_of_another_clock_is_named():
    axis = ticks(100)
    clock = clocks.runs(ticks(100), axis)

    def warnings(stamps):
        found = clocks.placed(stamps, axis, clock)
        return clocks.warnings_of_stamps("wrist", stamps, axis, found)

    assert warnings(ticks(100) - 60_000_000) == []
    (ahead,) = warnings(ticks(100) + 2 * 10**9)
    assert "wrist: stamps are 2.00 s ahead of the joint states'" in ahead
    (repeated,) = warnings(np.repeat(ticks(50, period=2 * PERIOD), 2))
    assert "50 of 100 messages bear the stamp of the one before" in repeated
    (unset,) = warnings(np.where(np.arange(100) < 3, NO_STAMP, ticks(100)))
    assert "3 of 100 messages bear no stamp: placed by arrival" in unset
    assert warnings(np.full(100, NO_STAMP)) == []  # of a type that has none
