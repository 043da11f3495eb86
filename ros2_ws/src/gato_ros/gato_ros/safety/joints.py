"""What the joints say: whether an arm can have done that, where it is, and whether it stands."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence

import numpy as np
from sensor_msgs.msg import JointState

from gato_ros.common.reading import joint_values

FASTER = 1.5  # times the velocity limit that a joint is believed: measurements are noisy
SLACK = 0.05  # rad that any joint may jump, for encoders that settle
BEYOND = 0.2  # rad outside its range that a joint is believed
WINDOW, ENOUGH = 0.25, 0.1  # s of states to look at, and that they must span, to see a standstill
STILL = 0.004  # rad within which an arm that stands stays in that time
MAX_LEAP = 1_000_000_000  # ns between stamps that are believed beyond the time of arrival
REFUSAL = 0.5  # s that a refused state counts as a problem


class JointWatch:
    """Follows a stream of joint states; positions (n,) in rad. Thread-safe.

    names: the arm's joints. Everything is believed until `limit` has said what the arm can do.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = tuple(names)
        self.names = frozenset(names)
        self._limits: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None
        self._lock = threading.Lock()
        self._refused_at: int | None = None
        self._refusal = ""
        self.num_refused = 0
        self.restart()

    def limit(self, low: np.ndarray, high: np.ndarray, velocity: np.ndarray) -> None:
        """What the arm can do: (n,) rad, rad and rad/s."""
        with self._lock:
            self._limits = low, high, velocity

    def restart(self) -> None:
        """Forgets where the arm was, as when a new episode begins elsewhere."""
        with self._lock:
            self._seen: deque[tuple[int, np.ndarray]] = deque()
            self._stamp = 0

    def put(self, message: JointState, stamp: int, wall: int) -> None:
        """Takes a state stamped `stamp` that arrived at `wall`, both in ns.

        Raises ValueError for one that lacks a joint, or that the arm cannot have come to since the
        last: degrees, positions filled with zeros, a second robot on the topic.
        """
        angles = joint_values(message, self._names, "position")
        with self._lock:
            if self._seen and self._limits is not None:
                # a simulation may be faster than the wall clock, but no stamp buys more than that
                leap = min(stamp - self._stamp, MAX_LEAP)
                age = max(wall - self._seen[-1][0], leap) / 1e9
                self._refuse_impossible(angles, self._seen[-1][1], age, wall)
            elif self._limits is not None:
                self._refuse_outside(angles, wall)
            self._seen.append((wall, angles))
            self._stamp = stamp
            while wall - self._seen[0][0] > WINDOW * 1e9:
                self._seen.popleft()

    def _refuse_impossible(
        self, angles: np.ndarray, last: np.ndarray, age: float, wall: int
    ) -> None:
        step, most = np.abs(angles - last), FASTER * self._limits[2] * age + SLACK
        if (step > most).any():
            worst = int(np.argmax(step - most))
            self._refuse(
                f"{self._names[worst]} went {step[worst]:.3f} rad in {age:.3f} s, expected at most "
                f"{most[worst]:.3f} rad",
                wall,
            )
        self._refuse_outside(angles, wall)

    def _refuse_outside(self, angles: np.ndarray, wall: int) -> None:
        low, high, _ = self._limits
        outside = np.maximum(low - angles, angles - high)
        if (outside > BEYOND).any():
            worst = int(np.argmax(outside))
            self._refuse(
                f"{self._names[worst]} at {angles[worst]:.3f} rad, expected "
                f"{low[worst]:.3f} to {high[worst]:.3f} rad",
                wall,
            )

    def _refuse(self, words: str, wall: int) -> None:
        self._refused_at, self._refusal = wall, f"joint_states: {words}"
        self.num_refused += 1
        raise Implausible(self._refusal)

    def problems(self, wall: int) -> list[str]:
        """One line while states were refused of late."""
        with self._lock:
            at = self._refused_at
            is_recent = at is not None and wall - at < REFUSAL * 1e9
            return [self._refusal] if is_recent else []

    def angles(self, wall: int, max_age: float) -> np.ndarray | None:
        """The newest (n,) in rad that is no older than `max_age` s, or None."""
        with self._lock:
            if not self._seen or wall - self._seen[-1][0] > max_age * 1e9:
                return None
            return self._seen[-1][1]

    def stands_still(self, since: int) -> bool:
        """Whether the states that arrived after `since` show an arm that does not move."""
        with self._lock:
            recent = [(wall, angles) for wall, angles in self._seen if wall > since]
        if len(recent) < 3 or recent[-1][0] - recent[0][0] < ENOUGH * 1e9:
            return False
        return bool(np.ptp([angles for _, angles in recent], axis=0).max() < STILL)


class Implausible(ValueError):
    """A state that makes sense as a message, but not as one of this arm."""
