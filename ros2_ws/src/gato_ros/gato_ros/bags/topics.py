"""Maps a recording's topics to the keys of a Spec and lists every mismatch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from gato_core.importers.bags import JOINT_STATE, TIME, Bag, Times
from gato_core.importers.pictures import image_to_array
from gato_core.spec import Continuous, Discrete, Image, Spec
from gato_ros.bags import joint_groups
from gato_ros.bags.joint_groups import JointGroup
from gato_ros.common import ingest
from gato_ros.common.ingest import Crop, Gripper
from gato_ros.common.reading import is_finite, joint_values, trajectory_values

ACTION, EPISODE_START = "action", "episode_start"
OBJECTS = ("triplets", "objects")  # what a recording of the simulated robot says it showed
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
    """Topics by role: joint states, each camera, "action", perhaps "episode_start".

    joints: by role, of the topics above, those that carry joint states: one, or several where parts
    of the robot publish theirs apart. times: by topic. crops: of the cameras whose pictures are
    larger than the Spec's images. warnings: what somebody should know who trains on it.
    """

    topics: dict[str, str]
    joints: dict[str, JointGroup]
    times: dict[str, Times]
    crops: dict[str, Crop]
    gripper: Gripper
    warnings: list[str]


def find(bag: Bag, spec: Spec, given: Mapping[str, str]) -> Sources:
    """given: topics by role where the recorder noted none and names are not the usual ones.

    Raises ValueError listing every topic, type, name, unit or rate that does not fit the Spec.
    """
    ingest.check_streams(spec)
    roles = [*ingest.camera_names(spec), ACTION, EPISODE_START]
    if unknown := sorted(given.keys() - {ingest.JOINT_STREAM, *roles}):
        raise ValueError(
            f"topics: expected roles of {[ingest.JOINT_STREAM, *roles]}, got {unknown}"
        )
    joint_topics = _joint_topics(bag, given)
    wanted = [(ingest.JOINT_STREAM, topic) for topic in joint_topics or [None]]
    wanted += [(role, _topic(bag, role, given)) for role in roles]
    _refuse(bag, [line for role, topic in wanted for line in _unfit(bag, role, topic)])
    found = {role: topic for role, topic in wanted[max(1, len(joint_topics)) :] if topic}
    times = bag.times({*joint_topics, *found.values()}, joint_topics)
    needed = {topic for role, topic in wanted if topic and role != EPISODE_START}
    _refuse(  # what a file says of their number need not be so
        bag, [f"{t}: expected messages, got none" for t in needed if not len(times[t].stamps)]
    )
    gripper = _gripper(bag)
    joints, problems = joint_groups.find(
        {topic: times[topic] for topic in joint_topics},
        ingest.needed_joints(spec, gripper),
    )
    topics = {role: group.topic for role, group in joints.items()} | found
    first = {topic: one for topic, _, one in bag.messages({t: [0] for t in found.values()})}
    _refuse(bag, problems + _differences(bag, spec, first[found[ACTION]]))
    warnings = _command_warnings(bag, spec.action, found[ACTION], first[found[ACTION]])
    crops = _crops(bag, spec, found, first)
    return Sources(topics, joints, times, crops, gripper, warnings)


def _refuse(bag: Bag, problems: list[str]) -> None:
    if problems:
        raise ValueError(f"{bag.path}: unlike the Spec:\n  " + "\n  ".join(problems))


def _crops(
    bag: Bag, spec: Spec, topics: Mapping[str, str], first: Mapping[str, object]
) -> dict[str, Crop]:
    """Of the cameras whose pictures are not as large as the Spec's. Raises ValueError."""
    crops, problems = {}, []
    for camera in ingest.camera_names(spec):
        image = spec.observation[f"{camera}{ingest.PIXELS}"]
        try:
            if image_to_array(first[topics[camera]]).shape != image.shape:
                crops[camera] = image.crop
        except ValueError as error:
            problems.append(f"{camera}: {error}")
    _refuse(bag, problems)
    return crops


def _command_warnings(bag: Bag, action: object, topic: str, first: object) -> list[str]:
    field = _unit_field(action)
    if is_ours(bag) or not hasattr(first, "velocity") or command_field(first, action) == field:
        return []
    return [f"{topic} has no {field}: its position is taken as the command in {action.unit}"]


def is_ours(bag: Bag) -> bool:
    """Whether our recorder made it; docs/recording.md says what that means."""
    return "version" in bag.info


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
        if not is_finite(values):
            raise ValueError(f"action: expected finite numbers, got {values.tolist()}")
    return values.astype(np.float32)


def command_field(message: object, action: Continuous | Discrete) -> str:
    """Which field of a JointState holds a command: the unit's, unless it is empty or all NaN."""
    field = _unit_field(action)
    stored = getattr(message, field)
    says_something = len(stored) and np.isfinite(stored).any()
    return field if says_something or not len(message.position) else "position"


def _unit_field(action: Continuous | Discrete) -> str:
    return ingest.JOINT_FIELDS.get(getattr(action, "unit", ""), "position")


def _gripper(bag: Bag) -> Gripper:
    """The gripper as the recorder noted it, or the benchmark's."""
    default = Gripper()
    ends = bag.noted("gripper_range", [default.open, default.closed])
    if len(ends) != 2 or not all(isinstance(one, int | float) for one in ends):
        raise ValueError(f"{bag.path}: gripper_range: expected two numbers, got {ends}")
    return Gripper(bag.info.get("gripper_joint", default.joint), *ends)


def _joint_topics(bag: Bag, given: Mapping[str, str]) -> list[str]:
    """As given, with commas between several, as noted, or all of the usual name and type."""
    role = ingest.JOINT_STREAM
    if (text := given.get(role) or bag.noted("topics", {}).get(role)) is not None:
        return [_present(bag, name) for name in text.split(",")]
    alike = _alike(bag, role)
    fitting = [topic for topic in alike if bag.topics[topic] == JOINT_STATE and bag.counts[topic]]
    return fitting if len(alike) > 1 else alike


def _topic(bag: Bag, role: str, given: Mapping[str, str]) -> str | None:
    """As given, as our recorder noted, or the usual name in any namespace if only one has it."""
    if (name := given.get(role) or bag.noted("topics", {}).get(role)) is not None:
        return _present(bag, name)
    usual = [role] if role in _TYPES else [pattern.format(role) for pattern in _CAMERA_NAMES]
    for name in usual:
        if len(alike := _alike(bag, name)) == 1:
            return alike[0]
    return None


def _alike(bag: Bag, name: str) -> list[str]:
    return [topic for topic in bag.topics if f"/{topic.strip('/')}".endswith(f"/{name}")]


def _present(bag: Bag, name: str) -> str:
    """The topic as the recording writes it, or as it was given if there is none."""
    same = (topic for topic in bag.topics if topic.strip("/") == name.strip().strip("/"))
    return next(same, name)


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


def _differences(bag: Bag, spec: Spec, action: object) -> list[str]:
    """Action names, units, limits and rate that the recording has otherwise."""
    names = getattr(action, "name", getattr(action, "joint_names", spec.action.names))
    is_there = set(spec.action.names) <= set(names)
    lines = [] if is_there else [f"action: expected {list(spec.action.names)}, got {list(names)}"]
    if (recorded := bag.spec()) is not None:
        nothing = {"-": Image(16, 16)}  # the observation is in the messages
        ours = Spec(nothing, spec.action, spec.control_timestep)
        lines += ours.differences(Spec(nothing, recorded.action, recorded.control_timestep))
    return lines
