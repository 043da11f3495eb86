"""The policy node with a policy that misbehaves on request: `python ros_odd_policy.py --ros-args`.

The topic `mode` (std_msgs/String) says how: "steady" moves along x, "raise" raises, "nan" answers
with NaN, "slow 0.3" takes 0.3 s.
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
        if self.mode.startswith("slow"):
            time.sleep(float(self.mode.split()[1]))
        return np.array([np.nan if self.mode == "nan" else 0.05, 0.0, 0.0, 0.0, -255.0])


class OddPolicyNode(PolicyNode):
    def load_control(self):
        control = super().load_control()
        control.policy = policy = OddPolicy(control.spec)

        def on_mode(message: String) -> None:
            policy.mode = message.data

        self.create_subscription(String, "mode", on_mode, 10)
        return control


if __name__ == "__main__":
    sys.exit(process.run(OddPolicyNode, OddPolicyNode.run))
