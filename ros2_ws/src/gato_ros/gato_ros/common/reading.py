"""Robot messages to numpy arrays, with expected and got where one does not fit.

Needs no ROS: the live messages of rclpy and those read from a bag have the same fields, so both
come out as the same arrays.
"""

from __future__ import annotations

import array
import functools
import math
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from builtin_interfaces.msg import Time
    from sensor_msgs.msg import JointState
    from std_msgs.msg import Float64MultiArray
    from trajectory_msgs.msg import JointTrajectory

NANOSECONDS = 1_000_000_000
JOINT_STATE_FIELDS = ("position", "velocity", "effort")
MAX_FLOAT32 = float(np.finfo(np.float32).max)
MAX_JOINTS = 1000  # whoever sends more means no good


def joint_positions(message: JointState, names: Sequence[str]) -> np.ndarray:
    """float64 (len(names),) positions in rad; see `joint_values`."""
    return joint_values(message, names, "position")


def joint_values(message: JointState, names: Sequence[str], field: str) -> np.ndarray:
    """float64 (len(names),) of `position`, `velocity` or `effort`, matched by name in any order.

    Raises ValueError when a name is missing or doubled, the lengths of `name` and the field
    differ, or a wanted value is not finite.
    """
    if len(message.name) > MAX_JOINTS:
        raise ValueError(
            f"joint state: expected at most {MAX_JOINTS} names, got {len(message.name)}"
        )
    stored = getattr(message, field)
    if len(stored) != len(message.name):
        raise ValueError(
            f"joint state: expected a {field} for each of {len(message.name)} names, "
            f"got {len(stored)}"
        )
    values = np.asarray(stored, np.float64)[_places(tuple(message.name), tuple(names))]
    if not is_finite(values):
        bad = [name for name, value in zip(names, values) if not abs(value) <= MAX_FLOAT32]
        raise ValueError(
            f"joint state: expected finite {field} values, got NaN or infinity in {bad}"
        )
    return values


def merged_joints(parts: Sequence[tuple[Collection[str], JointState]]) -> JointState:
    """One JointState of several: of each part the joints named with it, a later part's word last.

    A field that a part does not have is NaN for its joints. The header is the last part's.
    """
    found: dict[str, tuple[float, float, float]] = {}
    for names, message in parts:
        columns = [_column(message, field) for field in JOINT_STATE_FIELDS]
        found |= {row[0]: row[1:] for row in zip(message.name, *columns) if row[0] in names}
    columns = zip(*found.values()) if found else ((), (), ())
    fields = {field: array.array("d", column) for field, column in zip(JOINT_STATE_FIELDS, columns)}
    last = parts[-1][1]
    return type(last)(header=last.header, name=list(found), **fields)


def _column(message: JointState, field: str) -> Sequence[float]:
    stored = getattr(message, field)
    if len(stored) not in (0, len(message.name)):
        raise ValueError(
            f"joint state: expected a {field} for each of {len(message.name)} names, "
            f"got {len(stored)}"
        )
    return stored if len(stored) else [math.nan] * len(message.name)


@functools.lru_cache(maxsize=16)  # a robot sends its names in one order or a few
def _places(stored: tuple[str, ...], wanted: tuple[str, ...]) -> np.ndarray:
    """intp (len(wanted),): where each name is. Raises ValueError if one is missing or doubled."""
    index = {name: i for i, name in enumerate(stored)}
    missing = [name for name in wanted if name not in index]
    if missing:
        raise ValueError(
            f"joint state: expected joints {list(wanted)}, got {list(stored)}: {missing} missing"
        )
    if len(index) != len(stored):
        raise ValueError(f"joint state: expected distinct names, got {list(stored)}")
    return np.array([index[name] for name in wanted], np.intp)


def velocities_from(message: Float64MultiArray, num_joints: int) -> np.ndarray:
    """float64 (num_joints,) rad/s. Raises ValueError on another length or a non-finite value."""
    return _checked(np.array(message.data), num_joints, "velocity command")


def trajectory_velocities(message: JointTrajectory, names: Sequence[str]) -> np.ndarray:
    """float64 (len(names),) rad/s of the first point; see `trajectory_values`."""
    return trajectory_values(message, names, "velocity")


def trajectory_values(message: JointTrajectory, names: Sequence[str], field: str) -> np.ndarray:
    """float64 (len(names),) of the first point's positions, velocities or effort, by joint name.

    field: position, velocity or effort. Raises ValueError for other joints or a missing value.
    """
    if sorted(message.joint_names) != sorted(names) or not len(message.points):
        raise ValueError(
            f"trajectory: expected one point for joints {list(names)}, "
            f"got {len(message.points)} for {list(message.joint_names)}"
        )
    plural = {"position": "positions", "velocity": "velocities", "effort": "effort"}[field]
    values = np.array(getattr(message.points[0], plural), np.float64)
    values = _checked(values, len(names), "trajectory", plural)
    return values[[list(message.joint_names).index(name) for name in names]]


def _checked(values: np.ndarray, length: int, what: str, kind: str = "velocities") -> np.ndarray:
    if values.shape != (length,):
        raise ValueError(f"{what}: expected {length} {kind}, got {values.size}")
    if not is_finite(values):
        raise ValueError(f"{what}: expected finite {kind}, got {values.tolist()}")
    return values


def is_finite(values: np.ndarray) -> bool:
    """Whether all of float64 (n,) are finite, also as float32.

    By the sum of squares, which NaN and infinity spoil: half the time of asking each.
    """
    return bool(values.dot(values) <= MAX_FLOAT32**2)


def nanoseconds(stamp: Time) -> int:
    return stamp.sec * NANOSECONDS + stamp.nanosec
