import ctypes

import numpy as np
import pytest

import gato_sim
from gato_sim.collect import CollectConfig, collect
from gato_sim.domains.rgb_stacking import tasks
from gato_sim.domains.rgb_stacking.scene.render import VIDEO_CAMERAS, RenderTwin
from gato_sim.domains.rgb_stacking.simulation import Simulation
from gato_sim.evaluate import EvaluateConfig, evaluate
from gato_sim.run import gl

CAMERAS = ("basket_front_left", "basket_front_right")


@pytest.fixture(scope="module")
def simulation():
    simulation = Simulation(("s0", "s0", "s0"), physics="stable")
    simulation.reset(np.random.default_rng(0))
    yield simulation
    simulation.close()


def center_of(image, channel):
    """Mean (row, column) of the pixels where one colour clearly dominates, and their number."""
    others = np.delete(image, channel, axis=2).max(2).astype(int)
    rows, columns = np.nonzero(image[..., channel].astype(int) - others > 60)
    return np.array([rows.mean(), columns.mean()]), len(rows)


@pytest.mark.parametrize("camera", CAMERAS)
@pytest.mark.parametrize("channel, color", [(0, "red"), (2, "blue")])
def test_objects_are_seen_where_they_move(simulation, camera, channel, color):
    spots = []
    for y in (-0.06, 0.06):
        for other, x in (("red", 0.65), ("green", 0.7), ("blue", 0.65)):
            side = y if other == color else 0.0
            simulation.place_object(other, np.array([x, side, 0.0748, 1, 0, 0, 0]))
        image = simulation.render(camera, 64)
        spot, num_pixels = center_of(image, channel)
        assert num_pixels > 10
        spots.append(spot)
    # +y is to the right for cameras that look towards the robot
    assert spots[1][1] - spots[0][1] > 5


def test_only_the_cameras_asked_for_are_observed():
    env = gato_sim.load(
        "rgb_test_triplet1", seed=0, physics="stable", cameras=CAMERAS[:1], image_size=32
    )
    observation = env.reset().observation
    images = [key for key in observation if key.endswith("pixels")]
    assert images == ["basket_front_left/pixels"]
    env.observation_spec()[images[0]].validate(observation[images[0]])
    spec = gato_sim.robot_spec(cameras=CAMERAS[:1], image_size=32)
    spec.check_observation(gato_sim.policy_observation(observation, spec))
    env.close()


@pytest.mark.parametrize(
    "crop", [(0.0, 0.0, 1.0, 2 / 3), (0.25, 0.125, 0.5, 0.75), (0.5, 0.5, 0.5, 0.5)]
)
def test_a_crop_is_that_part_of_the_whole_picture(simulation, crop):
    left, top, width, height = crop
    whole = simulation.render(CAMERAS[0], 192)
    rows = slice(round(192 * top), round(192 * (top + height)))
    columns = slice(round(192 * left), round(192 * (left + width)))
    part = simulation.render(CAMERAS[0], (round(192 * height), round(192 * width)), crop)
    difference = np.abs(part.astype(int) - whole[rows, columns]).mean()
    shifted = np.abs(part[1:].astype(int) - whole[rows, columns][:-1]).mean()
    assert difference < 0.1 < 0.5 < shifted, (difference, shifted)


def test_a_view_is_observed_in_the_shape_its_spec_says():
    env = gato_sim.load(
        "rgb_test_triplet1", seed=0, physics="stable", cameras=CAMERAS[:1], view="basket"
    )
    observation = env.reset().observation
    spec = gato_sim.robot_spec(CAMERAS[:1], view="basket")
    assert spec.observation["basket_front_left/pixels"].shape == (64, 96, 3)
    assert tasks.views_of(spec) == (CAMERAS[:1], 64, "basket")
    spec.check_observation(gato_sim.policy_observation(observation, spec))
    env.observation_spec()["basket_front_left/pixels"].validate(
        observation["basket_front_left/pixels"]
    )
    env.close()
    with pytest.raises(ValueError, match="'basket', 'whole'.*'floor'"):
        gato_sim.load("rgb_test_triplet1", seed=0, view="floor")


def test_exchanged_objects_are_drawn_as_in_a_new_twin(simulation):
    twins = [RenderTwin(triplet) for triplet in (("r6", "g3", "b5"), ("r2", "g6", "s0"))]
    qpos = simulation.data.qpos
    other = twins[0].render(qpos, CAMERAS[0], 64, 64)
    twins[0].load_triplet(("r2", "g6", "s0"))
    images = [twin.render(qpos, CAMERAS[0], 64, 64) for twin in twins]
    np.testing.assert_array_equal(images[0], images[1])
    assert (images[0] != other).any()
    for twin in twins:
        twin.close()


def test_the_light_style_resembles_the_faithful_one(simulation):
    faithful = RenderTwin(simulation.triplet, style="faithful")
    for camera in CAMERAS:
        light = simulation.render(camera, 64).astype(int)
        difference = np.abs(light - faithful.render(simulation.data.qpos, camera, 64, 64))
        assert difference.mean() < 2.0  # of 255
    faithful.close()


@pytest.mark.parametrize("camera", VIDEO_CAMERAS)
def test_drawing_leaves_the_physics_untouched(simulation, camera):
    before = simulation.snapshot().state
    image = simulation.render(camera, (48, 80))
    assert image.shape == (48, 80, 3) and image.std() > 10
    np.testing.assert_array_equal(simulation.snapshot().state, before)


def test_an_unknown_camera_or_size_is_answered_with_the_valid_ones(simulation):
    with pytest.raises(ValueError, match="basket_back_left.*got 'wrist'"):
        simulation.render("wrist", 64)
    with pytest.raises(ValueError, match="1 to 2048 pixels a side, got 0x64"):
        simulation.render(CAMERAS[0], (0, 64))


def test_a_machine_without_opengl_is_told_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("MUJOCO_GL", "vulkan")
    with pytest.raises(RuntimeError, match="expected egl, osmesa or glfw, got 'vulkan'"):
        gl.make_context(16, 16)
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setenv("MUJOCO_GL", "glfw")
    with pytest.raises(RuntimeError, match="MUJOCO_GL=glfw draws nothing here .*DISPLAY"):
        gl.make_context(16, 16)
    monkeypatch.delenv("MUJOCO_GL")

    def no_library(name, *_):
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", no_library)
    for draw in (
        lambda: gl.make_context(16, 16),
        lambda: evaluate(EvaluateConfig(policy="random", videos=1, out=tmp_path / "results")),
        lambda: collect(CollectConfig(out=tmp_path / "set")),
    ):
        with pytest.raises(RuntimeError, match="expected libEGL.so.1 .* or libOSMesa.so; install"):
            draw()
    assert list(tmp_path.iterdir()) == []  # before anything was begun
