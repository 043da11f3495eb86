"""ROS messages to a Spec's observation: one function for live robots, the simulator and bags.

Needs no ROS. A camera's key is `<camera>/pixels`. Numbers of joints come from the JointState field
that their unit names, matched by joint name. Two keys are computed: the gripper's opening, and the
pose of the pinch point, whose key ends in `/pinch/pose`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from gato_core.importers.fit_images import Crop, crop_and_resize
from gato_core.importers.pictures import image_to_array
from gato_core.spec import Continuous, Image, Spec, Text
from gato_ros.common.reading import joint_values
from gato_sim.arm.controller import Controller
from gato_sim.arm.sawyer import GRIPPER_LIMIT, JOINT_NAMES
from gato_sim.domains.rgb_stacking.simulation import FINGER_RANGE
from gato_sim.domains.rgb_stacking.tasks import INSTRUCTION, downward

JOINT_STREAM = "joint_states"
PIXELS = "/pixels"
PINCH_POSE = "/pinch/pose"
ARM_ANGLES = "sawyer/joints/angle"
GRIPPER_ANGLE = "gripper/joints/angle"
GRIPPER_JOINT = "finger_joint"  # of the Robotiq 2F-85: 0 rad open, 0.8 rad closed
# sensor_msgs/JointState: position in rad or m, velocity in rad/s or m/s, effort in N m or N
JOINT_FIELDS = {"rad": "position", "m": "position", "rad/s": "velocity", "m/s": "velocity",
                "N m": "effort", "N": "effort"}  # fmt: skip

if TYPE_CHECKING:
    from sensor_msgs.msg import CompressedImage, JointState
    from sensor_msgs.msg import Image as ImageMessage


@dataclass(frozen=True)
class Gripper:
    """The joint that stands for the gripper, and its positions (rad or m) open and closed."""

    joint: str = GRIPPER_JOINT
    open: float = 0.0
    closed: float = FINGER_RANGE

    def __post_init__(self) -> None:
        if self.open == self.closed:
            raise ValueError(f"gripper: expected open and closed to differ, got {self.open} twice")

    def units(self, position: np.ndarray) -> np.ndarray:
        """Positions as the benchmark's rounded 0 (open) to 255 (closed), float32."""
        scaled = (position - self.open) / (self.closed - self.open) * GRIPPER_LIMIT
        return np.round(np.clip(scaled, 0, GRIPPER_LIMIT)).astype(np.float32)

    def velocity(self, command: float) -> float:
        """The benchmark's command (+-255) as the joint's velocity: its whole way in a second."""
        return command / GRIPPER_LIMIT * (self.closed - self.open)

    def command(self, velocity: float) -> float:
        """Inverts `velocity`, clipped to +-255."""
        scaled = velocity / (self.closed - self.open) * GRIPPER_LIMIT
        return float(np.clip(scaled, -GRIPPER_LIMIT, GRIPPER_LIMIT))

    def target(self, command: float) -> float:
        """Where a command (+-255) leads: the closed position if positive, else the open one."""
        return self.closed if command > 0 else self.open


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
        elif isinstance(modality, Text):
            if key != INSTRUCTION:
                problems.append(f"{key}: expected the words' key to be {INSTRUCTION}")
        elif not isinstance(modality, Continuous):
            problems.append(
                f"{key}: expected Image, Continuous or Text, got {type(modality).__name__}"
            )
        elif not _is_computed(key) and modality.unit not in JOINT_FIELDS:
            problems.append(
                f"{key}: expected a unit of {list(JOINT_FIELDS)}, got {modality.unit!r}"
            )
    if problems:
        raise ValueError("observation:\n  " + "\n  ".join(problems))


def is_told(spec: Spec) -> bool:
    """Whether a policy of this Spec observes words that say what is to be done."""
    return isinstance(spec.observation.get(INSTRUCTION), Text)


def needed_joints(spec: Spec, gripper: Gripper) -> dict[str, list[str]]:
    """The joints that each observation is made of, by its key."""
    needed: dict[str, list[str]] = {}
    for key, modality in spec.observation.items():
        if key == GRIPPER_ANGLE:
            needed[key] = [gripper.joint]
        elif key.endswith(PINCH_POSE):
            needed[key] = list(JOINT_NAMES)
        elif isinstance(modality, Continuous):
            needed[key] = list(modality.names)
    return needed


def _is_computed(key: str) -> bool:
    return key == GRIPPER_ANGLE or key.endswith(PINCH_POSE)


def arm_joints(spec: Spec) -> tuple[str, ...]:
    """Joint names of the Sawyer's arm as the Spec orders them; none for another robot."""
    modality = spec.observation.get(ARM_ANGLES)
    return modality.names if isinstance(modality, Continuous) else ()


def observation(
    messages: Mapping[str, JointState | ImageMessage | CompressedImage],
    spec: Spec,
    controller: Controller,
    gripper: Gripper = Gripper(),
    crops: Mapping[str, Crop] = MappingProxyType({}),
    instruction: str = "",
) -> tuple[dict[str, np.ndarray | str], np.ndarray]:
    """The Spec's observation, and the Sawyer's joint angles (rad, float64) in the Spec's order.

    messages: one per stream, "joint_states" and each camera's name. crops: the part of a camera's
    images to look at, brought to the Spec's size; a camera without one must send that size.
    instruction: what is to be done, for a policy that observes words. Raises ValueError naming the
    entry, with expected and got, when a message does not fit.
    """
    joints = messages[JOINT_STREAM]
    values: dict[str, np.ndarray | str] = {}
    for key, modality in spec.observation.items():
        if isinstance(modality, Image):
            camera = key.removesuffix(PIXELS)
            values[key] = _pixels(camera, messages[camera], modality, crops.get(camera))
        elif isinstance(modality, Text):
            if not instruction:
                raise ValueError(f"{key}: expected words that say what is to be done, got none yet")
            values[key] = instruction
        elif key == GRIPPER_ANGLE:
            values[key] = gripper.units(joint_values(joints, [gripper.joint], "position"))
        elif key.endswith(PINCH_POSE):
            angles = joint_values(joints, controller.arm.joints, "position")
            values[key] = downward(controller.pinch_pose(angles)).astype(np.float32)
        else:
            field = JOINT_FIELDS[modality.unit]
            values[key] = joint_values(joints, modality.names, field).astype(np.float32)
    spec.check_observation(values)
    return values, joint_values(joints, arm_joints(spec), "position")


def _pixels(
    camera: str, message: ImageMessage | CompressedImage, image: Image, crop: Crop | None
) -> np.ndarray:
    try:
        pixels = image_to_array(message)
        return pixels if crop is None else crop_and_resize(pixels, crop, image)
    except ValueError as error:
        raise ValueError(f"{camera}: {error}") from error
