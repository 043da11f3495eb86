"""The policy node with a policy that misbehaves on request: `python ros_odd_policy.py --ros-args`.

The topic `mode` (std_msgs/String) says how: "steady" moves along x, "sway" to and fro, "raise"
raises, "nan" answers with NaN, "slow 0.3" takes 0.3 s, "hang 4" takes 4 s once, "crash" raises in
the callback.
"""

from __future__ import annotations

import sys
import time

import numpy as np
from std_msgs.msg import String

from gato_core.policy import StepSeconds
from gato_ros.common import process
from gato_ros.policy.node import PolicyNode


class OddPolicy:
    """Satisfies the protocol of a policy, and little else."""

    def __init__(self, spec) -> None:
        self.spec = spec
        self.mode = "steady"
        self.seconds = StepSeconds(0.0, 0.0)

    def reset(self, prompt=None) -> None:
        """It has no memory."""

    def step(self, observation) -> np.ndarray:
        self.spec.check_observation(observation)
        if self.mode == "raise":
            raise RuntimeError("out of memory, for example")
        how, *seconds = self.mode.split()
        if how in ("slow", "hang"):
            time.sleep(float(seconds[0]))
        if how == "hang":
            self.mode = "sway"
        speed = -0.05 if self.mode == "sway" and time.monotonic() % 4 > 2 else 0.05
        return np.array([np.nan if self.mode == "nan" else speed, 0.0, 0.0, 0.0, -255.0])


class OddPolicyNode(PolicyNode):
    def load_control(self):
        control = super().load_control()
        control.policy = policy = OddPolicy(control.spec)

        def on_mode(message: String) -> None:
            if message.data == "crash":
                raise RuntimeError("an error of ours, for example")
            policy.mode = message.data

        self.create_subscription(String, "mode", on_mode, 10)
        return control


if __name__ == "__main__":
    sys.exit(process.run(OddPolicyNode, OddPolicyNode.run))
