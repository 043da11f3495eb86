"""A stage for the policy node: a robot without a watchdog in a process of its own, and a probe."""

from __future__ import annotations

import contextlib
import time

import numpy as np
import ros_examples
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray, String

from gato_ros.common import topics

LATE = 1.0  # s that a message may be on its way on a busy machine


class Scene:
    """The stand-in, and what a probe hears; `commands` are arrivals (monotonic s) and rad/s."""

    def __init__(self, probe: ros_examples.Probe) -> None:
        self.probe = probe
        self.commands: list[tuple[float, np.ndarray]] = []
        self.speeds: list[float] = []
        self.states = probe.listen(String, "policy_node/status", topics.LATCHED)
        node, qos = probe.node, 100  # deep enough that no hold is overwritten by what follows
        node.create_subscription(Float64MultiArray, topics.ARM_VELOCITY, self._on_command, qos)
        node.create_subscription(JointState, topics.JOINT_STATES, self._on_state, 10)

    def _on_command(self, message: Float64MultiArray) -> None:
        self.commands.append((time.monotonic(), np.array(message.data)))

    def _on_state(self, message: JointState) -> None:
        self.speeds.append(float(np.abs(message.velocity[:7]).max()))

    def fault(self, stream: str, fault: str) -> None:
        assert ros_examples.eventually(lambda: self.probe.node.count_subscribers("fault") == 1)
        self.probe.publish(String(data=f"{stream}: {fault}"), "fault")

    def mode(self, mode: str) -> None:
        assert ros_examples.eventually(lambda: self.probe.node.count_subscribers("mode") == 1)
        self.probe.publish(String(data=mode), "mode")

    def wait_until_moving(self) -> None:
        seen, num = len(self.commands), len(self.speeds)
        assert ros_examples.eventually(
            lambda: (
                any(v.any() for _, v in self.commands[seen:])
                and max(self.speeds[num:], default=0.0) > 0.005
            )
        ), self.states[-3:]

    def wait_until_still(self) -> None:
        """Held by a command, and seen to stand."""
        assert ros_examples.eventually(lambda: not self.commands[-1][1].any()), self.states[-3:]
        assert ros_examples.eventually(lambda: max(self.speeds[-5:]) < 0.002), self.speeds[-5:]

    def wait_for_state(self, words: str) -> None:
        assert ros_examples.eventually(lambda: any(words in s.data for s in self.states[-3:])), (
            [s.data for s in self.states[-5:]],
            words,
        )


@contextlib.contextmanager
def scene(tmp_path):
    with (
        ros_examples.environment(),
        ros_examples.stand_in(tmp_path / "stand_in.txt"),
        ros_examples.probe() as probe,
    ):
        yield Scene(probe)


def odd_policy(checkpoint, tmp_path, **options):
    """A policy node with a log of its own."""
    return ros_examples.odd_policy_process(checkpoint, tmp_path / f"{time.time()}.txt", **options)
