"""A policy node that holds its commands back to even intervals."""

import pytest
import rclpy
import ros_examples
from diagnostic_msgs.msg import DiagnosticArray
from ros_examples import ACTIVATE, CONFIGURE, DEACTIVATE, FakeSensors
from std_msgs.msg import Float64MultiArray

from gato_ros.common import diagnostics, topics

pytestmark = pytest.mark.alone  # holds within tenths of a second

DELAY = 0.045  # s, of control timesteps of 0.05


def test_commands_wait_for_their_release_and_a_stop_meanwhile_outruns_them(tmp_path):
    """No command leaves sooner than asked; while one waits, nothing but holds follows a stop."""
    checkpoint = ros_examples.save_checkpoint(tmp_path / "debug")
    overrides = ros_examples.LOOSE | {"checkpoint": str(checkpoint), "release_after": DELAY}
    with (
        ros_examples.environment(),
        ros_examples.node_process("policy_node", tmp_path / "log.txt", overrides),
        ros_examples.probe() as robot,
        FakeSensors(robot),
    ):
        commands = robot.listen(Float64MultiArray, topics.ARM_VELOCITY)
        reports = robot.listen(DiagnosticArray, topics.DIAGNOSTICS)
        assert robot.transition(CONFIGURE) and robot.transition(ACTIVATE)
        # the first ticks may take longer than the delay
        robot.wait(lambda: len(commands) > 20 and any(commands[-1].data), "commands that move")
        robot.call("policy_node/stop")
        robot.wait(lambda: not any(commands[-1].data), "a hold")
        num_commands = len(commands)
        rclpy.clock.Clock().sleep_for(rclpy.duration.Duration(seconds=0.2))
        # a hold is repeated until the robot stands still; nothing that moves comes behind it
        assert not any(any(command.data) for command in commands[num_commands:])
        assert robot.transition(DEACTIVATE)
        report = diagnostics.values_of(reports[-1], "policy_node")
    latency = report["latency_ms"]
    assert latency["total"]["p50"] >= 1e3 * DELAY and latency["wait"]["p50"] > 0
