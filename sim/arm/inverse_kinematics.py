"""Inverse kinematics: joint angles that bring the pinch point to a pose.

Like the benchmark's solver (dm_robotics' `IkSolver`): thirty attempts, and of the angles that
reach the pose those nearest to the centres of the joints' ranges.
"""

from __future__ import annotations

import mujoco
import numpy as np

from gato_sim.arm.arm import NUM_JOINTS
from gato_sim.arm.controller import Controller, damped_least_squares
from gato_sim.arm.sawyer import JOINT_HIGH, JOINT_LOW

NUM_ATTEMPTS = 30
MAX_ITERATIONS = 100
GAIN = 0.95  # of the error, per iteration
NULL_SPACE_GAIN = 0.4
TOLERANCE = 1e-3  # m and rad
STALLED = 20.0  # error over progress at which an attempt is given up


def solve(controller: Controller, pose: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    """Joint angles (7,) for the pinch pose (7,), None if no attempt reaches it."""
    low, high = np.array(JOINT_LOW), np.array(JOINT_HIGH)
    center = (low + high) / 2
    best, best_distance = None, np.inf
    for attempt in range(NUM_ATTEMPTS):
        start = np.zeros(NUM_JOINTS) if attempt == 0 else rng.uniform(low, high)
        angles, reached = _attempt(controller, pose, start, low, high)
        distance = np.linalg.norm(angles - center)
        if reached and distance < best_distance:
            best, best_distance = angles, distance
    return best


def _attempt(
    controller: Controller, pose: np.ndarray, angles: np.ndarray, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, bool]:
    """Iterates until progress stalls; the angles (7,) and whether they reach the pose."""
    center = (low + high) / 2
    current = controller.pinch_pose(angles)
    error = _pose_error(pose, current)
    for _ in range(MAX_ITERATIONS):
        jacobian = controller.pinch_jacobian(angles)
        step = damped_least_squares(jacobian, GAIN * error, NULL_SPACE_GAIN * (center - angles))
        angles = np.clip(angles + step, low, high)
        previous, current = current, controller.pinch_pose(angles)
        error, moved = _pose_error(pose, current), _pose_error(current, previous)
        if _norm(error[:3]) / (_norm(moved[:3]) + 1e-10) > STALLED and (
            _norm(error[3:]) / (_norm(moved[3:]) + 1e-10) > STALLED
        ):
            break
    return angles, bool(_norm(error[:3]) <= TOLERANCE and _norm(error[3:]) <= TOLERANCE)


def _pose_error(target: np.ndarray, current: np.ndarray) -> np.ndarray:
    """Translation (m) and rotation vector (rad) from current to target in the world, (6,)."""
    inverse, difference, rotation = np.empty(4), np.empty(4), np.empty(3)
    mujoco.mju_negQuat(inverse, current[3:])
    mujoco.mju_mulQuat(difference, target[3:], inverse)
    mujoco.mju_quat2Vel(rotation, difference, 1.0)
    return np.concatenate([target[:3] - current[:3], rotation])


def _norm(vector: np.ndarray) -> float:
    return float(np.sqrt(vector @ vector))
