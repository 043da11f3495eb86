"""One control tick without ROS: messages in, a safe command and its latencies out."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gato_core.spec import Spec
from gato_ros.common import ingest
from gato_ros.common.reading import joint_positions
from gato_ros.robot.robot import Robot
from gato_ros.safety.freshness import Sample
from gato_ros.safety.limits import Limiter, SafetyLimits
from gato_sim.arm.controller import Controller

if TYPE_CHECKING:
    from gato_core.policy import GatoPolicy


@dataclass(frozen=True)
class Command:
    """What the robot shall do at joint angles (n,) in rad.

    velocities: (n,) rad/s, within all limits. gripper: the benchmark's +-255. twist: (6,) linear
    (m/s) and angular (rad/s) velocity that these velocities give the wrist. action: the policy's.
    """

    velocities: np.ndarray
    gripper: float
    twist: np.ndarray
    angles: np.ndarray
    action: np.ndarray
    stages: dict[str, float]


class Control:
    """Observation, policy and kinematics in a row; the same for messages live or from a bag."""

    def __init__(
        self,
        policy: GatoPolicy,
        spec: Spec,
        robot: Robot,
        safety: SafetyLimits,
    ) -> None:
        ingest.check_streams(spec)
        self.policy = policy
        self.spec = spec
        self.robot = robot
        self.streams = (ingest.JOINT_STREAM, *ingest.camera_names(spec))
        self._controller = Controller(robot.arm, robot.control_timestep)
        self.limiter = Limiter(self._controller, safety, robot.control_timestep)
        self._low, self._high = np.array(spec.action.low), np.array(spec.action.high)

    def step(self, samples: Mapping[str, Sample]) -> Command:
        """The command for the newest message of each stream.

        Raises ValueError when a message does not fit the Spec or a number is not finite.
        """
        times = [time.monotonic()]
        messages = {stream: samples[stream].message for stream in self.streams}
        observation, _ = ingest.observation(
            messages, self.spec, self._controller, self.robot.gripper, self.robot.crops
        )
        angles = self.angles(messages[ingest.JOINT_STREAM])
        times.append(time.monotonic())
        action = self.policy.step(observation)
        times.append(time.monotonic())
        if not np.isfinite(action).all():
            raise ValueError(f"action: expected finite numbers, got {action}")
        ctrl = self._controller.ctrl(np.clip(action, self._low, self._high), angles)
        velocities = self.limiter.limit(ctrl[:-1], angles)
        twist = self._controller.tcp_jacobian(angles) @ velocities
        times.append(time.monotonic())
        observe, _, kinematics = np.diff(times).tolist()
        inside = dataclasses.asdict(self.policy.seconds)  # tokenize, network
        stages = {"observe": observe, **inside, "kinematics": kinematics}
        return Command(velocities, float(ctrl[-1]), twist, angles, action, stages)

    def angles(self, joints: object) -> np.ndarray:
        """The arm's joint angles (n,) in rad of a JointState. Raises ValueError."""
        return joint_positions(joints, self.robot.arm.joints)

    def warm_up(self, num_steps: int = 3) -> None:
        """Steps the policy on an empty scene, so that no live tick pays for first-time work."""
        empty = {
            key: np.zeros(modality.shape, np.uint8 if len(modality.shape) == 3 else np.float32)
            for key, modality in self.spec.observation.items()
        }
        for _ in range(num_steps):
            self.policy.step(empty)
        self.policy.reset()
