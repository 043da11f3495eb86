"""Actions as JointState messages, for recordings."""

from __future__ import annotations

import array
from collections.abc import Sequence

import numpy as np
from builtin_interfaces.msg import Time
from sensor_msgs.msg import JointState


def action_message(
    action: np.ndarray, names: Sequence[str], source: str, stamp: Time
) -> JointState:
    """An action in the Spec's units, by name; `stamp` is that of the state it answers.

    `source` says who acts. The values stand in `position` whatever their unit.
    """
    assert len(action) == len(names), (action, names)
    message = JointState(name=list(names), position=array.array("d", action))
    message.header.stamp, message.header.frame_id = stamp, source
    return message
