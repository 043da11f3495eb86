"""ROS messages to numpy arrays and back. Pure functions: no node, no clock, no policy.

An Image's `data` is an array.array; assigning a list or a numpy array to it is a thousand times
slower than filling it in place or assigning bytes, so nothing here does.
"""

from __future__ import annotations

import array
from collections.abc import Sequence

import cv2
import numpy as np
from builtin_interfaces.msg import Duration, Time
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

NANOSECONDS = 1_000_000_000
MAX_IMAGE_BYTES = 64 * 2**20

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
    if isinstance(message, CompressedImage):
        return _decompress(message)
    if message.encoding not in _ENCODINGS:
        raise ValueError(
            f"image encoding: expected one of {sorted(_ENCODINGS)}, got {message.encoding!r}"
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
    if len(message.data) > MAX_IMAGE_BYTES:
        raise ValueError(
            f"compressed image: expected at most {MAX_IMAGE_BYTES} bytes, got {len(message.data)}"
        )
    data = np.frombuffer(message.data, np.uint8)
    pixels = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if pixels is None:
        raise ValueError(
            f"compressed image: expected JPEG or PNG data, got {data.size} bytes that decode to "
            f"nothing (format {message.format!r})"
        )
    return np.ascontiguousarray(pixels[:, :, ::-1])


def image_message(height: int, width: int, frame_id: str) -> Image:
    """An rgb8 Image to keep and fill with `fill_image` each time it is published."""
    message = Image(height=height, width=width, encoding="rgb8", step=3 * width, is_bigendian=0)
    message.header.frame_id = frame_id
    message.data = array.array("B", bytes(3 * height * width))
    return message


def fill_image(message: Image, pixels: np.ndarray, stamp: Time) -> None:
    """Writes uint8 (height, width, 3) into a message made by `image_message`, in place."""
    assert pixels.dtype == np.uint8 and pixels.size == len(message.data), pixels.shape
    np.frombuffer(message.data, np.uint8)[:] = pixels.reshape(-1)
    message.header.stamp = stamp


def camera_info_message(height: int, width: int, fovy: float, frame_id: str) -> CameraInfo:
    """Intrinsics of an ideal pinhole camera; fovy is the vertical field of view in degrees."""
    focal = height / 2 / np.tan(np.radians(fovy) / 2)
    centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
    message = CameraInfo(height=height, width=width, distortion_model="plumb_bob", d=[0.0] * 5)
    message.header.frame_id = frame_id
    message.k = [focal, 0.0, centre_x, 0.0, focal, centre_y, 0.0, 0.0, 1.0]
    message.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    message.p = [focal, 0.0, centre_x, 0.0, 0.0, focal, centre_y, 0.0, 0.0, 0.0, 1.0, 0.0]
    return message


def joint_positions(message: JointState, names: Sequence[str]) -> np.ndarray:
    """float64 (len(names),) positions in rad, matched by name whatever the message's order.

    Raises ValueError when a name is missing or doubled, the lengths of `name` and `position`
    differ, or a wanted position is not finite.
    """
    if len(message.position) != len(message.name):
        raise ValueError(
            f"joint state: expected a position for each of {len(message.name)} names, "
            f"got {len(message.position)}"
        )
    index = {name: i for i, name in enumerate(message.name)}
    missing = [name for name in names if name not in index]
    if missing:
        raise ValueError(
            f"joint state: expected joints {list(names)}, got {list(message.name)}: "
            f"{missing} missing"
        )
    if len(index) != len(message.name):
        raise ValueError(f"joint state: expected distinct names, got {list(message.name)}")
    positions = np.array([message.position[index[name]] for name in names])
    if not np.isfinite(positions).all():
        bad = [name for name, value in zip(names, positions) if not np.isfinite(value)]
        raise ValueError(f"joint state: expected finite positions, got NaN or infinity in {bad}")
    return positions


def velocity_message(velocities: np.ndarray) -> Float64MultiArray:
    """A velocity controller's command: rad/s in the order the controller was configured with."""
    return Float64MultiArray(data=array.array("d", velocities))


def velocities_from(message: Float64MultiArray, num_joints: int) -> np.ndarray:
    """float64 (num_joints,) rad/s. Raises ValueError on another length or a non-finite value."""
    return _checked(np.array(message.data), num_joints, "velocity command")


def trajectory_message(
    names: Sequence[str],
    positions: np.ndarray,
    velocities: np.ndarray,
    duration: float,
    stamp: Time,
) -> JointTrajectory:
    """A one-point trajectory that reaches positions + velocities * duration after `duration` s."""
    point = JointTrajectoryPoint(
        positions=array.array("d", positions + velocities * duration),
        velocities=array.array("d", velocities),
        time_from_start=duration_message(duration),
    )
    message = JointTrajectory(joint_names=list(names), points=[point])
    message.header.stamp = stamp
    return message


def trajectory_velocities(message: JointTrajectory, names: Sequence[str]) -> np.ndarray:
    """float64 (len(names),) rad/s of the first point, matched by name. Raises ValueError."""
    if sorted(message.joint_names) != sorted(names) or not message.points:
        raise ValueError(
            f"trajectory: expected one point for joints {list(names)}, "
            f"got {len(message.points)} for {list(message.joint_names)}"
        )
    velocities = _checked(np.array(message.points[0].velocities), len(names), "trajectory")
    return velocities[[list(message.joint_names).index(name) for name in names]]


def _checked(values: np.ndarray, length: int, what: str) -> np.ndarray:
    if values.shape != (length,):
        raise ValueError(f"{what}: expected {length} velocities, got {values.size}")
    if not np.isfinite(values).all():
        raise ValueError(f"{what}: expected finite velocities, got {values.tolist()}")
    return values


def time_message(nanoseconds: int) -> Time:
    return Time(sec=nanoseconds // NANOSECONDS, nanosec=nanoseconds % NANOSECONDS)


def duration_message(seconds: float) -> Duration:
    nanoseconds = round(seconds * NANOSECONDS)
    return Duration(sec=nanoseconds // NANOSECONDS, nanosec=nanoseconds % NANOSECONDS)


def nanoseconds(stamp: Time) -> int:
    return stamp.sec * NANOSECONDS + stamp.nanosec
