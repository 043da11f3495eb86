"""Simulated latency and message loss between the simulated robot and the other nodes."""

from __future__ import annotations

import zlib
from collections import deque

import numpy as np


class Faults:
    """Delays camera images by whole control steps and loses messages at random.

    latency: control steps. Which messages of a topic are lost follows from (seed, topic) and their
    number alone, whatever happens on other topics.
    """

    def __init__(self, latency: int, drop_probability: float, seed: int) -> None:
        self._latency, self._drop_probability, self._seed = latency, drop_probability, seed
        self._rngs: dict[str, np.random.Generator] = {}
        self.num_dropped: dict[str, int] = {}
        self.restart()

    def restart(self) -> None:
        """Images of the last episode are not shown in the next."""
        self._images: dict[str, deque] = {}

    def delayed(self, camera: str, pixels: np.ndarray, stamp: int) -> tuple[np.ndarray, int] | None:
        """The image to show now, with its own stamp; None as long as none is old enough."""
        images = self._images.setdefault(camera, deque(maxlen=self._latency + 1))
        images.append((pixels, stamp))
        return images[0] if len(images) > self._latency else None

    def is_lost(self, topic: str) -> bool:
        """Whether the next message of this topic does not arrive."""
        if not self._drop_probability:
            return False
        if topic not in self._rngs:
            self._rngs[topic] = np.random.default_rng((self._seed, zlib.crc32(topic.encode())))
        lost = bool(self._rngs[topic].random() < self._drop_probability)
        self.num_dropped[topic] = self.num_dropped.get(topic, 0) + lost
        return lost
