"""Cartesian velocity control of an arm: the action's five numbers to joint velocities and gripper.

Damped least squares with a null-space target, as the benchmark's controller (RGB-Stacking's
`task.py`; the quadratic program of dm_robotics agrees to 3e-3 rad/s). A function of the joint
angles alone, so the simulated environment and a ROS node share it. The Sawyer needs no model
files; other arms come from their description (gato_sim.arm.arm).
"""

from __future__ import annotations

import mujoco
import numpy as np

from gato_sim.arm.arm import Arm, sawyer
from gato_sim.arm.sawyer import (
    CONTROL_TIMESTEP,
    GRIPPER_LIMIT,
    MAX_ANGULAR_VELOCITY,
    MAX_LINEAR_VELOCITY,
)

ORIENTATION_GAIN = 0.8  # 1/s, keeps the gripper pointing down
DAMPING = 0.01  # the regularisation weight of the original: part of the dynamics
NULL_SPACE_GAIN = 0.025 / CONTROL_TIMESTEP  # 1/s
POSITION_LIMIT_SCALE = 0.95
POSITION_LIMIT_MARGIN = 0.01  # rad


class Controller:
    """Kinematics of an arm, the Sawyer by default, and the benchmark's controller on top of it.

    timestep: seconds between commands; a joint that nears its limit is slowed to reach it in one.
    """

    def __init__(self, arm: Arm | None = None, timestep: float = CONTROL_TIMESTEP) -> None:
        self.arm = arm or sawyer()
        self.model = self.arm.model
        self.data = mujoco.MjData(self.model)
        self._timestep = timestep
        self._jacobian = np.empty((6, self.model.nv))

    def ctrl(self, action: np.ndarray, joint_angles: np.ndarray) -> np.ndarray:
        """The arm's n joint velocities (rad/s) and the gripper's command, float64 (n + 1,).

        action: (5,) x, y, z velocity (m/s), yaw rate (rad/s), gripper (closes if > 0).
        joint_angles: (n,) rad. Raises ValueError for other shapes or non-finite numbers.
        """
        action = _vector("action", action, 5)
        angles = self._forward(joint_angles)
        velocities = self._joint_velocities(self._twist(self._gate(action[:4], angles)), angles)
        gripper = GRIPPER_LIMIT if action[4] > 0 else -GRIPPER_LIMIT
        return np.append(velocities, gripper)

    def pinch_pose(self, joint_angles: np.ndarray) -> np.ndarray:
        """Pose of the point between the finger tips, (7,): xyz (m) and quaternion wxyz, w >= 0."""
        return self._site_pose(self.arm.pinch, joint_angles)

    def tcp_pose(self, joint_angles: np.ndarray) -> np.ndarray:
        """Pose of the wrist, (7,): xyz (m) and quaternion wxyz, w >= 0."""
        return self._site_pose(self.arm.wrist, joint_angles)

    def pinch_jacobian(self, joint_angles: np.ndarray) -> np.ndarray:
        """d(linear, angular velocity of the pinch point) / d(joint velocity), (6, n)."""
        self._forward(joint_angles)
        return self._site_jacobian(self.arm.pinch)

    def tcp_jacobian(self, joint_angles: np.ndarray) -> np.ndarray:
        """d(linear, angular velocity of the wrist) / d(joint velocity), (6, n)."""
        self._forward(joint_angles)
        return self._site_jacobian(self.arm.wrist)

    def _forward(self, joint_angles: np.ndarray) -> np.ndarray:
        """Moves the model to the joint angles, which it checks and returns."""
        angles = _vector("joint_angles", joint_angles, len(self.arm.joints))
        self.data.qpos[self.arm.qpos] = angles
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_comPos(self.model, self.data)
        return angles

    def _site_pose(self, site: int, joint_angles: np.ndarray) -> np.ndarray:
        self._forward(joint_angles)
        return site_pose(self.data, site)

    def _site_jacobian(self, site: int) -> np.ndarray:
        mujoco.mj_jacSite(self.model, self.data, self._jacobian[:3], self._jacobian[3:], site)
        return self._jacobian.take(self.arm.dof, axis=1)

    def _gate(self, velocity: np.ndarray, angles: np.ndarray) -> np.ndarray:
        """Zeroes what would leave the workspace or turn the wrist beyond its range."""
        arm = self.arm
        state = np.append(self.data.site_xpos[arm.pinch], -angles[-1])
        below = (state < (*arm.workspace_low, -arm.wrist_range)) & (velocity < 0)
        above = (state > (*arm.workspace_high, arm.wrist_range)) & (velocity > 0)
        return np.where(below | above, 0.0, velocity)

    def _twist(self, velocity: np.ndarray) -> np.ndarray:
        """Linear and angular velocity (6,) of the wrist that also levels the gripper."""
        axis = self.data.site_xmat[self.arm.wrist].reshape(3, 3)[:, 2]
        angular = -velocity[3] * axis + ORIENTATION_GAIN * _rotation_between(axis, _DOWN)
        return np.concatenate(
            [
                _clip_norm(velocity[:3], MAX_LINEAR_VELOCITY),
                _clip_norm(angular, MAX_ANGULAR_VELOCITY),
            ]
        )

    def _joint_velocities(self, twist: np.ndarray, angles: np.ndarray) -> np.ndarray:
        arm = self.arm
        jacobian = self._site_jacobian(arm.wrist)
        bias = NULL_SPACE_GAIN * (arm.rest_angles - angles)
        velocities = damped_least_squares(jacobian, twist, bias)
        to_high = (arm.high - angles - POSITION_LIMIT_MARGIN) / self._timestep
        to_low = (arm.low - angles + POSITION_LIMIT_MARGIN) / self._timestep
        low = np.maximum(-arm.velocity_limits, POSITION_LIMIT_SCALE * to_low)
        high = np.minimum(arm.velocity_limits, POSITION_LIMIT_SCALE * to_high)
        return np.clip(velocities, low, high)


