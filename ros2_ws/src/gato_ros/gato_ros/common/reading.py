"""Robot messages to numpy arrays, with expected and got where one does not fit.

Needs no ROS: the live messages of rclpy and those read from a bag have the same fields, so both
come out as the same arrays.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np

from gato_ros.common import encoded

if TYPE_CHECKING:
    from builtin_interfaces.msg import Time
    from sensor_msgs.msg import CompressedImage, Image, JointState
    from std_msgs.msg import Float64MultiArray
    from trajectory_msgs.msg import JointTrajectory

NANOSECONDS = 1_000_000_000
# what a message may be at most: whoever sends more means no good
MAX_IMAGE_BYTES = 64 * 2**20
MAX_PIXELS = 2**25
MAX_HEADER_BYTES = 2**20  # within which a JPEG tells its size
MAX_JOINTS = 1000
MAX_NAME = 40  # characters of a string that an error repeats

# encoding: (bytes per pixel, how its channels become RGB); sensor_msgs/image_encodings.hpp
_ENCODINGS = {
    "rgb8": (3, (0, 1, 2)),
    "bgr8": (3, (2, 1, 0)),
    "rgba8": (4, (0, 1, 2)),
    "bgra8": (4, (2, 1, 0)),
    "mono8": (1, (0, 0, 0)),
    "mono16": (2, (0, 0, 0)),
}


def image_to_array(message: Image | CompressedImage) -> np.ndarray:
    """uint8 (height, width, 3) RGB of a raw or compressed image; rgb8 is a view, not a copy.

    mono16 keeps its high byte. Raises ValueError with expected and got on an unknown encoding, a
    `step` shorter than a row, or `data` of another size than height * step.
    """
    if len(message.data) > MAX_IMAGE_BYTES:
        raise ValueError(
            f"image data: expected at most {MAX_IMAGE_BYTES} bytes, got {len(message.data)}"
        )
    if not hasattr(message, "encoding"):  # compressed images have a `format`
        return _decompress(message)
    if message.encoding not in _ENCODINGS:
        raise ValueError(
            f"image encoding: expected one of {sorted(_ENCODINGS)}, "
            f"got {message.encoding[:MAX_NAME]!r}"
        )
    num_bytes, channels = _ENCODINGS[message.encoding]
    height, width, step = message.height, message.width, message.step
    row = width * num_bytes
    if height == 0 or width == 0:
        raise ValueError(f"image size: expected at least 1x1 pixels, got {width}x{height}")
    if step < row:
        raise ValueError(
            f"image step: expected at least {row} bytes ({width} pixels of {message.encoding}), "
            f"got {step}"
        )
    if len(message.data) != height * step:
        raise ValueError(
            f"image data: expected {height * step} bytes (height {height} x step {step}), "
            f"got {len(message.data)}"
        )
    rows = np.frombuffer(message.data, np.uint8).reshape(height, step)[:, :row]
    pixels = rows.reshape(height, width, num_bytes)
    if message.encoding == "mono16":
        high_byte = 0 if message.is_bigendian else 1
        pixels = pixels[:, :, high_byte : high_byte + 1]
    return pixels if message.encoding == "rgb8" else np.ascontiguousarray(pixels[:, :, channels])


def _decompress(message: CompressedImage) -> np.ndarray:
    data = np.frombuffer(message.data, np.uint8)
    size = encoded.size(data[:MAX_HEADER_BYTES].tobytes())
    if size is not None and size[0] * size[1] > MAX_PIXELS:
        raise ValueError(
            f"compressed image: expected at most {MAX_PIXELS} pixels, got {size[1]}x{size[0]}"
        )
    pixels = cv2.imdecode(data, cv2.IMREAD_COLOR) if size else None
    if pixels is None:
        raise ValueError(
            f"compressed image: expected JPEG or PNG data, got {data.size} bytes that decode to "
            f"nothing (format {message.format[:MAX_NAME]!r})"
        )
    return np.ascontiguousarray(pixels[:, :, ::-1])


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
    if not np.isfinite(values).all():
        bad = [name for name, value in zip(names, values) if not np.isfinite(value)]
        raise ValueError(
            f"joint state: expected finite {field} values, got NaN or infinity in {bad}"
        )
    return values


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
    if not np.isfinite(values).all():
        raise ValueError(f"{what}: expected finite {kind}, got {values.tolist()}")
    return values


def nanoseconds(stamp: Time) -> int:
    return stamp.sec * NANOSECONDS + stamp.nanosec
