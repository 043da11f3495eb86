"""Teleoperation: what moves the robot is held by a person, or it does not move."""

import contextlib
import os
import pty
import signal
import subprocess
import sys
import time

import hold_scene
import numpy as np
import pytest
import ros_examples
from ros_examples import FakeSensors
from sensor_msgs.msg import JointState, Joy
from std_msgs.msg import Bool, Float64MultiArray
from std_srvs.srv import Trigger

from gato_ros.common import topics
from gato_ros.teleop.devices import KEY_HOLD, Buttons, Joystick, Keyboard, Speeds, keys_in
from gato_sim.arm.sawyer import GRIPPER_LIMIT

SPEEDS = Speeds(linear=0.05, yaw=0.5)
BUTTONS = Buttons(axes=(1, 0, 4, 3), deadman=4, grip=0)


def joy(joystick: Joystick, now: float, *, deadman=1, grip=0, x=0.0, y=0.0) -> np.ndarray | None:
    joystick.put([y, x, 0.0, 0.0, 0.0], [grip, 0, 0, 0, deadman], now)
    return joystick.action(now)


def test_a_key_moves_as_long_as_it_repeats_and_no_longer():
    keyboard = Keyboard(SPEEDS)
    assert keyboard.action(0.0) is None, "nobody has touched it"
    for now in np.arange(0.0, 1.0, 0.05):
        assert keyboard.press("w", now)
        np.testing.assert_allclose(keyboard.action(now)[:4], [0.05, 0, 0, 0])
    np.testing.assert_array_equal(keyboard.action(0.96 + KEY_HOLD)[:4], np.zeros(4))
    assert not keyboard.press("\n", 2.0)


def test_keys_together_keep_the_speed_limit_and_opposites_cancel():
    keyboard = Keyboard(SPEEDS)
    for key in "war":
        keyboard.press(key, 0.0)
    assert np.linalg.norm(keyboard.action(0.0)[:3]) == pytest.approx(0.05)
    keyboard.press("s", 0.0)
    keyboard.press("\x1b[C", 0.0)
    np.testing.assert_allclose(keyboard.action(0.0)[:3], [0, 0, 0.05])


def test_the_gripper_stays_as_it_was_put_until_the_next_episode():
    keyboard = Keyboard(SPEEDS)
    keyboard.press(" ", 0.0)
    assert keyboard.action(9.0)[4] == GRIPPER_LIMIT
    keyboard.press(" ", 9.0)
    assert keyboard.action(20.0)[4] == -GRIPPER_LIMIT
    keyboard.restart()
    assert keyboard.action(20.0) is None


def test_arrows_arrive_as_one_key():
    assert list(keys_in("w\x1b[A \x1b[D\n")) == ["w", "\x1b[A", " ", "\x1b[D", "\n"]


def test_a_joystick_moves_only_while_its_deadman_button_is_held_and_it_is_heard():
    joystick = Joystick(SPEEDS, BUTTONS)
    assert joy(joystick, 0.0, deadman=0, x=1.0) is None
    np.testing.assert_allclose(joy(joystick, 1.0, x=1.0)[:4], [0.05, 0, 0, 0])
    np.testing.assert_array_equal(joy(joystick, 1.1, deadman=0, x=1.0)[:4], np.zeros(4))
    assert joy(joystick, 2.0, x=1.0)[0] > 0
    np.testing.assert_array_equal(joystick.action(2.6)[:4], np.zeros(4))
    assert not joy(joystick, 3.0, x=0.09)[:4].any(), "the dead zone"
    assert not joy(joystick, 3.0, x=float("nan"))[:4].any()
    assert np.linalg.norm(joy(joystick, 3.0, x=1.0, y=1.0)[:3]) == pytest.approx(0.05)


def test_the_grip_button_toggles_once_a_press_and_not_without_the_deadman():
    joystick = Joystick(SPEEDS, BUTTONS)
    grips = [joy(joystick, 0.0, grip=grip)[4] for grip in (0, 1, 1, 0, 1)]
    assert np.sign(grips).tolist() == [-1, 1, 1, 1, -1]
    joy(joystick, 1.0, deadman=0, grip=0)
    assert joy(joystick, 1.0, deadman=0, grip=1)[4] == -GRIPPER_LIMIT


def test_a_message_of_another_joystick_is_refused():
    with pytest.raises(ValueError, match="expected axes .* got 2 axes and 1 buttons"):
        Joystick(SPEEDS, BUTTONS).put([0.0, 0.0], [0], 0.0)


@contextlib.contextmanager
def teleop(log, *overrides: str, stdin=subprocess.DEVNULL):
    command = [sys.executable, "-m", "gato_ros.nodes", "teleop", "--ros-args"]
    for override in overrides:
        command += ["-p", override]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=stdin, stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(ros_examples.TIMEOUT) == 0, log.read_text()


