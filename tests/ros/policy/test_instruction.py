"""A policy that observes words: told on a topic, by a parameter, or not yet."""

import numpy as np
import pytest
import ros_examples
from diagnostic_msgs.msg import DiagnosticArray
from ros_examples import ACTIVATE, CONFIGURE, DEACTIVATE, FakeSensors
from std_msgs.msg import Float64MultiArray, String

from gato_core.policy import load
from gato_ros.common import diagnostics, ingest, topics
from gato_ros.policy.control import Control
from gato_ros.robot.robot import Robot
from gato_ros.safety.limits import SafetyLimits
from gato_ros.stack.stack import POLICY, SIM, StackConfig
from gato_sim.arm.arm import sawyer
from gato_sim.domains.rgb_stacking.tasks import robot_spec

TOLD = robot_spec(instruction_tokens=8)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return ros_examples.save_checkpoint(tmp_path_factory.mktemp("policy") / "told", TOLD)


def test_the_robot_holds_until_it_is_told_something(checkpoint, tmp_path):
    overrides = ros_examples.LOOSE | {"checkpoint": str(checkpoint)}
    with (
        ros_examples.environment(),
        ros_examples.node_process("policy_node", tmp_path / "log.txt", overrides),
        ros_examples.probe() as probe,
    ):
        commands = probe.listen(Float64MultiArray, topics.ARM_VELOCITY)
        reports = probe.listen(DiagnosticArray, topics.DIAGNOSTICS)
        assert probe.transition(CONFIGURE)
        with FakeSensors(probe):
            assert probe.transition(ACTIVATE)
            wanted = "instruction: expected words that say what is to be done, got none yet"
            probe.wait(
                lambda: (
                    reports
                    and wanted in diagnostics.values_of(reports[-1], "policy_node")["message"]
                ),
                "the reason why it holds",
            )
            assert not any(any(message.data) for message in commands)
            words = "put the green object on the blue one, and then the red one on top"
            publisher = probe.node.create_publisher(String, topics.INSTRUCTION, topics.LATCHED)
            publisher.publish(String(data=words))
            probe.wait(lambda: any(any(m.data) for m in commands), "commands that move")
            assert probe.transition(DEACTIVATE)
    log = (tmp_path / "log.txt").read_text()
    assert f"{words!r}: expected at most 8 tokens" in log and "cut to 'put the green" in log


@pytest.fixture
def control(checkpoint):
    robot = Robot(sawyer(), ingest.Gripper(), ros_examples.CAMERAS, 64, "whole", 0.05)
    assert robot.differences(TOLD) == []  # the words are not the robot's
    return Control(load(checkpoint), TOLD, robot, SafetyLimits())


def test_words_are_cut_with_a_warning_that_says_to_what(control):
    assert control.tell(" put red on blue ") == "" and control.instruction == "put red on blue"
    assert "cut to 'put the red object" in control.tell("put the red object on top of blue please")
    assert control.tell("") == control.instruction == ""
    control.warm_up(1)  # before anything was said


def test_other_words_are_other_tokens(control):
    """What the policy is told is what it observes."""
    empty = {k: np.zeros(m.shape, np.float32) for k, m in robot_spec(()).observation.items()}
    images = {k: np.zeros(m.shape, np.uint8) for k, m in TOLD.observation.items() if "pixels" in k}
    ids = [
        control.policy.tokenizer.encode_observation(empty | images | {"instruction": words}).id
        for words in ("put red on blue", "put blue on red", "put red on blue")
    ]
    np.testing.assert_array_equal(ids[0], ids[2])
    assert (ids[0] != ids[1]).any()


def test_words_without_tokens_for_them_change_nothing():
    ingest.check_streams(TOLD)
    assert ingest.is_told(TOLD) and not ingest.is_told(robot_spec())


def test_the_stack_is_told_and_the_robots_task_is_what_was_asked_for(tmp_path):
    words = "put the green object on the blue one"
    told = StackConfig(instruction=words).overrides(tmp_path)
    assert told[SIM]["task"] == "rgb_test_triplet5:green_on_blue"
    assert told[POLICY] == {"instruction": words}
    named = StackConfig(instruction=words, task="r3,s0,b2").overrides(tmp_path)
    assert named[SIM]["task"] == "r3,s0,b2:green_on_blue"
    assert "task" not in StackConfig().overrides(tmp_path)[SIM]
    with pytest.raises(
        ValueError, match="instruction: expected one of red, green, blue on another"
    ):
        StackConfig(instruction="tidy up")
    with pytest.raises(ValueError, match="instruction: expected words for red_on_green"):
        StackConfig(instruction=words, task="r3,s0,b2:red_on_green")
