"""The compiled scene: an MjModel of the benchmark for three objects and a named physics.

The XML text and its meshes are composed once (compose.py) and kept beside the model files;
another triplet only exchanges three meshes before MuJoCo compiles the same text.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import mujoco
import numpy as np

from gato_sim.arm import sawyer
from gato_sim.arm.sawyer import CONTROL_TIMESTEP, JOINT_NAMES
from gato_sim.domains.rgb_stacking import benchmark, objects
from gato_sim.domains.rgb_stacking.scene import assets

ROBOT = "robot0/"
WRIST = "robot0/robotiq_fts300/"
GRIPPER = WRIST + "robotiq_2f85/"
BASKET = "base/"
_HERE = Path(__file__).parent
_COMPOSING = (
    *(_HERE / "compose.py", _HERE / "meshes.py"),
    *(Path(module.__file__) for module in (sawyer, benchmark)),
)


@dataclass(frozen=True)
class Physics:
    """How MuJoCo steps: what differs between the two named settings.

    timestep: seconds. multiccd: several contact points per pair of meshes.
    """

    timestep: float
    integrator: mujoco.mjtIntegrator
    multiccd: bool

    @property
    def num_substeps(self) -> int:
        return round(CONTROL_TIMESTEP / self.timestep)


PHYSICS = {
    # As published; every score that is called official.
    "benchmark": Physics(0.0005, mujoco.mjtIntegrator.mjINT_EULER, multiccd=False),
    # Three times faster, and objects at rest do not creep: demonstrations and training.
    "stable": Physics(0.002, mujoco.mjtIntegrator.mjINT_IMPLICITFAST, multiccd=True),
}
# Every option that influences a trajectory, so no default of a MuJoCo release can change one.
OPTIONS = {
    "gravity": (0.0, 0.0, -9.81),
    "wind": (0.0, 0.0, 0.0),
    "density": 0.0,
    "viscosity": 0.0,
    "impratio": 1.0,
    "tolerance": 1e-8,
    "ls_tolerance": 0.01,
    "noslip_tolerance": 0.0,
    "ccd_tolerance": 1e-6,
    "cone": mujoco.mjtCone.mjCONE_ELLIPTIC,
    "jacobian": mujoco.mjtJacobian.mjJAC_AUTO,
    "solver": mujoco.mjtSolver.mjSOL_NEWTON,
    "iterations": 100,
    "ls_iterations": 50,
    "noslip_iterations": 5,
    "ccd_iterations": 50,
    "disableflags": 0,
    "enableflags": 0,
}


def physics(name: str) -> Physics:
    """The named physics. Raises ValueError listing the names if unknown."""
    if name not in PHYSICS:
        raise ValueError(f"physics: expected one of {sorted(PHYSICS)}, got {name!r}")
    return PHYSICS[name]


def set_physics(model: mujoco.MjModel, settings: Physics) -> None:
    """Sets every option of the model explicitly."""
    for name, value in OPTIONS.items():
        setattr(model.opt, name, value)
    model.opt.timestep = settings.timestep
    model.opt.integrator = settings.integrator
    if not settings.multiccd:
        model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_MULTICCD


@cache
def template_folder() -> Path:
    """The folder with the composed `scene.xml` and its meshes; composes it if need be.

    The folder's name holds a digest of the composing code, so changed code never meets an old
    scene.
    """
    root = assets.path()
    code = b"".join(path.read_bytes() for path in _COMPOSING)
    folder = root / f"scene-{hashlib.sha256(code).hexdigest()[:12]}"
    if folder.is_dir():
        return folder
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # dm_control looks for a display; files need none
        from gato_sim.domains.rgb_stacking.scene import compose
    object_files = {
        color: objects.mesh_file(object_id)
        for color, object_id in zip(objects.COLORS, objects.TEST_TRIPLETS["rgb_test_triplet1"])
    }
    with tempfile.TemporaryDirectory(dir=root, prefix=".scene-") as scratch:
        compose.write(compose.compose(root, object_files), Path(scratch))
        os.chmod(scratch, 0o755)
        try:
            os.rename(scratch, folder)
        except OSError:
            if not folder.is_dir():  # else another process was first: its scene is the same
                raise
    return folder


@cache
def _template(mesh_set: str) -> tuple[str, dict[str, bytes]]:
    """The XML text and its mesh files, {name: content}, the objects' excepted."""
    folder = template_folder()
    xml, files = (folder / "scene.xml").read_text(), {}
    for file in sorted((folder / mesh_set).iterdir()):
        # MuJoCo keeps compiled meshes by file name: one name must not mean two contents.
        xml = xml.replace(f'"{file.name}"', f'"{mesh_set}-{file.name}"')
        files[f"{mesh_set}-{file.name}"] = file.read_bytes()
    return xml, files


