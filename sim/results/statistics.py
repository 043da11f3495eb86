"""Intervals for success rates, and the paired test two policies need before one is called better.

Success counts are binomial: every rate is printed with its 95 % Wilson interval, the exact
(Clopper-Pearson) one stands beside it. Policies that met the same initial states are compared
episode by episode with McNemar's exact test.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import special


def wilson(successes: int, num: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a binomial rate; (0, 1) when nothing was tried."""
    _check_counts(successes, num)
    if num == 0:
        return 0.0, 1.0
    z = float(special.ndtri(0.5 + confidence / 2))
    rate, spread = successes / num, z * z / num
    centre = (rate + spread / 2) / (1 + spread)
    half = math.sqrt(rate * (1 - rate) * spread + spread * spread / 4) / (1 + spread)
    # rounding must not leave a bound a hair inside the certain end
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == num else centre + half
    return low, high


def clopper_pearson(successes: int, num: int, confidence: float = 0.95) -> tuple[float, float]:
    """The exact binomial interval, which covers at least `confidence` at every rate."""
    _check_counts(successes, num)
    tail = (1 - confidence) / 2
    failures = num - successes
    low = special.betaincinv(successes, failures + 1, tail) if successes else 0.0
    high = special.betaincinv(successes + 1, failures, 1 - tail) if failures else 1.0
    return float(low), float(high)


@dataclass(frozen=True)
class McNemar:
    """Episodes only one of two policies solved, and the two-sided p of so uneven a split."""

    only_first: int
    only_second: int
    p_value: float

    def verdict(self, first: str, second: str, alpha: float = 0.05) -> str:
        """One sentence; it names a better policy only where the test supports it."""
        counts = (
            f"{first} alone solved {self.only_first} episodes, "
            f"{second} alone {self.only_second} (McNemar exact p = {self.p_value:.3g})"
        )
        if self.p_value >= alpha:
            return f"no difference shown: {counts}"
        winner, loser = (first, second) if self.only_first > self.only_second else (second, first)
        return f"{winner} is better than {loser}: {counts}"


def mcnemar(first: Sequence[bool], second: Sequence[bool]) -> McNemar:
    """McNemar's exact test on success of two policies over the same episodes, in one order."""
    if len(first) != len(second):
        raise ValueError(f"pairs: expected equal lengths, got {len(first)} and {len(second)}")
    only_first = sum(a and not b for a, b in zip(first, second))
    only_second = sum(b and not a for a, b in zip(first, second))
    discordant = only_first + only_second
    fewer = min(only_first, only_second)
    tail = sum(math.comb(discordant, k) for k in range(fewer + 1)) / 2**discordant
    return McNemar(only_first, only_second, min(1.0, 2 * tail))


def _check_counts(successes: int, num: int) -> None:
    if not 0 <= successes <= num:
        raise ValueError(f"successes: expected 0..{num}, got {successes}")
