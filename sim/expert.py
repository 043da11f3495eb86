"""Scripted expert: stacks one object on another from privileged state, as can be seen and cloned.

Almost memoryless, so that its demonstrations can be cloned: each action follows from the present
poses, the gripper's angle and its contacts. Only the chosen grasp is remembered, in the object's
frame, until it is lost or the object has moved. Velocities are proportional to the error and
saturate. `top` goes on `base` (red on blue in the benchmark); `third` is in the way.
"""

from __future__ import annotations

from collections.abc import Mapping

import mujoco
import numpy as np

from gato_core.episode import Episode
from gato_sim.constants import (
    BASKET_ORIGIN,
    MAX_ANGULAR_VELOCITY,
    MAX_LINEAR_VELOCITY,
    WORKSPACE_HIGH,
    WORKSPACE_LOW,
)
from gato_sim.grasp import Grasp, Solid, best_grasp, convex_solid, rotation_matrix, wrapped
from gato_sim.objects import COLORS
from gato_sim.place import place_target, separation, vertical_gap

GAIN = 4.0  # 1/s; more makes the arm, which lags by about 0.15 s, swing round its goal
YAW_GAIN = 4.0
OPEN, CLOSE = -255.0, 255.0
WIDE_OPEN_ANGLE = 2.0
OPEN_ANGLE = 10.0  # of 255: more open than this counts as open
SHUT_ANGLE = 215.0  # closed without anything between the fingers
WRIST_MARGIN = 0.12  # rad kept from the wrist's limits of +-pi/2
FLOOR = BASKET_ORIGIN[2]

HOVER = 0.015  # m between the fingertips and an object's top while not above the grasp
CARRY = 0.03  # m between top and base until the top is above its place
FUNNEL = 1.5  # m of height per m of lateral error
RETREAT = 0.09  # m above the stack where the gripper waits at the end
PLACED_GAP = 0.003
PLACED_ERROR = 0.008
RESTING_GAP = 0.006


