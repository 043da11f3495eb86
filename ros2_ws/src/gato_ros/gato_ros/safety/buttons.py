"""Stop buttons: those that publish when pressed, and those that latch what they said last."""

from __future__ import annotations

import time
from collections.abc import Callable

from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy
from std_msgs.msg import Bool

from gato_ros.common import topics

PERIOD = 0.2  # s between looks at the graph


class LatchedButtons:
    """Hears what a button latched before this node was there.

    A subscription for that is incompatible with the other kind of publisher, which would warn, so
    there is none until a button that latches is seen.
    """

    def __init__(self, node: Node, on_stop: Callable[[Bool], None]) -> None:
        self._node, self._on_stop = node, on_stop
        self._topic = node.resolve_topic_name(topics.STOP)
        self._is_heard = False
        self._looked_at = float("-inf")

    def look(self) -> None:
        """Subscribes once it is needed; to be called in the executor's thread."""
        now = time.monotonic()
        if self._is_heard or now - self._looked_at < PERIOD:
            return
        self._looked_at = now
        infos = self._node.get_publishers_info_by_topic(self._topic)
        if any(i.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL for i in infos):
            self._is_heard = True
            quiet = SubscriptionEventCallbacks(incompatible_qos=lambda _: None)
            self._node.create_subscription(
                Bool, topics.STOP, self._on_stop, topics.LATCHED, event_callbacks=quiet
            )
