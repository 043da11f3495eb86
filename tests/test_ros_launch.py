"""The launch file, where ROS 2's launch is installed (it is not on PyPI)."""

import os
from pathlib import Path

import pytest
import ros_examples

pytest.importorskip("launch_ros", reason="launch and launch_ros come with a ROS 2 installation")

from launch.actions import (
    DeclareLaunchArgument,
    IncludeLaunchDescription,
    RegisterEventHandler,
)
from launch.event_handlers import OnProcessIO
from launch.launch_description_sources import (
    PythonLaunchDescriptionSource,
    get_launch_description_from_python_launch_file,
)

from launch import LaunchDescription, LaunchService

LAUNCH_FILE = str(Path(__file__).parents[1] / "launch/stack.launch.py")


@pytest.fixture(scope="module", autouse=True)
def built():
    if "gato_ros" not in os.environ.get("AMENT_PREFIX_PATH", ""):
        pytest.skip("the workspace was not built, or its install/setup.bash not sourced")


def test_every_argument_is_described():
    description = get_launch_description_from_python_launch_file(LAUNCH_FILE)
    arguments = [e for e in description.entities if isinstance(e, DeclareLaunchArgument)]
    names = {argument.name for argument in arguments}
    assert names >= {"namespace", "params_file", "use_sim_time", "autostart", "log_level", "task"}
    assert all(len(argument.description) > 5 for argument in arguments)


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