def scene_files(
    triplet: tuple[str, str, str], mesh_set: str = "hull"
) -> tuple[str, dict[str, bytes]]:
    """The XML text and its mesh files, {name: content}, of the (red, green, blue) objects.

    mesh_set: "hull" to step (MuJoCo collides convex hulls anyway, and these compile in
    milliseconds), "light" to draw, "full" for the files as they are. Raises ValueError for an
    unknown id. The options of `set_physics` are not in the text.
    """
    xml, files = _template(mesh_set)
    object_files = {}
    for color, object_id in zip(objects.COLORS, triplet):
        file = objects.mesh_file(object_id)
        xml = xml.replace(f'"rgb_object_{color}.stl"', f'"{file.name}"')
        object_files[file.name] = file.read_bytes()
    return xml, files | object_files


def compile_scene(
    triplet: tuple[str, str, str], settings: Physics, *, mesh_set: str = "hull"
) -> mujoco.MjModel:
    """The model of `scene_files`, with every option set."""
    model = mujoco.MjModel.from_xml_string(*scene_files(triplet, mesh_set))
    set_physics(model, settings)
    return model


@dataclass(frozen=True)
class Elements:
    """Indices of the model's named elements; equal for every triplet.

    Geom masks are bool (ngeom,); `object_qpos` maps a colour to its 7 qpos indices; torques and
    forces are indices into sensordata.
    """

    arm_qpos: np.ndarray
    arm_dof: np.ndarray
    object_qpos: dict[str, slice]
    object_dof: dict[str, slice]
    finger_qpos: int
    pinch_site: int
    wrist_site: int
    robot_bodies: np.ndarray
    robot_geoms: np.ndarray
    object_geoms: dict[str, np.ndarray]
    basket_geoms: np.ndarray
    fingertip_geoms: tuple[int, int]
    pad_geoms: tuple[np.ndarray, np.ndarray]
    joint_torques: np.ndarray
    wrist_force: slice
    wrist_torque: slice


def find_elements(model: mujoco.MjModel) -> Elements:
    """Looks up by name what the environment needs."""
    arm = [model.joint(ROBOT + name) for name in JOINT_NAMES]
    free = {color: model.joint(f"rgb_object_{color}/") for color in objects.COLORS}
    geoms = [model.geom(i).name for i in range(model.ngeom)]

    def mask(prefix: str) -> np.ndarray:
        return np.array([name.startswith(prefix) for name in geoms])

    def sensor(name: str) -> slice:
        start = int(model.sensor(name).adr[0])
        return slice(start, start + 3)

    left, right = (
        model.geom(f"{GRIPPER}reinforced_{side}_fingertip_geom").id for side in ("left", "right")
    )
    return Elements(
        arm_qpos=np.array([joint.qposadr[0] for joint in arm]),
        arm_dof=np.array([joint.dofadr[0] for joint in arm]),
        object_qpos={c: slice(j.qposadr[0], j.qposadr[0] + 7) for c, j in free.items()},
        object_dof={c: slice(j.dofadr[0], j.dofadr[0] + 6) for c, j in free.items()},
        finger_qpos=int(model.joint(GRIPPER + "left_driver_joint").qposadr[0]),
        pinch_site=model.site(GRIPPER + "pinch_site").id,
        wrist_site=model.site(ROBOT + "wrist_site").id,
        robot_bodies=np.flatnonzero(
            [model.body(i).name.startswith(ROBOT) for i in range(model.nbody)]
        ),
        robot_geoms=mask(ROBOT.rstrip("/")),
        object_geoms={color: mask(f"rgb_object_{color}") for color in objects.COLORS},
        basket_geoms=mask(BASKET),
        fingertip_geoms=(left, right),
        pad_geoms=tuple(
            model.geom_bodyid == model.body(f"{GRIPPER}{side}_pad").id for side in ("left", "right")
        ),
        # about the joint's axis, which is z of each sensor
        joint_torques=np.array([sensor(f"{ROBOT}j{i}_torque").start + 2 for i in range(7)]),
        wrist_force=sensor(f"{WRIST}ft_sensor_force"),
        wrist_torque=sensor(f"{WRIST}ft_sensor_torque"),
    )
