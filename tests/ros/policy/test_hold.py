"""Who moves a robot also holds it: a robot without a watchdog, in a process of its own, beside the
policy node; these tests are its operator and its misfortunes."""

import os
import signal
import time

import pytest
import ros_examples
from hold_scene import LATE, odd_policy, scene
from ros_examples import ACTIVATE, CONFIGURE, DEACTIVATE
from sensor_msgs.msg import Image, JointState

from gato_ros.common import topics

HOLD_AFTER = 0.4  # s; the machine may be busy with other tests
CAMERA = "basket_front_left"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return ros_examples.save_checkpoint(tmp_path_factory.mktemp("policy") / "debug")


@pytest.fixture(scope="module")
def shared(checkpoint, tmp_path_factory):
    """A configured policy node that does not look at stamps, but at contrast."""
    folder = tmp_path_factory.mktemp("log")
    options = {"max_stamp_age": 0.0, "safety__min_contrast": 5.0, "hold_after": HOLD_AFTER}
    with scene(folder) as one, odd_policy(checkpoint, folder, **options) as process:
        assert one.probe.transition(CONFIGURE)
        one.mode("sway")
        one.process = process
        yield one


@pytest.fixture
def moving(shared):
    """The policy active, and the robot in motion."""
    assert shared.probe.transition(ACTIVATE)
    try:
        shared.wait_until_moving()
        yield shared
    finally:
        for stream in ("joint_states", CAMERA):
            shared.fault(stream, "none")
        shared.mode("sway")
        assert shared.probe.transition(DEACTIVATE)
        shared.wait_until_still()
        shared.probe.call("policy_node/rearm")


def test_ticks_that_stay_away_hold_the_robot(moving):
    """Stamps that stay the same were answered once; 4 s later it still moved at 0.29 rad/s."""
    moving.fault("joint_states", "frozen")
    moving.wait_until_still()
    moving.wait_for_state("holding: no command for 0.4")
    moving.fault("joint_states", "none")
    moving.wait_until_moving()


def test_a_policy_that_hangs_is_held_meanwhile(moving):
    """It left 4.09 s of silence at 0.46 rad/s."""
    moving.mode("hang 3")
    assert ros_examples.eventually(lambda: not moving.commands[-1][1].any())
    times = [t for t, _ in moving.commands]
    first = next(i for i in range(len(times))[::-1] if moving.commands[i][1].any()) + 1
    assert times[first] - times[first - 1] < HOLD_AFTER + LATE
    moving.wait_until_still()
    moving.wait_for_state("holding: no command for 0.4")
    moving.wait_until_moving()


@pytest.mark.parametrize("fault", ["alternating", "zeros", "degrees"])
def test_states_that_the_arm_cannot_have_come_to_are_refused(moving, fault):
    """Of a second publisher with zeros 17 of 40 commands answered the zeros."""
    moving.fault("joint_states", fault)
    moving.wait_for_state("expected at most")
    assert ros_examples.eventually(lambda: not moving.commands[-1][1].any())
    moving.fault("joint_states", "none")
    moving.wait_until_moving()


def test_a_second_publisher_of_a_stream_holds_the_robot(moving):
    node = moving.probe.node
    for message_type, topic in ((JointState, "joint_states"), (Image, f"{CAMERA}/color")):
        publisher = node.create_publisher(message_type, topic, topics.SENSOR)
        moving.wait_for_state(f"/{topic}: expected 1 publisher, got")
        moving.wait_until_still()
        node.destroy_publisher(publisher)
        moving.wait_until_moving()


def test_an_image_without_contrast_holds_the_robot_if_asked_to(moving):
    moving.fault(CAMERA, "black")
    moving.wait_for_state(f"{CAMERA}: expected a contrast of at least 5, got 0.0")
    moving.wait_until_still()


def test_a_node_that_was_suspended_holds_first(moving):
    seen = len(moving.commands)
    os.kill(moving.process.pid, signal.SIGSTOP)
    time.sleep(HOLD_AFTER + 0.6)
    suspended = len(moving.commands)
    assert moving.commands[suspended - 1][1].any() and suspended - seen < 10
    os.kill(moving.process.pid, signal.SIGCONT)
    assert ros_examples.eventually(lambda: len(moving.commands) > suspended + 1)
    first = [v for _, v in moving.commands[suspended : suspended + 2]]
    # one that was on its way when the process was suspended may come first
    assert not all(v.any() for v in first), moving.commands[suspended - 2 :]
    moving.wait_until_moving()
