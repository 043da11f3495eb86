"""docs/ros.md says what is so: its tests exist, its parameters are those of the node."""

import ast
import re
from pathlib import Path

import pytest
import rclpy
import ros_examples
import yaml

from gato_ros.common import topics
from gato_ros.policy import parameters
from gato_sim.arm import arm

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/ros.md").read_text()
CAMERA = re.compile(r"^basket_front_(left|right)\.|^joint_states\.")


def test_every_test_that_the_fault_table_names_exists():
    named = set(re.findall(r"`(test_\w+)`", TEXT))
    functions = {
        node.name
        for file in (ROOT / "tests/ros").rglob("test_*.py")
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.FunctionDef)
    }
    assert len(named) > 25
    assert named <= functions, named - functions


def test_the_parameter_table_names_exactly_the_policy_nodes():
    table = TEXT[TEXT.index("| policy_node | default") : TEXT.index("| sim_node | default")]
    first_cells = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    documented = {name for cell in first_cells for name in re.findall(r"`([^`]+)`", cell)}
    with ros_examples.environment():
        rclpy.init(args=[])
        try:
            node = rclpy.create_node("policy_node")
            before = set(node._parameters) - {"use_sim_time"}
            parameters.declare_all(node)
            declared = set(node._parameters) - before
            node.destroy_node()
        finally:
            rclpy.try_shutdown()
    streams = {"crop": "<camera>", "max_age": "<stream>", "max_stamp_age": "<stream>"}
    general = {
        CAMERA.sub(lambda _, name=name: f"{streams[name.split('.')[1]]}.", name)
        for name in declared
    }
    assert documented == general


def test_every_topic_of_the_node_is_in_the_table():
    for topic in (
        *(topics.JOINT_STATES, topics.ARM_VELOCITY, topics.ARM_TRAJECTORY, topics.ARM_TWIST),
        *(topics.GRIPPER_VELOCITY, topics.GRIPPER_POSITION, topics.STOP, topics.ACTION),
        *(
            topics.INSTRUCTION,
            topics.DIAGNOSTICS,
            topics.EPISODE_START,
            "policy_node/status",
            "policy_node/reset",
        ),
        *("policy_node/stop", "policy_node/rearm"),
    ):
        assert f"`{topic}`" in TEXT, topic


@pytest.mark.parametrize("name", ["real_arm.yaml", "real_sawyer.yaml"])
def test_example_parameters_are_the_nodes_own(name):
    with ros_examples.environment():
        rclpy.init(args=["--ros-args", "--params-file", str(ROOT / "config" / name)])
        try:
            node = rclpy.create_node("policy_node")
            robot = parameters.declare_all(node).robot()
            node.destroy_node()
        finally:
            rclpy.try_shutdown()
    assert robot.arm.joints and len(robot.crops) == 2


def test_controllers_of_the_example_have_the_nodes_topics_and_joints():
    controllers = yaml.safe_load((ROOT / "config/ros2_control.yaml").read_text())
    for topic in (topics.ARM_VELOCITY, topics.ARM_TRAJECTORY, topics.GRIPPER_POSITION):
        assert topic.split("/")[0] in controllers
    joints = controllers["arm_controller"]["ros__parameters"]["joints"]
    arm.from_file(ROOT / "config/example_arm.urdf", joints, "pinch")
