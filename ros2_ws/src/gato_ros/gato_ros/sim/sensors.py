"""Messages of the simulated robot: images, joints, clock and, to debug, true poses."""

from __future__ import annotations

import numpy as np
from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image, JointState

from gato_core import spec
from gato_ros.common import conversion, ingest, topics
from gato_ros.sim.faults import Faults
from gato_sim.arm.sawyer import JOINT_NAMES
from gato_sim.domains.rgb_stacking.environment import Environment

FOVY = 35.0  # degrees, of the whole picture of the basket's front cameras
TRUTH_FRAME = "world"


def camera_info(image: spec.Image, frame: str) -> CameraInfo:
    """Intrinsics of an ideal pinhole camera of whose picture `image` shows a part."""
    left, top, width, height = image.crop
    whole_width, whole_height = round(image.width / width), round(image.height / height)
    message = conversion.camera_info_message(whole_height, whole_width, FOVY, frame)
    for matrix, row in ((message.k, 3), (message.p, 4)):
        matrix[2] -= left * whole_width
        matrix[row + 2] -= top * whole_height
    message.height, message.width = image.height, image.width
    return message


class StateOutput:
    """Renders a state, then publishes it: images, joints and, last, the clock.

    images: the newest of each camera, uint8 (height, width, 3), before any latency.
    """

    def __init__(self, node: Node, env: Environment, faults: Faults, *, ground_truth: bool) -> None:
        self._env, self._faults = env, faults
        self.images: dict[str, np.ndarray] = {}
        create, image = node.create_publisher, env.image
        self._clock = create(Clock, topics.CLOCK, topics.SENSOR)
        self._joints = create(JointState, topics.JOINT_STATES, topics.SENSOR)
        self._joint_message = JointState(name=[*JOINT_NAMES, ingest.GRIPPER_JOINT])
        self._cameras = {}
        for camera in env.cameras:
            frame = f"{camera}_optical_frame"
            self._cameras[camera] = (
                create(Image, topics.image(camera), topics.SENSOR),
                conversion.image_message(image.height, image.width, frame),
                create(CameraInfo, topics.camera_info(camera), topics.SENSOR),
                camera_info(image, frame),
            )
        names = ("red", "green", "blue", "pinch") if ground_truth else ()
        self._truth = {
            name: create(PoseStamped, f"{topics.GROUND_TRUTH}/{name}", topics.SENSOR)
            for name in names
        }

    def prepare(self, time: int) -> None:
        """Renders the state of simulated time `time` (ns) and fills the messages."""
        simulation, image = self._env.simulation, self._env.image
        self._time = time
        for camera in self._cameras:
            size = (image.height, image.width)
            self.images[camera] = simulation.render(camera, size, image.crop)
        finger = simulation.data.qpos[simulation.elements.finger_qpos]
        joints = self._joint_message
        joints.header.stamp = conversion.time_message(time)
        joints.position = [*simulation.joint_angles.tolist(), float(finger)]
        joints.velocity = [*simulation.joint_velocities.tolist(), 0.0]

    def publish(self) -> None:
        """Sends what was prepared, less what the faults take away."""
        for camera in self._cameras:
            shown = self._faults.delayed(camera, self.images[camera], self._time)
            if shown is not None and not self._faults.is_lost(camera):
                self._publish_image(camera, *shown)
        self._publish_truth()
        if not self._faults.is_lost(topics.JOINT_STATES):
            self._joints.publish(self._joint_message)
        self._clock.publish(Clock(clock=conversion.time_message(self._time)))

    def _publish_image(self, camera: str, pixels: np.ndarray, time: int) -> None:
        publisher, message, info_publisher, info = self._cameras[camera]
        stamp = conversion.time_message(time)
        conversion.fill_image(message, pixels, stamp)
        info.header.stamp = stamp
        info_publisher.publish(info)
        publisher.publish(message)

    def _publish_truth(self) -> None:
        simulation = self._env.simulation
        poses = simulation.object_poses() | {"pinch": simulation.pinch_pose} if self._truth else {}
        for name, publisher in self._truth.items():
            message = PoseStamped()
            message.header.frame_id = TRUTH_FRAME
            message.header.stamp = conversion.time_message(self._time)
            x, y, z, qw, qx, qy, qz = poses[name].tolist()
            pose = message.pose
            pose.position.x, pose.position.y, pose.position.z = x, y, z
            pose.orientation.w, pose.orientation.x = qw, qx
            pose.orientation.y, pose.orientation.z = qy, qz
            publisher.publish(message)
