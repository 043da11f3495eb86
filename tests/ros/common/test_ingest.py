import numpy as np
import pytest
from builtin_interfaces.msg import Time
from ros_examples import CAMERAS, joint_state
from sensor_msgs.msg import JointState

from gato_core.spec import Continuous, Image, Spec
from gato_ros.common import conversion, ingest
from gato_sim.arm.controller import Controller
from gato_sim.domains.rgb_stacking.tasks import robot_spec

SPEC = robot_spec()


def messages(joints=None) -> dict:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    streams = {"joint_states": joints or joint_state()}
    for i, camera in enumerate(CAMERAS):
        streams[camera] = conversion.image_message(64, 64, camera)
        conversion.fill_image(streams[camera], pixels + np.uint8(i), Time())
    return streams


def test_reordered_joints_give_the_same_observation():
    ordered, shuffled = joint_state(), joint_state()
    order = np.random.default_rng(1).permutation(len(ordered.name))
    shuffled.name = [ordered.name[i] for i in order]
    shuffled.position = [ordered.position[i] for i in order]
    controller = Controller()
    expected, angles = ingest.observation(messages(ordered), SPEC, controller)
    got, same_angles = ingest.observation(messages(shuffled), SPEC, controller)
    np.testing.assert_array_equal(angles, same_angles)
    for key in SPEC.observation:
        np.testing.assert_array_equal(got[key], expected[key], err_msg=key)


def test_wrong_image_and_missing_joint_are_named():
    streams = messages()
    streams[CAMERAS[0]] = conversion.image_message(48, 64, "other")
    with pytest.raises(ValueError, match=r"basket_front_left/pixels.*\(64, 64, 3\).*\(48, 64, 3\)"):
        ingest.observation(streams, SPEC, Controller())
    streams[CAMERAS[0]].encoding = "yuv422"
    with pytest.raises(ValueError, match="basket_front_left: image encoding"):
        ingest.observation(streams, SPEC, Controller())
    joints = joint_state()
    joints.name[3] = "elbow"
    with pytest.raises(ValueError, match=r"\['right_j3'\] missing"):
        ingest.observation(messages(joints), SPEC, Controller())


def test_gripper_angle_is_the_benchmarks_integer():
    joints = joint_state(finger=0.4)
    observation, _ = ingest.observation(messages(joints), SPEC, Controller())
    assert observation["gripper/joints/angle"].tolist() == [128.0]


def test_gripper_command_survives_the_way_through_rad_per_second():
    for command in (-255.0, 0.0, 255.0):
        gripper = ingest.Gripper()
        assert gripper.command(gripper.velocity(command)) == command


def test_another_robots_numbers_come_from_the_field_of_their_unit():
    names = ("shoulder", "elbow")
    limits = ((-3.0,) * 2, (3.0,) * 2)
    spec = Spec(
        {
            "arm/angle": Continuous(*limits, "rad", names),
            "arm/rate": Continuous(*limits, "rad/s", names[::-1]),
            "arm/torque": Continuous(*limits, "N m", names),
        },
        Continuous(*limits, "rad/s", names),
        0.05,
    )
    ingest.check_streams(spec)
    joints = JointState(
        name=["elbow", "shoulder"], position=[1.0, 2.0], velocity=[0.1, 0.2], effort=[-1.0, -2.0]
    )
    observation, angles = ingest.observation({"joint_states": joints}, spec, Controller())
    assert observation["arm/angle"].tolist() == [2.0, 1.0]
    np.testing.assert_allclose(observation["arm/rate"], [0.1, 0.2])
    assert observation["arm/torque"].tolist() == [-2.0, -1.0]
    assert angles.size == 0


def test_a_unit_that_no_joint_state_has_is_refused():
    degrees = Continuous((-180.0,), (180.0,), "degrees", ("elbow",))
    spec = Spec({"arm/angle": degrees, "camera": Image(16, 16)}, degrees, 0.05)
    with pytest.raises(ValueError, match=r"(?s)arm/angle: expected a unit.*got 'degrees'.*camera"):
        ingest.check_streams(spec)


def test_a_crop_of_a_larger_picture_is_averaged_down_to_the_specs_size():
    picture = np.random.default_rng(0).integers(0, 256, (96, 192, 3), dtype=np.uint8)
    crop = (0.25, 0.0, 0.5, 2 / 3)  # 96x64 pixels from column 48 on
    got = ingest.crop_and_resize(picture, crop, Image(32, 48))
    areas = picture[:64, 48:144].reshape(32, 2, 48, 2, 3).mean((1, 3))
    assert np.abs(got - areas).max() <= 0.5
    same = ingest.crop_and_resize(picture, (0.0, 0.0, 1.0, 1.0), Image(96, 192))
    np.testing.assert_array_equal(same, picture)


def test_a_cropped_camera_of_any_size_is_read_and_others_must_fit():
    streams = messages()
    streams[CAMERAS[0]] = conversion.image_message(120, 160, "large")
    crops = {CAMERAS[0]: (0.125, 0.0, 0.75, 1.0)}
    observation, _ = ingest.observation(streams, SPEC, Controller(), crops=crops)
    assert observation[f"{CAMERAS[0]}/pixels"].shape == (64, 64, 3)
    with pytest.raises(ValueError, match=r"expected uint8 \(64, 64, 3\), got uint8 \(120, 160, 3"):
        ingest.observation(streams, SPEC, Controller())


def test_a_crop_that_would_stretch_or_enlarge_is_refused():
    picture = np.zeros((96, 192, 3), np.uint8)
    for crop, words in (
        ((0.0, 0.0, 1.0, 1.0), "their aspect, got 192x96"),
        ((0.0, 0.0, 0.25, 0.5), "at least 64x64 pixels and their aspect, got 48x48"),
        ((0.5, 0.0, 0.75, 1.0), "crop: expected left, top, width, height"),
    ):
        with pytest.raises(ValueError, match=words):
            ingest.crop_and_resize(picture, crop, Image(64, 64))


def test_another_gripper_is_read_and_commanded_in_its_own_units():
    fingers = ingest.Gripper("panda_finger_joint1", open=0.04, closed=0.0)
    assert fingers.units(np.array([0.04, 0.01, 0.0])).tolist() == [0, 191, 255]
    assert fingers.velocity(255.0) == -0.04 and fingers.target(255.0) == 0.0
    assert fingers.command(fingers.velocity(-100.0)) == pytest.approx(-100.0)
