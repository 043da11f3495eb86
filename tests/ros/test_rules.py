"""Rules of the ROS part that no type checker knows."""

import ast
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import rclpy
import ros_examples
import yaml

from gato_ros.policy import parameters as policy_parameters
from gato_ros.recorder import parameters as recorder_parameters
from gato_ros.sim import parameters as sim_parameters
from gato_ros.teleop import parameters as teleop_parameters
from gato_ros.view import status, viewer

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "ros2_ws/src/gato_ros").rglob("*.py"))
SOURCES += sorted((ROOT / "launch").glob("*.py"))


def calls(name: str) -> list[tuple[str, ast.Call]]:
    """Every call of a function or method with this name in the sources, and where."""
    found = []
    for file in SOURCES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call):
                called = getattr(node.func, "attr", getattr(node.func, "id", ""))
                if called == name:
                    found.append((f"{file.name}:{node.lineno}", node))
    return found


def test_no_executor_that_stalls_and_no_spin_that_hangs():
    """The MultiThreadedExecutor of rclpy 7 and 9 stalls; an EventsExecutor without a finite
    timeout never returns and holds the interpreter's lock."""
    forbidden = ("MultiThreadedExecutor", "spin", "spin_until_future_complete")
    places = [
        place for name in forbidden for place, call in calls(name) if call.args or name != "spin"
    ]
    assert places == []
    for place, call in calls("spin_once"):
        assert any(keyword.arg == "timeout_sec" for keyword in call.keywords), place
    assert calls("spin_once")


def test_launch_folder_is_no_package():
    """With an __init__.py it would hide ROS's `launch` from programs started in the root."""
    assert not (ROOT / "launch/__init__.py").exists()
    assert (ROOT / "ros2_ws/src/gato_bringup/launch").samefile(ROOT / "launch")


def flat(params: dict, prefix: str = "") -> dict:
    """Nested parameters by their names with dots."""
    names = {}
    for key, value in params.items():
        inner = isinstance(value, dict)
        names |= flat(value, f"{prefix}{key}.") if inner else {f"{prefix}{key}": value}
    return names


@pytest.mark.parametrize(
    "name, declare_all",
    [
        ("sim_node", sim_parameters.declare_all),
        ("policy_node", policy_parameters.declare_all),
        ("recorder", recorder_parameters.declare_all),
        ("teleop", teleop_parameters.declare_all),
        ("viewer", viewer.declare_all),
        ("status_node", status.declare_all),
    ],
)
def test_parameter_file_names_exactly_the_parameters_of_its_nodes(name, declare_all):
    """rclpy ignores a misspelt one without a word."""
    params = yaml.safe_load((ROOT / "config/stack.yaml").read_text())
    in_file = set(flat(params[f"/**/{name}"]["ros__parameters"])) - {"use_sim_time"}
    with ros_examples.environment():
        rclpy.init(args=["--ros-args", "--params-file", str(ROOT / "config/stack.yaml")])
        try:
            node = rclpy.create_node(name)
            before = set(node._parameters)
            declare_all(node)
            declared = set(node._parameters) - before
            node.destroy_node()
        finally:
            rclpy.try_shutdown()
    left_out = ("arm.", "joint_states.", "basket_", "realtime.cpus")
    optional = {one for one in declared if one.startswith(left_out)}
    assert in_file == declared - optional


def test_a_hail_of_signals_ends_a_node_once():
    """Handlers set a threading.Event: one that came while another set it waited for itself."""
    code = (
        "import time\nfrom gato_ros.common.stopping import on_signals\n"
        "stop = on_signals(); print('ready', flush=True)\n"
        "while not stop.is_set():\n    stop.wait(0.001)\n"
        "stop.wait(60); time.sleep(1); print('ended')"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    for _ in range(300):
        process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=30)
    assert output == "ended\n"
    assert process.returncode == 0
