"""Summarises a rosbag2 recording and checks its time stamps and numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gato_core.importers import clocks, encoded, pictures
from gato_core.importers.bags import JOINT_STATE, NO_STAMP, Bag, Times, recordings
from gato_core.spec import summary

IMAGES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
SENSORS = (*IMAGES, JOINT_STATE)
JOINT_STREAM = "joint_states"  # the usual name, and the role in what our recorder noted
MAX_DECODED = 100  # compressed pictures of a topic, spread over the recording; of others the header
GAP = 0.15  # s without a message; as the policy node's `max_age`


def inspect_recordings(path: Path) -> dict:
    """One recording, or all of a folder: what is there, `problems` and `warnings`.

    Raises ValueError naming a file that is damaged.
    """
    paths = recordings(path)
    if len(paths) == 1:
        return inspect_recording(paths[0])
    found = {one.name: inspect_recording(one) for one in paths}
    return {
        "kind": "recordings",
        "sound": all(one["sound"] for one in found.values()),
        "problems": [f"{name}: {text}" for name, one in found.items() for text in one["problems"]],
        "warnings": [f"{name}: {text}" for name, one in found.items() for text in one["warnings"]],
        "number": len(found),
        "seconds": round(sum(one["seconds"] for one in found.values()), 2),
        "megabytes": round(sum(one["megabytes"] for one in found.values()), 1),
        "success": {name: one["success"] for name, one in found.items()},
        "topics": next(iter(found.values()))["topics"],
    }


def inspect_recording(path: Path) -> dict:
    """Topics with types, counts, rates and longest silence; what our recorder noted."""
    with Bag(path) as bag:
        times = bag.times(set(bag.topics), _joint_topics(bag))
        problems, warnings = _check_joints(bag), []
        for name, kind in bag.topics.items():
            if kind in SENSORS:
                warnings += _check_gaps(name, times[name])
                warnings += [] if bag.counts[name] else [f"{name}: no message"]
        for found in (_check_clock(bag, times), _check_pictures(bag)):
            problems += found[0]
            warnings += found[1]
        if bag.num_lost:
            warnings.append(f"{bag.num_lost} messages were lost while recording")
        if bag.info.get("success") == "unknown":
            warnings.append("success: unknown; say it when converting, or it counts as a failure")
        arrivals = np.concatenate([one.arrivals for one in times.values()] or [np.zeros(1)])
        found = {
            "kind": "recording",
            "sound": not problems,
            "problems": problems,
            "warnings": warnings,
            "seconds": round(float(np.ptp(arrivals)) / 1e9, 2) if len(arrivals) else 0.0,
            "megabytes": round(bag.num_bytes / 1e6, 1),
            **{key: bag.info.get(key, "") for key in ("task", "source", "success")},
            "topics": {name: _topic(bag, name, times[name]) for name in sorted(bag.topics)},
        }
        if (spec := bag.spec()) is not None:
            found["spec"] = summary(spec)
        return found


def _topic(bag: Bag, name: str, times: Times) -> dict:
    clock = _clock(times)
    spacing = np.diff(np.sort(clock)) / 1e9
    positive = spacing[spacing > 0]
    return {
        "type": bag.topics[name],
        "messages": len(clock),
        "hz": round(float(1 / np.median(positive)), 2) if len(positive) else 0.0,
        "longest_silence_s": round(float(spacing.max()), 3) if len(spacing) else 0.0,
    }


def _check_clock(bag: Bag, times: dict[str, Times]) -> tuple[list[str], list[str]]:
    """Problems, which keep from converting it, and warnings, in whose places it is cut or odd."""
    joints = _joint_topics(bag)
    problems, warnings = [], []
    for name in joints:
        problems += clocks.two_publishers(name, times[name], set(_joint_names(times[name])))
        if without := int((times[name].stamps == NO_STAMP).sum()):
            count = len(times[name].stamps)
            problems.append(f"{name}: {without} of {count} messages bear no stamp")
    if not joints or problems:
        return problems, warnings
    axes = clocks.axes({name: times[name] for name, t in bag.topics.items() if t in SENSORS})
    reference = max(joints, key=lambda name: len(times[name].stamps))
    senders = times[reference].number
    chosen = senders == np.bincount(senders).argmax()
    try:
        clock = clocks.runs(times[reference].stamps[chosen], axes[reference][chosen])
    except ValueError as error:
        return [f"{reference}: {error}"], warnings
    warnings += clocks.warnings_of_runs(clock)
    for name, axis in axes.items():
        stamps = times[name].stamps
        found = clocks.placed(stamps, axis, clock)
        warnings += clocks.warnings_of_stamps(name, stamps, axis, found)
    return problems, warnings


def _joint_topics(bag: Bag) -> list[str]:
    """Topics of what the joints do: as noted, or of the usual name in any namespace."""
    noted = bag.noted("topics", {}).get(JOINT_STREAM)
    return [
        name
        for name, kind in bag.topics.items()
        if kind == JOINT_STATE
        and bag.counts[name]
        and (name == noted or f"/{name}".endswith(f"/{JOINT_STREAM}"))
    ]


def _joint_names(times: Times) -> list[str]:
    return [name for sender in times.senders for name in sender.names]


def _check_pictures(bag: Bag) -> tuple[list[str], list[str]]:
    """Pictures that cannot be read: all of a topic may be depth, which is a hint; but some of many,
    or those of a camera that our recorder noted, are a problem."""
    cameras = set(bag.noted("topics", {}).values())
    wanted = {name: range(bag.counts[name]) for name, t in bag.topics.items() if t in IMAGES}
    bad: dict[str, list[str]] = {}
    for topic, number, message in bag.messages(wanted):
        every = -(-bag.counts[topic] // MAX_DECODED)
        try:
            if hasattr(message, "encoding") or number % every == 0:
                pictures.image_to_array(message)
            elif encoded.size(bytes(message.data[: pictures.MAX_HEADER_BYTES])) is None:
                raise ValueError("compressed image: expected JPEG or PNG data, got neither")
        except ValueError as error:
            bad.setdefault(topic, []).append(str(error))
    lines = {
        topic: f"{topic}: {len(found)} pictures cannot be read, the first: {found[0]}"
        for topic, found in bad.items()
    }
    readable = {topic for topic in bad if len(bad[topic]) < bag.counts[topic]}
    problems = [line for topic, line in lines.items() if topic in cameras | readable]
    return problems, [line for topic, line in lines.items() if line not in problems]


def _check_gaps(name: str, times: Times) -> list[str]:
    clock = _clock(times)
    spacing = np.diff(clock) / 1e9
    gaps = np.flatnonzero(spacing > GAP)
    if not len(gaps):
        return []
    worst = gaps[spacing[gaps].argmax()]
    return [
        f"{name}: silent for more than {GAP} s {len(gaps)} times, at worst {spacing[worst]:.2f} s "
        f"at {(clock[worst] - clock[0]) / 1e9:.2f} s: episodes are cut there"
    ]


def _check_joints(bag: Bag) -> list[str]:
    """Joint states that cannot be read, and a joint whose position is a number only sometimes."""
    wanted = {name: range(bag.counts[name]) for name, t in bag.topics.items() if t == JOINT_STATE}
    bad: dict[tuple[str, str], int] = {}
    total: dict[tuple[str, str], int] = {}
    problems: dict[str, str] = {}
    for topic, _, message in bag.messages(wanted):
        if len(message.position) not in (0, len(message.name)):
            problems[topic] = (
                f"{topic}: expected a position for each of {len(message.name)} names, "
                f"got {len(message.position)}"
            )
        elif len(set(message.name)) != len(message.name):
            problems[topic] = f"{topic}: expected distinct names, got {message.name}"
        for joint, position in zip(message.name, message.position):
            key = (topic, joint)
            total[key] = total.get(key, 0) + 1
            bad[key] = bad.get(key, 0) + (not np.isfinite(position))
    return list(problems.values()) + [
        f"{topic}: {joint}: expected finite positions, got {count} NaN or infinite of "
        f"{total[topic, joint]}"
        for (topic, joint), count in bad.items()
        if 0 < count < total[topic, joint]
    ]


def _clock(times: Times) -> np.ndarray:
    return times.arrivals if (times.stamps == NO_STAMP).any() else times.stamps
