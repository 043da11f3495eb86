"""The two clocks of a node, so that what looks at them can be tried in a time of one's own."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from rclpy.node import Node


@dataclass(frozen=True)
class Clocks:
    """now: ns on the node's clock; wall: ns that only go forwards, as time.monotonic_ns.

    is_simulated: whether the node's clock follows /clock, and so may pause and jump.
    """

    now: Callable[[], int]
    wall: Callable[[], int]
    is_simulated: Callable[[], bool]


def of_node(node: Node) -> Clocks:
    clock = node.get_clock()
    return Clocks(
        lambda: clock.now().nanoseconds, time.monotonic_ns, lambda: clock.ros_time_is_active
    )
