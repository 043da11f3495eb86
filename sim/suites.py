"""Trials: single episodes of a suite, whose initial states are fixed whoever acts.

Every policy meets the same ones: the seed of a trial is a hash of suite, task and index. Which
suites a domain has, it says itself.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass


@dataclass(frozen=True)
class Trial:
    """One episode to be run: its initial state follows from `objects` and `seed` alone.

    task: the row of the result table, e.g. "rgb_test_triplet1". objects: what the environment is
    to show, in its own words. instruction: what is to be done, the same whatever the objects.
    """

    task: str
    index: int
    seed: int
    objects: str
    instruction: str

    @property
    def key(self) -> tuple[str, int, int]:
        """Tells trials apart; as `gato_sim.results.summary.key` of its result."""
        return self.task, self.index, self.seed


def stable_seed(*parts: str | int) -> int:
    """A 48-bit seed from the parts, the same in every process and on every machine."""
    digest = hashlib.blake2b(json.dumps(parts).encode(), digest_size=6).digest()
    return int.from_bytes(digest, "big")
