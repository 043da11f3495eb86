"""Arrival rates of topics, compared with the rates a robot should deliver."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Mapping

WINDOW = 2.0  # s over which rates are measured
ENOUGH = 0.8  # of the expected rate
SILENCE = 1.0  # s without a message after which a topic counts as silent
_NEWEST = 512
HEADER_BYTES = 12  # of CDR's own header and a stamp


class Arrivals:
    """Counts the messages of one topic and measures their rate by their own stamps.

    recent: the newest messages, as many as shall be kept.
    """

    def __init__(self, num_kept: int = 1) -> None:
        self.count = 0
        self.recent: deque[bytes] = deque(maxlen=num_kept)
        self._seen: deque[tuple[float, float]] = deque(maxlen=_NEWEST)  # arrival and stamp, s

    def add(self, data: bytes, arrival: float, stamp: float) -> None:
        """A message that arrived at `arrival` (monotonic) and bears `stamp`, both in s."""
        self.count += 1
        self.recent.append(data)
        self._seen.append((arrival, stamp))

    @property
    def newest(self) -> bytes:
        """Nothing before the first message."""
        return self.recent[-1] if self.recent else b""

    def rate(self, now: float) -> float:
        """Messages per second of the stamps' clock over the last two seconds; 0.0 when silent.

        By stamps, so that a simulated robot that is faster or slower than real time counts right.
        """
        recent = [(arrival, stamp) for arrival, stamp in self._seen if now - arrival < WINDOW]
        if len(recent) < 2 or now - recent[-1][0] > SILENCE:
            return 0.0
        span = recent[-1][1] - recent[0][1]
        return (len(recent) - 1) / span if span > 0 else 0.0


def header_stamp(data: bytes) -> float:
    """Seconds of the std_msgs/Header that a serialized (CDR) message begins with.

    Raises ValueError for fewer bytes than that takes.
    """
    if len(data) < HEADER_BYTES:
        raise ValueError(f"expected at least {HEADER_BYTES} bytes, got {len(data)}")
    order = "<" if data[1] & 1 else ">"
    seconds, nanoseconds = struct.unpack_from(order + "iI", data, 4)
    return seconds + nanoseconds / 1e9


def problems(arrivals: Mapping[str, Arrivals], rates: Mapping[str, float], now: float) -> list[str]:
    """One line, with expected and got, for each topic of `rates` (Hz) that does not keep it."""
    lines = []
    for topic, expected in rates.items():
        got = arrivals[topic].rate(now)
        if got < ENOUGH * expected:
            ever = "" if arrivals[topic].count else ", never a message"
            lines.append(f"{topic}: expected {expected:g} Hz, got {got:.1f} Hz{ever}")
    return lines
