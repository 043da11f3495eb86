"""A robot without a watchdog: it goes on with the last command for ever. A process of its own.

    python ros_stand_in.py [--ros-args ...]

Publishes joint states, two cameras of noise and nothing else, at 20 Hz, and obeys velocities and
trajectories. The topic `fault` (std_msgs/String) says by `stream: fault` what goes wrong with a
stream (joint_states, or a camera): silent, frozen (stamps), zeros, alternating (zeros every other
time), degrees, black, or none.
"""

from __future__ import annotations

import sys
import time

import numpy as np
from rclpy.node import Node
from ros_robot import ANGLES, CAMERAS
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray, String
from trajectory_msgs.msg import JointTrajectory

from gato_ros.common import conversion, ingest, process, topics
from gato_ros.common.guard import Guarded
from gato_ros.common.stopping import Stop
from gato_sim.arm.sawyer import JOINT_HIGH, JOINT_LOW, JOINT_NAMES

PERIOD, SIZE = 0.05, 64
BRAKING = 0.05  # s in which two thirds of a change of speed are taken on


class StandIn(Guarded, Node):
    def __init__(self) -> None:
        super().__init__("stand_in")
        self._angles, self._velocities = np.array(ANGLES), np.zeros(7)
        self._commanded = np.zeros(7)
        self._faults: dict[str, str] = {}
        self._kept: dict[str, object] = {}
        self._rng = np.random.default_rng(0)
        create, listen = self.create_publisher, self.create_subscription
        self._outputs = {"joint_states": create(JointState, topics.JOINT_STATES, topics.SENSOR)}
        self._images = {}
        for camera in CAMERAS:
            image = conversion.image_message(SIZE, SIZE, camera)
            self._images[camera] = image
            self._outputs[camera] = create(type(image), topics.image(camera), topics.SENSOR)
        listen(Float64MultiArray, topics.ARM_VELOCITY, self._on_velocity, topics.COMMAND)
        listen(JointTrajectory, topics.ARM_TRAJECTORY, self._on_trajectory, topics.COMMAND)
        listen(String, "fault", self._on_fault, 10)

    def _on_velocity(self, message: Float64MultiArray) -> None:
        self._commanded = conversion.velocities_from(message, len(JOINT_NAMES))

    def _on_trajectory(self, message: JointTrajectory) -> None:
        self._commanded = conversion.trajectory_velocities(message, JOINT_NAMES)

    def _on_fault(self, message: String) -> None:
        stream, _, fault = message.data.partition(": ")
        self._faults[stream] = fault
        self._kept.pop(stream, None)

    def run(self, stop: Stop) -> None:
        deadline = time.monotonic()
        while not stop.is_set():
            deadline = max(deadline + PERIOD, time.monotonic() - PERIOD)
            stop.wait(max(0.0, deadline - time.monotonic()))
            self._velocities += (self._commanded - self._velocities) * min(1, PERIOD / BRAKING)
            angles = self._angles + self._velocities * PERIOD
            self._angles = np.clip(angles, JOINT_LOW, JOINT_HIGH)
            self._sense()

    def _sense(self) -> None:
        stamp = self.get_clock().now().to_msg()
        for camera, image in self._images.items():
            is_black = self._faults.get(camera) == "black"
            pixels = self._rng.integers(0, 1 if is_black else 200, (SIZE, SIZE, 3), np.uint8)
            conversion.fill_image(image, pixels, stamp)
            self._say(camera, image)
        noise = self._rng.uniform(-1e-5, 1e-5, 7)
        joints = JointState(name=[*JOINT_NAMES, ingest.GRIPPER_JOINT])
        joints.position = [*(self._angles + noise).tolist(), 0.2]
        joints.velocity = [*self._velocities.tolist(), 0.0]
        joints.header.stamp = stamp
        fault = self._faults.get("joint_states")
        if fault == "degrees":
            joints.position = [*np.degrees(self._angles).tolist(), 0.2]
        self._say("joint_states", joints)
        if fault == "alternating":
            joints.position = [0.0] * 8
            joints.header.stamp = self.get_clock().now().to_msg()
            self._say("joint_states", joints)

    def _say(self, stream: str, message) -> None:
        fault = self._faults.get(stream)
        if fault == "silent":
            return
        if fault == "frozen":
            message.header.stamp = self._kept.setdefault(stream, message.header.stamp)
        if fault == "zeros":
            message.position = [0.0] * 8
        self._outputs[stream].publish(message)


if __name__ == "__main__":
    sys.exit(process.run(StandIn, StandIn.run))
