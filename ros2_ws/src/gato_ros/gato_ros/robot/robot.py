"""What the parameters declare the robot to be, and whether a checkpoint was made for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from gato_core.spec import Continuous, Image, Spec
from gato_ros.common import ingest
from gato_ros.common.ingest import Crop, Gripper
from gato_sim.arm.arm import Arm
from gato_sim.domains.rgb_stacking.tasks import robot_spec, view_image

ARM_NAME = "sawyer"  # in the keys of the benchmark's Spec


@dataclass(frozen=True, eq=False)
class Robot:
    """Arm, gripper and cameras, and how often the robot takes a command.

    arm_name: what the Spec's keys of the arm begin with. crops: by camera, of those that have one.
    """

    arm: Arm
    gripper: Gripper
    cameras: tuple[str, ...]
    image_size: int
    view: str
    control_timestep: float
    arm_name: str = ARM_NAME
    crops: Mapping[str, Crop] = dataclasses.field(default_factory=dict)

    def differences(self, spec: Spec) -> list[str]:
        """What a checkpoint's Spec expects otherwise, one line each with expected and got.

        A policy may do without the arm's proprioception, never without a camera that is declared.
        A crop gives images of any size.
        """
        declared = self.spec()
        observation = {
            key: self._fitted(key, modality, spec)
            for key, modality in declared.observation.items()
            if key in spec.observation or isinstance(modality, Image)
        }
        if ingest.is_told(spec):  # by whoever speaks to it, not by the robot
            observation[ingest.INSTRUCTION] = spec.observation[ingest.INSTRUCTION]
        return dataclasses.replace(declared, observation=observation).differences(spec)

    def spec(self) -> Spec:
        """The robot's Spec: the benchmark's with this arm and these cameras."""
        benchmark, arm = robot_spec(()), self.arm
        renamed = {
            key.replace(f"{ARM_NAME}/", f"{self.arm_name}/"): modality
            for key, modality in benchmark.observation.items()
        }
        renamed[f"{self.arm_name}/joints/angle"] = Continuous(
            _finite(arm.low, -np.pi), _finite(arm.high, np.pi), "rad", arm.joints
        )
        image = view_image(self.view, self.image_size)
        images = {f"{camera}{ingest.PIXELS}": image for camera in self.cameras}
        return Spec(images | renamed, benchmark.action, self.control_timestep)

    def _fitted(self, key: str, modality: object, spec: Spec) -> object:
        is_cropped = key.removesuffix(ingest.PIXELS) in self.crops
        wanted = spec.observation.get(key)
        return wanted if is_cropped and isinstance(wanted, Image) else modality


def _finite(limits: np.ndarray, otherwise: float) -> tuple[float, ...]:
    """Limits in rad; joints that turn without end are declared to half a turn either side."""
    return tuple(np.where(np.isfinite(limits), limits, otherwise).tolist())
