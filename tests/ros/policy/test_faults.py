"""What goes wrong around a policy node, and what it does: the fault table of docs/ros.md.

The node is a process of its own; these tests play sensors, robot and operator.
"""

import array
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import ros_examples
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from ros_examples import ACTIVATE, CONFIGURE, DEACTIVATE, FakeSensors
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, Float64MultiArray, String

from gato_ros.common import conversion, diagnostics, topics

IMAGE = topics.image("basket_front_left")
JOINTS = topics.JOINT_STATES
COMMANDS = topics.ARM_VELOCITY


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return ros_examples.save_checkpoint(tmp_path_factory.mktemp("policy") / "debug")


@pytest.fixture(scope="module")
def robot(checkpoint, tmp_path_factory):
    """A probe beside a policy node in real time, configured; its policy obeys the topic `mode`."""
    log = tmp_path_factory.mktemp("log") / "policy_node.txt"
    with (
        ros_examples.environment(),
        ros_examples.odd_policy_process(checkpoint, log),
        ros_examples.probe() as probe,
    ):
        probe.joints = probe.listen(JointState, JOINTS)
        probe.commands = probe.listen(Float64MultiArray, COMMANDS)
        probe.actions = probe.listen(JointState, topics.ACTION)
        probe.reports = probe.listen(DiagnosticArray, topics.DIAGNOSTICS)
        probe.states = probe.listen(String, "policy_node/status", topics.LATCHED)
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
            set_mode(robot, "steady")
            assert robot.transition(DEACTIVATE)
            robot.call("policy_node/rearm")


def wait_until_moving(robot) -> None:
    seen = len(robot.commands)
    robot.wait(lambda: any(any(m.data) for m in robot.commands[seen:]), "commands that move")


def wait_until_held(robot, words: str) -> None:
    robot.wait(lambda: robot.commands and not any(robot.commands[-1].data), "a hold")
    robot.wait(lambda: words in report(robot).get("message", ""), words)


def report(robot, name: str = "policy_node") -> dict:
    """A node's newest diagnostics."""
    values = (diagnostics.values_of(message, name) for message in robot.reports[::-1])
    return next((one for one in values if one), {})


def set_mode(robot, mode: str) -> None:
    assert ros_examples.eventually(lambda: robot.node.count_subscribers("mode") == 1)
    robot.publish(String(data=mode), "mode")


def assert_silent(robot) -> None:
    """Nothing but holds, and no command once the robot stands, although sensors are healthy."""
    seen = len(robot.commands)
    assert ros_examples.falls_silent(robot.commands)
    assert not any(any(m.data) for m in robot.commands[seen:])


def rearm(robot) -> None:
    assert robot.call("policy_node/rearm").success
    wait_until_moving(robot)


def test_a_killed_camera_stops_commands_until_it_is_back(active):
    robot, sensors = active
    command = [sys.executable, str(Path(__file__).parents[2] / "ros_camera.py"), IMAGE]
    sensors.faults[IMAGE] = lambda _: None
    robot.unpublish(IMAGE)  # a second publisher would hold the robot, too
    wait_until_held(robot, "basket_front_left: arrived")
    for _ in range(2):
        camera = subprocess.Popen(command)
        wait_until_moving(robot)
        camera.kill()
        camera.wait()
        wait_until_held(robot, "basket_front_left: arrived")


def test_stamps_of_another_time_hold_the_robot(active):
    robot, sensors = active
    for seconds in (-1, 1):

        def shift(message, seconds=seconds):
            message.header.stamp.sec += seconds
            return message

        sensors.faults[JOINTS] = shift
        wait_until_held(robot, "joint_states: stamped")
        sensors.faults.clear()
        wait_until_moving(robot)


@pytest.mark.parametrize("topic, stream", [(IMAGE, "basket_front_left"), (JOINTS, "joint_states")])
def test_a_stream_that_repeats_itself_under_fresh_stamps_latches_the_stop(active, topic, stream):
    robot, sensors = active
    kept = []

    def repeat(message):
        kept.append(message)
        field = "data" if topic == IMAGE else "position"
        setattr(message, field, getattr(kept[0], field))
        return message

    sensors.faults[topic] = repeat
    wait_until_held(robot, f"{stream}: the same for")
    assert report(robot).get("state") == "stopped"
    sensors.faults.clear()
    assert_silent(robot)
    rearm(robot)


