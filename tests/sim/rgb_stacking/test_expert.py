"""The scripted expert: grasps that fit the gripper, deterministic actions inside the bounds."""

from __future__ import annotations

import numpy as np
import pytest

import gato_sim
from gato_sim import policy_observation, robot_spec
from gato_sim.domains.rgb_stacking import perturb
from gato_sim.domains.rgb_stacking.expert import grasp
from gato_sim.domains.rgb_stacking.expert.expert import ScriptedExpert
from gato_sim.domains.rgb_stacking.objects import COLORS

WIDE_OPEN = (-np.pi, np.pi)
EASY_SEEDS = (2, 3, 5, 17)  # of rgb_train_random, under "stable" physics


def box(*size: float) -> grasp.Solid:
    corners = np.array(np.meshgrid(*[(-0.5, 0.5)] * 3)).reshape(3, -1).T
    return grasp.convex_solid(corners * size)


def on_floor(solid: grasp.Solid, yaw: float = 0.0) -> tuple[grasp.Solid, np.ndarray]:
    """The solid as it would lie in the basket, and its centre."""
    height = 0.0498 - solid.vertices[:, 2].min()
    pose = np.array([0.6, 0.0, height, np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)])
    return solid.at(pose), pose[:3]


@pytest.mark.parametrize("size", [(0.05, 0.05, 0.05), (0.04, 0.1, 0.05), (0.08, 0.03, 0.06)])
@pytest.mark.parametrize("yaw", [0.0, 0.4, -1.1])
def test_grasp_fits_between_the_fingers(size, yaw):
    solid, center = on_floor(box(*size), yaw)
    best = grasp.best_grasp(solid, center, [], 0.3, WIDE_OPEN)
    assert best is not None
    assert min(size[:2]) - 1e-6 <= best.width <= grasp.MAX_WIDTH
    axis = np.array([np.cos(best.yaw), np.sin(best.yaw), 0.0])
    faces = np.abs(solid.normals @ axis)
    assert faces.max() > 0.999  # it closes square on a pair of faces


def test_nothing_to_grasp_on_a_plate_wider_than_the_gripper():
    solid, center = on_floor(box(0.12, 0.12, 0.03))
    assert grasp.best_grasp(solid, center, [], 0.0, WIDE_OPEN) is None


def test_grasp_avoids_a_neighbour():
    solid, center = on_floor(box(0.05, 0.05, 0.05))
    neighbour = solid.shifted(np.array([0.06, 0.0, 0.0]))
    best = grasp.best_grasp(solid, center, [neighbour], 0.0, WIDE_OPEN)
    assert abs(np.sin(best.yaw)) > 0.9


@pytest.fixture(scope="module")
def env():
    with gato_sim.load("rgb_train_random", seed=0, physics="stable") as environment:
        yield environment


def episode(env, seed: int, max_steps: int = 400) -> tuple[np.ndarray, bool]:
    """Actions (T, 5) of the expert's episode of a seed, and whether it ends stacked."""
    expert = ScriptedExpert(env, seed=0)
    timestep = env.reset(seed=seed)
    expert.reset()
    actions = []
    for _ in range(max_steps):
        actions.append(expert.step(policy_observation(timestep.observation, robot_spec(()))))
        timestep = env.step(actions[-1])
    return np.array(actions), env.success()


def test_expert_stacks_on_easy_seeds(env):
    assert sum(episode(env, seed)[1] for seed in EASY_SEEDS) >= 3


def test_expert_stacks_other_colours():
    with gato_sim.load("s0,s0,s0:blue_on_green", seed=0, physics="stable") as env:
        assert episode(env, 1)[1]
        red, green, blue = (env.simulation.object_poses()[color][2] for color in COLORS)
    assert blue > green + 0.04 and red < green + 0.02


def test_same_seed_same_actions_inside_the_bounds(env):
    first, _ = episode(env, EASY_SEEDS[0], 60)
    again, _ = episode(env, EASY_SEEDS[0], 60)
    np.testing.assert_array_equal(first, again)
    assert first.dtype == np.float32
    spec = env.action_spec()
    assert (first >= spec.minimum).all() and (first <= spec.maximum).all()


def test_on_its_way_the_expert_turns_to_the_nearest_face():
    """It kept to its first choice, which a clone that sees one moment cannot know."""
    with gato_sim.load("s0,s0,s0", seed=0, physics="stable") as env:
        expert = ScriptedExpert(env)
        env.reset(seed=7)  # nothing is in the way of either pair of faces
        expert.reset()
        signs = []
        for _ in range(60):
            label = expert.step({})
            turn = expert._sight.yaw - _yaw_of_a_side(expert._sight.solids["red"])
            nearest = -((turn + np.pi / 4) % (np.pi / 2) - np.pi / 4)
            if 0.1 < abs(nearest) < 0.6:
                assert np.sign(label[3]) == np.sign(nearest)
                signs.append(np.sign(nearest))
            env.step(np.array([0, 0, 0, -0.6, -255]))  # turned away from it, past the next
        assert len(set(signs)) == 2 and len(signs) > 30


def _yaw_of_a_side(cube: grasp.Solid) -> float:
    normal = cube.normals[np.argmin(np.abs(cube.normals[:, 2]))]
    return float(np.arctan2(normal[1], normal[0]))


def test_perturbation_leaves_the_label_clean():
    disturb = perturb.load("mild", seed=3)
    labels = np.tile(np.float32([0.01, 0, -0.07, 0, -255]), (300, 1))
    kept = labels.copy()
    executed = np.array([disturb(label) for label in labels])
    np.testing.assert_array_equal(labels, kept)
    changed = (executed != labels).any(axis=1).mean()
    assert 0.03 < changed < 0.4


def test_rough_closes_the_empty_gripper_twice_at_most():
    """What a clone does after it missed: it goes on as if it held something."""
    label = np.float32([0.01, 0, -0.07, 0, -255])
    fumbles = []
    for seed in range(20):
        disturb = perturb.load("rough", seed=seed)
        closed = np.array([disturb(label)[4] > 0 for _ in range(400)])
        starts = np.flatnonzero(np.diff(np.r_[False, closed].astype(int)) == 1)
        fumbles.append(len(starts))
        assert closed.sum() <= 2 * (22 + 25)
    assert max(fumbles) == 2 and np.mean(fumbles) > 1
    mild = perturb.load("mild", seed=0)
    assert all(mild(label)[4] < 0 for _ in range(400))


def test_a_spin_turns_the_gripper_both_ways_then_lets_the_expert_act():
    label = np.float32([0.05, 0, -0.07, 0.3, -255])
    directions = []
    for seed in range(8):
        disturb = perturb.load("spin", seed=seed)
        executed = np.array([disturb(label) for _ in range(31)])
        np.testing.assert_allclose(np.abs(executed[:30, 3]), 1.0)
        np.testing.assert_allclose(executed[:30, :3], 0.2 * np.tile(label[:3], (30, 1)), rtol=1e-6)
        assert abs(executed[30, 3]) < 1
        directions.append(executed[0, 3])
    assert set(directions) == {-1.0, 1.0}


def test_same_seed_same_perturbation():
    label = np.float32([0, 0, 0.07, 0, 255])
    first, again = (perturb.load("mild", seed=5) for _ in range(2))
    assert all((first(label) == again(label)).all() for _ in range(200))


def test_unknown_perturbation_names_the_known_ones():
    with pytest.raises(ValueError, match="mild.*'wild'"):
        perturb.load("wild", seed=0)
