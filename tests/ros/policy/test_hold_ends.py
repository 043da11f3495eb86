"""Processes that end, and those that come after them, beside a robot without a watchdog."""

import signal
import time

import pytest
import ros_examples
from hold_scene import odd_policy, scene
from rclpy.qos import DurabilityPolicy, QoSProfile
from ros_examples import ACTIVATE, CONFIGURE
from std_msgs.msg import Bool

from gato_ros.common import topics


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return ros_examples.save_checkpoint(tmp_path_factory.mktemp("policy") / "debug")


def test_a_stop_holds_a_robot_that_another_process_set_in_motion(checkpoint, tmp_path):
    """It answered that the robot holds, sent nothing, and the arm went on at 0.54 rad/s."""
    with scene(tmp_path) as one:
        count = one.probe.node.count_publishers
        for transitions in ([], [CONFIGURE], [CONFIGURE, ACTIVATE]):
            # the killed one is a rival until DDS has given it up
            assert ros_examples.eventually(lambda: count(topics.ARM_VELOCITY) == 0)
            with odd_policy(checkpoint, tmp_path, status=-9) as policy:
                for transition in (CONFIGURE, ACTIVATE):
                    assert one.probe.transition(transition, patience=15.0)
                one.wait_until_moving()
                policy.kill()
                policy.wait()
            time.sleep(0.5)
            assert one.commands[-1][1].any() and one.speeds[-1] > 0.005, "nobody holds it"
            if transitions[-1:] == [ACTIVATE]:
                one.fault("joint_states", "silent")  # or it would move it itself
            with odd_policy(checkpoint, tmp_path):
                for transition in transitions:
                    assert one.probe.transition(transition, patience=15.0)
                answer = one.probe.call("policy_node/stop", patience=3.0)
                assert answer.success, answer.message
                assert ros_examples.eventually(lambda: not one.commands[-1][1].any())
                one.fault("joint_states", "none")
                one.wait_until_still()
                if not transitions:
                    # nor does it leave publishers where it needs none
                    assert ros_examples.eventually(lambda: count(topics.ARM_VELOCITY) == 0)


def test_a_stop_that_reaches_nobody_says_so(checkpoint, tmp_path):
    with ros_examples.environment(), ros_examples.probe() as probe:
        with odd_policy(checkpoint, tmp_path):
            answer = probe.call("policy_node/stop")
            assert not answer.success
            assert f"nobody listens on /{topics.ARM_VELOCITY}" in answer.message
        with odd_policy(checkpoint, tmp_path, command="trajectory"):
            answer = probe.call("policy_node/stop")
            assert not answer.success and "expected angles to hold at" in answer.message


def test_an_exception_in_a_callback_holds_and_ends_the_process(checkpoint, tmp_path):
    """It ended the thread of all callbacks and left a process that looked alive."""
    with scene(tmp_path) as one, odd_policy(checkpoint, tmp_path, status=1) as policy:
        assert one.probe.transition(CONFIGURE) and one.probe.transition(ACTIVATE)
        one.wait_until_moving()
        one.mode("crash")
        assert policy.wait(ros_examples.TIMEOUT) == 1
        one.wait_until_still()
    (log,) = (path for path in tmp_path.glob("1*.txt"))
    assert "error: a callback failed: RuntimeError('an error of ours" in log.read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_every_signal_leaves_the_robot_holding(checkpoint, tmp_path, number):
    with scene(tmp_path) as one, odd_policy(checkpoint, tmp_path) as policy:
        assert one.probe.transition(CONFIGURE) and one.probe.transition(ACTIVATE)
        one.wait_until_moving()
        policy.send_signal(number)
        assert policy.wait(ros_examples.TIMEOUT) == 0
        one.wait_until_still()


def test_a_button_that_latched_before_the_node_started_is_heard(checkpoint, tmp_path):
    """It was not: 38 commands left."""
    with scene(tmp_path) as one:
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        one.probe.node.create_publisher(Bool, topics.STOP, latched).publish(Bool(data=True))
        with odd_policy(checkpoint, tmp_path):
            assert one.probe.transition(CONFIGURE) and one.probe.transition(ACTIVATE)
            one.wait_for_state("stopped: asked on topic stop")
            time.sleep(1.0)
            assert not any(v.any() for _, v in one.commands)
            assert one.probe.call("policy_node/rearm").success
            one.wait_until_moving()
