"""The policy node, noting how long the policy itself took for each state, for bench/ros.py.

python bench/ros_policy.py SECONDS.json --ros-args --params-file config/stack.yaml
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from gato_ros.common import ingest, process
from gato_ros.policy.node import PolicyNode

INSIDE = ("tokenize", "network")


class TimedPolicyNode(PolicyNode):
    """`answers`: rows of a state's stamp (ns), the policy's own time and the monotonic time (s)."""

    def load_control(self):
        control = super().load_control()
        self.answers: list[tuple[int, float, float]] = []
        step = control.step

        def timed(samples, age):
            command, stages = step(samples, age)
            stamp = samples[ingest.JOINT_STREAM].stamp
            seconds = sum(stages[stage] for stage in INSIDE)
            self.answers.append((stamp, seconds, time.monotonic()))
            return command, stages

        control.step = timed
        return control


def main() -> int:
    file = Path(sys.argv.pop(1))

    def loop(node: TimedPolicyNode, stop) -> None:
        node.run(stop)
        file.write_text(json.dumps(node.answers))

    return process.run(TimedPolicyNode, loop)


if __name__ == "__main__":
    sys.exit(main())
