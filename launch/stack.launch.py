"""Robot, policy and status view, with the parameters of one file; recorder and viewer if asked.

ros2 launch gato_bringup stack.launch.py task:=rgb_test_triplet3 viewer:=true
ros2 launch gato_bringup stack.launch.py robot:=real params_file:=my_robot.yaml
ros2 launch gato_bringup stack.launch.py --show-args
"""

import os
from pathlib import Path

from ament_index_python.packages import get_package_share_directory
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

FLAG = ["true", "false"]
SHARE = Path(get_package_share_directory("gato_core"))
AS_IN_FILE = "; empty: as in params_file"


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription([*arguments(), *network(), OpaqueFunction(function=nodes)])


def arguments() -> list[DeclareLaunchArgument]:
    """What can be given, with its default and, where there are few, the choices."""
    share = f"{SHARE}/config/stack.yaml"
    auto = ["auto", *FLAG]
    rows = [
        ("robot", "sim", "simulate it here, or expect its topics from elsewhere", ["sim", "real"]),
        ("namespace", "", "of all nodes and topics", None),
        ("params_file", share, "YAML file with the parameters of all nodes", None),
        ("use_sim_time", "auto", "follow /clock; auto: if the robot is simulated", auto),
        ("autostart", "auto", "activate the policy; auto: if the robot is simulated", auto),
        ("record", "", "folder for a recording of each simulated episode; empty: none", None),
        ("viewer", "false", "show cameras, joints, latency and state in the browser", FLAG),
        ("log_level", "info", "of all nodes: debug, info, warn, error or fatal", None),
        ("network", "localhost", "keep DDS on this machine, or open it", ["localhost", "open"]),
        ("task", "", "rgb_test_triplet3, or object ids 'r3,s0,b2'" + AS_IN_FILE, None),
        ("checkpoint", "", "folder of the trained policy" + AS_IN_FILE, None),
        ("instruction", "", "what the policy is told, in words" + AS_IN_FILE, None),
    ]
    return [
        DeclareLaunchArgument(name, default_value=default, description=text, choices=choices)
        for name, default, text, choices in rows
    ]


def network() -> list[SetEnvironmentVariable]:
    """As `gato stack` does: DDS uses UDP on 127.0.0.1 alone, or what the environment says."""
    reach = "ROS_AUTOMATIC_DISCOVERY_RANGE"
    profile = str(SHARE / "config" / "fastdds_localhost.xml")
    is_old = os.environ.get("ROS_DISTRO") in ("humble", "iron", "jazzy")  # Fast DDS before 3
    name = "FASTRTPS_DEFAULT_PROFILES_FILE" if is_old else "FASTDDS_DEFAULT_PROFILES_FILE"
    closed = {name: profile, reach: "SYSTEM_DEFAULT"}
    opened = {reach: os.environ.get(reach, "SUBNET")}
    return [
        SetEnvironmentVariable(
            name,
            value,
            condition=IfCondition(EqualsSubstitution(LaunchConfiguration("network"), choice)),
        )
        for choice, variables in (("localhost", closed), ("open", opened))
        for name, value in variables.items()
    ]


def nodes(context: LaunchContext) -> list:
    """The nodes that were asked for; an argument that was given goes before the file."""
    configurations = context.launch_configurations

    def given(*names: str) -> dict:
        return {name: configurations[name] for name in names if configurations[name]}

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

    is_simulated = configurations["robot"] == "sim"
    choice = {"auto": is_simulated, "true": True, "false": False}
    use_sim_time = {"use_sim_time": choice[configurations["use_sim_time"]]}
    policy = LifecycleNode(
        **common("policy_node", {**given("checkpoint", "instruction"), **use_sim_time})
    )
    started = [policy, Node(**common("status_node", {}))]
    if choice[configurations["autostart"]]:  # on a real robot that is a person's to say
        started += autostart(policy)
    if folder := configurations["record"]:
        mode = "episode" if is_simulated else "service"
        started.append(Node(**common("recorder", {"folder": folder, "mode": mode})))
    if configurations["viewer"] == "true":
        started.append(Node(**common("viewer", {})))
    if is_simulated:
        robot = Node(**common("sim_node", given("task")))
        started += [robot, ends_with(robot)]
    return started


def ends_with(robot: Node) -> RegisterEventHandler:
    """Ends everything when the simulated robot ends."""
    return RegisterEventHandler(
        OnProcessExit(
            target_action=robot,
            on_exit=lambda _, context: (
                None if context.is_shutdown else Shutdown(reason="the robot ended")
            ),
        )
    )


def autostart(policy: LifecycleNode) -> list:
    """Configures the policy, and activates it once that has succeeded."""

    def change(transition: int) -> EmitEvent:
        is_policy = matches_action(policy)
        return EmitEvent(
            event=ChangeState(lifecycle_node_matcher=is_policy, transition_id=transition)
        )

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