class ScriptedExpert:
    """Policy protocol over a live environment, whose simulation it reads. seed is unused."""

    def __init__(self, env, *, seed: int = 0) -> None:
        self.env = env
        self.stage = "approach"
        self._model = None
        self._grasp_in_top: tuple | None = None
        self._releasing = False
        self._top, self._base = env.top, env.base
        (self._third,) = set(COLORS) - {env.top, env.base}
        self._finger_contacts = {frozenset((side, env.top)) for side in ("left", "right")}

    def reset(self, prompt: Episode | None = None) -> None:
        """Forgets the grasp. A prompt is ignored."""
        self._model = None
        self._grasp_in_top = None
        self._releasing = False
        self.stage = "approach"

    def step(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        """Action float32 (5,): velocity x, y, z (m/s), yaw rate (rad/s), gripper (+-255)."""
        self._look(observation)
        if self._releasing and self._in_hand():
            velocity, gripper = np.zeros(4), OPEN
        elif self._holds():
            velocity, gripper = self._place()
        elif self._stacked():
            velocity, gripper = self._retreat()
        else:
            velocity, gripper = self._pick()
        linear = np.clip(GAIN * velocity[:3], -MAX_LINEAR_VELOCITY, MAX_LINEAR_VELOCITY)
        yaw_rate = np.clip(YAW_GAIN * velocity[3], -MAX_ANGULAR_VELOCITY, MAX_ANGULAR_VELOCITY)
        self._releasing = self.stage == "release"
        return np.array([*linear, yaw_rate, gripper], dtype=np.float32)

    def _look(self, observation: Mapping[str, np.ndarray]) -> None:
        """Poses, solids and contacts of this timestep."""
        simulation = self.env.simulation
        if self._model is not simulation.model:
            self._model = simulation.model
            self._solids = {color: _solid_of(self._model, color) for color in COLORS}
            self._walls = _walls(self._model)
            self._owner = _owners(self._model)
        self.poses = simulation.object_poses()
        self.solids = {color: self._solids[color].at(self.poses[color]) for color in COLORS}
        pinch = np.asarray(simulation.pinch_pose, dtype=np.float64)
        self.pinch = pinch[:3]
        closing_axis = rotation_matrix(pinch[3:])[:, 1]
        self.yaw = float(np.arctan2(closing_axis[1], closing_axis[0]))
        self.wrist = -float(simulation.joint_angles[6])
        self.angle = float(simulation.gripper_angle)
        self.touching = _touching(simulation.data, self._owner)

    def _holds(self) -> bool:
        return self._finger_contacts <= self.touching

    def _in_hand(self) -> bool:
        """A finger touches the top and can still open further."""
        return bool(self._finger_contacts & self.touching) and self.angle > WIDE_OPEN_ANGLE

    def _stacked(self) -> bool:
        above = self.poses[self._top][:3] - self.poses[self._base][:3]
        near = np.hypot(above[0], above[1]) < 0.05 and above[2] > 0.02
        return bool(
            near and vertical_gap(self.solids[self._top], self.solids[self._base]) < RESTING_GAP
        )

    def _pick(self) -> tuple[np.ndarray, float]:
        grasp = self._grasp()
        if grasp is None:
            self.stage = "no grasp"
            return np.array([0, 0, WORKSPACE_HIGH[2] - self.pinch[2], 0]), OPEN
        error = grasp.position - self.pinch
        turn = self._turn_to(grasp)
        room = (0.0858 - grasp.width) / 2
        axis = np.array([np.cos(grasp.yaw), np.sin(grasp.yaw)])
        along, across = abs(axis @ error[:2]), abs(axis[0] * error[1] - axis[1] * error[0])
        off = max(along / min(0.006, room * 0.6), across / 0.008, abs(turn) / 0.12)
        near = np.hypot(error[0], error[1]) < 0.02 and abs(error[2]) < 0.012
        ready = off < 1 and abs(error[2]) < 0.005
        if ready or (near and OPEN_ANGLE < self.angle < SHUT_ANGLE):
            self.stage = "grasp"
            return np.array([0, 0, 0, 0.0]), CLOSE
        hover = self._hover(np.hypot(error[0], error[1]))
        height = grasp.position[2] + np.clip((off - 1) * 0.01, 0, hover - grasp.position[2])
        if self.angle > 3 * OPEN_ANGLE:
            height = max(height, min(hover, self.pinch[2]))
        rise = height - self.pinch[2]
        self.stage = "descend" if off < 1.5 else "approach"
        sideways = np.clip(1 - (rise - 0.01) / 0.02, 0, 1)
        return np.array([*(sideways * error[:2]), rise, sideways * turn]), OPEN

    def _turn_to(self, grasp: Grasp) -> float:
        """Yaw error to the grasp, the long way round where the wrist's limit is in between."""
        turn = float(wrapped(grasp.yaw - self.yaw))
        wrist = self.wrist + turn - self._azimuth_change(grasp.position)
        limit = np.pi / 2 - 0.3 * WRIST_MARGIN
        if wrist > limit:
            return turn - np.pi
        return turn + np.pi if wrist < -limit else turn

    def _azimuth_change(self, position: np.ndarray) -> float:
        """How far the arm swings on the way to a point; the wrist turns back as much."""
        here, there = self.pinch, position
        return float(np.arctan2(there[1], there[0]) - np.arctan2(here[1], here[0]))

    def _hover(self, distance: float) -> float:
        """Safe pinch height at a horizontal distance from the grasp."""
        highest = max(self.solids[color].top for color in COLORS)
        own = self.solids[self._top].top
        blend = np.clip((distance - 0.03) / 0.03, 0, 1)
        return min(own + blend * (highest - own) + HOVER, WORKSPACE_HIGH[2] - 0.002)

    def _grasp(self) -> Grasp | None:
        """The remembered grasp where the top is now; a new one if it turned or there is none."""
        pose = self.poses[self._top]
        rotation = rotation_matrix(pose[3:])
        if self._grasp_in_top is not None:
            point, axis, width, planned = self._grasp_in_top
            tilt = np.arccos(np.clip((np.trace(rotation.T @ planned) - 1) / 2, -1, 1))
            if tilt < 0.3 or self.angle > OPEN_ANGLE:
                world = rotation @ axis
                return Grasp(
                    pose[:3] + rotation @ point, float(np.arctan2(world[1], world[0])), width, 0.0
                )
        room = np.pi / 2 - WRIST_MARGIN
        wrist = self.wrist - self._azimuth_change(pose[:3])
        obstacles = [self.solids[self._third], self.solids[self._base], *self._walls]
        grasp = best_grasp(
            self.solids[self._top],
            pose[:3],
            obstacles,
            self.yaw,
            (-room - wrist, room - wrist),
        )
        self._grasp_in_top = None
        if grasp is not None:
            axis = np.array([np.cos(grasp.yaw), np.sin(grasp.yaw), 0])
            self._grasp_in_top = (
                rotation.T @ (grasp.position - pose[:3]),
                rotation.T @ axis,
                grasp.width,
                rotation,
            )
        return grasp

    def _place(self) -> tuple[np.ndarray, float]:
        held, base = self.solids[self._top], self.solids[self._base]
        center = self.poses[self._top][:3]
        target = place_target(
            base, self.poses[self._base][:3], held, center, self.solids[self._third]
        )
        low, high = (np.array(limit[:2]) for limit in (WORKSPACE_LOW, WORKSPACE_HIGH))
        error = np.clip(target - center[:2], low - self.pinch[:2], high - self.pinch[:2])
        distance = float(np.hypot(*error))
        gap = vertical_gap(held.shifted(np.array([*error, 0])), base)
        gap = gap if np.isfinite(gap) else held.vertices[:, 2].min() - base.top
        if gap < PLACED_GAP and distance < PLACED_ERROR:
            self.stage = "release"
            return np.zeros(4), OPEN
        wanted = np.clip((distance - 0.004) * FUNNEL, 0, CARRY)
        rise = wanted - gap if wanted > 0 else -gap - 0.002
        bottom = held.vertices[:, 2].min()
        sideways = min(np.clip((bottom - FLOOR - 0.003) / 0.01, 0, 1), self._free(base, rise))
        if distance > 0.03:
            third = self.solids[self._third]
            over = third.top + CARRY / 2 - bottom
            sideways = min(sideways, self._free(third, over))
            if _apart(held, third) < over + 0.03:
                rise = max(rise, over)
        rise = min(rise, WORKSPACE_HIGH[2] - 0.002 - self.pinch[2])
        self.stage = "lift" if sideways < 0.5 else "carry" if wanted > 0 else "place"
        return np.array([*(sideways * error), rise, 0.0]), CLOSE

    def _free(self, other: Solid, rise: float) -> float:
        """Share of sideways speed while the top must still rise this much to pass over another."""
        apart = _apart(self.solids[self._top], other)
        return float(np.clip(max((apart - rise) / 0.02, 1.5 - rise / 0.02), 0, 1))

    def _retreat(self) -> tuple[np.ndarray, float]:
        if self._in_hand():
            self.stage = "release"
            return np.zeros(4), OPEN
        rise = min(self.solids[self._top].top + RETREAT, WORKSPACE_HIGH[2] - 0.005) - self.pinch[2]
        self.stage = "retreat" if rise > 0.01 else "done"
        return np.array([0, 0, max(rise, 0.0), 0.0]), OPEN


def _apart(first: Solid, second: Solid) -> float:
    """Horizontal distance between two solids, seen from above."""
    return float(separation(np.zeros((1, 2)), first.vertices[:, :2], second.vertices[:, :2])[0])


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
        if distance <= 1e-4
    }
