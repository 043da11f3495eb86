"""The last check before joint velocities leave: finite, smooth, and within the robot's limits.

None of this is certified functional safety.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np

from gato_sim.arm.controller import Controller

CLAMPS = ("jump", "velocity", "position", "workspace")
MAX_SENT = 100  # newest commands that are remembered
TOLERANCE = 1e-9  # rad/s and m; rounding is no violation


@dataclass(frozen=True)
class SafetyLimits:
    """What commands must keep, beside the arm's own limits.

    max_jump: change of a joint's velocity from one command to the next, rad/s, unless another limit
    brakes it; 0 is any.
    position_margin: rad that stay free before a joint's limit. workspace_margin: m by which the
    pinch point may leave the arm's workspace. soft_start: s in which motion grows to its full
    speed.
    """

    max_jump: float = 0.0
    position_margin: float = 0.01
    workspace_margin: float = 0.03
    soft_start: float = 0.0


class Limiter:
    """Joint velocities in, joint velocities within every limit out; `num_clamped` counts the cuts.

    What is asked is scaled or projected, never enlarged: zero is always allowed.
    """

    def __init__(self, controller: Controller, limits: SafetyLimits, timestep: float) -> None:
        self._controller, self._limits, self._timestep = controller, limits, timestep
        self.num_clamped = dict.fromkeys(CLAMPS, 0)
        self.restart()

    def restart(self) -> None:
        """The arm stands still: the next command is the first of a soft start."""
        self._last = np.zeros(len(self._controller.arm.joints))
        self._sent: deque[np.ndarray] = deque([self._last], maxlen=MAX_SENT)
        self._since = self._last[None]  # (k, n), what was sent since the angles were measured
        self._age = 0.0
        self._num_commands = 0

    def limit(self, velocities: np.ndarray, angles: np.ndarray, age: float = 0.0) -> np.ndarray:
        """Velocities (n,) in rad/s at joint angles (n,) in rad, within all limits.

        age: s since the angles were measured. The arm has moved on since with what was sent, so
        what is left to each limit shrinks by the fastest of it times age. Raises ValueError when a
        number is NaN or infinite: such a command must never leave.
        """
        if not np.isfinite(velocities).all():
            raise ValueError(f"command: expected finite numbers, got {velocities.tolist()}")
        self._num_commands += 1
        self._age = max(0.0, age)
        num = min(MAX_SENT, max(1, math.ceil(self._age / self._timestep - TOLERANCE)))
        self._since = np.array([*self._sent][-num:])
        limited = velocities * self.softness
        clamps = (self._jump, self._velocity, self._position, self._workspace)
        for name, clamp in zip(CLAMPS, clamps):
            before, limited = limited, clamp(limited, angles)
            self.num_clamped[name] += bool((limited != before).any())
        self._last = limited
        self._sent.append(limited)
        return limited

    @property
    def softness(self) -> float:
        """The part of full speed that the soft start allows to the newest command."""
        elapsed = self._num_commands * self._timestep
        return min(1.0, elapsed / self._limits.soft_start) if self._limits.soft_start else 1.0

    def _jump(self, velocities: np.ndarray, _: np.ndarray) -> np.ndarray:
        jump = velocities - self._last
        excess = np.abs(jump).max() / (self._limits.max_jump or np.inf)
        return self._last + jump / excess if excess > 1 else velocities

    def _velocity(self, velocities: np.ndarray, _: np.ndarray) -> np.ndarray:
        """Slower in the same direction."""
        excess = (np.abs(velocities) / self._controller.arm.velocity_limits).max()
        return velocities / excess if excess > 1 else velocities

    def _position(self, velocities: np.ndarray, angles: np.ndarray) -> np.ndarray:
        arm, margin = self._controller.arm, self._limits.position_margin
        highest = angles + np.maximum(self._since.max(axis=0), 0) * self._age
        lowest = angles + np.minimum(self._since.min(axis=0), 0) * self._age
        to_high = np.maximum(arm.high - margin - highest, 0) / self._timestep
        to_low = np.minimum(arm.low + margin - lowest, 0) / self._timestep
        return np.clip(velocities, to_low, to_high)

    def _workspace(self, velocities: np.ndarray, angles: np.ndarray) -> np.ndarray:
        """The nearest velocities that bring the pinch point no further out of the workspace."""
        arm, margin = self._controller.arm, self._limits.workspace_margin
        position = self._controller.pinch_pose(angles)[:3]
        jacobian = self._controller.pinch_jacobian(angles)[:3]
        room = np.concatenate(
            [arm.workspace_high + margin - position, position - arm.workspace_low + margin]
        )
        outward = np.concatenate([jacobian, -jacobian])  # m/s towards each face
        drift = np.maximum((outward @ self._since.T).max(axis=1), 0) * self._age
        room = np.maximum(room - drift, 0) / self._timestep
        broken = outward @ velocities > room + TOLERANCE
        if not broken.any():
            return velocities
        faces = outward[broken]
        excess = faces @ velocities - room[broken]
        inside = velocities - np.linalg.pinv(faces) @ excess
        inside = self._velocity(inside, angles)
        kept = (outward @ inside <= room + TOLERANCE).all()
        kept &= np.abs(self._position(inside, angles) - inside).max() <= TOLERANCE
        is_braking = np.abs(inside) <= np.abs(velocities)
        jumps = np.abs(inside - self._last) > (self._limits.max_jump or np.inf) + TOLERANCE
        kept &= not (jumps & ~is_braking).any()
        return inside if kept else np.zeros_like(velocities)
