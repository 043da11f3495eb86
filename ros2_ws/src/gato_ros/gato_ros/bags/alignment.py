"""Aligns messages of different rates into timesteps.

Pure functions of stamps. Times are ns on the robot's clock; a message that bears no stamp is placed
there by its arrival. A stream's message for a timestep is the newest that is not newer than it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from gato_core.importers.bags import NO_STAMP, Times

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


def on_robot_clock(times: Times, reference: Times) -> np.ndarray:
    """int64 (n,) ns: stamps, or, without stamps, arrivals on the clock of a stamped stream."""
    if (times.stamps != NO_STAMP).all():
        return times.stamps
    base, stamp0 = reference.arrivals[0], reference.stamps[0]
    x, y = reference.arrivals - base, reference.stamps - stamp0
    at = times.arrivals - base
    placed = np.interp(at, x, y)  # differences, because float64 has 53 bits
    placed = np.where(at < x[0], at - x[0] + y[0], np.where(at > x[-1], at - x[-1] + y[-1], placed))
    return placed.round().astype(np.int64) + stamp0


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
    if len(spacing) and abs(np.median(spacing) - period) > RATE_TOLERANCE * period:
        raise ValueError(
            f"action: expected {1e9 / period:.4g} Hz by the Spec, "
            f"got {1e9 / np.median(spacing):.4g} Hz"
        )
    missing = np.append(np.round(spacing / period).astype(np.int64) - 1, 0)
    missing[(missing < 0) | (missing > MAX_HOLD)] = 0
    repeats = missing + 1
    number = np.arange(repeats.sum()) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    return np.repeat(times, repeats) + number * period, np.repeat(order, repeats)


def grid(streams: Mapping[str, np.ndarray], period: int) -> np.ndarray:
    """Times (T,) one `period` apart, from where every stream has begun to where the last ends."""
    begin = max(int(stamps.min()) for stamps in streams.values())
    end = max(int(stamps.max()) for stamps in streams.values())
    return np.arange(begin, end + 1, period, dtype=np.int64)


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
