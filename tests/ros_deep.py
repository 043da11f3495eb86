"""A node whose subscriptions are deep and reliable, so that it gets every message it is sent:

    python ros_deep.py COUNTS.json NODE --ros-args ...

At its end it writes how many messages each of them took, those included that it refused.
"""

from __future__ import annotations

import collections
import json
import sys
from pathlib import Path

from rclpy.qos import QoSProfile, ReliabilityPolicy

from gato_ros.common import guard, topics

DEPTH = 20_000
COUNTS: collections.Counter = collections.Counter()


def deepen() -> None:
    """Before any node is made."""
    for name in ("SENSOR", "NEWEST_SAMPLE", "NEWEST_PARTS", "COMMAND", "LATCHED"):
        setattr(topics, name, QoSProfile(depth=DEPTH, reliability=ReliabilityPolicy.RELIABLE))
    create = guard.Guarded.create_subscription

    def counting(self, message_type, topic, callback, _, **kwargs):
        def count(message) -> None:
            COUNTS[topic] += 1
            callback(message)

        deep = QoSProfile(depth=DEPTH, reliability=ReliabilityPolicy.RELIABLE)
        return create(self, message_type, topic, count, deep, **kwargs)

    guard.Guarded.create_subscription = counting


if __name__ == "__main__":
    file, name = Path(sys.argv.pop(1)), sys.argv.pop(1)
    deepen()
    from gato_ros.nodes import NODES

    status = NODES[name]()
    file.write_text(json.dumps(COUNTS))
    sys.exit(status)