@pytest.fixture
def robot():
    with ros_examples.environment(), ros_examples.probe() as probe:
        probe.actions = probe.listen(JointState, topics.ACTION)
        probe.commands = probe.listen(Float64MultiArray, topics.ARM_VELOCITY)
        yield probe


def test_keys_of_a_terminal_move_the_robot_and_letting_go_stops_it(robot, tmp_path):
    person, terminal = pty.openpty()
    recorder_calls = []

    def start(_, response):
        recorder_calls.append("start")
        response.success = True
        return response

    robot.node.create_service(Trigger, "recorder/start", start)
    with FakeSensors(robot), teleop(tmp_path / "log", stdin=terminal):
        seen = lambda: len(robot.actions)  # noqa: E731
        assert ros_examples.eventually(lambda: b"gripper" in (tmp_path / "log").read_bytes())
        time.sleep(0.3)
        assert not seen(), "nothing is sent before the first key"

        def hold(key: bytes) -> bool:
            os.write(person, key)
            return bool(robot.actions) and robot.actions[-1].position[0] > 0

        assert ros_examples.eventually(lambda: hold(b"w"))
        robot.wait(lambda: np.abs(robot.commands[-1].data).max() > 0.01, "a moving arm")
        assert robot.actions[-1].header.frame_id == "keyboard"
        robot.wait(lambda: not any(robot.actions[-1].position[:4]), "the key's end")
        robot.wait(lambda: not any(robot.commands[-1].data), "an arm at rest")
        robot.publish(Bool(data=True), topics.STOP)
        time.sleep(0.3)
        assert ros_examples.eventually(lambda: b"stopped" in (tmp_path / "log").read_bytes())
        count = seen()
        for _ in range(5):
            hold(b"w")
            time.sleep(0.05)
        assert not any(any(m.position[:4]) for m in robot.actions[count:])
        os.write(person, b"c")
        assert ros_examples.eventually(lambda: hold(b"w"))
        os.write(person, b"\n")
        assert ros_examples.eventually(lambda: recorder_calls == ["start"])
    stamps = [m.header.stamp.sec * 10**9 + m.header.stamp.nanosec for m in robot.actions]
    assert len(stamps) == len(set(stamps)), "one action a state"
    assert not any(robot.commands[-1].data), "it is left holding"
    os.close(person)
    os.close(terminal)


def test_without_a_terminal_the_keyboard_is_refused_in_one_line(tmp_path):
    log = tmp_path / "log"
    with ros_examples.environment(), pytest.raises(AssertionError):
        with teleop(log) as process:
            assert process.wait(ros_examples.TIMEOUT) == 1
    assert log.read_text() == "error: keyboard: expected a terminal on stdin, got none\n"


def test_a_joystick_moves_the_robot_over_ros(robot, tmp_path):
    message = Joy(axes=[0.0, 1.0, 0.0, 0.0, 0.0], buttons=[0, 0, 0, 0, 1])
    with FakeSensors(robot), teleop(tmp_path / "log", "device:=joystick"):

        def push() -> bool:
            robot.publish(message, topics.JOY)
            return bool(robot.actions) and robot.actions[-1].position[0] > 0

        assert ros_examples.eventually(push)
        # silence of the joystick, as when its cable is pulled
        robot.wait(lambda: not any(robot.actions[-1].position[:4]), "the joystick's silence")
        assert robot.actions[-1].header.frame_id == "joystick"


@pytest.mark.parametrize("how", ["button", "stop", "silence"])
def test_what_stops_the_robot_acts_without_a_joint_state(tmp_path, how):
    """With the stream cut it went on for 3 s after the button was let go, and a stop did nothing.

    The gripper, too, is left as it is until somebody asks: it opened at full speed.
    """
    held = Joy(axes=[0.0, 1.0, 0.0, 0.0, 0.0], buttons=[0, 0, 0, 0, 1])
    hold_after = 0.2 if how == "silence" else 5.0  # so that it is not what holds
    with hold_scene.scene(tmp_path) as one:
        grips = one.probe.listen(Float64MultiArray, topics.GRIPPER_VELOCITY, 100)
        with teleop(tmp_path / "log", "device:=joystick", f"hold_after:={hold_after}"):

            def moves() -> bool:
                one.probe.publish(held, topics.JOY)
                return max(one.speeds[-3:], default=0.0) > 0.01

            assert ros_examples.eventually(moves)
            one.fault("joint_states", "silent")
            if how == "button":
                time.sleep(0.3)
                one.probe.publish(Joy(axes=[0.0] * 5, buttons=[0] * 5), topics.JOY)
            elif how == "stop":
                time.sleep(0.3)
                one.probe.publish(Bool(data=True), topics.STOP)
            asked = time.monotonic()
            assert ros_examples.eventually(lambda: not one.commands[-1][1].any())
            assert time.monotonic() - asked < hold_after + hold_scene.LATE
            one.fault("joint_states", "none")
            one.wait_until_still()
            assert grips and not any(m.data[0] for m in grips)
