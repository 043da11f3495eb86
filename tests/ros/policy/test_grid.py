"""Which stamps are ticks, whatever the rate and the jitter of a stream."""

import numpy as np
import pytest

from gato_ros.policy.grid import StampGrid
from gato_ros.policy.triggers import StateTrigger
from gato_ros.safety.freshness import Latest, Sample

PERIOD = 50_000_000  # ns
START = 100.0  # control timesteps
SETTLED = 8  # sets until the grid knows a stream whose first stamps were all odd


def ticks(stamps: np.ndarray) -> list[int | None]:
    """What the grid says of stamps in control timesteps."""
    grid = StampGrid(PERIOD)
    return [grid.tick(round(stamp * PERIOD)) for stamp in stamps]


def counts(stamps: np.ndarray) -> tuple[int, int]:
    """(ticks, missed) of stamps in control timesteps."""
    answers = [answer for answer in ticks(stamps) if answer is not None]
    return len(answers), sum(answers)


def jittered(num_sets: int, interval: float, jitter: float, seed: int) -> np.ndarray:
    """Stamps in control timesteps, each wrong by up to `jitter` intervals."""
    rng = np.random.default_rng(seed)
    wrong = rng.uniform(-jitter, jitter, num_sets)
    return START + interval * (np.arange(num_sets) + wrong)


@pytest.mark.parametrize("late", range(20))
def test_a_late_state_and_the_next_one_on_time_are_both_ticks(late):
    """The next one's stamp was too soon after the late one's, and was dropped as if it were one
    of a faster stream: a few of 3,000 states at 100 Hz stayed unanswered."""
    stamps = START + np.arange(30.0)
    stamps[late] += 0.4
    assert ticks(stamps) == [0] * 30


@pytest.mark.parametrize("jitter", [0.05, 0.15, 0.3])
def test_every_state_of_a_stream_with_jitter_is_a_tick(jitter):
    for seed in range(50):
        answers = ticks(jittered(300, 1.0, jitter, seed))
        assert answers[SETTLED:] == [0] * (300 - SETTLED), seed
        assert jitter > 0.15 or answers[:SETTLED] == [0] * SETTLED


@pytest.mark.parametrize("rate", [19.9, 19.98, 20.02, 20.1])
def test_sensors_whose_clock_drifts_lose_no_state(rate):
    for seed in range(5):
        assert counts(jittered(4000, 20 / rate, 0.1, seed)) == (4000, 0)


@pytest.mark.parametrize("multiple", [2, 3, 5, 10, 50])
@pytest.mark.parametrize("jitter", [0.0, 0.1, 0.3])
def test_a_stream_of_a_multiple_of_the_rate_is_thinned_to_the_rate(multiple, jitter):
    for seed in range(5):
        num_ticks, num_missed = counts(jittered(200 * multiple, 1 / multiple, jitter, seed))
        assert abs(num_ticks - 200) <= 1 and num_missed == 0


@pytest.mark.parametrize("rate", [21.0, 25.0, 30.0, 50.0, 70.0, 1000.0])
def test_no_stream_drives_the_policy_much_faster_than_its_rate(rate):
    num_ticks, num_missed = counts(jittered(int(rate * 20), 20 / rate, 0.1, seed=0))
    assert 399 <= num_ticks <= 420
    assert num_missed <= 1


@pytest.mark.parametrize("every", [2, 3, 7])
def test_ticks_and_missed_ticks_add_up_when_sets_are_lost(every):
    stamps = jittered(210 * every, 1.0, 0.1, seed=0)[::every]
    assert counts(stamps) == (210, 209 * (every - 1))


def test_a_pause_is_counted_and_ends_with_a_tick():
    for phase in np.linspace(0.0, 0.95, 20):
        stamps = START + np.concatenate([np.arange(40.0), 60 + phase + np.arange(40.0)])
        answers = ticks(stamps)
        assert answers[40] in (20, 21) and answers[:40] + answers[41:] == [0] * 79


@pytest.mark.parametrize("jump", [-90.3, -1.6, 0.7, 1000.4])
def test_a_clock_that_jumps_begins_a_grid_of_its_own(jump):
    before = START + np.arange(20.0)
    answers = ticks(np.concatenate([before, before + 20 + jump]))
    assert None not in answers
    assert answers[20] == max(0, round(jump))
    assert answers[21:] == [0] * 19


def test_equal_stamps_are_no_ticks():
    assert ticks(np.full(5, START)) == [0, None, None, None, None]


def test_the_trigger_answers_every_state_of_two_streams_with_jitter():
    latest = Latest(["joints", "camera"])
    trigger = StateTrigger(latest, PERIOD / 1e9)
    camera, joints = (jittered(100, 1.0, 0.15, seed) for seed in range(2))
    for stamps in zip(camera, joints):
        for stream, stamp in zip(("camera", "joints"), stamps):
            wall = round(stamp * PERIOD)
            latest.put(stream, Sample("message", wall, wall, wall))
        assert trigger.wait(0.0).num_missed == 0
