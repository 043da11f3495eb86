from dataclasses import replace

import numpy as np
import pytest

from gato_sim.domains.rgb_stacking import objects, observation, reward
from gato_sim.domains.rgb_stacking.simulation import Simulation

FLOOR = 0.0498
FAR = np.array([0.5, -0.1, FLOOR + 0.03, 1, 0, 0, 0])


def scene_with(triplet, **poses):
    """A simulation with the arm up and the objects at the given poses, half a second later."""
    simulation = Simulation(triplet, physics="stable")
    simulation.reset(np.random.default_rng(0))
    for color, pose in ({"green": FAR} | poses).items():
        simulation.place_object(color, pose)
    for _ in range(10):
        simulation.step()
    return simulation


def pose(x, y, z):
    return np.array([x, y, FLOOR + z, 1, 0, 0, 0])


def test_red_on_blue_is_a_stack():
    stacked = scene_with(("s0", "s0", "s0"), blue=pose(0.6, 0, 0.025), red=pose(0.6, 0, 0.0751))
    assert reward.success(stacked) and reward.success_strict(stacked)
    assert reward.stages(stacked) | {"reached": False} == {
        "reached": False,
        "grasped": False,
        "lifted": False,
        "aligned": True,
        "stacked": True,
        "released": True,
    }


def test_blue_on_red_and_side_by_side_are_not():
    below = scene_with(("s0", "s0", "s0"), red=pose(0.6, 0, 0.025), blue=pose(0.6, 0, 0.0751))
    beside = scene_with(("s0", "s0", "s0"), red=pose(0.6, 0, 0.025), blue=pose(0.6, 0.051, 0.025))
    assert not reward.success(below) and not reward.success(beside)


@pytest.mark.parametrize("stack", objects.STACKS)
def test_any_colour_counts_on_any_other_and_only_there(stack):
    top, base = objects.colors_of(stack)
    (third,) = set(objects.COLORS) - {top, base}
    places = {base: pose(0.6, 0, 0.025), top: pose(0.6, 0, 0.0751), third: FAR}
    stacked = scene_with(("s0", "s0", "s0"), **places)
    for other in objects.STACKS:
        pair = objects.colors_of(other)
        expected = other == stack
        assert reward.success(stacked, *pair) == expected
        assert reward.success_strict(stacked, *pair) == expected
        assert reward.stages(stacked, *pair)["released"] == expected


def test_leaning_on_the_floor_counts_officially_but_not_strictly():
    """The benchmark looks for ground geoms by names that its basket does not have."""
    leaning = scene_with(("r6", "s0", "s0"), red=pose(0.6, 0, 0.075), blue=pose(0.6, 0.0394, 0.025))
    assert reward.success(leaning)
    assert not reward.success_strict(leaning)
    stages = reward.stages(leaning)
    assert not (stages["aligned"] or stages["stacked"] or stages["released"])


def grip_red(simulation):
    """Closes the fingers on red, which is held between them until they touch it."""
    pinch = simulation.pinch_pose
    simulation.command(np.array([0, 0, 0, 0, 0, 0, 0, 255.0]))
    for step in range(30):
        if step < 15:
            simulation.place_object("red", np.concatenate([pinch[:3], [1, 0, 0, 0]]))
        simulation.step()


def test_a_held_object_is_not_stacked():
    simulation = scene_with(("s0", "s0", "s0"), blue=pose(0.6, 0, 0.025))
    grip_red(simulation)
    stages = reward.stages(simulation)
    assert stages["reached"] and stages["grasped"] and stages["lifted"]
    under = simulation.object_poses()["red"][:3] - [0, 0, 0.0501]
    simulation.place_object("blue", np.concatenate([under, [1, 0, 0, 0]]))
    assert not reward.success(simulation)


def test_one_finger_grasps_nothing():
    """Also where the object is touched: as if the other finger had no pad."""
    simulation = scene_with(("s0", "s0", "s0"))
    grip_red(simulation)
    pads = simulation.elements.pad_geoms
    for one in pads:
        simulation.elements = replace(simulation.elements, pad_geoms=[one, np.zeros_like(one)])
        stages = reward.stages(simulation)
        assert stages["lifted"] and not stages["grasped"]


@pytest.mark.parametrize("command, flag", [(255.0, 2), (0.0, 1)])
def test_grasp_flag_tells_closing_on_an_object(command, flag):
    simulation = scene_with(("s0", "s0", "s0"))
    assert observation.grasp(simulation) == 1
    grip_red(simulation)
    simulation.command(np.array([0, 0, 0, 0, 0, 0, 0, command]))
    assert observation.grasp(simulation) == flag
