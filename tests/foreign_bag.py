"""Writes a rosbag2 folder with the library that others use, without our recorder."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as BagWriter
from rosbags.typesys import Stores, get_typestore

TYPES = get_typestore(Stores.ROS2_KILTED)
START = 1_700_000_000_000_000_000  # ns, by the robot's clock
OFFSET = 123_456_789  # ns, by which the recorder's clock is ahead


def picture(time: float) -> np.ndarray:
    """uint8 (48, 96, 3): a grey that tells the time in hundredths of a second."""
    return np.full((48, 96, 3), round(100 * time) % 256, np.uint8)


class Writer:
    """start: ns, that all stamps and times are counted from."""

    start = START

    def __init__(
        self,
        folder: Path,
        namespace: str,
        command: str,
        camera_type: str,
        storage: StoragePlugin = StoragePlugin.MCAP,
    ) -> None:
        self._writer = BagWriter(folder, version=9, storage_plugin=storage)
        self._writer.open()
        topics = {
            "joint_states": "sensor_msgs/msg/JointState",
            "wrist/image_raw": camera_type,
            "commands": command,
        }
        self._connections = {
            name: self._writer.add_connection(f"{namespace}/{name}", kind, typestore=TYPES)
            for name, kind in topics.items()
        }

    def joints(
        self,
        time: float,
        names: tuple[str, ...],
        position: list[float],
        stamp: float | None = None,
        topic: str = "joint_states",
    ) -> None:
        message = TYPES.types["sensor_msgs/msg/JointState"](
            header=self._header(time if stamp is None else stamp),
            name=list(names),
            position=np.array(position),
            velocity=np.array(position) / 2,
            effort=np.zeros(0),
        )
        self.write_message(topic, time, message)

    def stamped_joints(self, time: float, stamp: int) -> None:
        """One joint, with any stamp in ns."""
        moment = TYPES.types["builtin_interfaces/msg/Time"](stamp // 10**9, stamp % 10**9)
        message = TYPES.types["sensor_msgs/msg/JointState"](
            header=TYPES.types["std_msgs/msg/Header"](stamp=moment, frame_id=""),
            name=["elbow"],
            position=np.zeros(1),
            velocity=np.zeros(0),
            effort=np.zeros(0),
        )
        self.write_message("joint_states", time, message)

    def picture(self, time: float, stamp: float) -> None:
        is_compressed = self._connections["wrist/image_raw"].msgtype.endswith("CompressedImage")
        message = self.compressed(stamp) if is_compressed else self.image(stamp)
        self.write_message("wrist/image_raw", time, message)

    def image(self, stamp: float) -> object:
        return TYPES.types["sensor_msgs/msg/Image"](
            header=self._header(stamp),
            height=48,
            width=96,
            encoding="bgr8",
            is_bigendian=0,
            step=288,
            data=picture(stamp)[:, :, ::-1].reshape(-1),
        )

    def compressed(self, stamp: float) -> object:
        return TYPES.types["sensor_msgs/msg/CompressedImage"](
            header=self._header(stamp),
            format="png",
            data=cv2.imencode(".png", picture(stamp)[:, :, ::-1])[1].reshape(-1),
        )

    def command(self, time: float, names: tuple[str, ...], velocities: list[float]) -> None:
        kind = self._connections["commands"].msgtype
        if kind.endswith("Float64MultiArray"):
            layout = TYPES.types["std_msgs/msg/MultiArrayLayout"](dim=[], data_offset=0)
            message = TYPES.types[kind](layout=layout, data=np.array(velocities))
        else:
            point = TYPES.types["trajectory_msgs/msg/JointTrajectoryPoint"](
                positions=np.zeros(0),
                velocities=np.array(velocities[::-1]),
                accelerations=np.zeros(0),
                effort=np.zeros(0),
                time_from_start=TYPES.types["builtin_interfaces/msg/Duration"](0, 0),
            )
            header, backwards = self._header(time), list(names[::-1])
            message = TYPES.types[kind](header=header, joint_names=backwards, points=[point])
        self.write_message("commands", time, message)

    def add_topic(self, name: str, kind: str) -> None:
        self._connections[name] = self._writer.add_connection(f"/{name}", kind, typestore=TYPES)

    def close(self) -> None:
        self._writer.close()

    def _header(self, time: float) -> object:
        now = self.start + round(time * 1e9)
        stamp = TYPES.types["builtin_interfaces/msg/Time"](now // 10**9, now % 10**9)
        return TYPES.types["std_msgs/msg/Header"](stamp=stamp, frame_id="")

    def write_message(self, name: str, time: float, message: object) -> None:
        connection = self._connections[name]
        data = TYPES.serialize_cdr(message, connection.msgtype)
        self._writer.write(connection, START + OFFSET + round(time * 1e9), data)
