"""Parameters of the policy node."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial

from rclpy.node import Node

from gato_core.spec import Spec
from gato_ros.freshness import Limits
from gato_ros.ingest import GRIPPER_JOINT
from gato_ros.parameters import declare
from gato_sim.tasks import robot_spec


@dataclass(frozen=True)
class PolicyParameters:
    """What config/stack.yaml may set; `declare_all` describes each."""

    checkpoint: str
    temperature: float
    seed: int
    num_threads: int
    cameras: tuple[str, ...]
    image_size: int
    image_type: str
    control_rate: float
    gripper_joint: str
    trigger: str
    command: str
    limits: Limits
    status_rate: float

    def robot_spec(self) -> Spec:
        """What the robot declares to see and do, for comparison with the checkpoint's Spec."""
        spec = robot_spec(self.cameras, self.image_size)
        return dataclasses.replace(spec, control_timestep=1 / self.control_rate)


def declare_all(node: Node) -> PolicyParameters:
    """Declares all parameters on a node and reads them. Raises ValueError for a wrong choice."""
    param = partial(declare, node)
    cameras = ["basket_front_left", "basket_front_right"]
    limits = Limits(
        arrival=param("max_age", 0.15, "s since a stream's last message", low=0.01, high=60.0),
        stamp=param("max_stamp_age", 0.15, "s since its stamp; 0 = any", low=0.0, high=60.0),
        wall=param("max_silence", 2.0, "max_age by the wall clock", low=0.01, high=60.0),
    )
    return PolicyParameters(
        checkpoint=param("checkpoint", "", "folder of the trained policy"),
        temperature=param(
            "temperature", 0.0, "of sampling; 0 takes the likeliest", low=0.0, high=10.0
        ),
        seed=param("seed", 0, "of sampling", low=0, high=2**31 - 1),
        num_threads=param("num_threads", 1, "of the network's kernels", low=1, high=256),
        cameras=tuple(param("cameras", cameras, "the robot's cameras, one stream each")),
        image_size=param("image_size", 64, "sides of the images in pixels", low=16, high=512),
        image_type=param(
            "image_type",
            "raw",
            "sensor_msgs/Image on <camera>/color, or CompressedImage on <camera>/color/compressed",
            choices=("raw", "compressed"),
        ),
        control_rate=param("control_rate", 20.0, "commands a second", low=0.1, high=1000.0),
        gripper_joint=param("gripper_joint", GRIPPER_JOINT, "its name in joint_states"),
        trigger=param(
            "trigger",
            "state",
            "what starts a tick: a new set of messages, or deadlines of the clock",
            choices=("state", "clock"),
        ),
        command=param(
            "command", "velocity", "message type of commands", choices=("velocity", "trajectory")
        ),
        limits=limits,
        status_rate=param("status_rate", 2.0, "diagnostics a second", low=1.0, high=50.0),
    )
