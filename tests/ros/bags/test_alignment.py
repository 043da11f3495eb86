"""Timesteps out of messages that come at rates of their own."""

import numpy as np
import pytest

from gato_ros.bags import alignment

PERIOD = 50_000_000
START = 1_700_000_000_000_000_000  # ns since 1970: more digits than float64 has


def ticks(count, first=START, period=PERIOD):
    return first + period * np.arange(count)


def test_newest_message_is_never_from_the_future():
    rng = np.random.default_rng(0)
    stamps = START + rng.integers(0, 10**9, 200)
    times = ticks(30, START - PERIOD)
    picks, ages = alignment.newest(stamps, times)
    for time, pick, age in zip(times, picks, ages, strict=True):
        earlier = stamps[stamps <= time]
        if not len(earlier):
            assert pick == -1 and age == np.inf
            continue
        assert stamps[pick] == earlier.max()
        assert age == pytest.approx((time - earlier.max()) / 1e9)


def test_a_known_lag_is_measured_as_skew():
    picks, ages = alignment.newest(ticks(40) - 7_000_000, ticks(40))
    assert picks.tolist() == list(range(40))
    assert alignment.skew({"camera": ages})["camera"] == {
        "median_ms": 7.0,
        "p95_ms": 7.0,
        "max_ms": 7.0,
    }


def test_missing_actions_are_held_up_to_a_limit():
    stamps = np.delete(ticks(40), [10, 11, *range(20, 30)])
    times, answers = alignment.action_times(stamps, PERIOD)
    assert times.tolist() == np.delete(ticks(40), range(20, 30)).tolist()
    assert (stamps[answers] <= times).all()
    assert stamps[answers[10]] == stamps[answers[11]] == START + 9 * PERIOD


def test_the_newer_of_two_actions_with_one_stamp_counts():
    times, answers = alignment.action_times(np.array([START, START, START + PERIOD]), PERIOD)
    assert times.tolist() == [START, START + PERIOD]
    assert answers.tolist() == [1, 2]


def test_timesteps_are_bounded_by_the_messages_not_by_what_a_stamp_says():
    """One stamp a year ahead made 630 million timesteps: gigabytes."""
    year = 365 * 86_400 * 10**9
    joints = np.append(ticks(100, period=20_000_000), START + year)
    streams = {"joint_states": joints, "camera": np.append(ticks(40), START + year)}
    times = alignment.grid(streams, joints, PERIOD)
    assert len(times) <= 50
    assert times[:40].tolist() == ticks(40).tolist()


def test_timesteps_keep_their_phase_across_a_gap():
    joints = np.concatenate(
        [ticks(50, START, 20_000_000), ticks(50, START + 10**10 + 7, 20_000_000)]
    )
    times = alignment.grid({"joint_states": joints}, joints, PERIOD)
    assert ((times - START) % PERIOD == 0).all()
    assert np.diff(times).max() > 8.5e9


def test_actions_at_another_rate_are_refused():
    with pytest.raises(ValueError, match="expected 20 Hz by the Spec, got 30"):
        alignment.action_times(ticks(30, period=33_333_333), PERIOD)


def test_episodes_end_at_gaps_and_begin_at_events():
    times = np.concatenate([ticks(30), ticks(50, START + 60 * PERIOD)])
    ages = {"camera": np.zeros(80)}
    ages["camera"][20:22] = 0.3  # a camera that stood still
    limits = {"camera": 0.15}
    starts = START + np.array([2, 85]) * PERIOD
    found = alignment.stretches(times, ages, limits, PERIOD, starts)
    spans = [(int(s.indices[0]), int(s.indices[-1]), s.is_end) for s in found]
    assert spans == [(2, 19, False), (30, 54, True), (55, 79, True)]
    whole = alignment.stretches(times, ages, limits, PERIOD, starts[:0])
    assert [(int(s.indices[0]), int(s.indices[-1])) for s in whole] == [(0, 19), (30, 79)]


def test_nothing_fresh_is_no_episode():
    old = {"camera": np.full(30, np.inf)}
    assert alignment.stretches(ticks(30), old, {"camera": 0.15}, PERIOD, ticks(0)) == []
