"""Keys and joystick to the policy's action; no node, no clock.

Motion ends when the person lets go: a key counts for as long as the terminal repeats it, a joystick
while its dead-man button is held and its messages keep coming.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from gato_sim.arm.sawyer import GRIPPER_LIMIT

# key: (axis, sign); axes x, y, z of the robot's base, and yaw about the vertical
MOVES = {
    "w": (0, 1), "s": (0, -1), "a": (1, 1), "d": (1, -1), "r": (2, 1), "f": (2, -1),
    "q": (3, 1), "e": (3, -1),
    "\x1b[A": (0, 1), "\x1b[B": (0, -1), "\x1b[D": (1, 1), "\x1b[C": (1, -1),
}  # fmt: skip
GRIP = " "
HELP = (
    "w s or arrows: away, back   a d: left, right   r f: up, down   q e: turn   space: gripper\n"
    "Enter: begin, end a recording   Backspace: discard it   n: new episode   c: clear a stop"
)
KEY_HOLD = 0.15  # s a key moves the robot; terminals repeat a held key every 0.03 to 0.1 s
JOY_TIMEOUT = 0.5  # s
DEAD_ZONE = 0.1  # of an axis's way
_KEYS = re.compile(r"\x1b\[[A-D]|.", re.DOTALL)


def keys_in(text: str) -> Iterator[str]:
    """The keys of what a terminal sent: characters, and arrows as their escape sequences."""
    return (match.group() for match in _KEYS.finditer(text))


@dataclass(frozen=True)
class Speeds:
    """m/s of x, y, z and rad/s of yaw at full deflection."""

    linear: float
    yaw: float

    def action(self, deflection: np.ndarray, is_closed: bool) -> np.ndarray:
        """Action float32 (5,) of a deflection (4,) in [-1, 1]; the linear speed is a limit."""
        linear = deflection[:3] / max(1.0, float(np.linalg.norm(deflection[:3]))) * self.linear
        gripper = GRIPPER_LIMIT if is_closed else -GRIPPER_LIMIT
        return np.array([*linear, deflection[3] * self.yaw, gripper], np.float32)


class Keyboard:
    """Held keys move, space opens and closes. `press` may come from another thread."""

    def __init__(self, speeds: Speeds) -> None:
        self._speeds = speeds
        self._lock = threading.Lock()
        self.restart()

    def restart(self) -> None:
        """A new episode: nothing is asked until the next key."""
        with self._lock:
            self._pressed: dict[str, float] = {}
            self._is_closed = self.has_gripped = False
            self._has_begun = False

    def find_gripper(self, is_closed: bool) -> None:
        """How the gripper is, as long as the person has not said how it shall be."""
        with self._lock:
            if not self.has_gripped:
                self._is_closed = is_closed

    def press(self, key: str, now: float) -> bool:
        """Whether the key means a motion; `now` in s."""
        with self._lock:
            if key == GRIP:
                self._is_closed, self.has_gripped = not self._is_closed, True
            elif key.lower() in MOVES or key in MOVES:
                self._pressed[key if key in MOVES else key.lower()] = now
            else:
                return False
            self._has_begun = True
            return True

    def action(self, now: float) -> np.ndarray | None:
        """Action (5,) at time `now` in s; None before the first key."""
        with self._lock:
            deflection = np.zeros(4)
            for key, pressed in self._pressed.items():
                if now - pressed < KEY_HOLD:
                    axis, sign = MOVES[key]
                    deflection[axis] += sign
            deflection = np.clip(deflection, -1, 1)
            return self._speeds.action(deflection, self._is_closed) if self._has_begun else None


@dataclass(frozen=True)
class Buttons:
    """Which axes (x, y, z, yaw) and buttons of a sensor_msgs/Joy mean what."""

    axes: tuple[int, ...]
    deadman: int
    grip: int


class Joystick:
    """Deflection moves while the dead-man button is held; another button opens and closes."""

    def __init__(self, speeds: Speeds, buttons: Buttons) -> None:
        self._speeds, self._buttons = speeds, buttons
        self._lock = threading.Lock()
        self._grip_was_down = False
        self.restart()

    def restart(self) -> None:
        """A new episode: nothing is asked until the dead-man button."""
        with self._lock:
            self._deflection, self._heard = np.zeros(4), float("-inf")
            self._is_closed = self.has_gripped = self._has_begun = self._is_held = False

    def find_gripper(self, is_closed: bool) -> None:
        """How the gripper is, as long as the person has not said how it shall be."""
        with self._lock:
            if not self.has_gripped:
                self._is_closed = is_closed

    def put(self, axes: Sequence[float], buttons: Sequence[int], now: float) -> bool:
        """Whether the dead-man button was let go with this message of axes in [-1, 1] and buttons.

        Raises ValueError when it has too few.
        """
        wanted = self._buttons
        if len(axes) <= max(wanted.axes) or len(buttons) <= max(wanted.deadman, wanted.grip):
            raise ValueError(
                f"joy: expected axes {wanted.axes} and buttons {wanted.deadman}, {wanted.grip}, "
                f"got {len(axes)} axes and {len(buttons)} buttons"
            )
        given = np.clip(np.array([axes[i] for i in wanted.axes], np.float64), -1e3, 1e3)
        deflection = np.where(np.isfinite(given) & (np.abs(given) < 1e3), given, 0.0)
        size = np.clip((np.abs(deflection) - DEAD_ZONE) / (1 - DEAD_ZONE), 0, 1)
        with self._lock:
            is_held, grip = bool(buttons[wanted.deadman]), bool(buttons[wanted.grip])
            self._heard = now
            self._deflection = np.sign(deflection) * size if is_held else np.zeros(4)
            if is_held and grip and not self._grip_was_down:
                self._is_closed, self.has_gripped = not self._is_closed, True
            self._grip_was_down = grip
            self._has_begun |= is_held
            was_held, self._is_held = self._is_held, is_held
            return was_held and not is_held

    def action(self, now: float) -> np.ndarray | None:
        """Action (5,) at time `now` in s; None before the dead-man button was first held."""
        with self._lock:
            silent = now - self._heard > JOY_TIMEOUT
            deflection = np.zeros(4) if silent else self._deflection
            return self._speeds.action(deflection, self._is_closed) if self._has_begun else None
