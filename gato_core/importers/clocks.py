"""The robot's clock through a recording: where it goes back, and which messages belong together.

A *run* is a stretch of a recording in which the clock goes forward. A simulator that is reset, or a
clock that is set back, begins another. Pure functions of stamps and arrivals in ns.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gato_core.importers.bags import NO_STAMP, Times

STRAY = 150_000_000  # ns off its neighbours from which on a single message is left out
LEFT_OUT = -1  # for a run
IMPOSSIBLE = 10_000_000_000  # ns ahead of what a stream is usually
FAR = 500_000_000  # ns off the robot's clock that somebody should know of
MAX_NAMED = 5
MAX_BACK = 0.1  # of the messages: a clock that goes back as often is none
MAX_PUBLISHERS = 4
JUMP = 0.05  # rad or m that a joint may be off between two messages that agree
RETURN = 20  # how much nearer to each other those two are
MAX_CONFLICTS = 0.05  # of the messages


@dataclass(frozen=True)
class Run:
    """The clock in one run: stamps over the axis on which messages are in order; neither empty."""

    axis: np.ndarray
    stamps: np.ndarray

    def at(self, axis: np.ndarray) -> np.ndarray:
        """What the clock showed; beyond the run's ends it goes on at the axis' rate."""
        base, first = self.axis[0], self.stamps[0]
        x, y, at = self.axis - base, self.stamps - first, axis - base
        placed = np.interp(at, x, y)  # differences, because float64 has 53 bits
        placed = np.where(at < 0, at, np.where(at > x[-1], at - x[-1] + y[-1], placed))
        return placed.round().astype(np.int64) + first


def axes(times: Mapping[str, Times]) -> dict[str, np.ndarray]:
    """Per topic what orders its messages as they came: arrivals, unless the recorder's clock too
    was set back while it wrote; then places in the file."""
    in_order = all((np.diff(one.places) > 0).all() for one in times.values())
    return {name: one.arrivals if in_order else one.places for name, one in times.items()}


def runs_of(stamps: np.ndarray) -> np.ndarray:
    """The run of each message (n,) from 0 on, stamps in the order in which messages came.

    One message that was overtaken begins no run; one far off its neighbours is LEFT_OUT.
    """
    found = np.zeros(len(stamps), np.intp)
    if not (np.diff(stamps) < 0).any():
        return found
    run, listed = 0, stamps.tolist()
    newest, before, last = listed[0], None, 0  # of this run: the newest, the one before, and where
    for i, stamp in enumerate(listed):
        found[i] = run
        if stamp >= newest:
            newest, before, last = stamp, newest, i
        elif i + 1 == len(listed) or listed[i + 1] >= newest:  # overtaken
            found[i] = LEFT_OUT if newest - stamp > STRAY else run
        elif newest - stamp > STRAY and (before is None or before <= stamp):
            found[last] = LEFT_OUT  # it was the newest that was wrong
            newest, last = stamp, i
        else:
            run += 1
            found[i] = run
            newest, before, last = stamp, None, i
    return found


def runs(stamps: np.ndarray, axis: np.ndarray) -> list[Run]:
    """The runs of the clock that a stream shows, in order. Raises ValueError where it is none."""
    order = np.argsort(axis, kind="stable")
    axis, stamps = axis[order], stamps[order]
    found = runs_of(stamps)
    num_back = int(found.max(initial=0))
    if num_back > max(1, MAX_BACK * len(stamps)):
        raise ValueError(
            f"stamps: expected a clock that goes forward, got {num_back} times back in "
            f"{len(stamps)} messages"
        )
    return [Run(axis[found == n], stamps[found == n]) for n in range(num_back + 1)]


@dataclass(frozen=True)
class Placed:
    """A stream's messages on the robot's clock.

    times: int64 (n,) ns. runs: (n,), LEFT_OUT for a stamp far ahead of when its message came.
    lead: ns by which stamps are usually ahead of the clock when messages come.
    """

    times: np.ndarray
    runs: np.ndarray
    lead: float


def placed(stamps: np.ndarray, axis: np.ndarray, clock: Sequence[Run]) -> Placed:
    """Near the border of two runs the stamp decides, for pictures take longer than joint states. A
    message without stamp is placed by when it came."""
    is_unset = stamps == NO_STAMP
    runs, shown = _by_axis(axis, clock)
    if len(clock) > 1:
        for number, run in enumerate(clock):
            near = np.flatnonzero((np.abs(runs - number) <= 1) & ~is_unset)
            other = run.at(axis[near])
            closer = np.abs(other - stamps[near]) < np.abs(shown[near] - stamps[near])
            runs[near[closer]], shown[near[closer]] = number, other[closer]
    times = np.where(is_unset, shown, stamps)
    ahead = times - shown
    lead = float(np.median(ahead)) if len(ahead) else 0.0
    return Placed(times, np.where(ahead > lead + IMPOSSIBLE, LEFT_OUT, runs), lead)


def _by_axis(axis: np.ndarray, clock: Sequence[Run]) -> tuple[np.ndarray, np.ndarray]:
    """The run in which each message came, and what the clock showed then."""
    begins = np.array([run.axis[0] for run in clock])
    runs = np.maximum(np.searchsorted(begins, axis, side="right") - 1, 0)
    shown = np.zeros(len(axis), np.int64)
    for number, run in enumerate(clock):
        those = runs == number
        shown[those] = run.at(axis[those])
    return runs, shown


def warnings_of_runs(clock: Sequence[Run]) -> list[str]:
    if len(clock) == 1:
        return []
    ends = [f"{run.stamps[-1] / 1e9:.2f}" for run in clock[:-1]]
    more = ", ..." if len(ends) > MAX_NAMED else ""
    return [
        f"time goes back {len(ends)} times, at {', '.join(ends[:MAX_NAMED])}{more} s: episodes are "
        "cut there"
    ]


def warnings_of_stamps(name: str, stamps: np.ndarray, axis: np.ndarray, found: Placed) -> list[str]:
    """What is odd about the stamps of a stream, whose messages came in the order of `axis`."""
    lines, is_set = [], stamps != NO_STAMP
    if 0 < (without := len(stamps) - int(np.count_nonzero(is_set))) < len(stamps):
        lines.append(
            f"{name}: {without} of {len(stamps)} messages bear no stamp: placed by arrival"
        )
    if without == len(stamps):
        return lines
    if abs(found.lead) > FAR:
        seconds, where = abs(found.lead) / 1e9, "ahead of" if found.lead > 0 else "behind"
        lines.append(
            f"{name}: stamps are {seconds:.2f} s {where} the joint states' when they come: another "
            "clock, or late?"
        )
    if impossible := int(np.count_nonzero(found.runs == LEFT_OUT)):
        lines.append(f"{name}: {impossible} of {len(stamps)} stamps are far ahead: left out")
    ordered = stamps[is_set][np.argsort(axis[is_set], kind="stable")]
    repeated = int(np.count_nonzero(np.diff(ordered) == 0))
    if repeated > MAX_CONFLICTS * len(stamps):
        lines.append(
            f"{name}: {repeated} of {len(stamps)} messages bear the stamp of the one before: two "
            "publishers, or a clock that stands still?"
        )
    return lines


def by_sender(times: Times) -> dict[tuple[int, ...], list[str]]:
    """Joints by the senders that name them."""
    found: dict[tuple[int, ...], list[str]] = {}
    for joint in dict.fromkeys(name for sender in times.senders for name in sender.names):
        having = tuple(i for i, sender in enumerate(times.senders) if joint in sender.names)
        found.setdefault(having, []).append(joint)
    return found


def two_publishers(topic: str, times: Times, joints: Collection[str]) -> list[str]:
    """A line for each set of these joints of which messages contradict each other."""
    lines = []
    for having, names in by_sender(times).items():
        if not (names := [name for name in names if name in joints]):
            continue
        numbers = np.flatnonzero(np.isin(times.number, having))
        numbers = numbers[np.argsort(times.places[numbers], kind="stable")]
        count = _num_conflicts(times.stamps[numbers], _positions(times, names)[numbers])
        if count > MAX_CONFLICTS * len(numbers):
            lines.append(
                f"{topic}: expected one publisher of {names}, got two: {count} of {len(numbers)} "
                "messages contradict the one before, with another position at the same stamp or by "
                "a jump to and fro"
            )
    return lines


def _positions(times: Times, names: Sequence[str]) -> np.ndarray:
    """float64 (n, names), NaN where a message does not say."""
    found = np.full((len(times.stamps), len(names)), np.nan)
    for number, sender in enumerate(times.senders):
        if sender.positions.shape[1] and set(names) <= set(sender.names):
            columns = [sender.names.index(name) for name in names]
            found[times.number == number] = sender.positions[:, columns]
    return found


def _num_conflicts(stamps: np.ndarray, positions: np.ndarray) -> int:
    """How many messages contradict the one before, which no joint does.

    stamps: (n,) and positions: (n, joints), in the order in which messages came.
    """
    if len(stamps) < 3:
        return 0
    # NaN is for other checks to find
    step = np.nan_to_num(np.abs(np.diff(positions, axis=0))).max(axis=1)
    across = np.nan_to_num(np.abs(positions[2:] - positions[:-2])).max(axis=1)
    is_conflict = (step[:-1] > JUMP) & (RETURN * across < step[:-1])
    is_conflict = np.append(is_conflict, False)
    if (repeats := np.diff(stamps) == 0).any():
        _, where, counts = np.unique(stamps, return_inverse=True, return_counts=True)
        stands_still = (stamps == NO_STAMP) | (counts[where] > MAX_PUBLISHERS)
        is_conflict |= repeats & ~stands_still[1:] & (step > 1e-9)
    return int(is_conflict.sum())
