"""Another arm than the Sawyer, from config/real_arm.yaml and its URDF, through the policy node.

Node and probe share this process, but talk over DDS.
"""

import contextlib
import threading

import numpy as np
import pytest
import rclpy
import ros_examples
from geometry_msgs.msg import TwistStamped
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.signals import SignalHandlerOptions
from ros_examples import CAMERAS, Probe
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from gato_core.spec import Spec
from gato_ros.common import conversion, paths, topics
from gato_ros.common.process import spinning
from gato_ros.common.stopping import Stop
from gato_ros.policy.node import PolicyNode
from gato_sim.arm.controller import Controller

REST = [0.0, 0.6, 0.0, 1.5, 0.0, 1.04, 0.0]
DOMAIN = ros_examples.own_domain()
FRESH = {
    "hold_after": 5.0,
    "max_age": 5.0,
    "max_stamp_age": 0.0,
    "max_silence": 5.0,
    "joint_states.max_age": 5.0,
}
FRESH |= {f"{camera}.max_age": 5.0 for camera in CAMERAS}


@contextlib.contextmanager
def policy_node(**parameters):
    """The node of config/real_arm.yaml, with other parameters on top."""
    arguments = ["--ros-args", "--params-file", str(paths.find("config/real_arm.yaml"))]
    for name, value in parameters.items():
        arguments += ["-p", f"{name}:={value}"]
    with ros_examples.environment(DOMAIN):
        rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
        try:
            node = PolicyNode()
            yield node
            node.destroy_node()
        finally:
            rclpy.try_shutdown()


@contextlib.contextmanager
def active(node):
    """A probe beside the active node; it gets images of 160x120 and this arm's joints."""
    stop = Stop()
    other = rclpy.create_node("robot")
    with spinning(node), spinning(other):
        robot = Probe(other)
        loop = threading.Thread(target=node.run, args=[stop])
        loop.start()
        try:
            assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
            robot.arm = node.control.robot.arm
            yield robot, node
        finally:
            stop.set()
            loop.join()
    other.destroy_node()


def send_state(robot, angles=REST) -> None:
    stamp = robot.node.get_clock().now().to_msg()
    for camera in CAMERAS:
        image = conversion.image_message(120, 160, camera)
        image.header.stamp = stamp
        robot.publish(image, topics.image(camera))
    joints = JointState(name=[*robot.arm.joints[::-1], "finger_joint"])
    joints.position, joints.header.stamp = [*angles[::-1], 0.4], stamp
    robot.publish(joints, topics.JOINT_STATES)