_DOWN = np.array([0.0, 0.0, -1.0])


def damped_least_squares(jacobian: np.ndarray, twist: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Joint velocities (n,) for a twist (6,), with `bias` (n,) followed in the null space."""
    num_joints = jacobian.shape[1]
    task = np.linalg.solve(jacobian.T @ jacobian + DAMPING * np.eye(num_joints), jacobian.T @ twist)
    free = bias - task
    # The projector must not be damped: with more damping it is ten times further from the
    # original's quadratic program.
    moved = np.linalg.solve(jacobian @ jacobian.T + 1e-8 * np.eye(6), jacobian @ free)
    return task + free - jacobian.T @ moved


def site_pose(data: mujoco.MjData, site: int) -> np.ndarray:
    """World pose of a site, (7,): xyz and quaternion wxyz with w >= 0."""
    quaternion = np.empty(4)
    mujoco.mju_mat2Quat(quaternion, data.site_xmat[site])
    return np.concatenate([data.site_xpos[site], positive(quaternion)])


def positive(quaternion: np.ndarray) -> np.ndarray:
    """The same rotation with w >= 0."""
    return -quaternion if quaternion[0] < 0 else quaternion


def _rotation_between(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Axis times angle (3,) of the shortest rotation between two unit vectors."""
    axis = np.cross(start, end)
    sine = np.linalg.norm(axis)
    if sine < 1e-12:
        return np.zeros(3)
    return axis * (np.arctan2(sine, start @ end) / sine)


def _clip_norm(vector: np.ndarray, limit: float) -> np.ndarray:
    norm = np.linalg.norm(vector)
    return vector * (limit / norm) if norm > limit else vector


def _vector(name: str, value: np.ndarray, size: int) -> np.ndarray:
    vector = np.asarray(value, dtype=np.float64)
    if vector.shape != (size,) or not np.isfinite(vector).all():
        raise ValueError(f"{name}: expected ({size},) finite numbers, got {vector.shape} {vector}")
    return vector
