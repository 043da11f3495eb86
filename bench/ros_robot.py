"""A robot without physics for bench/ros.py: states at any rate, and when each was answered."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import numpy as np
import torch
from builtin_interfaces.msg import Time
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray

from gato_core import checkpoint
from gato_core.embodiment import Embodiment
from gato_core.model import Gato, preset
from gato_ros.common import conversion, ingest, topics
from gato_sim.arm.sawyer import JOINT_NAMES
from gato_sim.domains.rgb_stacking.tasks import robot_spec

DEPTH = 100  # of commands: none shall be overwritten by the next before it is counted
ANGLES = [0.0, -0.52, -0.53, 1.22, 0.41, 1.08, 0.0]  # rad, a usual pose
CAMERAS = ("basket_front_left", "basket_front_right")


def save_trivial_policy(folder: Path, image_size: int, rate: float) -> Path:
    """The smallest preset, untrained, one timestep and pass a step, for a robot of this rate."""
    torch.manual_seed(0)
    spec = dataclasses.replace(robot_spec(CAMERAS, image_size), control_timestep=1 / rate)
    body = Embodiment("robot", spec, context_timesteps=1, action_mode="parallel")
    checkpoint.save(folder, Gato(preset("debug")), body, {"data": "none"})
    return folder


class Robot:
    """Publishes two cameras and the joints at `rate` Hz; notes when commands arrive.

    published: monotonic seconds by the stamp (ns) of a state. arrivals: those of all commands.
    """

    def __init__(self, node: Node, rate: float, image_size: int) -> None:
        self._node, self._period = node, 1 / rate
        self.published: dict[int, float] = {}
        self.arrivals: list[float] = []
        create = node.create_publisher
        self._joints = create(JointState, topics.JOINT_STATES, topics.SENSOR)
        self._images = []
        rng = np.random.default_rng(0)
        for camera in CAMERAS:
            message = conversion.image_message(image_size, image_size, camera)
            pixels = rng.integers(0, 256, (image_size, image_size, 3), np.uint8)
            conversion.fill_image(message, pixels, message.header.stamp)
            publisher = create(type(message), topics.image(camera), topics.SENSOR)
            self._images.append((publisher, message))
        node.create_subscription(Float64MultiArray, topics.ARM_VELOCITY, self._on_command, DEPTH)

    def _on_command(self, _: Float64MultiArray) -> None:
        self.arrivals.append(time.monotonic())

    def run(self, num_states: int) -> int:
        """Publishes this many states at absolute deadlines; returns how many were late to leave."""
        deadline, num_late = time.monotonic() + self._period, 0
        for _ in range(num_states):
            early = deadline - time.monotonic()
            if early > 0:
                time.sleep(early)
            num_late += early < -0.2 * self._period
            self._publish()
            deadline += self._period
        time.sleep(2 * self._period)
        return num_late

    def _publish(self) -> None:
        nanoseconds = time.time_ns()
        stamp = conversion.time_message(nanoseconds)
        for publisher, message in self._images:
            message.header.stamp = stamp
            publisher.publish(message)
        self.published[nanoseconds] = time.monotonic()
        self._joints.publish(self.joints(stamp))

    def joints(self, stamp: Time) -> JointState:
        """It stands, whatever it is told."""
        joints = JointState(name=[*JOINT_NAMES, ingest.GRIPPER_JOINT], position=[*ANGLES, 0.2])
        joints.header.stamp = stamp
        return joints
