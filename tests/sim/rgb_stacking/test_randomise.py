"""Domain randomisation: seeded, undone by `none`, and seen in contacts, masses and images."""

import dataclasses
import json

import mujoco
import numpy as np
import pytest

import gato_sim
from gato_core.dataset import Dataset
from gato_sim.collect import CollectConfig, collect
from gato_sim.domains.rgb_stacking import randomise
from gato_sim.domains.rgb_stacking.objects import COLORS
from gato_sim.suites import stable_seed

CAMERAS = ("basket_front_left",)


@pytest.fixture(scope="module")
def env():
    env = gato_sim.load(
        "rgb_test_triplet1", seed=0, physics="stable", cameras=CAMERAS, randomise="strong"
    )
    yield env
    env.close()


def test_an_episodes_variation_follows_from_its_seed(env):
    draws, images = [], []
    for seed in (1, 2, 1):
        timestep = env.reset(seed=seed)
        draws.append(env.variation.provenance())
        images.append(timestep.observation["basket_front_left/pixels"])
    env.reset()
    assert draws[0] == draws[2] != draws[1]
    assert env.variation.provenance() not in draws  # the second episode of seed 1
    np.testing.assert_array_equal(images[0], images[2])
    assert np.abs(images[0].astype(int) - images[1]).mean() > 3


def test_none_is_the_benchmark_to_the_last_bit(env):
    """Also where the same simulation was varied before."""
    plain = gato_sim.load("rgb_test_triplet1", seed=3, physics="stable", cameras=CAMERAS)
    env.reset(seed=3)
    env.simulation.vary(None)
    for name in ("geom_friction", "body_mass", "body_inertia", "geom_rgba", "cam_pos", "cam_quat"):
        np.testing.assert_array_equal(
            getattr(env.simulation.model, name), getattr(plain.simulation.model, name)
        )
    timestep = plain.reset()
    assert plain.variation is None
    images = []
    for simulation in (plain.simulation, env.simulation):
        simulation.data.qpos[:] = plain.simulation.data.qpos
        images.append(simulation.render(CAMERAS[0], 64))
    np.testing.assert_array_equal(*images)
    np.testing.assert_array_equal(images[0], timestep.observation["basket_front_left/pixels"])
    plain.close()


def test_masses_and_friction_are_the_draws(env):
    env.reset(seed=5)
    model, draw = env.simulation.model, env.variation
    plain = gato_sim.load("rgb_test_triplet1", seed=0, physics="stable").simulation.model
    assert draw.mass.keys() == set(COLORS)
    for color, factor in draw.mass.items():
        body = model.joint(f"rgb_object_{color}/").bodyid[0]
        ratio = model.body_subtreemass[body] / plain.body_subtreemass[body]
        assert ratio == pytest.approx(factor)
    np.testing.assert_allclose(model.geom_friction, draw.friction * plain.geom_friction)


def test_latency_lets_the_previous_command_last(env):
    env.reset(seed=5)
    simulation, ends = env.simulation, []
    command = np.array([0.0, 0, 0, 0, 0, 0, 1.0, 255.0])
    snapshot = simulation.snapshot()
    for after in (0.0, 0.02, 0.05, 0.12):
        simulation.restore(snapshot)
        simulation.command(np.array([0.0, 0, 0, 0, 0, 0, 0, -255.0]))
        simulation.command(command, after=after)
        for _ in range(16):  # until the servo, which lags, follows
            simulation.step()
        ends.append(simulation.joint_angles[6])
        assert simulation.data.ctrl[7] == 255
    assert ends == sorted(ends, reverse=True)
    # one rad/s for the difference in time
    np.testing.assert_allclose(np.diff(ends), [-0.02, -0.03, -0.07], atol=0.01)


def test_a_snapshot_holds_the_commands_under_way(env):
    env.reset(seed=5)
    simulation, ends = env.simulation, []
    simulation.command(np.array([0.3, 0, 0, 0, 0, 0, 0, 255.0]), after=0.12)
    simulation.step()
    snapshot = simulation.snapshot()
    for _ in range(2):
        simulation.restore(snapshot)
        for _ in range(4):
            simulation.step()
        ends.append(simulation.data.qpos.copy())
    np.testing.assert_array_equal(*ends)
    assert simulation.data.ctrl[0] == 0.3


def test_a_varied_scene_stays_sound(env):
    env.reset(seed=6)
    for _ in range(10):
        env.step(np.array([0, 0, -0.07, 0, 255]))
    assert np.isfinite(env.simulation.data.qpos).all()
    assert not env.simulation.data.warning[mujoco.mjtWarning.mjWARN_BADQACC].number


def test_a_demonstration_says_what_was_varied(tmp_path):
    config = CollectConfig(
        out=tmp_path / "set",
        triplets="r25,x37,y26",
        episodes=1,
        keep="all",
        perturb="none",
        randomise="mild",
        cameras=CAMERAS,
        max_steps=2,
        workers=0,
    )
    collect(config)
    info = json.loads(Dataset(config.out).rows[0]["gato/info"])
    assert info["randomise"] == info["variation"]["profile"] == "mild"
    seed = stable_seed("collect", config.seed, 0)
    draw = randomise.draw("mild", (seed, 0, 1)).provenance()
    assert info["variation"] == json.loads(json.dumps(draw))
    other = dataclasses.replace(config, randomise="none", episodes=2)
    with pytest.raises(ValueError, match="collected with randomise 'mild', got None"):
        collect(other)


def test_an_unknown_profile_is_answered_with_the_valid_ones():
    with pytest.raises(ValueError, match="'mild', 'none', 'strong'.*got 'wild'"):
        gato_sim.load("rgb_test_triplet1", seed=0, randomise="wild")
    assert randomise.draw("none", 0) is None
