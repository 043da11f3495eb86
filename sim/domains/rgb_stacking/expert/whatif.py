"""Look-ahead: simulates basket and objects without the robot, to see whether a stack stays.

A model of three bodies steps some thirty times faster than the scene, with the same contacts.
"""

from __future__ import annotations

from collections.abc import Mapping

import mujoco
import numpy as np

from gato_sim.domains.rgb_stacking.benchmark import TOUCHING
from gato_sim.domains.rgb_stacking.expert.grasp import Solid
from gato_sim.domains.rgb_stacking.objects import COLORS
from gato_sim.domains.rgb_stacking.reward import MAX_HORIZONTAL_DISTANCE, MIN_HEIGHT

_GEOM_FIELDS = ("friction", "solref", "solimp", "margin", "gap", "solmix")
_OPTION_FIELDS = (
    "timestep",
    "impratio",
    "tolerance",
    "ls_tolerance",
    "noslip_tolerance",
    "ccd_tolerance",
    "cone",
    "integrator",
    "solver",
    "iterations",
    "ls_iterations",
    "noslip_iterations",
    "ccd_iterations",
    "disableflags",
    "enableflags",
)


class WhatIf:
    """Objects in the basket under the physics of `model`, from poses that anybody proposes.

    solids: the objects in their body frames, by colour.
    """

    def __init__(self, model: mujoco.MjModel, solids: Mapping[str, Solid]) -> None:
        self.model = _compile(model, solids)
        self.data = mujoco.MjData(self.model)
        self._geom = {color: self.model.geom(color).id for color in COLORS}

    def outcome(self, poses: Mapping[str, np.ndarray], seconds: float) -> dict[str, np.ndarray]:
        """Poses (7,) by colour some seconds after the objects were let go at rest at `poses`."""
        mujoco.mj_resetData(self.model, self.data)
        for i, color in enumerate(COLORS):
            self.data.qpos[7 * i : 7 * i + 7] = poses[color]
        mujoco.mj_step(self.model, self.data, round(seconds / self.model.opt.timestep))
        mujoco.mj_forward(self.model, self.data)
        return {color: self.pose(color) for color in COLORS}

    def judge(self, top: str, base: str, third: str) -> int:
        """After `outcome`: 2 where base alone carries the top, 1 where the published criterion is
        met nevertheless (the top leans), 0 otherwise.
        """
        offset = self.pose(top)[:3] - self.pose(base)[:3]
        above = np.hypot(offset[0], offset[1]) < MAX_HORIZONTAL_DISTANCE and offset[2] > MIN_HEIGHT
        if not above or not self.touching(top, base):
            return 0
        return 1 if self.touching(top, third) or self.touching(top, None) else 2

    def pose(self, color: str) -> np.ndarray:
        """(7,), after `outcome`."""
        i = COLORS.index(color)
        return self.data.qpos[7 * i : 7 * i + 7].copy()

    def touching(self, first: str, second: str | None) -> bool:
        """Whether two objects touch, or one of them the basket (None), after `outcome`."""
        geoms = self.data.contact.geom[self.data.contact.dist <= TOUCHING]
        one = geoms == self._geom[first]
        known = list(self._geom.values())
        other = geoms == self._geom[second] if second else ~np.isin(geoms, known)
        return bool((one.any(axis=1) & other.any(axis=1)).any())


def _compile(model: mujoco.MjModel, solids: Mapping[str, Solid]) -> mujoco.MjModel:
    spec = mujoco.MjSpec()
    for name in _OPTION_FIELDS:
        setattr(spec.option, name, getattr(model.opt, name))
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    for geom in range(model.ngeom):
        if "basket" in model.geom(geom).name and model.geom_contype[geom]:
            orientation = np.empty(4)
            mujoco.mju_mat2Quat(orientation, data.geom_xmat[geom])
            copy = spec.worldbody.add_geom(
                type=model.geom_type[geom],
                size=model.geom_size[geom],
                pos=data.geom_xpos[geom],
                quat=orientation,
            )
            _copy_contact(copy, model, geom)
    for color in COLORS:
        _add_object(spec, model, color, solids[color])
    return spec.compile()


def _add_object(spec: mujoco.MjSpec, model: mujoco.MjModel, color: str, solid: Solid) -> None:
    geom = next(
        i
        for i in range(model.ngeom)
        if f"rgb_object_{color}" in model.geom(i).name and model.geom(i).name.endswith("collision")
    )
    source = model.body(model.geom_bodyid[geom])
    body = spec.worldbody.add_body(
        name=color,
        explicitinertial=True,
        mass=source.mass[0],
        ipos=source.ipos,
        iquat=source.iquat,
        inertia=source.inertia,
    )
    body.add_freejoint()
    spec.add_mesh(name=color, uservert=solid.vertices.ravel())
    copy = body.add_geom(name=color, type=mujoco.mjtGeom.mjGEOM_MESH, meshname=color)
    _copy_contact(copy, model, geom)


def _copy_contact(copy: mujoco.MjsGeom, model: mujoco.MjModel, geom: int) -> None:
    for name in _GEOM_FIELDS:
        setattr(copy, name, getattr(model, f"geom_{name}")[geom])
    copy.condim = model.geom_condim[geom]
    copy.priority = model.geom_priority[geom]
