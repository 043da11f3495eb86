"""Cartesian velocity control of the Sawyer: the action's five numbers to eight commands.

Damped least squares with a null-space target, as the benchmark's controller (RGB-Stacking's
`task.py`; the quadratic program of dm_robotics agrees to 3e-3 rad/s). A function of the joint
angles alone, so the simulated environment and a ROS node share it; no model files are needed.
"""

from __future__ import annotations

import mujoco
import numpy as np

from gato_sim.constants import (
    CONTROL_TIMESTEP,
    GRIPPER_LIMIT,
    JOINT_HIGH,
    JOINT_LOW,
    JOINT_VELOCITY_LIMITS,
    MAX_ANGULAR_VELOCITY,
    MAX_LINEAR_VELOCITY,
    WORKSPACE_HIGH,
    WORKSPACE_LOW,
)

NUM_JOINTS = 7
WRIST_RANGE = np.pi / 2  # rad, either side
ORIENTATION_GAIN = 0.8  # 1/s, keeps the gripper pointing down
DAMPING = 0.01  # the regularisation weight of the original: part of the dynamics
NULL_SPACE_GAIN = 0.025 / CONTROL_TIMESTEP  # 1/s
NULL_SPACE_ANGLES = np.array(
    [0.0, -0.5186220703125, -0.529384765625, 1.220857421875, 0.40857421875, 1.07831640625, 0.0]
)
POSITION_LIMIT_SCALE = 0.95
POSITION_LIMIT_MARGIN = 0.01  # rad

# Sawyer's links (Rethink's description), then the wrist and the point between the finger tips.
_LINKS = (
    ("0 0 0.08", "1 0 0 0"),
    ("0.081 0.05 0.237", "0.5 -0.5 0.5 0.5"),
    ("0 -0.14 0.1325", "0.707107 0.707107 0 0"),
    ("0 -0.042 0.26", "0.707107 -0.707107 0 0"),
    ("0 -0.115 -0.1265", "0.707107 0.707107 0 0"),
    ("0 0.031 0.275", "0.707107 -0.707107 0 0"),
    ("0 -0.11 0.1053", "0.0616248 0.06163 -0.704416 0.704416"),
)
_HAND = """<body pos="0 0 0.0245" quat="0.707107 0 0 0.707107">
  <site name="wrist"/><site name="pinch" pos="0 0 0.2012" quat="0.707107 0 0 -0.707107"/></body>"""


class Controller:
    """Kinematics of the arm and the benchmark's controller on top of it."""

    def __init__(self) -> None:
        self.model = mujoco.MjModel.from_xml_string(_arm_xml())
        self.data = mujoco.MjData(self.model)
        self._wrist = self.model.site("wrist").id
        self._pinch = self.model.site("pinch").id
        self._jacobian = np.empty((6, NUM_JOINTS))
        self._low, self._high = np.array(JOINT_LOW), np.array(JOINT_HIGH)
        self._velocity_limits = np.array(JOINT_VELOCITY_LIMITS)

    def ctrl(self, action: np.ndarray, joint_angles: np.ndarray) -> np.ndarray:
        """Seven joint velocities (rad/s) and the gripper's command, float64 (8,).

        action: (5,) x, y, z velocity (m/s), yaw rate (rad/s), gripper (closes if > 0).
        joint_angles: (7,) rad. Raises ValueError for other shapes or non-finite numbers.
        """
        action = _vector("action", action, 5)
        angles = _vector("joint_angles", joint_angles, NUM_JOINTS)
        self._forward(angles)
        velocities = self._joint_velocities(self._twist(self._gate(action[:4], angles)), angles)
        gripper = GRIPPER_LIMIT if action[4] > 0 else -GRIPPER_LIMIT
        return np.append(velocities, gripper)

    def pinch_pose(self, joint_angles: np.ndarray) -> np.ndarray:
        """Pose of the point between the finger tips, (7,): xyz (m) and quaternion wxyz, w >= 0."""
        return self._site_pose(self._pinch, joint_angles)

    def tcp_pose(self, joint_angles: np.ndarray) -> np.ndarray:
        """Pose of the wrist, (7,): xyz (m) and quaternion wxyz, w >= 0."""
        return self._site_pose(self._wrist, joint_angles)

    def pinch_jacobian(self, joint_angles: np.ndarray) -> np.ndarray:
        """d(linear, angular velocity of the pinch point) / d(joint velocity), (6, 7)."""
        self._forward(_vector("joint_angles", joint_angles, NUM_JOINTS))
        return self._site_jacobian(self._pinch).copy()

    def _forward(self, angles: np.ndarray) -> None:
        self.data.qpos[:] = angles
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_comPos(self.model, self.data)

    def _site_pose(self, site: int, joint_angles: np.ndarray) -> np.ndarray:
        self._forward(_vector("joint_angles", joint_angles, NUM_JOINTS))
        return site_pose(self.data, site)

    def _site_jacobian(self, site: int) -> np.ndarray:
        mujoco.mj_jacSite(self.model, self.data, self._jacobian[:3], self._jacobian[3:], site)
        return self._jacobian

    def _gate(self, velocity: np.ndarray, angles: np.ndarray) -> np.ndarray:
        """Zeroes what would leave the workspace or turn the wrist beyond its range."""
        state = np.append(self.data.site_xpos[self._pinch], -angles[6])
        below = (state < (*WORKSPACE_LOW, -WRIST_RANGE)) & (velocity < 0)
        above = (state > (*WORKSPACE_HIGH, WRIST_RANGE)) & (velocity > 0)
        return np.where(below | above, 0.0, velocity)

    def _twist(self, velocity: np.ndarray) -> np.ndarray:
        """Linear and angular velocity (6,) of the wrist that also levels the gripper."""
        axis = self.data.site_xmat[self._wrist].reshape(3, 3)[:, 2]
        angular = -velocity[3] * axis + ORIENTATION_GAIN * _rotation_between(axis, _DOWN)
        return np.concatenate(
            [
                _clip_norm(velocity[:3], MAX_LINEAR_VELOCITY),
                _clip_norm(angular, MAX_ANGULAR_VELOCITY),
            ]
        )

    def _joint_velocities(self, twist: np.ndarray, angles: np.ndarray) -> np.ndarray:
        jacobian = self._site_jacobian(self._wrist)
        bias = NULL_SPACE_GAIN * (NULL_SPACE_ANGLES - angles)
        velocities = damped_least_squares(jacobian, twist, bias)
        to_high = (self._high - angles - POSITION_LIMIT_MARGIN) / CONTROL_TIMESTEP
        to_low = (self._low - angles + POSITION_LIMIT_MARGIN) / CONTROL_TIMESTEP
        low = np.maximum(-self._velocity_limits, POSITION_LIMIT_SCALE * to_low)
        high = np.minimum(self._velocity_limits, POSITION_LIMIT_SCALE * to_high)
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


def _arm_xml() -> str:
    links = "".join(
        f'<body pos="{pos}" quat="{quat}"><joint axis="0 0 1"/>' for pos, quat in _LINKS
    )
    return (
        '<mujoco><compiler angle="radian" boundmass="1" boundinertia="1"/><worldbody>'
        f"{links}{_HAND}{'</body>' * NUM_JOINTS}</worldbody></mujoco>"
    )
