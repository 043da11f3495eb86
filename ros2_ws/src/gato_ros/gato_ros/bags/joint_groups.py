"""Which messages say where which joints are, when parts of a robot publish their states apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gato_core.importers import clocks
from gato_core.importers.bags import Times
from gato_ros.common.ingest import JOINT_STREAM


@dataclass(frozen=True)
class JointGroup:
    """Joints whose states come in the same messages: numbers int64 (n,) of those in a topic."""

    topic: str
    joints: tuple[str, ...]
    numbers: np.ndarray


def find(
    times: Mapping[str, Times], needed: Mapping[str, Sequence[str]]
) -> tuple[dict[str, JointGroup], list[str]]:
    """Groups by role, the one of the most messages first, and what is wrong with them, in lines.

    times: of the topics with joint states. needed: joints by the observation that is made of them.
    """
    everywhere = sorted({name for one in times.values() for s in one.senders for name in s.names})
    problems = [
        f"{key}: expected {list(names)}, got {everywhere}"
        for key, names in needed.items()
        if not set(names) <= set(everywhere)
    ]
    joints = set().union(*needed.values())
    groups = []
    for topic, one in times.items():
        for having, names in clocks.by_sender(one).items():
            names = tuple(name for name in names if name in joints)
            if names or not joints:  # not joints: a robot that only sees
                numbers = np.flatnonzero(np.isin(one.number, having))
                groups.append(JointGroup(topic, names, numbers))
        problems += clocks.two_publishers(topic, one, joints)
    problems += [
        f"{joint}: expected in one topic, got {topics}: name one with --topics {JOINT_STREAM}=TOPIC"
        for joint in sorted(joints)
        if len(topics := [group.topic for group in groups if joint in group.joints]) > 1
    ]
    groups.sort(key=lambda group: -len(group.numbers))
    if len(groups) == 1 or not joints:
        return dict.fromkeys([JOINT_STREAM], *groups[:1]), problems
    return {f"{JOINT_STREAM} of {', '.join(g.joints)}": g for g in groups}, problems
