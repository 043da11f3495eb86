"""Mixtures of sources: episodes of several embodiments, and documents. Paper, table 1.

A source has `batch(k)`. Micro-batch k comes from one source, so that its sequences are alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from gato_training.sequences import Batch


class Source(Protocol):
    """Batches by their number, a function of a seed and the number alone.

    A batch tells num_tokens, num_timesteps, a noise_seed and, where replaced, its source.
    num_sequences: of a batch. num_tokens, num_pixels: the most of a sequence.
    """

    num_sequences: int
    num_tokens: int
    num_pixels: int

    def batch(self, number: int) -> Any: ...

    def made_up(self, num_sequences: int) -> Any:
        """A batch of the longest sequences, without data, to measure what they need."""
        ...


@dataclass(frozen=True)
class Mixture:
    """Draws the source of each micro-batch from (seed, number), by weight.

    A source that is added behind takes numbers from those before it, and moves none among them.
    """

    sources: Mapping[str, Source]
    weights: Mapping[str, float]
    seed: int

    def __post_init__(self) -> None:
        """Raises ValueError for weights that are not those of the sources, or add up to nothing."""
        values = [self.weights.get(name, np.nan) for name in self.sources]
        if not (np.isfinite(values).all() and min(values) >= 0 and sum(values) > 0):
            raise ValueError(
                f"weights: expected numbers of 0 or more for {list(self.sources)}, not all 0, "
                f"got {dict(self.weights)}"
            )

    def name(self, number: int) -> str:
        """The source of micro-batch `number`: the first in a race whose speeds are the weights."""
        rng = np.random.default_rng((self.seed, number, 4))
        times = rng.exponential(size=len(self.sources))
        speeds = [self.weights[name] for name in self.sources]
        arrival = [t / speed if speed else np.inf for t, speed in zip(times, speeds)]
        return list(self.sources)[int(np.argmin(arrival))]

    def __str__(self) -> str:
        whole = sum(self.weights[name] for name in self.sources)
        shares = {name: 100 * self.weights[name] / whole for name in self.sources}
        return ", ".join(
            f"{source} ({name}, {shares[name]:.0f} %)" if len(self.sources) > 1 else str(source)
            for name, source in self.sources.items()
        )

    def batch(self, number: int) -> Batch:
        """Micro-batch `number`, with the name of its source."""
        name = self.name(number)
        return replace(self.sources[name].batch(number), source=name)
