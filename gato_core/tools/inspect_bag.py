"""Summarises a rosbag2 recording and checks its time stamps and numbers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from gato_core.importers.bags import NO_STAMP, Bag, Times, recordings
from gato_core.spec import Spec, summary

SENSORS = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage", "sensor_msgs/msg/JointState")
JOINT_STATE = SENSORS[2]
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
        times = bag.times(set(bag.topics))
        problems, warnings = _check_joints(bag), []
        for name, kind in bag.topics.items():
            if kind in SENSORS:
                problems += _check_stamps(name, times[name])
                warnings += _check_gaps(name, times[name])
                warnings += [] if bag.counts[name] else [f"{name}: no message"]
        if int(bag.info.get("num_lost", 0)):
            warnings.append(f"{bag.info['num_lost']} messages were lost while recording")
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
        if "spec" in bag.info:
            found["spec"] = summary(Spec.from_dict(json.loads(bag.info["spec"])))
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


def _check_stamps(name: str, times: Times) -> list[str]:
    problems = []
    if without := int((times.stamps == NO_STAMP).sum()):
        problems.append(f"{name}: {without} of {len(times.stamps)} messages bear no stamp")
    elif backwards := int((np.diff(times.stamps) < 0).sum()):
        problems.append(f"{name}: stamps go back {backwards} times")
    return problems


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
    """A joint whose position is a number only sometimes."""
    wanted = {name: range(bag.counts[name]) for name, t in bag.topics.items() if t == JOINT_STATE}
    bad: dict[tuple[str, str], int] = {}
    total: dict[tuple[str, str], int] = {}
    for topic, _, message in bag.messages(wanted):
        for joint, position in zip(message.name, message.position):
            key = (topic, joint)
            total[key] = total.get(key, 0) + 1
            bad[key] = bad.get(key, 0) + (not np.isfinite(position))
    return [
        f"{topic}: {joint}: expected finite positions, got {count} NaN or infinite of "
        f"{total[topic, joint]}"
        for (topic, joint), count in bad.items()
        if 0 < count < total[topic, joint]
    ]


def _clock(times: Times) -> np.ndarray:
    return times.arrivals if (times.stamps == NO_STAMP).any() else times.stamps
