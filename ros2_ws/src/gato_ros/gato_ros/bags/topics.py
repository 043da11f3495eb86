"""Maps a recording's topics to the keys of a Spec and lists every mismatch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gato_core.importers.bags import TIME, Bag
from gato_core.importers.pictures import image_to_array
from gato_core.spec import Continuous, Discrete, Image, Spec
from gato_ros.common import ingest
from gato_ros.common.ingest import Crop, Gripper
from gato_ros.common.reading import joint_values, trajectory_values

ACTION, EPISODE_START = "action", "episode_start"
OBJECTS = ("triplets", "objects")  # what a recording of the simulated robot says it showed
JOINT_STATE = "sensor_msgs/msg/JointState"
ARRAY = "std_msgs/msg/Float64MultiArray"
TRAJECTORY = "trajectory_msgs/msg/JointTrajectory"
_IMAGES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
_TYPES = {
    ingest.JOINT_STREAM: (JOINT_STATE,),
    ACTION: (JOINT_STATE, ARRAY, TRAJECTORY),
    EPISODE_START: (TIME,),
}
_CAMERA_NAMES = ("{}/color", "{}/color/compressed", "{}/image_raw", "{}/image_raw/compressed")


@dataclass(frozen=True)
class Sources:
    """Topics by role: "joint_states", each camera, "action", perhaps "episode_start".

    crops: of the cameras whose pictures are larger than the Spec's images.
    """

    topics: dict[str, str]
    crops: dict[str, Crop]
    gripper: Gripper


def find(bag: Bag, spec: Spec, given: Mapping[str, str]) -> Sources:
    """given: topics by role where the recorder noted none and names are not the usual ones.

    Raises ValueError listing every topic, type, name, unit or rate that does not fit the Spec.
    """
    ingest.check_streams(spec)
    cameras = ingest.camera_names(spec)
    roles = [ingest.JOINT_STREAM, *cameras, ACTION, EPISODE_START]
    if unknown := sorted(given.keys() - set(roles)):
        raise ValueError(f"topics: expected roles of {roles}, got {unknown}")
    topics = {role: _topic(bag, role, given) for role in roles}
    problems = [line for role, topic in topics.items() for line in _unfit(bag, role, topic)]
    found = {role: topic for role, topic in topics.items() if topic}
    crops: dict[str, Crop] = {}
    if not problems:
        messages = bag.messages({topic: [0] for topic in found.values()})
        first = {topic: message for topic, _, message in messages}
        problems = _differences(bag, spec, {role: first[t] for role, t in found.items()})
        for camera in cameras:
            image = spec.observation[f"{camera}{ingest.PIXELS}"]
            if image_to_array(first[found[camera]]).shape != image.shape:
                crops[camera] = image.crop
    if problems:
        raise ValueError(f"{bag.path}: unlike the Spec:\n  " + "\n  ".join(problems))
    return Sources(found, crops, _gripper(bag))


def is_ours(bag: Bag) -> bool:
    """Whether our recorder made it; docs/recording.md says what that means."""
    return "version" in bag.info


def recorded_spec(bag: Bag) -> Spec | None:
    """The Spec that our recorder put into the recording."""
    return Spec.from_dict(json.loads(bag.info["spec"])) if "spec" in bag.info else None


def action_values(message: object, action: Continuous | Discrete) -> np.ndarray:
    """float32 (A,) in the Spec's order and unit, out of any message that carries actions.

    JointState: by name, in the field of the unit, or in `position` where that field says nothing,
    as our recorder has it. JointTrajectory: by name, in the field of the unit. Float64MultiArray:
    in the Spec's order. Raises ValueError with expected and got.
    """
    if hasattr(message, "points"):
        values = trajectory_values(message, action.names, _unit_field(action))
    elif hasattr(message, "name"):
        values = joint_values(message, action.names, command_field(message, action))
    else:
        values = np.array(message.data, np.float64)
        if values.shape != action.shape:
            raise ValueError(f"action: expected {len(action.names)} numbers, got {values.size}")
    if not np.isfinite(values).all():
        raise ValueError(f"action: expected finite numbers, got {values.tolist()}")
    return values.astype(np.float32)


def command_field(message: object, action: Continuous | Discrete) -> str:
    """Which field of a JointState holds a command: the unit's, unless it is empty or all NaN."""
    field = _unit_field(action)
    says_nothing = not np.isfinite(getattr(message, field)).any()
    return "position" if says_nothing and len(message.position) else field


def _unit_field(action: Continuous | Discrete) -> str:
    return ingest.JOINT_FIELDS.get(getattr(action, "unit", ""), "position")


def _gripper(bag: Bag) -> Gripper:
    """The gripper as the recorder noted it, or the benchmark's."""
    default = Gripper()
    noted = bag.info.get("gripper_range", json.dumps([default.open, default.closed]))
    return Gripper(bag.info.get("gripper_joint", default.joint), *json.loads(noted))


def _topic(bag: Bag, role: str, given: Mapping[str, str]) -> str | None:
    """As given, as our recorder noted, or the usual name in any namespace if only one has it."""
    noted = json.loads(bag.info.get("topics", "{}"))
    if (name := given.get(role) or noted.get(role)) is not None:
        same = (topic for topic in bag.topics if topic.strip("/") == name.strip("/"))
        return next(same, name)
    usual = [role] if role in _TYPES else [pattern.format(role) for pattern in _CAMERA_NAMES]
    for name in usual:
        alike = [topic for topic in bag.topics if f"/{topic.strip('/')}".endswith(f"/{name}")]
        if len(alike) == 1:
            return alike[0]
    return None


def _unfit(bag: Bag, role: str, topic: str | None) -> list[str]:
    """Why this topic cannot play this role, in a line; none: it can."""
    allowed = _TYPES.get(role, _IMAGES)
    if topic is None:
        where = f"{role}: expected a topic of {' or '.join(allowed)}, got {bag.topics}"
        return [] if role == EPISODE_START else [where]
    if topic not in bag.topics:
        return [f"{role}: expected topic {topic}, got {sorted(bag.topics)}"]
    if bag.topics[topic] not in allowed:
        return [f"{role}: expected {' or '.join(allowed)} on {topic}, got {bag.topics[topic]}"]
    if not bag.counts[topic] and role != EPISODE_START:
        return [f"{role}: expected messages on {topic}, got none"]
    return []


def _differences(bag: Bag, spec: Spec, first: Mapping[str, object]) -> list[str]:
    """Joints, action names, units, limits and rate that the recording has otherwise."""
    lines = []
    joints = first[ingest.JOINT_STREAM]
    for key, modality in spec.observation.items():
        if isinstance(modality, Continuous) and modality.unit in ingest.JOINT_FIELDS:
            lines += _missing(key, modality.names, joints.name)
    action = first[ACTION]
    names = getattr(action, "name", getattr(action, "joint_names", spec.action.names))
    lines += _missing(ACTION, spec.action.names, names)
    if (recorded := recorded_spec(bag)) is not None:
        nothing = {"-": Image(16, 16)}  # the observation is in the messages
        ours = Spec(nothing, spec.action, spec.control_timestep)
        lines += ours.differences(Spec(nothing, recorded.action, recorded.control_timestep))
    return lines


def _missing(key: str, expected: Sequence[str], got: Sequence[str]) -> list[str]:
    is_there = set(expected) <= set(got)
    return [] if is_there else [f"{key}: expected {list(expected)}, got {list(got)}"]
