"""What a policy sees and does in RGB-stacking: the robot's Spec, and observations cut to it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from gato_core.spec import Continuous, Image, Spec
from gato_sim.constants import (
    CAMERAS,
    CONTROL_TIMESTEP,
    GRIPPER_LIMIT,
    JOINT_HIGH,
    JOINT_LOW,
    JOINT_NAMES,
    MAX_ANGULAR_VELOCITY,
    MAX_LINEAR_VELOCITY,
)

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
# One metre a side: a bin is 1 mm wide.
PINCH = Continuous(
    low=(0.1, -0.5, -0.2, -1.0, 0.0, -1.0, -1.0),
    high=(1.1, 0.5, 0.8, 1.0, 1.0, 1.0, 1.0),
    unit="m and quaternion wxyz",
    names=("x", "y", "z", "qw", "qx", "qy", "qz"),
)


def check_cameras(cameras: tuple[str, ...]) -> None:
    """Raises ValueError unless every camera is one of the benchmark's, none twice."""
    unknown = [camera for camera in cameras if camera not in CAMERAS]
    if unknown or len(set(cameras)) != len(cameras):
        raise ValueError(f"cameras: expected distinct names of {CAMERAS}, got {tuple(cameras)}")


def robot_spec(
    cameras: tuple[str, ...] = ("basket_front_left", "basket_front_right"),
    image_size: int = 64,
) -> Spec:
    """The simulated Sawyer: `image_size` pixels square a camera, joints, pinch pose, gripper."""
    check_cameras(cameras)
    images = {f"{camera}/pixels": Image(image_size, image_size) for camera in cameras}
    proprioception = {
        "gripper/joints/angle": GRIPPER,
        "sawyer/joints/angle": JOINTS,
        PINCH_KEY: PINCH,
    }
    return Spec(images | proprioception, action=ACTION, control_timestep=CONTROL_TIMESTEP)


def downward(pose: np.ndarray) -> np.ndarray:
    """The same pose (7,), xyz and quaternion wxyz, with qx >= 0: how a policy meets it.

    The benchmark has w >= 0, but a gripper that points down has w near 0: the least tilt would
    flip the sign of all four.
    """
    return np.concatenate([pose[:3], -pose[3:]]) if pose[4] < 0 else pose


def policy_observation(observation: Mapping[str, np.ndarray], spec: Spec) -> dict[str, np.ndarray]:
    """The Spec's keys from an environment's observation: the newest frame of each stack.

    Raises KeyError naming what the environment lacks, ValueError where a shape differs.
    """
    missing = sorted(spec.observation.keys() - observation.keys())
    if missing:
        raise KeyError(f"observation: expected {list(spec.observation)}, missing {missing}")
    policy = {}
    for key, modality in spec.observation.items():
        value = observation[key]
        if not isinstance(modality, Image):
            value = np.atleast_1d(value[0])
        if key == PINCH_KEY:
            value = downward(value)
        modality.check(key, value)
        policy[key] = value
    return policy
