"""Other nodes on the same topics: who else commands the robot, who else plays its sensors."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from rclpy.node import Node

PERIOD = 0.05  # s between looks at the graph


class Rivals:
    """Looks for second publishers, also those that exist but are silent.

    commands: topics that the node itself publishes on. sensors: how many others may publish on
    a topic. Both are asked for at each look.
    """

    def __init__(
        self,
        node: Node,
        commands: Callable[[], Sequence[str]],
        sensors: Callable[[], Mapping[str, int]],
    ) -> None:
        self._node, self._commands, self._sensors = node, commands, sensors
        self._looked_at = float("-inf")
        self._found: list[str] = []

    def __call__(self) -> list[str]:
        """One line for each topic that has a publisher too many."""
        now = time.monotonic()
        if now - self._looked_at >= PERIOD:
            self._looked_at = now
            self._found = self._look()
        return self._found

    def _look(self) -> list[str]:
        node, lines = self._node, []
        for topic in self._commands():
            if node.count_publishers(topic) > 1:
                names = self.names(topic)
                if (own := node.get_fully_qualified_name()) in names:
                    names.remove(own)
                lines.append(f"{topic}: also commanded by {', '.join(names)}")
        for topic, most in self._sensors().items():
            if node.count_publishers(topic) > most:
                names = ", ".join(self.names(topic))
                lines.append(f"{topic}: expected {most} publisher{'s' * (most > 1)}, got {names}")
        return lines

    def names(self, topic: str) -> list[str]:
        """Full names of the nodes that publish on a topic."""
        infos = self._node.get_publishers_info_by_topic(topic)
        return [f"{info.node_namespace.rstrip('/')}/{info.node_name}" for info in infos]
