"""Joint states of a robot whose parts publish them apart, as one message: live, as in a recording.

Needs no ROS, as `reading`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from typing import TYPE_CHECKING

from gato_ros.common.reading import (
    JOINT_STATE_FIELDS,
    MAX_JOINTS,
    merged_joints,
    nanoseconds,
)

if TYPE_CHECKING:
    from sensor_msgs.msg import JointState

MAX_PARTS = 16


class JointParts:
    """The newest message of each part, told apart by the joints' names.

    joints: those that are wanted. max_age: s by which a part may be older than the newest; then its
    joints are missing, and whoever reads them says so.
    """

    def __init__(self, joints: Collection[str], max_age: float) -> None:
        self._joints = frozenset(joints)
        self._max_age = round(max_age * 1e9)
        self._parts: dict[tuple[str, ...], JointState] = {}
        self._seen: deque[tuple[str, ...]] = deque(maxlen=MAX_PARTS)

    @property
    def num_parts(self) -> int:
        """How many publishers the newest messages may come from: one for each set of names."""
        return max(1, len(set(self._seen)))

    def merged(self, message: JointState) -> JointState:
        """The message if it names all joints that are wanted, else all parts' joints, newest last.

        Its header is that of the part with the most wanted joints, so that a gripper's message adds
        no timestep. A malformed message comes back as it is, for whoever reads it to refuse.
        """
        names = tuple(message.name)
        self._seen.append(names)
        if self._joints <= set(names):
            self._parts.clear()
            return message
        if not _is_sound(message):
            return message
        stamp = nanoseconds(message.header.stamp)
        if (last := self._parts.get(names)) and nanoseconds(last.header.stamp) > stamp:
            self._parts.clear()  # the clock went back
        self._parts[names] = message
        ordered = sorted(self._parts.values(), key=lambda one: nanoseconds(one.header.stamp))
        newest = nanoseconds(ordered[-1].header.stamp)
        fresh = [one for one in ordered if newest - nanoseconds(one.header.stamp) <= self._max_age][
            -MAX_PARTS:
        ]
        self._parts = {tuple(one.name): one for one in fresh}
        main = max(fresh, key=lambda one: len(self._joints.intersection(one.name)))
        merged = merged_joints([(set(one.name), one) for one in fresh])
        merged.header = main.header
        return merged


def _is_sound(message: JointState) -> bool:
    count = len(message.name)
    lengths = (len(getattr(message, field)) for field in JOINT_STATE_FIELDS)
    return count <= MAX_JOINTS and all(length in (0, count) for length in lengths)
