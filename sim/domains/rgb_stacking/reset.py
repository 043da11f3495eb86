"""The benchmark's initial states: poses of the arm and the three objects.

RGB-Stacking's `task.py` and dm_control's `PropPlacer`, from one seeded generator.
"""

from __future__ import annotations

import mujoco
import numpy as np

from gato_sim.arm import inverse_kinematics
from gato_sim.arm.controller import Controller
from gato_sim.domains.rgb_stacking.objects import COLORS
from gato_sim.domains.rgb_stacking.scene.scene import Elements

PINCH_LOW, PINCH_HIGH = (0.5, -0.14, 0.22), (0.7, 0.14, 0.43)  # m
MAX_YAW = np.pi / 4
OBJECT_LOW, OBJECT_HIGH = (0.5, -0.1, 0.12), (0.7, 0.1, 0.12)  # m
NUM_TRIES_PER_OBJECT = 20
MAX_SETTLE_TIME = 2.0  # s
SETTLED_VELOCITY, SETTLED_ACCELERATION = 1e-3, 1e-2


def draw_arm(controller: Controller, rng: np.random.Generator) -> np.ndarray:
    """Joint angles (7,) for a pinch pose above the basket, gripper down, yaw within 45 degrees."""
    while True:
        position = rng.uniform(PINCH_LOW, PINCH_HIGH)
        yaw = rng.uniform(-MAX_YAW, MAX_YAW)
        # Half a turn about x, then (in the turned frame) the yaw about z.
        quaternion = np.array([0.0, np.cos(yaw / 2), -np.sin(yaw / 2), 0.0])
        angles = inverse_kinematics.solve(controller, np.append(position, quaternion), rng)
        if angles is not None:
            return angles


def place_objects(
    model: mujoco.MjModel, data: mujoco.MjData, elements: Elements, rng: np.random.Generator
) -> None:
    """Drops the objects at random poses that touch nothing, one colour after the other.

    The original gives up the episode where an object finds no free pose in twenty tries; here
    all three are drawn again.
    """
    contype, conaffinity = model.geom_contype.copy(), model.geom_conaffinity.copy()
    placed = False
    while not placed:
        for mask in elements.object_geoms.values():
            model.geom_contype[mask] = model.geom_conaffinity[mask] = 0
        for color in COLORS:
            mask = elements.object_geoms[color]
            model.geom_contype[mask], model.geom_conaffinity[mask] = (
                contype[mask],
                conaffinity[mask],
            )
            placed = _place(model, data, elements.object_qpos[color], mask, rng)
            if not placed:
                break
    model.geom_contype[:], model.geom_conaffinity[:] = contype, conaffinity


def _place(
    model: mujoco.MjModel,
    data: mujoco.MjData,
    qpos: slice,
    mask: np.ndarray,
    rng: np.random.Generator,
) -> bool:
    for _ in range(NUM_TRIES_PER_OBJECT):
        quaternion = rng.normal(size=4)
        data.qpos[qpos] = np.append(
            rng.uniform(OBJECT_LOW, OBJECT_HIGH), quaternion / np.linalg.norm(quaternion)
        )
        mujoco.mj_fwdPosition(model, data)
        touching = data.contact.geom[data.contact.dist <= 0]
        if not mask[touching].any():
            return True
    return False


def settle(model: mujoco.MjModel, data: mujoco.MjData, elements: Elements) -> bool:
    """Lets the objects come to rest while the robot is held; False if 2 s were not enough."""
    objects_qpos = np.zeros(model.nq, bool)
    objects_dof = np.zeros(model.nv, bool)
    for color in COLORS:
        objects_qpos[elements.object_qpos[color]] = True
        objects_dof[elements.object_dof[color]] = True
    held_qpos = np.flatnonzero(~objects_qpos)
    held_dof = np.flatnonzero(~objects_dof)
    angles, velocities = data.qpos[held_qpos], data.qvel[held_dof]
    time = data.time
    settled = False
    while not settled and data.time - time < MAX_SETTLE_TIME:
        mujoco.mj_step(model, data)
        data.qpos[held_qpos] = angles
        data.qvel[held_dof] = velocities
        settled = (
            np.abs(data.qvel[objects_dof]).max() < SETTLED_VELOCITY
            and np.abs(data.qacc[objects_dof]).max() < SETTLED_ACCELERATION
        )
    data.time = time
    return settled
