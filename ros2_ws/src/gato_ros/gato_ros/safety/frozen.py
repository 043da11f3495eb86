"""Detects a sensor that repeats its data under fresh stamps while the robot moves."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from sensor_msgs.msg import JointState

from gato_ros.safety.freshness import Sample

MOVING = 0.02  # rad/s; slower commands need not show


class FrozenWatch:
    """How long the content of each stream has been the same, counted in commanded motion only.

    A real camera has noise and a real encoder follows, so identical bits mean a driver that
    repeats its last message, or an arm that does not obey.
    """

    def __init__(self, longest: float) -> None:
        self._longest = longest
        self.restart()

    def restart(self) -> None:
        """Forgets what was seen."""
        self._contents: dict[str, np.ndarray] = {}
        self._seconds: dict[str, float] = {}

    def note(
        self, samples: Mapping[str, Sample], velocities: np.ndarray, timestep: float
    ) -> list[str]:
        """One line for each stream that stayed the same for too long; `velocities` in rad/s."""
        if not self._longest:
            return []
        elapsed = timestep if np.abs(velocities).max() > MOVING else 0.0
        for stream, sample in samples.items():
            content = _content(sample.message)
            same = np.array_equal(content, self._contents.get(stream, ()))
            self._seconds[stream] = self._seconds[stream] + elapsed if same else 0.0
            self._contents[stream] = content
        return [
            f"{stream}: the same for {seconds:.2f} s of motion, expected at most {self._longest} s"
            for stream, seconds in self._seconds.items()
            if seconds > self._longest
        ]


def _content(message: object) -> np.ndarray:
    if isinstance(message, JointState):
        return np.array(message.position)
    return np.frombuffer(message.data, np.uint8)
