import numpy as np
import pytest
from builtin_interfaces.msg import Time
from ros_examples import CAMERAS, joint_state
from sensor_msgs.msg import JointState

from gato_core.spec import Continuous, Image, Spec
from gato_ros import conversion, ingest
from gato_sim.controller import Controller
from gato_sim.tasks import robot_spec

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
        assert ingest.gripper_command(ingest.finger_velocity(command)) == command


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
