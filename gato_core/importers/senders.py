"""Who sent the joint states of a topic, told by the joints' names, and what positions they said.

Read from the bytes (sensor_msgs/JointState in CDR), for this runs over every message of a bag.
"""

from __future__ import annotations

import array
import struct
from dataclasses import dataclass

import numpy as np

MAX_SENDERS = 100
MAX_HEADS = 8
MAX_JOINTS = 1000


@dataclass(frozen=True)
class Sender:
    """names: of the joints. positions: float64 (n, joints), or (n, 0) if it does not send them."""

    names: tuple[str, ...]
    positions: np.ndarray


@dataclass(frozen=True)
class _Head:
    """The first bytes of a sender's messages: names are read once, not from every message.

    start, end: of its positions; start == end if it does not send them.
    """

    data: bytes
    number: int
    start: int
    end: int


class Senders:
    """Tells senders apart, message by message."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._heads: list[_Head] = []
        self._names: dict[tuple[str, ...], int] = {}
        self._positions: list[bytearray] = []
        self._numbers = array.array("H")

    def add(self, data: bytes | memoryview) -> None:
        """Raises ValueError for bytes that are no JointState, or for more senders than can be."""
        for head in self._heads:
            if data[12 : head.start] == head.data:
                break
        else:
            head = self._read(data)
        self._numbers.append(head.number)
        self._positions[head.number] += data[head.start : head.end]

    def found(self) -> tuple[np.ndarray, tuple[Sender, ...]]:
        """Each message's sender (n,), and the senders."""
        senders = []
        for (names, number), stored in zip(self._names.items(), self._positions):
            count = self._numbers.count(number)
            is_whole = len(stored) == 8 * len(names) * count  # all have all positions
            values = np.frombuffer(stored) if is_whole else np.zeros(0)
            senders.append(Sender(names, values.reshape(count, len(names) if is_whole else 0)))
        return np.array(self._numbers, np.intp), tuple(senders)

    def _read(self, data: bytes | memoryview) -> _Head:
        try:
            at, names = _names(data)
            (count,) = struct.unpack_from(_order(data) + "I", data, _aligned(at, 4))
        except (struct.error, UnicodeDecodeError) as error:
            raise ValueError(f"{self._topic}: expected a JointState, got other bytes") from error
        if names not in self._names:
            self._names[names] = len(self._names)
            self._positions.append(bytearray())
        if len(self._names) > MAX_SENDERS:
            raise ValueError(f"{self._topic}: expected at most {MAX_SENDERS} sets of joints")
        start = _aligned(_aligned(at, 4) + 4, 8)
        has_positions = count == len(names) and _order(data) == "<"
        end = start + 8 * count if has_positions else start
        head = _Head(bytes(data[12:start]), self._names[names], start, end)
        if len(self._heads) < MAX_HEADS:  # padding may hold anything: there may be many
            self._heads.append(head)
        return head


def _names(data: bytes | memoryview) -> tuple[int, tuple[str, ...]]:
    """Where the names of a JointState end, and they themselves."""
    order = _order(data)
    (length,) = struct.unpack_from(order + "I", data, 12)  # of the frame
    at = _aligned(16 + length, 4)
    (count,) = struct.unpack_from(order + "I", data, at)
    if count > MAX_JOINTS:
        raise struct.error("more joints than a robot has")
    at, names = at + 4, []
    for _ in range(count):
        at = _aligned(at, 4)
        (length,) = struct.unpack_from(order + "I", data, at)
        end = at + 4 + length
        if end > len(data):
            raise struct.error("a name beyond the end")
        names.append(bytes(data[at + 4 : end]).rstrip(b"\0").decode())
        at = end
    return at, tuple(names)


def _order(data: bytes | memoryview) -> str:
    return "<" if data[1] & 1 else ">"


def _aligned(at: int, size: int) -> int:
    """CDR aligns from the end of its four-byte header on."""
    return at + (4 - at) % size
