"""What bench/ros.py makes of what it measured."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.append(str(Path(__file__).parents[3] / "bench"))
from ros import fast_rows
from ros_answer import _figures as figures
from ros_floor import lateness


def run(num_states: int, lost: tuple[int, ...] = ()) -> dict:
    """Figures of states every 10 ms, each answered after 3 ms, and of a hold long after them."""
    published = {1000 + i: 0.01 * i for i in range(num_states)}
    answers = [[stamp, 0.002, t + 0.0025] for stamp, t in published.items()]
    answers = [answer for i, answer in enumerate(answers) if i not in lost]
    arrivals = [computed + 0.0005 for _, _, computed in answers] + [0.01 * num_states + 0.05]
    robot = SimpleNamespace(published=published, arrivals=arrivals)
    return figures(robot, [*published], answers, 100.0)


def test_the_hold_at_the_end_is_no_jitter():
    """It leaves when the node is ended, 50 ms after the last state: the worst jitter was 41 ms."""
    result = run(100)
    assert result["jitter_ms"]["max"] == pytest.approx(0.0, abs=1e-6)
    assert result["overhead_ms"]["max"] == pytest.approx(1.0)
    assert result["num_unanswered"] == 0


def test_a_state_without_an_answer_counts_and_leaves_its_gap():
    result = run(100, lost=(40, 41))
    assert result["num_unanswered"] == 2
    assert result["jitter_ms"]["max"] == pytest.approx(20.0)


def test_targets_are_those_of_the_best_way_to_run_the_node():
    """All states answered with real-time scheduling; even intervals where commands wait."""
    plain = {"priority": 0, "release_after_ms": 0.0}
    normal = run(100, lost=(3, 33, 66)) | plain
    fast, even = (run(100) | plain | {"priority": 40, "release_after_ms": d} for d in (0.0, 6.0))
    floor = {"p99": 0.1, "max": 0.2}
    all_three = [holds for *_, holds in fast_rows([normal, fast, even], [floor, floor])]
    assert all_three == [None, None, None, None, None, True, True, True]
    refused = [
        holds for *_, holds in fast_rows([normal, normal | {"release_after_ms": 6.0}], [floor])
    ]
    assert refused == [None, None, False, False, False]


def test_a_bare_loop_is_never_early():
    late = lateness(rate=500.0, seconds=0.1)
    assert 0 <= late["p50"] <= late["p99"] <= late["max"]
