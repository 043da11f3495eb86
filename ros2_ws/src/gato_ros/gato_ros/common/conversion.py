"""Numpy arrays to ROS messages and back. Pure functions: no node, no clock, no policy.

An Image's `data` is an array.array; assigning a list or a numpy array to it is a thousand times
slower than filling it in place or assigning bytes, so nothing here does.
"""

from __future__ import annotations

import array
from collections.abc import Sequence

import numpy as np
from builtin_interfaces.msg import Duration, Time
from geometry_msgs.msg import Twist, TwistStamped, Vector3
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

# the way back needs no ROS and has a module of its own, for bags; here both ways have one name
from gato_core.importers.pictures import image_to_array as image_to_array
from gato_ros.common.reading import NANOSECONDS as NANOSECONDS
from gato_ros.common.reading import joint_positions as joint_positions
from gato_ros.common.reading import nanoseconds as nanoseconds
from gato_ros.common.reading import trajectory_velocities as trajectory_velocities
from gato_ros.common.reading import velocities_from as velocities_from

MAX_SECONDS = 2**31 - 1000  # of a stamp: sums with it stay within a message's range


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


def velocity_message(velocities: np.ndarray) -> Float64MultiArray:
    """A velocity controller's command: rad/s in the order the controller was configured with."""
    return Float64MultiArray(data=array.array("d", velocities))


def trajectory_message(
    names: Sequence[str],
    positions: np.ndarray,
    velocities: np.ndarray,
    duration: float,
) -> JointTrajectory:
    """A one-point trajectory that reaches positions + velocities * duration after `duration` s.

    Its stamp is zero, which means from its arrival on: joint_trajectory_controller refuses one
    that by its stamp would have ended already.
    """
    point = JointTrajectoryPoint(
        positions=array.array("d", positions + velocities * duration),
        velocities=array.array("d", velocities),
        time_from_start=duration_message(duration),
    )
    return JointTrajectory(joint_names=list(names), points=[point])


def twist_message(twist: np.ndarray, frame_id: str, stamp: Time) -> TwistStamped:
    """Linear (m/s) and angular (rad/s) velocity (6,) along the axes of a frame."""
    linear, angular = (Vector3(x=x, y=y, z=z) for x, y, z in twist.reshape(2, 3).tolist())
    message = TwistStamped(twist=Twist(linear=linear, angular=angular))
    message.header.stamp, message.header.frame_id = stamp, frame_id
    return message


def stamp(time: Time) -> int:
    """ns of a stamp that arrived. Raises ValueError for one that no clock tells.

    Its nanoseconds may be up to 4e9 on the wire, and seconds on top of them overflow on the way
    back.
    """
    if time.nanosec >= NANOSECONDS or time.sec > MAX_SECONDS:
        raise ValueError(
            f"stamp: expected at most {MAX_SECONDS} s and less than 1 s of nanoseconds, got "
            f"{time.sec} s and {time.nanosec} ns"
        )
    return nanoseconds(time)


def time_message(nanoseconds: int) -> Time:
    return Time(sec=nanoseconds // NANOSECONDS, nanosec=nanoseconds % NANOSECONDS)


def duration_message(seconds: float) -> Duration:
    nanoseconds = round(seconds * NANOSECONDS)
    return Duration(sec=nanoseconds // NANOSECONDS, nanosec=nanoseconds % NANOSECONDS)
