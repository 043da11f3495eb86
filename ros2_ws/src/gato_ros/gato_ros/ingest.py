"""Messages to the observation a Spec asks for: the same for a live robot, a simulator and a bag."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from sensor_msgs.msg import CompressedImage, JointState
from sensor_msgs.msg import Image as ImageMessage

from gato_core.spec import Continuous, Image, Spec
from gato_ros.conversion import image_to_array, joint_positions
from gato_sim.constants import GRIPPER_LIMIT
from gato_sim.controller import Controller
from gato_sim.simulation import FINGER_RANGE
from gato_sim.tasks import PINCH_KEY, downward

JOINT_STREAM = "joint_states"
PIXELS = "/pixels"
ARM_ANGLES = "sawyer/joints/angle"
GRIPPER_ANGLE = "gripper/joints/angle"
GRIPPER_JOINT = "finger_joint"  # of the Robotiq 2F-85: 0 rad open, 0.8 rad closed


def camera_names(spec: Spec) -> list[str]:
    """Cameras the Spec looks through, in token order; each is a stream of its own."""
    return [
        key.removesuffix(PIXELS)
        for key, modality in spec.observation.items()
        if isinstance(modality, Image)
    ]


def check_streams(spec: Spec) -> None:
    """Raises ValueError for an observation that no stream provides."""
    known = {ARM_ANGLES, GRIPPER_ANGLE, PINCH_KEY} | {f"{c}{PIXELS}" for c in camera_names(spec)}
    unknown = sorted(spec.observation.keys() - known)
    if unknown or ARM_ANGLES not in spec.observation:
        raise ValueError(
            f"observation: expected {ARM_ANGLES}, optionally {GRIPPER_ANGLE}, {PINCH_KEY} and "
            f"<camera>{PIXELS}, got {list(spec.observation)}"
        )


def arm_joints(spec: Spec) -> tuple[str, ...]:
    """Joint names of the arm as the Spec orders them."""
    modality = spec.observation[ARM_ANGLES]
    assert isinstance(modality, Continuous)
    return modality.names


def observation(
    messages: Mapping[str, JointState | ImageMessage | CompressedImage],
    spec: Spec,
    controller: Controller,
    gripper_joint: str = GRIPPER_JOINT,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The Spec's observation, and the arm's joint angles (rad, float64) in the Spec's order.

    messages: one per stream, "joint_states" and each camera's name. Raises ValueError naming the
    entry, with expected and got, when a message does not fit.
    """
    joints = messages[JOINT_STREAM]
    angles = joint_positions(joints, arm_joints(spec))
    values: dict[str, np.ndarray] = {ARM_ANGLES: angles.astype(np.float32)}
    if GRIPPER_ANGLE in spec.observation:
        values[GRIPPER_ANGLE] = gripper_units(joint_positions(joints, [gripper_joint]))
    if PINCH_KEY in spec.observation:
        values[PINCH_KEY] = downward(controller.pinch_pose(angles)).astype(np.float32)
    for camera in camera_names(spec):
        values[f"{camera}{PIXELS}"] = _pixels(camera, messages[camera])
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
