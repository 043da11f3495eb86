"""One control tick without ROS: messages in, a safe command and its latencies out."""

from __future__ import annotations

import dataclasses
import time
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from gato_core.spec import Spec
from gato_ros.common import ingest
from gato_ros.robot.motion import Command, Motion
from gato_ros.robot.robot import Robot
from gato_ros.safety.freshness import Sample
from gato_ros.safety.limits import SafetyLimits

if TYPE_CHECKING:
    from gato_core.policy import GatoPolicy


class Control:
    """Observation, policy and kinematics in a row; the same for messages live or from a bag.

    min_contrast: standard deviation of an image's pixels, 0 to 255, below which it shows nothing.
    """

    def __init__(
        self,
        policy: GatoPolicy,
        spec: Spec,
        robot: Robot,
        safety: SafetyLimits,
        min_contrast: float = 0.0,
    ) -> None:
        ingest.check_streams(spec)
        self.policy = policy
        self.spec = spec
        self.robot = robot
        self.streams = (ingest.JOINT_STREAM, *ingest.camera_names(spec))
        self.motion = Motion(robot, safety)
        self.instruction = ""
        self._min_contrast = min_contrast
        self._low, self._high = np.array(spec.action.low), np.array(spec.action.high)

    def step(
        self, samples: Mapping[str, Sample], age: Callable[[], float] = lambda: 0.0
    ) -> tuple[Command, dict[str, float]]:
        """The command for the newest message of each stream, and the seconds of each stage.

        age: s since the joint state was measured, asked once the policy has answered. Raises
        ValueError when a message does not fit the Spec or a number is not finite.
        """
        times = [time.monotonic()]
        messages = {stream: samples[stream].message for stream in self.streams}
        observation, _ = ingest.observation(
            messages,
            self.spec,
            self.motion.controller,
            self.robot.gripper,
            self.robot.crops,
            self.instruction,
        )
        self._check_contrast(observation)
        times.append(time.monotonic())
        action = self.policy.step(observation)
        times.append(time.monotonic())
        if not np.isfinite(action).all():
            raise ValueError(f"action: expected finite numbers, got {action}")
        bounded = np.clip(action, self._low, self._high)
        command = self.motion.command(bounded, messages[ingest.JOINT_STREAM], age())
        command = dataclasses.replace(command, action=action)
        times.append(time.monotonic())
        observe, _, kinematics = np.diff(times).tolist()
        inside = dataclasses.asdict(self.policy.seconds)  # tokenize, network
        return command, {"observe": observe, **inside, "kinematics": kinematics}

    def _check_contrast(self, observation: Mapping[str, np.ndarray]) -> None:
        """Raises ValueError for an image that shows nothing: black, covered, overexposed."""
        for camera in self.streams[1:] if self._min_contrast else ():
            contrast = float(observation[camera + ingest.PIXELS].std())
            if contrast < self._min_contrast:
                raise ValueError(
                    f"{camera}: expected a contrast of at least {self._min_contrast:g}, "
                    f"got {contrast:.1f}"
                )

    def tell(self, words: str) -> str:
        """Says what is to be done from the next step on; how the words were cut, or ""."""
        self.instruction = words.strip()
        if not ingest.is_told(self.spec) or not self.instruction:
            return ""
        from gato_core.text import pieces  # the extra `text`

        num_tokens = self.spec.observation[ingest.INSTRUCTION].num_tokens
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            pieces.fit(self.instruction, num_tokens, self.policy.tokenizer.vocabulary)
        return str(said[0].message) if said else ""

    def warm_up(self, num_steps: int = 3) -> None:
        """Steps the policy on an empty scene, so that no live tick pays for first-time work."""
        empty = {
            key: np.zeros(modality.shape, np.uint8 if len(modality.shape) == 3 else np.float32)
            for key, modality in self.spec.observation.items()
        }
        if ingest.is_told(self.spec):
            empty[ingest.INSTRUCTION] = ""
        for _ in range(num_steps):
            self.policy.step(empty)
        self.policy.reset()
