"""Parameters of the recorder."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.node import Node

from gato_core.spec import Spec
from gato_ros.common import camera_parameters
from gato_ros.common.ingest import Gripper
from gato_ros.common.parameters import declare, refuse_unknown
from gato_sim.domains.rgb_stacking.tasks import robot_spec

TASK = "stack the red object on the blue object"


@dataclass(frozen=True)
class RecorderParameters:
    """What config/stack.yaml may set; `declare_all` describes each. `task` is read when used."""

    folder: Path
    mode: str
    cameras: tuple[str, ...]
    image_size: int
    view: str
    image_type: str
    control_rate: float
    gripper: Gripper
    min_free_gb: float

    def robot_spec(self) -> Spec:
        """What the recordings will be said to hold."""
        spec = robot_spec(self.cameras, self.image_size, self.view)
        return dataclasses.replace(spec, control_timestep=1 / self.control_rate)


def declare_all(node: Node) -> RecorderParameters:
    """Declares all parameters on a node and reads them. Raises ValueError for a wrong choice."""
    param = partial(declare, node)
    words = ParameterDescriptor(description="what is to be done, in words; may change at any time")
    usual = Gripper()
    node.declare_parameter("task", TASK, words)
    parameters = RecorderParameters(
        folder=Path(param("folder", "recordings", "where recordings go, a folder each")),
        mode=param(
            "mode",
            "service",
            "what begins and ends a recording: services, or each episode of the robot",
            choices=("service", "episode"),
        ),
        cameras=camera_parameters.cameras(param, "the robot's cameras, one stream each"),
        **camera_parameters.pictures(param),
        image_type=camera_parameters.image_type(param),
        control_rate=param("control_rate", 20.0, "states a second", low=0.1, high=1000.0),
        gripper=Gripper(
            joint=param("gripper.joint", usual.joint, "its name in joint_states"),
            open=param("gripper.open", usual.open, "its position when open, rad or m"),
            closed=param("gripper.closed", usual.closed, "its position when closed, rad or m"),
        ),
        min_free_gb=param(
            "min_free_gb", 2.0, "free disk below which nothing is recorded", low=0.0, high=1e6
        ),
    )
    refuse_unknown(node)
    return parameters
