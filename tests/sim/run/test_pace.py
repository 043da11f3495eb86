"""Simulated latency: when actions take effect, and which observations a busy policy misses."""

import json

import numpy as np
import pytest

import gato_sim
from gato_sim.evaluate import EvaluateConfig, evaluate
from gato_sim.run.pace import Pace

QUICK = dict(policy="random", physics="stable", suite=("selection",), max_steps=8, workers=0)


class Counting:
    """A policy that turns the wrist and counts what it is asked."""

    def __init__(self):
        self.seen = []

    def step(self, observation):
        self.seen.append(observation)
        return np.array([0, 0, 0, 1.0, 255.0])


@pytest.fixture(scope="module")
def env():
    return gato_sim.load("rgb_test_triplet1", seed=0, physics="stable")


def run(env, latency, num_steps=10):
    """The steps that the policy saw, and ctrl's gripper command after each step."""
    env.reset(seed=0)
    policy, grips = Counting(), []
    pace = Pace(env, policy, latency=latency)
    for step in range(num_steps):
        pace.step(step)
        grips.append(env.simulation.data.ctrl[7])
    return policy.seen, grips


@pytest.mark.parametrize(
    "seconds, seen, first_effect",
    [
        (0.0, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], 0),
        (0.05, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], 0),
        (0.07, [0, 2, 4, 6, 8], 1),
        (0.1, [0, 2, 4, 6, 8], 1),
        (0.15, [0, 3, 6, 9], 2),
        (0.2, [0, 4, 8], 3),
        (0.25, [0, 5], 4),
        (0.3, [0, 6], 5),
        (0.4, [0, 8], 7),
    ],
)
def test_a_busy_policy_misses_what_comes_meanwhile(env, seconds, seen, first_effect):
    """Multiples of a step once left a residue of floats, which cost one step more."""
    asked, grips = run(env, lambda: seconds)
    assert asked == seen
    assert [g > 0 for g in grips].index(True) == first_effect


def test_no_latency_is_a_latency_of_zero(env):
    ends = []
    for latency in (None, lambda: 0.0, lambda: 0.03):
        run(env, latency)
        ends.append(env.simulation.data.qpos.copy())
    np.testing.assert_array_equal(ends[0], ends[1])
    assert (ends[0] != ends[2]).any()


def test_evaluation_delays_actions_and_says_so(tmp_path):
    settings = dict(episodes=1, videos=0, out=tmp_path) | QUICK
    evaluate(EvaluateConfig(name="prompt", **settings))
    late = EvaluateConfig(name="late", delay_ms=70.0, **settings)
    content = evaluate(late)
    rows = [json.loads((tmp_path / n / "results.jsonl").read_text()) for n in ("prompt", "late")]
    assert rows[0]["trajectory"] != rows[1]["trajectory"]
    assert content["latency_ms"]["num_steps"] == 4  # every second observation
    assert "actions late by 70 ms" in (late.folder / "report.md").read_text()


def test_a_measured_delay_is_what_the_step_took(tmp_path):
    config = EvaluateConfig(episodes=1, videos=0, out=tmp_path, delay_ms="measured", **QUICK)
    assert evaluate(config)["all"]["success_end"]["episodes"] == 1
    assert "actions late by what each took" in (config.folder / "report.md").read_text()
