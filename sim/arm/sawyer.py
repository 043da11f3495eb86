"""The benchmark's robot in numbers: joints, velocities, gripper, workspace and rate (SI units).

A Sawyer with a Robotiq 2F-85 over a basket; google-deepmind/rgb_stacking.
"""

from __future__ import annotations

CONTROL_TIMESTEP = 0.05  # s

JOINT_NAMES = tuple(f"right_j{i}" for i in range(7))
JOINT_LOW = (-3.0503, -3.8095, -3.0426, -3.0439, -2.9761, -2.9761, -4.7124)  # rad
JOINT_HIGH = (3.0503, 2.2736, 3.0426, 3.0439, 2.9761, 2.9761, 4.7124)  # rad
JOINT_VELOCITY_LIMITS = (1.74, 1.328, 1.957, 1.957, 3.485, 3.485, 4.545)  # rad/s
GRIPPER_LIMIT = 255.0  # the gripper's own unit: 0 open, 255 closed

MAX_LINEAR_VELOCITY = 0.07  # m/s
MAX_ANGULAR_VELOCITY = 1.0  # rad/s
WORKSPACE_LOW = (0.475, -0.125, 0.0698)  # m, of the pinch point
WORKSPACE_HIGH = (0.725, 0.125, 0.2698)