def test_reordered_joints_with_strangers_among_them_change_nothing(active):
    robot, sensors = active

    def shuffle(message):
        order = np.random.default_rng(1).permutation(len(message.name))
        message.name = ["rail", *(message.name[i] for i in order)]
        message.position = [9.0, *(message.position[i] for i in order)]
        return message

    before = np.array(robot.commands[-1].data)
    sensors.faults[JOINTS] = shuffle
    seen = len(robot.commands)
    robot.wait(lambda: len(robot.commands) > seen + 10, "ten commands")
    np.testing.assert_allclose(robot.commands[-1].data, before, atol=0.01)
    assert report(robot).get("num_holds", 0) == 0


def wrong(field: str, value: object):
    def change(message):
        setattr(message, field, value)
        return message

    return change


def missing(message):
    message.name[0] = "shoulder"
    return message


def spoiled(value: float):
    def change(message):
        message.position[2] = value
        return message

    return change


def test_joint_states_of_arm_and_gripper_that_come_apart_are_merged(active):
    """Each message alone lacks joints; the newest that arrived was taken, and the robot held."""
    robot, sensors = active

    def apart(message: JointState) -> JointState:
        gripper = JointState(header=message.header, name=message.name[7:])
        gripper.position = message.position[7:]
        robot.publish(gripper, JOINTS)
        del message.name[7:], message.position[7:]
        return message

    sensors.faults[JOINTS] = apart
    for _ in range(5):
        wait_until_moving(robot)  # the first gripper's message comes before the arm's
    holds = report(robot)["num_holds"]
    seen = len(robot.commands)
    robot.wait(lambda: len(robot.commands) > seen + 20, "commands")
    assert all(any(message.data) for message in robot.commands[seen:])
    assert report(robot)["num_holds"] == holds

    def arm_alone(message: JointState) -> JointState:
        del message.name[7:], message.position[7:]
        return message

    sensors.faults[JOINTS] = arm_alone  # a gripper that falls silent
    wait_until_held(robot, "finger_joint")
    sensors.faults.clear()
    wait_until_moving(robot)


@pytest.mark.parametrize(
    "topic, fault, words",
    [
        (JOINTS, missing, "['right_j0'] missing"),
        (JOINTS, spoiled(float("nan")), "NaN or infinity in ['right_j2']"),
        (JOINTS, spoiled(float("inf")), "NaN or infinity in ['right_j2']"),
        (JOINTS, wrong("position", array.array("d", [0.0])), "a position for each of 8 names"),
        (IMAGE, wrong("encoding", "yuv422"), "got 'yuv422'"),
        (IMAGE, wrong("encoding", "y" * 1_000_000), "got 'yyyyyyyy"),
        (IMAGE, wrong("step", 100), "image step: expected at least 192 bytes"),
        (IMAGE, wrong("height", 63), "image data: expected 12096 bytes"),
    ],
)
def test_a_message_that_makes_no_sense_holds_the_robot_and_is_explained(
    active, topic, fault, words
):
    robot, sensors = active
    sensors.faults[topic] = fault
    wait_until_held(robot, words)
    sensors.faults.clear()
    wait_until_moving(robot)


def test_a_burst_of_a_thousand_messages_is_answered_once_a_tick(active):
    robot, _ = active
    before = len(robot.commands)
    angles = ros_examples.ANGLES
    for _ in range(1000):
        stamp = robot.node.get_clock().now().to_msg()
        robot.publish(ros_examples.joint_state(stamp, angles), JOINTS)
    wait_until_moving(robot)
    assert len(robot.commands) - before < 200
    assert report(robot).get("num_rejected", 0) == 0


def test_nan_from_the_policy_never_leaves(active):
    robot, _ = active
    set_mode(robot, "nan")
    wait_until_held(robot, "action: expected finite numbers")
    set_mode(robot, "steady")
    wait_until_moving(robot)
    assert np.isfinite([m.data for m in robot.commands]).all()


def test_an_exception_in_the_policy_latches_the_stop(active):
    robot, _ = active
    set_mode(robot, "raise")
    wait_until_held(robot, "the policy failed: RuntimeError('out of memory")
    set_mode(robot, "steady")
    assert_silent(robot)
    rearm(robot)


