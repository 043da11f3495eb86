"""The messages that feed a Spec, each with its time on the robot's clock and the run it is of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gato_core.importers import clocks
from gato_core.importers.bags import NO_STAMP, Bag
from gato_core.importers.clocks import Run
from gato_ros.bags.topics import EPISODE_START, Sources


@dataclass(frozen=True)
class Stream:
    """numbers: (n,) of messages in their topic. stamps: (n,) ns on the robot's clock. runs: (n,) of
    that clock, clocks.LEFT_OUT where the stamp cannot be."""

    numbers: np.ndarray
    stamps: np.ndarray
    runs: np.ndarray


def find(bag: Bag, sources: Sources) -> tuple[dict[str, Stream], list[Run], list[str]]:
    """By role, the runs of the robot's clock, and warnings. Raises ValueError where it is none."""
    axes = clocks.axes(sources.times)
    clock = _clock(bag, sources, axes)
    streams, warnings = {}, clocks.warnings_of_runs(clock)
    for role, topic in sources.topics.items():
        group = sources.joints.get(role)
        numbers = np.arange(len(axes[topic])) if group is None else group.numbers
        stamps, axis = sources.times[topic].stamps[numbers], axes[topic][numbers]
        placed = clocks.placed(stamps, axis, clock)
        streams[role] = Stream(numbers, placed.times, placed.runs)
        if role != EPISODE_START:
            warnings += clocks.warnings_of_stamps(role, stamps, axis, placed)
    return streams, clock, warnings


def _clock(bag: Bag, sources: Sources, axes: dict[str, np.ndarray]) -> list[Run]:
    """The clock of whoever sends the most joint states."""
    for role, group in sources.joints.items():
        if (sources.times[group.topic].stamps[group.numbers] == NO_STAMP).any():
            raise ValueError(f"{bag.path}: {role}: expected a stamp in each header, got 0")
    group = next(iter(sources.joints.values()))
    times = sources.times[group.topic]
    senders = times.number[group.numbers]
    numbers = group.numbers[senders == np.bincount(senders).argmax()]
    try:
        return clocks.runs(times.stamps[numbers], axes[group.topic][numbers])
    except ValueError as error:
        raise ValueError(f"{bag.path}: {group.topic}: {error}") from error
