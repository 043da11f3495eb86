"""One control tick without ROS: messages in, a safe command out, and where the time went."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from gato_core.policy import GatoPolicy
from gato_core.spec import Spec
from gato_ros import ingest, safety
from gato_ros.freshness import Sample
from gato_sim.controller import Controller


@dataclass(frozen=True)
class Command:
    """Joint velocities in rad/s and the gripper's command (+-255), float64 (8,), for `angles`."""

    ctrl: np.ndarray
    angles: np.ndarray
    was_limited: bool
    stages: dict[str, float]


class Control:
    """Observation, policy and kinematics in a row; the same for messages live or from a bag."""

    def __init__(
        self, policy: GatoPolicy, spec: Spec, gripper_joint: str = ingest.GRIPPER_JOINT
    ) -> None:
        ingest.check_streams(spec)
        if not ingest.arm_joints(spec):
            raise ValueError(
                f"observation: expected {ingest.ARM_ANGLES}, got {[*spec.observation]}"
            )
        self.policy = policy
        self.spec = spec
        self.streams = (ingest.JOINT_STREAM, *ingest.camera_names(spec))
        self._gripper_joint = gripper_joint
        self._controller = Controller()
        self._low, self._high = np.array(spec.action.low), np.array(spec.action.high)

    def step(self, samples: Mapping[str, Sample]) -> Command:
        """The command for the newest message of each stream.

        Raises ValueError when a message does not fit the Spec or a number is not finite.
        """
        times = [time.monotonic()]
        messages = {stream: samples[stream].message for stream in self.streams}
        observation, angles = ingest.observation(
            messages, self.spec, self._controller, self._gripper_joint
        )
        times.append(time.monotonic())
        action = self.policy.step(observation)
        times.append(time.monotonic())
        if not np.isfinite(action).all():
            raise ValueError(f"action: expected finite numbers, got {action}")
        action = np.clip(action, self._low, self._high)
        ctrl, was_limited = safety.limit(self._controller.ctrl(action, angles))
        times.append(time.monotonic())
        observe, _, kinematics = np.diff(times).tolist()
        inside = dataclasses.asdict(self.policy.seconds)  # tokenize, prefill, decode
        stages = {"observe": observe, **inside, "kinematics": kinematics}
        return Command(ctrl, angles, was_limited, stages)

    def warm_up(self, num_steps: int = 3) -> None:
        """Steps the policy on an empty scene, so that no live tick pays for first-time work."""
        empty = {
            key: np.zeros(modality.shape, np.uint8 if len(modality.shape) == 3 else np.float32)
            for key, modality in self.spec.observation.items()
        }
        for _ in range(num_steps):
            self.policy.step(empty)
        self.policy.reset()
