"""Domain randomisation: light, colours, cameras, friction, mass and latency per episode.

A profile names the ranges; `draw` is a function of profile and seed alone. Physics (friction, the
objects' mass, latency) changes what happens, the rest only what the cameras see. The profile
"none" touches nothing, so its episodes are the benchmark's to the last bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import mujoco
import numpy as np

from gato_sim.domains.rgb_stacking.benchmark import CAMERAS
from gato_sim.domains.rgb_stacking.objects import COLORS
from gato_sim.domains.rgb_stacking.scene.scene import BASKET


@dataclass(frozen=True)
class Profile:
    """How far things vary: `low, high` of factors and seconds, else the most either way.

    Factors are drawn uniformly in their logarithm, everything else uniformly.
    """

    friction: tuple[float, float]  # factor of every geom's
    mass: tuple[float, float]  # factor, each object its own
    latency: tuple[float, float]  # s, from an action to its effect
    light: tuple[float, float]  # factor of the brightness
    light_position: float  # m
    color: float  # of each colour channel, of 1
    camera_position: float  # m
    camera_angle: float  # rad, about each axis
    camera_fovy: float  # degrees


PROFILES = {
    "none": None,
    # As a second cell built by the same drawings might differ.
    "mild": Profile(
        friction=(0.8, 1.25),
        mass=(0.8, 1.25),
        latency=(0.0, 0.02),
        light=(0.8, 1.25),
        light_position=0.3,
        color=0.08,
        camera_position=0.005,
        camera_angle=0.01,
        camera_fovy=0.5,
    ),
    # As different as stacks, and recognisable colours, allow.
    "strong": Profile(
        friction=(0.6, 1.6),
        mass=(0.5, 2.0),
        latency=(0.0, 0.05),
        light=(0.5, 1.6),
        light_position=1.0,
        color=0.2,
        camera_position=0.02,
        camera_angle=0.04,
        camera_fovy=2.0,
    ),
}


@dataclass(frozen=True)
class Draw:
    """One episode's variation; `asdict` of it is what provenance keeps.

    colors: what is added to (r, g, b) of everything whose name starts with the key.
    cameras: (x, y, z in m, rotation vector in rad, fovy in degrees) added to each.
    """

    profile: str
    friction: float
    mass: dict[str, float]
    latency: float
    light: float
    light_position: tuple[float, float, float]
    colors: dict[str, tuple[float, float, float]]
    cameras: dict[str, tuple[float, ...]]

    def provenance(self) -> dict:
        """The draw as JSON can hold it."""
        return asdict(self)


def check(name: str) -> None:
    """Raises ValueError listing the profiles if the name is not one."""
    if name not in PROFILES:
        raise ValueError(f"randomise: expected one of {sorted(PROFILES)}, got {name!r}")


def draw(name: str, seed: int | Sequence[int]) -> Draw | None:
    """The variation of one episode, None for the profile "none"."""
    check(name)
    profile = PROFILES[name]
    if profile is None:
        return None
    rng = np.random.default_rng(seed)

    def factor(limits: tuple[float, float]) -> float:
        return float(np.exp(rng.uniform(*np.log(limits))))

    def within(limit: float, size: int = 3) -> tuple[float, ...]:
        return tuple(rng.uniform(-limit, limit, size).tolist())

    return Draw(
        profile=name,
        friction=factor(profile.friction),
        mass={color: factor(profile.mass) for color in COLORS},
        latency=float(rng.uniform(*profile.latency)),
        light=factor(profile.light),
        light_position=within(profile.light_position),
        colors={name: within(profile.color) for name in (*map(_object, COLORS), BASKET, "robot0/")},
        cameras={
            camera: within(profile.camera_position)
            + within(profile.camera_angle)
            + within(profile.camera_fovy, 1)
            for camera in CAMERAS
        },
    )


def _object(color: str) -> str:
    return f"rgb_object_{color}/"


class Nominal:
    """A model's values before anything was varied, and the way from them to a draw's."""

    _FIELDS = (
        "geom_friction",
        "body_mass",
        "body_inertia",
        "geom_rgba",
        "mat_rgba",
        "light_pos",
        "light_diffuse",
        "cam_pos",
        "cam_quat",
        "cam_fovy",
    )

    def __init__(self, model: mujoco.MjModel) -> None:
        self._values = {name: getattr(model, name).copy() for name in self._FIELDS}
        self._headlight = model.vis.headlight.diffuse.copy(), model.vis.headlight.ambient.copy()

    def apply(self, model: mujoco.MjModel, data: mujoco.MjData, draw: Draw | None) -> None:
        """Makes the model the draw's; None brings its own values back."""
        for name, value in self._values.items():
            getattr(model, name)[:] = value
        diffuse, ambient = self._headlight
        light = 1.0 if draw is None else draw.light
        model.vis.headlight.diffuse, model.vis.headlight.ambient = light * diffuse, light * ambient
        if draw is not None:
            _vary_physics(model, draw)
            _vary_view(model, draw)
        mujoco.mj_setConst(model, data)  # what the compiler derived from masses


def _vary_physics(model: mujoco.MjModel, draw: Draw) -> None:
    model.geom_friction *= draw.friction
    for color, mass in draw.mass.items():
        bodies = _starting_with(model, mujoco.mjtObj.mjOBJ_BODY, model.nbody, _object(color))
        model.body_mass[bodies] *= mass
        model.body_inertia[bodies] *= mass


def _vary_view(model: mujoco.MjModel, draw: Draw) -> None:
    model.light_diffuse *= draw.light
    model.light_pos += draw.light_position
    for prefix, shift in draw.colors.items():
        geoms = _starting_with(model, mujoco.mjtObj.mjOBJ_GEOM, model.ngeom, prefix)
        materials = _starting_with(model, mujoco.mjtObj.mjOBJ_MATERIAL, model.nmat, prefix)
        geoms &= model.geom_matid < 0  # a colour of its own would hide the material
        model.geom_rgba[geoms, :3] = np.clip(model.geom_rgba[geoms, :3] + shift, 0, 1)
        model.mat_rgba[materials, :3] = np.clip(model.mat_rgba[materials, :3] + shift, 0, 1)
    for name, change in draw.cameras.items():
        camera = model.camera(BASKET + name)
        camera.pos += change[:3]
        camera.fovy += change[6]
        mujoco.mju_quatIntegrate(camera.quat, np.array(change[3:6]), 1.0)


def _starting_with(
    model: mujoco.MjModel, kind: mujoco.mjtObj, count: int, prefix: str
) -> np.ndarray:
    """Bool (count,): the elements whose names start with the prefix."""
    names = (mujoco.mj_id2name(model, kind, i) or "" for i in range(count))
    return np.array([name.startswith(prefix) for name in names])
