"""Writes episodes of a dataset as recordings, as the recorder would have."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rosbags.typesys import Stores, get_typestore

from gato_core.episode import Episode
from gato_core.importers.bags import JOINT_STATE, TIME
from gato_core.spec import Continuous, Image, Spec
from gato_ros.bags.topics import ACTION, EPISODE_START, OBJECTS
from gato_ros.bags.writer import BagWriter, Topic
from gato_ros.common import ingest
from gato_sim.arm.sawyer import GRIPPER_LIMIT

IMAGE = "sensor_msgs/msg/Image"
TYPES = get_typestore(Stores.ROS2_KILTED)
FIELDS = ("position", "velocity", "effort")


def write(folder: Path, spec: Spec, episode: Episode) -> None:
    """One episode as one recording, stamped from one control timestep on.

    Raises FileExistsError when the folder is there, ValueError for observations that no message of
    a robot carries.
    """
    ingest.check_streams(spec)
    cameras = ingest.camera_names(spec)
    roles = {ingest.JOINT_STREAM: "joint_states", ACTION: "action", EPISODE_START: "episode_start"}
    roles |= {camera: f"{camera}/color" for camera in cameras}
    types = {ingest.JOINT_STREAM: JOINT_STATE, ACTION: JOINT_STATE, EPISODE_START: TIME}
    topics = [Topic(t, types.get(r, IMAGE), r == EPISODE_START) for r, t in roles.items()]
    info = {
        "version": "1",
        "spec": json.dumps(spec.to_dict()),
        "topics": json.dumps(roles),
        "gripper_joint": ingest.GRIPPER_JOINT,
        "task": episode.task,
        "source": episode.source,
        **{key: str(episode.info[key]) for key in OBJECTS if key in episode.info},
    }
    writer = BagWriter(folder, topics, info)
    for role, message_type, message, time in _messages(spec, episode):
        data = TYPES.serialize_cdr(message, message_type)
        writer.write(roles[role], bytes(data), time, time)
    writer.close({"success": "true" if episode.success else "false", "num_lost": "0"})


def _messages(spec: Spec, episode: Episode) -> Iterator[tuple[str, str, object, int]]:
    """(role, type, message, time in ns) in order of time."""
    period = round(spec.control_timestep * 1e9)
    yield EPISODE_START, TIME, _time(period), period
    for t in range(len(episode)):
        now = (t + 1) * period
        for camera in ingest.camera_names(spec):
            pixels = episode.observation[f"{camera}{ingest.PIXELS}"][t]
            yield camera, IMAGE, _image(pixels, camera, now), now
        yield ingest.JOINT_STREAM, JOINT_STATE, _joints(spec, episode, t, now), now
        yield ACTION, JOINT_STATE, _action(spec, episode, t, now), now


def _joints(spec: Spec, episode: Episode, t: int, now: int) -> object:
    """All joints of the observation in one message; NaN where the Spec does not know a number."""
    known: dict[str, dict[str, float]] = {field: {} for field in FIELDS}
    for key, modality in spec.observation.items():
        if isinstance(modality, Image) or key.endswith(ingest.PINCH_POSE):
            continue
        assert isinstance(modality, Continuous)
        values = episode.observation[key][t].astype(np.float64)
        if key == ingest.GRIPPER_ANGLE:
            share = float(values[0]) / GRIPPER_LIMIT
            known["position"][ingest.GRIPPER_JOINT] = share * ingest.Gripper().closed
        else:
            known[ingest.JOINT_FIELDS[modality.unit]] |= dict(zip(modality.names, values.tolist()))
    names = list(dict.fromkeys(name for numbers in known.values() for name in numbers))
    arrays = {
        field: np.array([numbers.get(name, np.nan) for name in names] if numbers else [])
        for field, numbers in known.items()
    }
    return TYPES.types[JOINT_STATE](header=_header(now, ""), name=names, **arrays)


def _action(spec: Spec, episode: Episode, t: int, now: int) -> object:
    nothing = np.zeros(0)
    return TYPES.types[JOINT_STATE](
        header=_header(now, episode.source),
        name=list(spec.action.names),
        position=episode.action[t].astype(np.float64),
        velocity=nothing,
        effort=nothing,
    )


def _image(pixels: np.ndarray, camera: str, now: int) -> object:
    height, width = pixels.shape[:2]
    return TYPES.types[IMAGE](
        header=_header(now, f"{camera}_optical_frame"),
        height=height,
        width=width,
        encoding="rgb8",
        is_bigendian=0,
        step=3 * width,
        data=pixels.reshape(-1),
    )


def _header(now: int, frame: str) -> object:
    return TYPES.types["std_msgs/msg/Header"](stamp=_time(now), frame_id=frame)


def _time(now: int) -> object:
    return TYPES.types[TIME](sec=now // 10**9, nanosec=now % 10**9)
