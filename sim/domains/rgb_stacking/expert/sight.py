"""The expert's privileged state: poses, convex solids, contacts and the gripper."""

from __future__ import annotations

import mujoco
import numpy as np

from gato_sim.domains.rgb_stacking.expert.grasp import Solid, convex_solid, rotation_matrix
from gato_sim.domains.rgb_stacking.expert.place import separation
from gato_sim.domains.rgb_stacking.expert.whatif import WhatIf
from gato_sim.domains.rgb_stacking.objects import COLORS
from gato_sim.domains.rgb_stacking.simulation import Simulation

CONTACT = 1e-4  # m
STILL = 0.005  # m, and units of quaternion, that a pose changes within a timestep at most


class Sight:
    """Privileged state of one simulation with its present objects.

    shapes: solids in their body frames, by colour. solids: the same in the world. poses: (7,) by
    colour. pinch (3,); yaw of the closing axis, wrist angle (rad); angle of the gripper (0..255);
    touching: pairs of an object, a finger ("left", "right") or "basket" in contact. is_still:
    whether all objects are about at rest.
    """

    def __init__(self, simulation: Simulation) -> None:
        self.model = simulation.model
        self.shapes = {color: _solid_of(self.model, color) for color in COLORS}
        self.walls = _walls(self.model)
        self.whatif = WhatIf(self.model, self.shapes)
        self._owner = _owners(self.model)
        self.poses = simulation.object_poses()
        self.look(simulation)

    def look(self, simulation: Simulation) -> None:
        """Brings everything up to this timestep."""
        before, self.poses = self.poses, simulation.object_poses()
        self.is_still = all(np.abs(self.poses[c] - before[c]).max() < STILL for c in COLORS)
        self.solids = {color: self.shapes[color].at(self.poses[color]) for color in COLORS}
        pinch = np.asarray(simulation.pinch_pose, dtype=np.float64)
        self.pinch = pinch[:3]
        closing_axis = rotation_matrix(pinch[3:])[:, 1]
        self.yaw = float(np.arctan2(closing_axis[1], closing_axis[0]))
        self.wrist = -float(simulation.joint_angles[6])
        self.angle = float(simulation.gripper_angle)
        self.touching = _touching(simulation.data, self._owner)

    def fingers_on(self, color: str) -> int:
        """How many of the two fingers touch an object."""
        return sum(frozenset((side, color)) in self.touching for side in ("left", "right"))

    def rotation(self, color: str) -> np.ndarray:
        """Orientation (3, 3) of an object's body frame."""
        return rotation_matrix(self.poses[color][3:])


def apart(first: Solid, second: Solid) -> float:
    """Horizontal distance between two solids, seen from above."""
    return float(separation(np.zeros((1, 2)), first.vertices[:, :2], second.vertices[:, :2])[0])


def tilt_between(first: np.ndarray, second: np.ndarray) -> float:
    """Angle (rad) between two orientations (3, 3), turns about the vertical left out."""
    return float(np.arccos(np.clip(first[2] @ second[2], -1, 1)))


def angle_between(first: np.ndarray, second: np.ndarray) -> float:
    """Angle of the rotation (rad) from one orientation (3, 3) to another."""
    return float(np.arccos(np.clip((np.trace(first.T @ second) - 1) / 2, -1, 1)))


def _solid_of(model: mujoco.MjModel, color: str) -> Solid:
    """Collision mesh of one object in its body frame."""
    for geom in range(model.ngeom):
        name = model.geom(geom).name
        if f"rgb_object_{color}" in name and name.endswith("collision"):
            mesh = model.geom_dataid[geom]
            first = model.mesh_vertadr[mesh]
            points = model.mesh_vert[first : first + model.mesh_vertnum[mesh]].astype(np.float64)
            return convex_solid(
                points @ rotation_matrix(model.geom_quat[geom]).T + model.geom_pos[geom]
            )
    raise KeyError(f"rgb_object_{color}: expected a collision mesh in the scene, got none")


def _walls(model: mujoco.MjModel) -> list[Solid]:
    """The basket's four sloped sides in the world."""
    corners = np.array(np.meshgrid(*[(-1.0, 1.0)] * 3)).reshape(3, -1).T
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    return [
        convex_solid(
            (corners * model.geom_size[geom]) @ data.geom_xmat[geom].reshape(3, 3).T
            + data.geom_xpos[geom]
        )
        for geom in range(model.ngeom)
        if "sloped_side" in model.geom(geom).name
    ]


def _owners(model: mujoco.MjModel) -> list[str]:
    """What each geom belongs to, for contacts: an object, a finger, "basket" or ""."""
    owners = []
    for geom in range(model.ngeom):
        name = model.geom(geom).name
        owner = next((color for color in COLORS if f"rgb_object_{color}" in name), "")
        for side in ("left", "right"):
            if f"{side}_fingertip" in name or f"{side}_collision_box" in name:
                owner = side
        owners.append("basket" if "basket" in name and not owner else owner)
    return owners


def _touching(data: mujoco.MjData, owner: list[str]) -> set[frozenset[str]]:
    """Pairs of owners in contact."""
    contact = data.contact
    return {
        frozenset((owner[first], owner[second]))
        for (first, second), distance in zip(contact.geom, contact.dist)
        if distance <= CONTACT
    }
