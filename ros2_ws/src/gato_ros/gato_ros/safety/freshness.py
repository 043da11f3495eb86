"""The newest message of each stream, how old it is, and whether the robot may still be moved.

Ages are measured twice, because each measure alone is blind to something. By arrival: a stopped
publisher. By header stamp: a publisher that repeats or delays old data. QoS deadlines and
liveliness are no substitute: a subscriber that requests them gets nothing from a driver that does
not offer them.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

Message = TypeVar("Message")


@dataclass(frozen=True)
class Sample(Generic[Message]):
    """A message with its stamp and arrival on the node's clock, and its arrival on the wall clock.

    All in ns; `wall` is monotonic. In simulated time the node's clock stops with the simulator.
    """

    message: Message
    stamp: int
    arrival: int
    wall: int


@dataclass(frozen=True)
class Limits:
    """Ages in seconds beyond which a stream is stale; stamp 0 switches the stamp's check off.

    arrival and stamp are on the node's clock, wall on the wall clock, for when the former stops.
    """

    arrival: float
    stamp: float
    wall: float


def stale_streams(
    samples: Mapping[str, Sample], limits: Mapping[str, Limits], now: int, wall: int
) -> list[str]:
    """One line for each stream that is missing or too old, with its age; none: all are fresh.

    limits: of each stream; now, wall: ns on the node's clock and the monotonic one.

    A stamp from the future counts with its distance, for it is as wrong as one from the past.
    """
    lines = []
    for stream, limit in limits.items():
        sample = samples.get(stream)
        if sample is None:
            lines.append(f"{stream}: no message yet")
            continue
        ages = {
            "arrived": ((now - sample.arrival) / 1e9, limit.arrival),
            "arrived by the wall clock": ((wall - sample.wall) / 1e9, limit.wall),
            "stamped": (abs(now - sample.stamp) / 1e9, limit.stamp or float("inf")),
        }
        lines += [
            f"{stream}: {what} {age:.3f} s ago, expected at most {most:.3f} s"
            for what, (age, most) in ages.items()
            if age > most
        ][:1]
    return lines


class Latest(Generic[Message]):
    """Holds the newest message of each stream; callbacks put, the control loop takes a snapshot."""

    def __init__(self, streams: Collection[str]) -> None:
        self.streams = tuple(streams)
        self._samples: dict[str, Sample] = {}
        self._arrived = threading.Condition()

    def put(self, stream: str, sample: Sample) -> None:
        with self._arrived:
            self._samples[stream] = sample
            self._arrived.notify_all()

    def snapshot(self) -> dict[str, Sample]:
        with self._arrived:
            return dict(self._samples)

    def clear(self) -> None:
        """Forgets every message, for instance when the clock jumped backwards."""
        with self._arrived:
            self._samples.clear()

    def wait_for_set(self, stamps: Mapping[str, int | None], timeout: float) -> bool:
        """True once each of these streams has another stamp; False after `timeout` s.

        stamps: the last one of each awaited stream in ns, None before the first.
        """
        with self._arrived:
            return self._arrived.wait_for(lambda: self._has_new_set(stamps), timeout)

    def _has_new_set(self, stamps: Mapping[str, int | None]) -> bool:
        return all(
            stream in self._samples and self._samples[stream].stamp != stamp
            for stream, stamp in stamps.items()
        )
