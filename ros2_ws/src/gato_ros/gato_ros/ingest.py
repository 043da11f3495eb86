"""Messages to the observation a Spec asks for: the same for a live robot, a simulator and a bag.

Needs no ROS. A camera's key is `<camera>/pixels`. Numbers of joints come from the JointState field
that their unit names, matched by joint name. Two keys of the Sawyer are computed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from gato_core.spec import Continuous, Image, Spec
from gato_ros.reading import image_to_array, joint_values
from gato_sim.constants import GRIPPER_LIMIT
from gato_sim.controller import Controller
from gato_sim.simulation import FINGER_RANGE
from gato_sim.tasks import PINCH_KEY, downward

JOINT_STREAM = "joint_states"
PIXELS = "/pixels"
ARM_ANGLES = "sawyer/joints/angle"
GRIPPER_ANGLE = "gripper/joints/angle"
GRIPPER_JOINT = "finger_joint"  # of the Robotiq 2F-85: 0 rad open, 0.8 rad closed
# sensor_msgs/JointState: position in rad or m, velocity in rad/s or m/s, effort in N m or N
JOINT_FIELDS = {"rad": "position", "m": "position", "rad/s": "velocity", "m/s": "velocity",
                "N m": "effort", "N": "effort"}  # fmt: skip

if TYPE_CHECKING:
    from sensor_msgs.msg import CompressedImage, JointState
    from sensor_msgs.msg import Image as ImageMessage


def camera_names(spec: Spec) -> list[str]:
    """Cameras the Spec looks through, in token order; each is a stream of its own."""
    return [
        key.removesuffix(PIXELS)
        for key, modality in spec.observation.items()
        if isinstance(modality, Image)
    ]


def check_streams(spec: Spec) -> None:
    """Raises ValueError listing the observations that no stream provides."""
    problems = []
    for key, modality in spec.observation.items():
        if isinstance(modality, Image):
            if not key.endswith(PIXELS):
                problems.append(f"{key}: expected an Image's key to be <camera>{PIXELS}")
        elif not isinstance(modality, Continuous):
            problems.append(f"{key}: expected Image or Continuous, got {type(modality).__name__}")
        elif key not in (GRIPPER_ANGLE, PINCH_KEY) and modality.unit not in JOINT_FIELDS:
            problems.append(
                f"{key}: expected a unit of {list(JOINT_FIELDS)}, got {modality.unit!r}"
            )
    if PINCH_KEY in spec.observation and ARM_ANGLES not in spec.observation:
        problems.append(f"{PINCH_KEY}: expected {ARM_ANGLES} beside it, got none")
    if problems:
        raise ValueError("observation:\n  " + "\n  ".join(problems))


def arm_joints(spec: Spec) -> tuple[str, ...]:
    """Joint names of the Sawyer's arm as the Spec orders them; none for another robot."""
    modality = spec.observation.get(ARM_ANGLES)
    return modality.names if isinstance(modality, Continuous) else ()


def observation(
    messages: Mapping[str, JointState | ImageMessage | CompressedImage],
    spec: Spec,
    controller: Controller,
    gripper_joint: str = GRIPPER_JOINT,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The Spec's observation, and the Sawyer's joint angles (rad, float64) in the Spec's order.

    messages: one per stream, "joint_states" and each camera's name. Raises ValueError naming the
    entry, with expected and got, when a message does not fit.
    """
    joints = messages[JOINT_STREAM]
    angles = joint_values(joints, arm_joints(spec), "position")
    values: dict[str, np.ndarray] = {}
    for key, modality in spec.observation.items():
        if isinstance(modality, Image):
            camera = key.removesuffix(PIXELS)
            values[key] = _pixels(camera, messages[camera])
        elif key == GRIPPER_ANGLE:
            values[key] = gripper_units(joint_values(joints, [gripper_joint], "position"))
        elif key == PINCH_KEY:
            values[key] = downward(controller.pinch_pose(angles)).astype(np.float32)
        else:
            field = JOINT_FIELDS[modality.unit]
            values[key] = joint_values(joints, modality.names, field).astype(np.float32)
    spec.check_observation(values)
    return values, angles


def _pixels(camera: str, message: ImageMessage | CompressedImage) -> np.ndarray:
    try:
        return image_to_array(message)
    except ValueError as error:
        raise ValueError(f"{camera}: {error}") from error


def gripper_units(finger_angle: np.ndarray) -> np.ndarray:
    """Finger angle in rad to the benchmark's rounded 0 (open) to 255 (closed), float32."""
    scaled = np.clip(finger_angle / FINGER_RANGE * GRIPPER_LIMIT, 0, GRIPPER_LIMIT)
    return np.round(scaled).astype(np.float32)


def finger_velocity(gripper_command: float) -> float:
    """The benchmark's gripper command (+-255) as the finger joint's velocity in rad/s."""
    return gripper_command / GRIPPER_LIMIT * FINGER_RANGE


def gripper_command(finger_velocity: float) -> float:
    """Inverts `finger_velocity`, clipped to +-255."""
    return float(
        np.clip(finger_velocity / FINGER_RANGE * GRIPPER_LIMIT, -GRIPPER_LIMIT, GRIPPER_LIMIT)
    )