def test_a_slow_policy_skips_ticks_and_answers_only_the_newest_state(active):
    robot, _ = active
    set_mode(robot, "slow 0.2")
    seen = len(robot.actions)
    robot.wait(lambda: len(robot.actions) > seen + 5, "slow answers")
    stamps = [conversion.nanoseconds(m.header.stamp) for m in robot.actions[seen + 1 :]]
    assert np.diff(stamps).min() >= 0.15e9, "a state in between was answered late"
    for count in ("num_missed", "num_late"):
        robot.wait(lambda count=count: report(robot).get(count, 0) >= 5, count)


def test_an_answer_to_a_stale_state_is_never_sent(active):
    robot, _ = active
    set_mode(robot, "slow 0.6")
    wait_until_held(robot, "when the policy had answered")
    seen = len(robot.actions)
    set_mode(robot, "steady")
    assert len(robot.actions) == seen
    wait_until_moving(robot)


def test_a_stop_is_latched_until_rearm_whatever_asks_for_it(active):
    robot, _ = active

    def by_topic() -> None:
        robot.publish(Bool(data=False), topics.STOP)  # asks for nothing
        wait_until_moving(robot)
        robot.publish(Bool(data=True), topics.STOP)

    for ask, words in (
        (by_topic, "asked on topic stop"),
        (lambda: robot.call("policy_node/stop"), "asked by service"),
    ):
        ask()
        wait_until_held(robot, words)
        robot.wait(lambda words=words: robot.states[-1].data == f"stopped: {words}", "the status")
        assert_silent(robot)
        rearm(robot)
    assert not robot.call("policy_node/rearm").success


def test_a_stop_holds_at_once_while_the_policy_computes(active):
    robot, _ = active
    set_mode(robot, "slow 3.0")
    seen = len(robot.actions)
    assert ros_examples.eventually(lambda: report(robot).get("state") == "moving")
    robot.call("policy_node/stop")
    robot.wait(lambda: not any(robot.commands[-1].data), "a hold", timeout=2.0)
    assert len(robot.actions) <= seen + 1
    set_mode(robot, "steady")
    robot.wait(lambda: report(robot).get("state") == "stopped", "the state")
    rearm(robot)


def test_a_stop_outlasts_deactivation(robot):
    robot.call("policy_node/stop")
    with FakeSensors(robot):
        assert robot.transition(ACTIVATE)
        robot.wait(lambda: report(robot).get("state") == "stopped", "the state")
        assert_silent(robot)
        rearm(robot)
        assert robot.transition(DEACTIVATE)


def test_an_incompatible_subscriber_is_warned_of(active):
    robot, _ = active
    late_joiner = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    # rclpy's own warning is deprecated, so an error here, and one in an event crashes its executor
    quiet = SubscriptionEventCallbacks(use_default_callbacks=False)
    robot.node.create_subscription(
        Float64MultiArray, COMMANDS, lambda _: None, late_joiner, event_callbacks=quiet
    )
    robot.wait(lambda: report(robot).get("qos_mismatches"), "a warning")
    assert report(robot).get("qos_mismatches") == {COMMANDS: "DURABILITY"}


def test_two_policy_nodes_on_one_topic_both_hold_until_one_is_gone(active, checkpoint, tmp_path):
    robot, _ = active
    with ros_examples.odd_policy_process(checkpoint, tmp_path / "second.txt", "second"):
        assert robot.transition(CONFIGURE, "second")
        wait_until_held(robot, f"{COMMANDS}: also commanded by /second")
        assert robot.transition(ACTIVATE, "second")
        words = f"{COMMANDS}: also commanded by /policy_node"
        assert ros_examples.eventually(
            lambda: words in report(robot, "second").get("message", "")
        ), report(robot, "second")
        assert_silent(robot)
    wait_until_moving(robot)


def test_a_stop_button_that_cannot_reach_the_node_latches_the_stop(active):
    """Last of this file: the publisher stays, and would stop any other node."""
    robot, _ = active
    best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    quiet = PublisherEventCallbacks(use_default_callbacks=False)
    robot.node.create_publisher(Bool, topics.STOP, best_effort, event_callbacks=quiet)
    wait_until_held(robot, "a publisher of stop cannot reach us")
    rearm(robot)
