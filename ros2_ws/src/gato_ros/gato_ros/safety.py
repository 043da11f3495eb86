"""The last check before a command leaves."""

from __future__ import annotations

import numpy as np

from gato_sim.constants import GRIPPER_LIMIT, JOINT_VELOCITY_LIMITS

COMMAND_LIMITS = np.array((*JOINT_VELOCITY_LIMITS, GRIPPER_LIMIT))


def limit(command: np.ndarray) -> tuple[np.ndarray, bool]:
    """Joint velocities and gripper command (8,) within the robot's limits, and whether any was cut.

    Raises ValueError when a number is NaN or infinite: such a command must never leave.
    """
    if not np.isfinite(command).all():
        raise ValueError(f"command: expected finite numbers, got {command.tolist()}")
    limited = np.clip(command, -COMMAND_LIMITS, COMMAND_LIMITS)
    return limited, bool((limited != command).any())
