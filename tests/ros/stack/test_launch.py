"""The launch file, where ROS 2's launch is installed (it is not on PyPI)."""

import os
from pathlib import Path

import pytest
import ros_examples

pytest.importorskip("launch_ros", reason="launch and launch_ros come with a ROS 2 installation")

from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    IncludeLaunchDescription,
    RegisterEventHandler,
)
from launch.event_handlers import OnProcessIO
from launch.launch_description_sources import (
    PythonLaunchDescriptionSource,
    get_launch_description_from_python_launch_file,
)
from launch_ros.actions import Node

from gato_ros.nodes import NODES
from launch import LaunchContext, LaunchDescription, LaunchService

LAUNCH_FILE = str(Path(__file__).parents[3] / "launch/stack.launch.py")


@pytest.fixture(scope="module", autouse=True)
def built():
    if "gato_ros" not in os.environ.get("AMENT_PREFIX_PATH", ""):
        pytest.skip("the workspace was not built, or its install/setup.bash not sourced")


def test_every_argument_is_described():
    description = get_launch_description_from_python_launch_file(LAUNCH_FILE)
    arguments = [e for e in description.entities if isinstance(e, DeclareLaunchArgument)]
    names = {argument.name for argument in arguments}
    assert names >= {"robot", "namespace", "params_file", "use_sim_time", "autostart", "record"}
    assert names >= {"viewer", "log_level", "task", "checkpoint", "network"}
    assert all(len(argument.description) > 5 for argument in arguments)


def nodes_of(**given: str) -> dict:
    """Executable to its node, of those that the launch file starts with these arguments."""
    nodes = (entity for entity in entities_of(**given) if isinstance(entity, Node))
    return {node.node_executable: node for node in nodes}


def entities_of(**given: str) -> list:
    """What the launch file does with these arguments."""
    context = LaunchContext()
    context.launch_configurations.update(given)
    description = get_launch_description_from_python_launch_file(LAUNCH_FILE)
    started = []
    for entity in description.entities:
        started += entity.visit(context) or []
    return started


def test_the_robot_may_be_real_and_recorder_and_viewer_are_started_when_asked_for():
    assert nodes_of().keys() == {"policy_node", "status_node", "sim_node"}
    real = nodes_of(robot="real", record="recordings", viewer="true")
    assert real.keys() == {"policy_node", "status_node", "recorder", "viewer"}
    assert real.keys() | nodes_of().keys() <= NODES.keys(), "a missing executable"


def emitted(**given: str) -> int:
    """How many transitions the launch file asks for at once."""
    return sum(isinstance(entity, EmitEvent) for entity in entities_of(**given))


def test_a_real_robot_is_not_set_in_motion_by_the_launch():
    assert emitted() == emitted(robot="real", autostart="true") == 1
    assert emitted(robot="real") == emitted(autostart="false") == 0


def test_a_wrong_task_ends_the_launch_with_its_reason(tmp_path):
    output = []
    checkpoint = ros_examples.save_checkpoint(tmp_path / "debug")
    arguments = [("task", "rgb_test_triplet9"), ("checkpoint", str(checkpoint))]
    source = PythonLaunchDescriptionSource(LAUNCH_FILE)
    listen = OnProcessIO(on_stderr=lambda event: output.append(event.text.decode()))
    service = LaunchService(noninteractive=True)
    service.include_launch_description(
        LaunchDescription(
            [
                RegisterEventHandler(listen),
                IncludeLaunchDescription(source, launch_arguments=arguments),
            ]
        )
    )
    with ros_examples.environment():
        service.run()
    assert "expected one of rgb_test_triplet1" in "".join(output)
