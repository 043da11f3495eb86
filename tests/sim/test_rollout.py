"""Rollouts: deterministic, honest labels, and stages that explain the outcome."""

import contextlib
from types import SimpleNamespace

import numpy as np
import pytest

import gato_sim
from gato_sim.demonstrations import until_decided
from gato_sim.domains.rgb_stacking.benchmark import NUM_STEPS
from gato_sim.domains.rgb_stacking.reward import STAGES
from gato_sim.domains.rgb_stacking.stages import FAILURES, FELL, TOUCHED, failure, stage_curve
from gato_sim.domains.rgb_stacking.suites import SUITES, draw_objects, set_ids, trials
from gato_sim.domains.rgb_stacking.tasks import downward
from gato_sim.policies import RandomPolicy
from gato_sim.rollout import play, record, trajectory_hash
from gato_sim.suites import stable_seed

SPEC = gato_sim.robot_spec(cameras=())


class Still:
    """Does nothing, gripper open."""

    def reset(self, prompt=None):
        pass

    def step(self, observation):
        return np.array([0, 0, 0, 0, -255], np.float32)


@pytest.fixture(scope="module")
def env():
    with contextlib.closing(gato_sim.load("rgb_test_triplet1", seed=0, physics="stable")) as env:
        yield env


def run(env, policy, *, seed=0, max_steps=8, **options):
    steps = play(env, policy, SPEC, seed=seed, max_steps=max_steps, **options)
    return record(env, steps, task="t", source="test", seed=seed)


def test_same_seed_same_episode(env):
    first = run(env, RandomPolicy(SPEC, seed=1))
    run(env, RandomPolicy(SPEC, seed=2), seed=5)
    again = run(env, RandomPolicy(SPEC, seed=1))
    assert trajectory_hash(first) == trajectory_hash(again)
    others = [run(env, RandomPolicy(SPEC, seed=2)), run(env, RandomPolicy(SPEC, seed=1), seed=5)]
    assert trajectory_hash(first) not in {trajectory_hash(other) for other in others}


def test_episode_fits_its_spec(env):
    episode = run(env, RandomPolicy(SPEC, seed=1))
    episode.check(SPEC)
    assert len(episode) == 8
    assert {key: value.shape for key, value in episode.privileged.items()} == dict.fromkeys(
        ("red", "green", "blue", "pinch"), (8, 7)
    )


def test_labels_stay_clean_while_execution_is_perturbed(env):
    def push(action):
        return action + np.array([0.05, 0, 0, 0, 0], np.float32)

    clean, pushed = run(env, Still()), run(env, Still(), perturb=push)
    np.testing.assert_array_equal(clean.action, pushed.action)
    np.testing.assert_array_equal(clean.executed, clean.action)
    np.testing.assert_allclose(pushed.executed[:, 0], 0.05)
    np.testing.assert_array_equal(pushed.executed[:, 1:], clean.action[:, 1:])
    moved = pushed.privileged["pinch"][-1, 0] - clean.privileged["pinch"][-1, 0]
    assert moved > 0.01


def test_privileged_poses_are_those_before_the_action(env):
    episode = run(env, RandomPolicy(SPEC, seed=1))
    pinch = np.stack([downward(pose) for pose in episode.privileged["pinch"]])
    np.testing.assert_array_equal(pinch, episode.observation["sawyer/pinch/pose"])


def test_demonstration_stops_some_steps_after_success():
    """Red put upon blue by hand, the gripper far away: success from the first step on."""
    env = gato_sim.load("s0,s0,s0", seed=3, physics="stable")

    class Stacked(Still):
        def reset(self, prompt=None):
            for color, z in (("blue", 0.075), ("red", 0.125)):
                env.simulation.place_object(color, np.array([0.6, 0.05, z, 1, 0, 0, 0]))
            env.simulation.place_object("green", np.array([0.6, -0.1, 0.075, 1, 0, 0, 0]))

    with contextlib.closing(env):
        steps = play(env, Stacked(), SPEC, seed=3, max_steps=30)
        steps = until_decided(steps, SimpleNamespace(hopeless=False), patience=5)
        episode = record(env, steps, task="t", source="test", seed=3)
    assert episode.success and episode.info["success_strict"]
    assert 5 <= len(episode) < 30
    assert episode.reward[-5:].tolist() == [1] * 5


def test_a_demonstration_ends_when_the_expert_gives_up(env):
    steps = play(env, Still(), SPEC, seed=0, max_steps=30)
    assert len(list(until_decided(steps, SimpleNamespace(hopeless=True), patience=5))) == 1


def test_what_was_executed_is_within_the_robots_limits(env):
    episode = run(env, Still(), perturb=lambda action: action + np.float32(9.0))
    expected = np.tile(np.float32([0.07, 0.07, 0.07, 1.0, -246.0]), (8, 1))
    np.testing.assert_array_equal(episode.executed, expected)
    episode.check(SPEC)


def test_the_end_of_time_is_no_termination(env):
    """Rewards could follow: the benchmark's discount is 1 at step 400, which ends its episodes."""
    steps = list(play(env, Still(), SPEC, seed=0))
    assert len(steps) == NUM_STEPS and not env.is_running
    assert not any(step.terminated for step in steps)
    assert not record(env, steps, task="t", source="test", seed=0).terminated


def test_an_episode_without_a_step_is_refused(env):
    with pytest.raises(ValueError, match="record: expected at least one step, got none"):
        record(env, [], task="t", source="test", seed=0)


def moments(*reached: int) -> list[dict[str, bool]]:
    """One moment for each number: the first so many stages hold."""
    return [{stage: i < n for i, stage in enumerate(STAGES)} for n in reached]


def test_stage_curve_notes_first_steps():
    curve = stage_curve(moments(0, 1, 0, 3))
    assert curve == dict(zip(STAGES, (1, 3, 3, None, None, None)))


def test_every_failure_has_one_category():
    def why(*reached, end=False, ever=False):
        return failure(moments(*reached), success_end=end, success_ever=ever)

    assert [why(n) for n in range(6)] == list(FAILURES[:6])
    assert why(6, 2, ever=True) == FELL
    assert why(6, 5, ever=True) == TOUCHED
    assert why(6, end=True, ever=True) is None


def test_seeds_are_the_same_on_every_machine():
    assert stable_seed("skill-generalization", "rgb_test_triplet1", 0) == 32644830968627
    assert stable_seed("collect", 0, 0) == 212635239807781


def test_seeds_differ_between_suites_tasks_and_indices():
    suites = ("skill-generalization", "skill-mastery", "selection", "train")
    seeds = [trial.seed for suite in suites for trial in trials([suite], 50)]
    assert len(seeds) == len(set(seeds)) == 50 * sum(len(SUITES[suite]) for suite in suites)


def test_more_episodes_extend_a_suite():
    assert list(trials(["selection"], 9))[:4] == list(trials(["selection"], 4))


def test_selection_objects_are_fixed_training_objects():
    selection, train = set_ids("selection"), set_ids("train")
    assert len(selection) == 10 and len(train) == 93
    assert not set(selection) & set(train)
    for trial in trials(["selection"], 30):
        assert set(trial.objects.split(",")) <= set(selection)


def test_mastery_draws_the_test_triplets():
    drawn = {draw_objects("mastery", seed) for seed in range(50)}
    assert drawn == {"r3,s0,b2", "r5,g2,b3", "r6,g3,b5", "s0,g5,b6", "r2,g6,s0"}


def test_unknown_suite_is_named_before_anything_runs():
    with pytest.raises(ValueError, match="expected one of skill-generalization.*got 'nonsense'"):
        trials(["nonsense"], 1)
