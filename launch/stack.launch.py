"""Robot, policy and status view, with the parameters of one file.

ros2 launch gato_bringup stack.launch.py task:=rgb_test_triplet3
ros2 launch gato_bringup stack.launch.py --show-args
"""

from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    OpaqueFunction,
    RegisterEventHandler,
    SetEnvironmentVariable,
    Shutdown,
)
from launch.conditions import IfCondition
from launch.event_handlers import OnProcessExit
from launch.events import matches_action
from launch.substitutions import EqualsSubstitution, LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState
from lifecycle_msgs.msg import Transition

from launch import LaunchContext, LaunchDescription

SHARE = Path(get_package_share_directory("gato_bringup"))
AS_IN_FILE = "; empty: as in params_file"


def generate_launch_description() -> LaunchDescription:
    require_gato_ros()
    arguments = [
        DeclareLaunchArgument("namespace", default_value="", description="of all nodes and topics"),
        DeclareLaunchArgument(
            "params_file",
            default_value=str(SHARE / "config" / "stack.yaml"),
            description="YAML file with the parameters of all nodes",
        ),
        DeclareLaunchArgument(
            "use_sim_time",
            default_value="true",
            choices=["true", "false"],
            description="whether the policy follows /clock",
        ),
        DeclareLaunchArgument(
            "autostart",
            default_value="true",
            choices=["true", "false"],
            description="configure and activate the policy; false leaves that to you",
        ),
        DeclareLaunchArgument("log_level", default_value="info", description="of all nodes"),
        DeclareLaunchArgument(
            "network",
            default_value="localhost",
            choices=["localhost", "open"],
            description="keep DDS on this machine, or leave it as the environment says",
        ),
        DeclareLaunchArgument(
            "task",
            default_value="",
            description="rgb_test_triplet3, or object ids 'r3,s0,b2'" + AS_IN_FILE,
        ),
        DeclareLaunchArgument(
            "checkpoint", default_value="", description="folder of the trained policy" + AS_IN_FILE
        ),
    ]
    return LaunchDescription([*arguments, *keep_on_localhost(), OpaqueFunction(function=nodes)])


def require_gato_ros() -> None:
    """Explains what colcon does with a root package, for those who meet it for the first time."""
    try:
        get_package_share_directory("gato_ros")
    except PackageNotFoundError as error:
        raise RuntimeError(
            "package gato_ros was not built: from a workspace, colcon finds only the repository's "
            "root package; add --base-paths src/gato src/gato/ros2_ws/src"
        ) from error


def keep_on_localhost() -> list[SetEnvironmentVariable]:
    """As `gato stack` does; DDS then uses UDP on 127.0.0.1 alone."""
    variables = {
        "FASTDDS_DEFAULT_PROFILES_FILE": str(SHARE / "config" / "fastdds_localhost.xml"),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "SYSTEM_DEFAULT",
    }
    condition = IfCondition(EqualsSubstitution(LaunchConfiguration("network"), "localhost"))
    return [SetEnvironmentVariable(*item, condition=condition) for item in variables.items()]


def nodes(context: LaunchContext) -> list:
    """The three nodes; an argument that was given goes before the file."""

    def given(*names: str) -> dict:
        values = {name: context.launch_configurations[name] for name in names}
        return {name: value for name, value in values.items() if value}

    def common(executable: str, overrides: dict) -> dict:
        return {
            "package": "gato_ros",
            "executable": executable,
            "name": executable,
            "namespace": LaunchConfiguration("namespace"),
            "parameters": [LaunchConfiguration("params_file"), overrides],
            "ros_arguments": ["--log-level", LaunchConfiguration("log_level")],
            "output": "screen",
        }

    use_sim_time = {"use_sim_time": context.launch_configurations["use_sim_time"] == "true"}
    policy = LifecycleNode(**common("policy_node", {**given("checkpoint"), **use_sim_time}))
    robot = Node(**common("sim_node", given("task")))
    status = Node(**common("status_node", {}))
    robot_ended = OnProcessExit(
        target_action=robot,
        on_exit=lambda _, context: (
            None if context.is_shutdown else Shutdown(reason="the robot ended")
        ),
    )
    return [robot, policy, status, RegisterEventHandler(robot_ended), *autostart(policy)]


def autostart(policy: LifecycleNode) -> list:
    """Configures the policy, and activates it once that has succeeded."""
    condition = IfCondition(LaunchConfiguration("autostart"))

    def change(transition: int) -> EmitEvent:
        is_policy = matches_action(policy)
        event = ChangeState(lifecycle_node_matcher=is_policy, transition_id=transition)
        return EmitEvent(event=event, condition=condition)

    # without start_state it would be activated again after each deactivation
    configured = OnStateTransition(
        target_lifecycle_node=policy,
        start_state="configuring",
        goal_state="inactive",
        entities=[change(Transition.TRANSITION_ACTIVATE)],
    )
    refused = OnStateTransition(
        target_lifecycle_node=policy,
        start_state="configuring",
        goal_state="unconfigured",
        entities=[Shutdown(reason="policy_node refused to configure: its error says why")],
    )
    return [
        RegisterEventHandler(configured),
        RegisterEventHandler(refused),
        change(Transition.TRANSITION_CONFIGURE),
    ]
