"""Aligns messages of different rates into timesteps.

Pure functions of stamps of one run of the robot's clock, in ns. A stream's message for a timestep
is the newest that is not newer than it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

MAX_AGE = 0.15  # s, of a stream's message at a timestep; as the policy node's `max_age`
MAX_HOLD = 5  # timesteps in a row without a command of their own: the last one went on
MIN_TIMESTEPS = 10  # shorter stretches are no demonstration
RATE_TOLERANCE = 0.1  # of the control timestep


@dataclass(frozen=True)
class Stretch:
    """Timesteps without a gap: their indices int64 (n,), in order.

    is_end: whether the episode ends with it; otherwise a gap follows.
    """

    indices: np.ndarray
    is_end: bool


def action_times(stamps: np.ndarray, period: int) -> tuple[np.ndarray, np.ndarray]:
    """Times (T,) of the timesteps that actions with these stamps make, and whose action each has.

    Where up to MAX_HOLD actions are missing, the last one before them is repeated. Raises
    ValueError when the actions come at another rate than one each `period` ns.
    """
    order = np.argsort(stamps, kind="stable")
    is_newest = np.append(np.diff(stamps[order]) > 0, True)  # of those with one stamp
    order = order[is_newest]
    times = stamps[order]
    spacing = np.diff(times)
    if len(spacing) >= MIN_TIMESTEPS and abs(np.median(spacing) - period) > RATE_TOLERANCE * period:
        raise ValueError(
            f"action: expected {1e9 / period:.4g} Hz by the Spec, "
            f"got {1e9 / np.median(spacing):.4g} Hz"
        )
    missing = np.append(np.round(spacing / period).astype(np.int64) - 1, 0)
    missing[(missing < 0) | (missing > MAX_HOLD)] = 0
    repeats = missing + 1
    number = np.arange(repeats.sum()) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    return np.repeat(times, repeats) + number * period, np.repeat(order, repeats)


def grid(streams: Mapping[str, np.ndarray], joints: np.ndarray, period: int) -> np.ndarray:
    """Times (T,) whole periods apart, from where every stream has begun to where the last ends.

    joints: stamps (n,). Where they are silent for longer than a message may be old there are none,
    so that their number follows from that of the messages, not from what a wrong stamp says.
    """
    begin = max(int(stamps.min()) for stamps in streams.values())
    end = max(int(stamps.max()) for stamps in streams.values())
    longest = round(MAX_AGE * 1e9)
    ordered = np.sort(joints)
    breaks = np.flatnonzero(np.diff(ordered) > longest + period) + 1
    first = np.maximum(ordered[np.append(0, breaks)], begin)
    last = np.minimum(ordered[np.append(breaks - 1, len(ordered) - 1)] + longest, end)
    ticks = [
        np.arange(-((begin - one) // period), (other - begin) // period + 1, dtype=np.int64)
        for one, other in zip(first.tolist(), last.tolist())
        if other >= one
    ]
    return begin + period * np.unique(np.concatenate([np.zeros(0, np.int64), *ticks]))


def newest(stamps: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of the messages with these stamps the newest at each time, -1 for none; and its age in s."""
    order = np.argsort(stamps, kind="stable")
    place = np.searchsorted(stamps[order], times, side="right") - 1
    picks = np.where(place < 0, -1, order[np.maximum(place, 0)])
    ages = np.where(place < 0, np.inf, (times - stamps[picks]) / 1e9)
    return picks, ages


def stretches(
    times: np.ndarray,
    ages: Mapping[str, np.ndarray],
    limits: Mapping[str, float],
    period: int,
    starts: np.ndarray,
) -> list[Stretch]:
    """The stretches of timesteps whose messages are all there and fresh, short ones left out.

    times: int64 (T,). ages: {stream: float64 (T,)} s, infinite for no message; limits: s, the
    greatest age of each. starts: stamps of the first states of episodes; what comes before the
    first is left out. None: all is one episode.
    """
    episode = np.searchsorted(np.sort(starts), times, side="right") - (len(starts) > 0)
    is_kept = (episode >= 0) & np.all([ages[name] <= limits[name] for name in ages], axis=0)
    kept = np.flatnonzero(is_kept)
    breaks = np.diff(times[kept]) > 1.5 * period
    breaks |= np.diff(episode[kept]) > 0
    runs = [run for run in np.split(kept, np.flatnonzero(breaks) + 1) if len(run) >= MIN_TIMESTEPS]
    ends = {int(episode[run[-1]]): int(run[-1]) for run in runs}  # of each episode the last
    return [Stretch(run, ends[int(episode[run[-1]])] == int(run[-1])) for run in runs]


def skew(ages: Mapping[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Per stream how old its message is at the timesteps: median, p95 and max in ms."""
    return {
        stream: {
            "median_ms": round(1e3 * float(np.median(age)), 3),
            "p95_ms": round(1e3 * float(np.percentile(age, 95)), 3),
            "max_ms": round(1e3 * float(age.max()), 3),
        }
        for stream, age in ages.items()
        if len(age)
    }
