"""The benchmark's state observations, stacked newest first (RGB-Stacking's `environment.py`)."""

from __future__ import annotations

from collections import deque

import mujoco
import numpy as np

from gato_sim.domains.rgb_stacking.benchmark import TOUCHING
from gato_sim.domains.rgb_stacking.objects import COLORS
from gato_sim.domains.rgb_stacking.simulation import Simulation

NO_GRASP, INWARD_GRASP, OUTWARD_GRASP = 1, 2, 3
STACK = 3
ACTION_STACK = 2
# {key: (shape of one frame, frames stacked, dtype)}
STATE = {
    "action/environment": ((8,), ACTION_STACK, np.float32),
    "gripper/grasp": ((), STACK, np.uint8),
    "gripper/joints/angle": ((), STACK, np.float32),
    "gripper/joints/velocity": ((), STACK, np.float32),
    **{f"rgb30_{color}/abs_pose": ((7,), STACK, np.float32) for color in COLORS},
    **{f"rgb30_{color}/to_pinch": ((7,), STACK, np.float32) for color in COLORS},
    "sawyer/joints/angle": ((7,), STACK, np.float32),
    "sawyer/joints/velocity": ((7,), STACK, np.float32),
    "sawyer/joints/torque": ((7,), STACK, np.float32),
    "sawyer/pinch/pose": ((7,), STACK, np.float32),
    "sawyer/tcp/pose": ((7,), STACK, np.float32),
    "sawyer/tcp/velocity": ((6,), STACK, np.float32),
    "wrist/force": ((3,), STACK, np.float32),
    "wrist/torque": ((3,), STACK, np.float32),
}


class Stack:
    """The last frames of every state observation, as one dict of stacked arrays."""

    def __init__(self) -> None:
        self._frames = {key: deque(maxlen=depth) for key, (_, depth, _) in STATE.items()}

    def reset(self, frame: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Fills every stack with the first frame."""
        for key, frames in self._frames.items():
            frames.extend([frame[key]] * frames.maxlen)
        return self.arrays()

    def push(self, frame: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Adds the newest frame in front and drops the oldest."""
        for key, frames in self._frames.items():
            frames.appendleft(frame[key])
        return self.arrays()

    def arrays(self) -> dict[str, np.ndarray]:
        """The stacks as they are."""
        return {key: np.array(frames, dtype=STATE[key][2]) for key, frames in self._frames.items()}


def observe(simulation: Simulation) -> dict[str, np.ndarray]:
    """One frame of every state observation, before stacking."""
    data = simulation.data
    pinch = simulation.pinch_pose
    frame = {
        "action/environment": data.ctrl.copy(),
        "gripper/grasp": grasp(simulation),
        "gripper/joints/angle": simulation.gripper_angle,
        "gripper/joints/velocity": simulation.gripper_velocity,
        "sawyer/joints/angle": simulation.joint_angles,
        "sawyer/joints/velocity": simulation.joint_velocities,
        "sawyer/joints/torque": data.sensordata[simulation.elements.joint_torques],
        "sawyer/pinch/pose": pinch,
        "sawyer/tcp/pose": simulation.tcp_pose,
        "sawyer/tcp/velocity": tcp_velocity(simulation),
        "wrist/force": data.sensordata[simulation.elements.wrist_force].copy(),
        "wrist/torque": data.sensordata[simulation.elements.wrist_torque].copy(),
    }
    for color, pose in simulation.object_poses().items():
        frame[f"rgb30_{color}/abs_pose"] = pose
        frame[f"rgb30_{color}/to_pinch"] = pose - pinch  # the quaternions too, as the original
    return frame


def grasp(simulation: Simulation) -> int:
    """The gripper's object flag: both finger tips touch something other than each other."""
    if abs(simulation.data.ctrl[7]) < 2:
        return NO_GRASP
    contact = simulation.data.contact
    pairs = contact.geom[contact.dist <= TOUCHING]
    left, right = simulation.elements.fingertip_geoms
    is_left, is_right = pairs == left, pairs == right
    each_other = is_left.any(1) & is_right.any(1)
    if not (is_left[~each_other].any() and is_right[~each_other].any()):
        return NO_GRASP
    return INWARD_GRASP if simulation.data.ctrl[7] > 0 else OUTWARD_GRASP


def tcp_velocity(simulation: Simulation) -> np.ndarray:
    """Linear and angular velocity (6,) of the wrist in the world frame."""
    velocity = np.empty(6)
    mujoco.mj_objectVelocity(
        simulation.model,
        simulation.data,
        mujoco.mjtObj.mjOBJ_SITE,
        simulation.elements.wrist_site,
        velocity,
        0,
    )
    return np.concatenate([velocity[3:], velocity[:3]])
