"""The what-if simulation tells what the scene will do, and the expert makes use of it."""

from __future__ import annotations

import numpy as np
import pytest

import gato_sim
from gato_sim.domains.rgb_stacking import suites
from gato_sim.domains.rgb_stacking.expert import place, topple
from gato_sim.domains.rgb_stacking.expert.expert import ScriptedExpert
from gato_sim.domains.rgb_stacking.expert.grasp import convex_solid, rotation_matrix
from gato_sim.domains.rgb_stacking.expert.sight import Sight
from gato_sim.suites import Trial

STEPS = 10


@pytest.mark.parametrize("physics", ["stable", "benchmark"])
def test_what_if_agrees_with_the_scene(physics):
    """Red falls upon blue from 5 mm, off its middle; the arm is out of the way."""
    with gato_sim.load("r5,g2,b3", seed=4, physics=physics) as env:
        env.reset()
        simulation = env.simulation
        blue = simulation.object_poses()["blue"]
        simulation.place_object("red", np.append(blue[:3] + [0.01, 0.0, 0.06], [1.0, 0, 0, 0]))
        sight = Sight(simulation)
        expected = sight.whatif.outcome(sight.poses, STEPS * 0.05)
        for _ in range(STEPS):
            env.step(np.zeros(5))
        for color, pose in simulation.object_poses().items():
            same = rotation_matrix(pose[3:]).T @ rotation_matrix(expected[color][3:])
            assert np.linalg.norm(pose[:3] - expected[color][:3]) < 1e-3
            assert np.trace(same) > 3 - 1e-3


def trial(index: int) -> Trial:
    return list(suites.trials(["train"], index + 1))[index]


def test_expert_tips_a_prism_over_whose_ridge_carries_nothing():
    """Blue lies with a ridge on top; geometry alone put red there and it slid off."""
    task = trial(11)
    with gato_sim.load(task.objects, seed=task.seed, physics="stable") as env:
        env.reset(seed=task.seed)
        sight = Sight(env.simulation)
        assert sight.solids["blue"].normals[:, 2].max() < 0.9
        expert = ScriptedExpert(env)
        tipped = False
        for _ in range(400):
            env.step(expert.step({}))
            tipped |= isinstance(expert._task, topple.Topple)
        assert tipped and env.success_strict()
        sight.look(env.simulation)
        assert sight.solids["blue"].normals[:, 2].max() > 0.99


def expected(env) -> int:
    sight = Sight(env.simulation)
    colors = ("red", "blue", "green")
    return place.choose_place(sight.whatif, sight.shapes, sight.poses, colors, thorough=False)[1]


def test_a_place_on_a_level_top_stays_and_on_a_steep_one_falls():
    task = trial(11)
    for objects, seed, outcome in (
        (task.objects, task.seed, place.FALLS),
        ("s0,s0,s0", 1, place.STAYS),
    ):
        with gato_sim.load(objects, seed=seed, physics="stable") as env:
            env.reset()
            assert expected(env) == outcome


def test_attempt_without_a_way_is_given_up():
    """The prism cannot be tipped either way: red and green stand at its ends."""
    task = trial(11)
    with gato_sim.load(task.objects, seed=task.seed, physics="stable") as env:
        env.reset()
        lying = Sight(env.simulation).poses["blue"]
    with gato_sim.load("s0,s0,x23", seed=0, physics="stable") as env:
        env.reset()
        lying[:2] = 0.6, 0.0
        env.simulation.place_object("blue", lying)
        solid = Sight(env.simulation).solids["blue"]
        ends = topple.topples(solid, lying)[-2:]  # before them: onto another side, no use
        for way, color in zip(ends, ("red", "green")):
            beside = lying[:3] + 0.07 * solid.normals[way.face]
            pose = np.array([*beside[:2], topple.FLOOR + 0.025, 1.0, 0.0, 0.0, 0.0])
            env.simulation.place_object(color, pose)
        expert = ScriptedExpert(env)
        expert.step({})
        assert expert.hopeless


def test_landing_stands_on_the_chosen_face():
    corners = np.array(np.meshgrid(*[(-1.0, 1.0)] * 3)).reshape(3, -1).T
    shape = convex_solid(corners * [0.02, 0.03, 0.04])
    pose = np.array([0.6, 0.0, topple.FLOOR + 0.04, 1.0, 0.0, 0.0, 0.0])
    solid = shape.at(pose)
    ways = topple.topples(solid, pose)
    assert len(ways) == 4
    for way in ways:
        stands = shape.at(topple.landing(way, solid, pose))
        assert stands.normals[way.face] @ [0, 0, -1.0] == pytest.approx(1.0)
        assert stands.vertices[:, 2].min() == pytest.approx(topple.FLOOR, abs=1e-9)