def answer(robot, heard: list) -> object:
    """The first message of a topic, with states sent until it is there."""
    assert ros_examples.eventually(lambda: send_state(robot) or heard)
    return heard[0]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A policy trained, one may pretend, on the arm of the example."""
    with policy_node() as node:
        robot = node.parameters.robot()
    spec = robot.spec()
    return ros_examples.save_checkpoint(tmp_path_factory.mktemp("arm") / "debug", spec)


def test_its_twist_is_what_its_joints_would_do(checkpoint):
    options = {"checkpoint": checkpoint, "safety.soft_start": 0.05, "safety.max_jump": 100.0}
    with policy_node(command="twist", **options, **FRESH) as node, active(node) as (robot, _):
        twists = robot.listen(TwistStamped, topics.ARM_TWIST)
        grips = robot.listen(Float64MultiArray, topics.GRIPPER_POSITION)
        actions = robot.listen(JointState, topics.ACTION)
        node.trigger_activate()
        twist = answer(robot, twists)
        robot.wait(lambda: actions and grips, "an action and the gripper's command")
        action = np.array(actions[0].position)
        controller = Controller(robot.arm)
        velocities = controller.ctrl(action, np.array(REST))[:-1]
        expected = controller.tcp_jacobian(np.array(REST)) @ velocities
        linear, angular = twist.twist.linear, twist.twist.angular
        got = [linear.x, linear.y, linear.z, angular.x, angular.y, angular.z]
        np.testing.assert_allclose(got, expected, atol=1e-6)
        assert twist.header.frame_id == "base"
        np.testing.assert_allclose(got[:3], np.clip(action[:3], -0.07, 0.07), atol=0.02)
        assert grips[0].data[0] in (0.0, 0.8)
        assert grips[0].data[0] == (0.8 if action[4] > 0 else 0.0)


def test_its_trajectory_has_positions_velocities_and_a_time_and_holds_at_its_target(checkpoint):
    with policy_node(checkpoint=checkpoint, **FRESH) as node, active(node) as (robot, _):
        trajectories = robot.listen(JointTrajectory, topics.ARM_TRAJECTORY)
        grips = robot.listen(Float64MultiArray, topics.GRIPPER_POSITION)
        node.trigger_activate()
        first = answer(robot, trajectories)
        assert tuple(first.joint_names) == robot.arm.joints
        (point,) = first.points
        assert point.time_from_start.nanosec == 50_000_000 and point.time_from_start.sec == 0
        velocities = np.array(point.velocities)
        np.testing.assert_allclose(point.positions, REST + 0.05 * velocities)
        assert 0 < np.abs(velocities).max() <= 0.2, "a soft start"
        assert first.header.stamp.sec == first.header.stamp.nanosec == 0, "from its arrival on"
        node.trigger_deactivate()
        robot.wait(lambda: not any(trajectories[-1].points[0].velocities), "a hold")
        moving = [one for one in trajectories if any(one.points[0].velocities)]
        hold = trajectories[len(moving)].points[0]
        # it snapped back to the measured angles: 0.07 rad in a control timestep
        np.testing.assert_allclose(hold.positions, moving[-1].points[0].positions)
        way = np.abs(np.array(hold.positions) - REST).max()
        assert hold.time_from_start.nanosec / 1e9 >= max(0.05, way / 0.5) - 1e-9
        robot.wait(lambda: len(grips) >= len(moving), "the gripper's commands")
        assert len(grips) == len(moving), "a hold keeps the grip"


def test_a_checkpoint_for_the_sawyer_is_refused_with_what_differs(tmp_path):
    sawyers = ros_examples.save_checkpoint(tmp_path / "sawyer")
    with policy_node(checkpoint=sawyers) as node:
        assert node.trigger_configure() == TransitionCallbackReturn.FAILURE
        with pytest.raises(ValueError) as error:
            node.load_control()
    for line in (
        "sawyer/joints/angle.names: expected nothing, got",
        "sawyer/pinch/pose.low: expected nothing, got",
    ):
        assert line in str(error.value)


def test_every_kind_of_difference_is_listed(checkpoint):
    """Names, units, ranges, cameras and rate, all at once."""
    with policy_node() as node:
        robot = node.parameters.robot()
    spec = robot.spec()
    data = spec.to_dict()
    observation = data["observation"]
    observation["side/pixels"] = observation.pop("basket_front_left/pixels")
    joints = observation["example_arm/joints/angle"]
    joints["names"] = ["j0", *joints["names"][1:]]
    joints["unit"] = "deg"
    joints["high"] = [9.0, *joints["high"][1:]]
    data["control_timestep"] = 0.1
    text = "\n".join(robot.differences(Spec.from_dict(data)))
    for key in (
        *("basket_front_left/pixels.height", "side/pixels.height", "joints/angle.names"),
        *("joints/angle.unit", "joints/angle.high", "control_timestep"),
    ):
        assert key in text
    assert robot.differences(spec) == []


def test_a_policy_may_do_without_the_joints_but_not_without_a_camera():
    with policy_node() as node:
        robot = node.parameters.robot()
    spec = robot.spec()
    seen = dict(spec.observation)
    del seen["example_arm/joints/angle"]
    assert robot.differences(Spec(seen, spec.action, 0.05)) == []
    del seen["basket_front_left/pixels"]
    assert robot.differences(Spec(seen, spec.action, 0.05))


def test_what_the_parameters_get_wrong_about_the_arm_is_said(tmp_path):
    for parameters, words in (
        ({"arm.pinch_frame": "tool0"}, "expected a frame of"),
        ({"arm.description": tmp_path / "none.urdf"}, "expected a file or folder"),
        ({"gripper.closed": 0.0}, "expected open and closed to differ"),
        ({"arm.workspace_low": "[0.0, 0.0]"}, "expected x, y, z"),
        ({"basket_front_left.crop": "[0.5, 0.0, 0.75, 1.0]"}, "crop: expected left, top"),
        ({"safety.max_jmp": 0.1}, r"none called safety.max_jmp \(safety.max_jump\?\)"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=words):
            with policy_node(**parameters) as node:
                node.load_control()
