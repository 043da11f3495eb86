import itertools

import mujoco
import numpy as np
import pytest

from gato_sim.domains.rgb_stacking import objects
from gato_sim.domains.rgb_stacking.scene import scene
from gato_sim.domains.rgb_stacking.simulation import Simulation

TRIPLET = objects.TEST_TRIPLETS["rgb_test_triplet1"]


@pytest.mark.parametrize("name", scene.PHYSICS)
def test_every_option_is_the_named_physics(name):
    settings = scene.PHYSICS[name]
    option = scene.compile_scene(TRIPLET, settings).opt
    multiccd_off = bool(option.disableflags & mujoco.mjtDisableBit.mjDSBL_MULTICCD)
    assert multiccd_off != settings.multiccd
    assert option.integrator == settings.integrator
    assert option.timestep * settings.num_substeps == pytest.approx(0.05)
    for key, value in scene.OPTIONS.items():
        if key != "disableflags":
            np.testing.assert_array_equal(getattr(option, key), value)


def test_no_option_is_left_to_a_default():
    """MuJoCo 3.8 turned MULTICCD on by default, which silently changed every contact."""
    option = scene.compile_scene(TRIPLET, scene.PHYSICS["benchmark"]).opt
    names = {name for name in dir(option) if not name.startswith("_")}
    # Not options: of fluids, contact override and actuators that this scene does not enable;
    # how many iterations are spent on a signed distance field or before sleeping, likewise.
    idle = {name for name in names if name.startswith(("o_", "sdf_", "sleep_", "disableactuator"))}
    idle |= {"magnetic", "timestep", "integrator", "apirate"}
    assert names - idle <= scene.OPTIONS.keys()


def test_scene_has_the_benchmarks_parts():
    model = scene.compile_scene(TRIPLET, scene.PHYSICS["benchmark"], mesh_set="full")
    assert (model.nq, model.nv, model.nu, model.na, model.nbody) == (36, 33, 8, 8, 45)
    assert (model.nmesh, model.nmeshface, model.neq) == (41, 249303, 3)


def test_object_sets_are_disjoint_and_complete():
    sets = [set(objects.object_ids(name)) for name in ("train", "heldout", "test")]
    assert [len(ids) for ids in sets] == [103, 36, 13]
    assert not any(a & b for a, b in itertools.combinations(sets, 2))
    assert sets[2] == {i for triplet in objects.TEST_TRIPLETS.values() for i in triplet}


@pytest.mark.parametrize("task, allowed", objects.RANDOM_TASKS.items())
def test_random_triplets_stay_in_their_set(task, allowed):
    rng = np.random.default_rng(0)
    drawn = {i for _ in range(200) for i in objects.draw_triplet(task, rng)}
    assert drawn <= set(objects.object_ids(allowed))


@pytest.mark.parametrize("task", ["rgb_test_triplet6", "r3,s0", "r3,s0,zz", ""])
def test_unknown_objects_are_named_with_what_is_valid(task):
    with pytest.raises(ValueError, match="s0" if "zz" in task else "rgb_test_triplet1"):
        objects.parse_task(task)


def test_objects_weigh_the_same_in_every_triplet():
    for triplet in objects.TEST_TRIPLETS.values():
        model = scene.compile_scene(triplet, scene.PHYSICS["stable"])
        free = [model.joint(f"rgb_object_{color}/").bodyid[0] for color in objects.COLORS]
        # 0.2 kg, and 10 mg for each of the three empty bodies around an object
        np.testing.assert_allclose(model.body_subtreemass[free], 0.20003, rtol=1e-6)


def test_hulls_step_like_the_full_meshes():
    """The stepped scene carries convex hulls; fingers that close on an object feel the same."""
    simulations = [Simulation(("s0", "g3", "b2"), physics="benchmark") for _ in range(2)]
    simulations[0].reset(np.random.default_rng(0))
    snapshot = simulations[0].snapshot()
    full = simulations[1]
    full.model = scene.compile_scene(full.triplet, full.physics, mesh_set="full")
    full.data = mujoco.MjData(full.model)
    pinch = simulations[0].pinch_pose
    held = np.concatenate([pinch[:3], [1, 0, 0, 0]])
    for simulation in simulations:
        simulation.restore(snapshot)
        for step in range(30):
            if step < 15:  # until the fingers have closed
                simulation.place_object("red", held)
            simulation.command(np.array([0, 0, 0, 0, 0, 0, 0, 255.0]))
            simulation.step()
    # It is held, not fallen: the comparison saw contacts of the fingers.
    assert np.linalg.norm(simulations[0].object_poses()["red"][:3] - pinch[:3]) < 0.03
    np.testing.assert_allclose(simulations[0].data.qpos, full.data.qpos, atol=1e-4)
