"""What a policy sees and does in RGB-stacking: the robot's Spec, and observations cut to it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from gato_core.spec import WHOLE, Continuous, Image, Spec, Text
from gato_sim.arm.sawyer import (
    CONTROL_TIMESTEP,
    GRIPPER_LIMIT,
    JOINT_HIGH,
    JOINT_LOW,
    JOINT_NAMES,
    MAX_ANGULAR_VELOCITY,
    MAX_LINEAR_VELOCITY,
)
from gato_sim.domains.rgb_stacking.benchmark import CAMERAS

ACTION = Continuous(
    low=(-MAX_LINEAR_VELOCITY,) * 3 + (-MAX_ANGULAR_VELOCITY, -GRIPPER_LIMIT),
    high=(MAX_LINEAR_VELOCITY,) * 3 + (MAX_ANGULAR_VELOCITY, GRIPPER_LIMIT),
    unit="m/s, rad/s and gripper command",
    names=("x_velocity", "y_velocity", "z_velocity", "yaw_rate", "gripper"),
)
GRIPPER = Continuous(
    low=(0.0,), high=(GRIPPER_LIMIT,), unit="0 open to 255 closed", names=("gripper",)
)
JOINTS = Continuous(low=JOINT_LOW, high=JOINT_HIGH, unit="rad", names=JOINT_NAMES)
PINCH_KEY = "sawyer/pinch/pose"
INSTRUCTION = "instruction"
# One metre a side: a bin is 1 mm wide.
PINCH = Continuous(
    low=(0.1, -0.5, -0.2, -1.0, 0.0, -1.0, -1.0),
    high=(1.1, 0.5, 0.8, 1.0, 1.0, 1.0, 1.0),
    unit="m and quaternion wxyz",
    names=("x", "y", "z", "qw", "qx", "qy", "qz"),
)
# What of a camera's square picture is looked at, as fractions of it: left, top, width, height.
# Below two thirds of its height a basket camera sees the basket's wall and no object, ever.
VIEWS = {"whole": WHOLE, "basket": (0.0, 0.0, 1.0, 2 / 3)}


def view_image(view: str, image_size: int) -> Image:
    """The Image of a view, `image_size` pixels high and as wide as keeps its pixels square.

    Raises ValueError for an unknown view or sides that are no multiples of 16.
    """
    if view not in VIEWS:
        raise ValueError(f"view: expected one of {sorted(VIEWS)}, got {view!r}")
    _, _, width, height = crop = VIEWS[view]
    return Image(image_size, round(image_size * width / height), crop)


def views_of(spec: Spec) -> tuple[tuple[str, ...], int, str]:
    """Cameras, image size and view of a Spec's images: what `load` and `robot_spec` take.

    Without images the last two are the defaults. Raises ValueError for images of different kinds
    or of a crop that is no view.
    """
    images = {key: value for key, value in spec.observation.items() if isinstance(value, Image)}
    cameras = tuple(key.removesuffix("/pixels") for key in images)
    kinds = set(images.values()) or {view_image("whole", 64)}
    if len(kinds) > 1:
        raise ValueError(f"images: expected one size and crop for all cameras, got {images}")
    (image,) = kinds
    for view, crop in VIEWS.items():
        if image.crop == crop:
            return cameras, image.height, view
    raise ValueError(f"crop: expected one of {VIEWS}, got {image.crop}")


def instruction_tokens(spec: Spec) -> int:
    """How many tokens of words a policy of this Spec is told; 0 for one that is told nothing."""
    modality = spec.observation.get(INSTRUCTION)
    return modality.num_tokens if isinstance(modality, Text) else 0


def check_cameras(cameras: tuple[str, ...]) -> None:
    """Raises ValueError unless every camera is one of the benchmark's, none twice."""
    if isinstance(cameras, str):
        raise ValueError(f"cameras: expected a tuple of names of {CAMERAS}, got {cameras!r}")
    unknown = [camera for camera in cameras if camera not in CAMERAS]
    if unknown or len(set(cameras)) != len(cameras):
        raise ValueError(f"cameras: expected distinct names of {CAMERAS}, got {tuple(cameras)}")


def robot_spec(
    cameras: tuple[str, ...] = ("basket_front_left", "basket_front_right"),
    image_size: int = 64,
    view: str = "whole",
    instruction_tokens: int = 0,
) -> Spec:
    """The simulated Sawyer: a view `image_size` pixels high a camera, joints, pinch, gripper.

    instruction_tokens: of words that say what is to be done; 0 for a policy that is told nothing.
    """
    check_cameras(cameras)
    images = {f"{camera}/pixels": view_image(view, image_size) for camera in cameras}
    proprioception = {
        "gripper/joints/angle": GRIPPER,
        "sawyer/joints/angle": JOINTS,
        PINCH_KEY: PINCH,
    }
    words = {INSTRUCTION: Text(instruction_tokens)} if instruction_tokens else {}
    return Spec(images | proprioception | words, action=ACTION, control_timestep=CONTROL_TIMESTEP)


def downward(pose: np.ndarray) -> np.ndarray:
    """The same pose (7,), xyz and quaternion wxyz, with qx >= 0: how a policy meets it.

    The benchmark has w >= 0, but a gripper that points down has w near 0: the least tilt would
    flip the sign of all four.
    """
    return np.concatenate([pose[:3], -pose[3:]]) if pose[4] < 0 else pose


def policy_observation(
    observation: Mapping[str, np.ndarray], spec: Spec, instruction: str | None = None
) -> dict[str, np.ndarray | str]:
    """The Spec's keys from an environment's observation: the newest frame of each stack.

    instruction: what a policy that observes words is told. Raises KeyError naming what the
    environment lacks, ValueError where a shape differs.
    """
    if instruction is not None:
        observation = {**observation, INSTRUCTION: instruction}
    missing = sorted(spec.observation.keys() - observation.keys())
    if missing:
        raise KeyError(f"observation: expected {list(spec.observation)}, missing {missing}")
    policy = {}
    for key, modality in spec.observation.items():
        value = observation[key]
        if not isinstance(modality, Image | Text):
            value = np.atleast_1d(value[0])
        if key == PINCH_KEY:
            value = downward(value)
        modality.check(key, value)
        policy[key] = value
    return policy
