"""Names and QoS of the topics between the nodes; all relative, so a namespace moves them together.

Only /clock is absolute, because rclpy listens there. A best-effort subscriber receives from every
publisher; commands are reliable; what tells a late joiner the state is latched.
"""

from __future__ import annotations

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

JOINT_STATES = "joint_states"
ARM_VELOCITY = "arm_velocity_controller/commands"
ARM_TRAJECTORY = "arm_controller/joint_trajectory"
ARM_TWIST = "servo_node/delta_twist_cmds"
GRIPPER_VELOCITY = "gripper_velocity_controller/commands"
GRIPPER_POSITION = "gripper_position_controller/commands"
STOP = "stop"
ACTION = "action"
EPISODE = "episode"
EPISODE_START = "episode_start"
INSTRUCTION = "instruction"
RECORDER = "recorder/status"
JOY = "joy"
GROUND_TRUTH = "ground_truth"
DIAGNOSTICS = "diagnostics"
CLOCK = "/clock"

SENSOR = QoSProfile(depth=1)
NEWEST_SAMPLE = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
# of several parts of a robot, which may all speak at once; they are merged
NEWEST_PARTS = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
COMMAND = QoSProfile(depth=1)
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def image(camera: str) -> str:
    return f"{camera}/color"


def camera_info(camera: str) -> str:
    return f"{camera}/camera_info"
