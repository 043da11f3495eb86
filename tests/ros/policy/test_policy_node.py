"""The policy node as a process of its own; these tests play robot and operator."""

import numpy as np
import pytest
import rclpy
import ros_examples
from diagnostic_msgs.msg import DiagnosticArray
from ros_examples import ACTIVATE, CLEANUP, CONFIGURE, DEACTIVATE, FakeSensors
from std_msgs.msg import Float64MultiArray

from gato_ros.common import diagnostics, topics

IMAGE = topics.image("basket_front_left")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return ros_examples.save_checkpoint(tmp_path_factory.mktemp("policy") / "debug")


@pytest.fixture(scope="module")
def robot(checkpoint, tmp_path_factory):
    """A probe beside a running policy node, in real time (no simulated clock)."""
    log = tmp_path_factory.mktemp("log") / "policy_node.txt"
    overrides = ros_examples.LOOSE | {"checkpoint": str(checkpoint)}
    with (
        ros_examples.environment(),
        ros_examples.node_process("policy_node", log, overrides),
        ros_examples.probe() as probe,
    ):
        probe.commands = probe.listen(Float64MultiArray, topics.ARM_VELOCITY)
        probe.reports = probe.listen(DiagnosticArray, topics.DIAGNOSTICS)
        assert probe.transition(CONFIGURE)
        yield probe


@pytest.fixture
def active(robot):
    """The policy active and fed by healthy sensors; the robot has been commanded to move."""
    with FakeSensors(robot) as sensors:
        assert robot.transition(ACTIVATE)
        try:
            wait_until_moving(robot)
            yield robot, sensors
        finally:
            assert robot.transition(DEACTIVATE)


def wait_until_moving(robot) -> None:
    seen = len(robot.commands)
    robot.wait(lambda: any(any(m.data) for m in robot.commands[seen:]), "commands that move")


def wait_until_held(robot) -> None:
    robot.wait(lambda: robot.commands and not any(robot.commands[-1].data), "a hold")


def problem(robot) -> str:
    return diagnostics.values_of(robot.reports[-1], "policy_node")["message"]


def test_nothing_is_published_while_inactive(robot):
    with FakeSensors(robot):
        seen = len(robot.commands), len(robot.reports)
        names = [topics.ARM_VELOCITY, topics.GRIPPER_VELOCITY, topics.DIAGNOSTICS]
        assert all(robot.node.count_publishers(name) == 1 for name in names)
        rclpy.clock.Clock().sleep_for(rclpy.duration.Duration(seconds=1))
        assert seen == (len(robot.commands), len(robot.reports))


def test_fresh_observations_give_finite_commands_within_limits(active):
    robot, _ = active
    robot.wait(lambda: len(robot.commands) > 10, "ten commands")
    commands = np.array([m.data for m in robot.commands])
    assert commands.shape[1] == 7
    assert np.isfinite(commands).all() and (np.abs(commands) < 5).all()


def test_stale_image_stops_commands_and_they_resume_with_it(active):
    robot, sensors = active
    sensors.faults[IMAGE] = lambda message: None
    wait_until_held(robot)
    robot.wait(lambda: "basket_front_left: arrived" in problem(robot), "the reason")
    held = next(i for i, m in enumerate(robot.commands) if m is robot.commands[-1])
    assert ros_examples.falls_silent(robot.commands), "the robot stands still"
    assert len(robot.commands) > held + 1 and not any(any(m.data) for m in robot.commands[held:])
    sensors.faults.clear()
    wait_until_moving(robot)


def test_frozen_stamps_stop_commands_although_messages_arrive(active):
    robot, sensors = active
    frozen = robot.node.get_clock().now().to_msg()

    def freeze(message):
        message.header.stamp = frozen
        return message

    sensors.faults[IMAGE] = freeze
    wait_until_held(robot)
    robot.wait(lambda: "basket_front_left: stamped" in problem(robot), "the reason")


def test_malformed_messages_hold_the_robot_and_are_explained(active):
    robot, sensors = active

    def rename(message):
        message.name[0] = "shoulder"
        return message

    def recode(message):
        message.encoding = "yuv422"
        return message

    def lose(message):
        message.position[2] = float("nan")
        return message

    for topic, fault, words in (
        (topics.JOINT_STATES, rename, "['right_j0'] missing"),
        (topics.JOINT_STATES, lose, "NaN or infinity in ['right_j2']"),
        (IMAGE, recode, "got 'yuv422'"),
    ):
        sensors.faults[topic] = fault
        wait_until_held(robot)
        robot.wait(lambda words=words: words in problem(robot), words)
        sensors.faults.clear()
        wait_until_moving(robot)


def test_deactivation_leaves_the_robot_holding(robot):
    with FakeSensors(robot):
        assert robot.transition(ACTIVATE)
        wait_until_moving(robot)
        assert robot.transition(DEACTIVATE)
        wait_until_held(robot)
        assert ros_examples.falls_silent(robot.commands), "the robot stands still"


def test_cleanup_leaves_no_publisher_and_configuring_again_works(robot):
    assert robot.transition(CLEANUP)
    names = [topics.ARM_VELOCITY, topics.GRIPPER_VELOCITY, topics.DIAGNOSTICS]
    assert ros_examples.eventually(
        lambda: not any(robot.node.count_publishers(name) for name in names)
    )
    assert robot.transition(CONFIGURE)
