"""Composes the benchmark's scene from DeepMind's model files with dm_control.mjcf.

Runs once: `scene.template_folder` keeps the result as one XML text and its meshes, and nothing
that steps the simulation needs dm_control. The numbers are those of dm_robotics 0.10.0 and of
google-deepmind/rgb_stacking; element names of the model files are kept. Left out are the
capsules that exist for a collision-avoiding controller the benchmark does not use: they touch
nothing, are never drawn, and (but for the few kept here) weigh nothing.
"""

from __future__ import annotations

from pathlib import Path

import mujoco
import numpy as np
from dm_control import mjcf

from gato_sim.arm.sawyer import (
    GRIPPER_LIMIT,
    JOINT_HIGH,
    JOINT_LOW,
    JOINT_NAMES,
    JOINT_VELOCITY_LIMITS,
)
from gato_sim.domains.rgb_stacking.benchmark import BASKET_ORIGIN
from gato_sim.domains.rgb_stacking.scene import meshes

_MODELS = "dm_robotics/moma/models"
_VENDOR = f"{_MODELS}/vendor"
_BASKET = "dm_robotics/manipulation/standard_cell/rgb_basket_assets/rgb_basket.xml"

JOINT_EFFORT_LIMITS = (80.0, 80.0, 40.0, 40.0, 9.0, 9.0, 9.0)  # N m
_JOINT_CLASSES = {"large_joint": 0.3, "medium_joint": 0.3, "small_joint": 0.1}  # friction loss
_OBJECT_RGBA = {"red": (1, 0, 0, 1), "green": (0, 1, 0, 1), "blue": (0, 0, 1, 1)}
OBJECT_MASS = 0.2  # kg
_CAMERAS = {
    "basket_front_left": (35.0, (0.970, -0.375, 0.235), (0.7815, 0.4900, 0.2050, 0.3272)),
    "basket_front_right": (35.0, (0.970, 0.375, 0.235), (0.3272, 0.2050, 0.4900, 0.7815)),
    "basket_back_left": (30.0, (0.060, -0.260, 0.390), (0.754, 0.373, -0.250, -0.480)),
}
CELL = 0.006  # m: the size of detail that `light` meshes drop
MAX_LIGHT_FACES = 500
# Drawn as their convex hull in `light`: what their hollows hide is smaller than a pixel.
CONVEX_PARTS = (
    "base_mount",
    "robotiq_fts300_base",
    "robotiq_fts300_top",
    "robotiq_fts300_coupling",
)
_SLOPE, _SLOPE_BACK = 0.44506, 2.69653  # rad: the basket's walls rise by 25.5 degrees


def compose(model_files: Path, object_files: dict[str, Path]) -> mjcf.RootElement:
    """The whole scene with the mesh file of each colour's object; options are set elsewhere."""
    arena = _arena(model_files)
    origin = arena.worldbody.add("site", pos=BASKET_ORIGIN, rgba=(0, 0, 0, 0), size=(0.01,))
    origin.attach(_basket(model_files))
    arena.attach(robot(model_files))
    arena.worldbody.add(
        "camera",
        name="main_camera",
        pos=(1.4, 0.0, 0.45),
        quat=(0.541, 0.455, 0.456, 0.541),
        fovy=45,
    )
    for color, file in object_files.items():
        frame = arena.attach(_prop(color, file))
        frame.add("freejoint")
    return arena


def robot(model_files: Path) -> mjcf.RootElement:
    """Sawyer arm, FTS300 force-torque sensor and Robotiq 2F-85 gripper, joined."""
    arm = _arm(model_files)
    sensor = _wrist_sensor(model_files)
    sensor.find("site", "ft_sensor_attachment_site").attach(_gripper(model_files))
    arm.find("site", "real_aligned_tcp").attach(sensor)
    return arm


def _arena(model_files: Path) -> mjcf.RootElement:
    arena = mjcf.from_path(str(model_files / _MODELS / "arenas/empty_assets/arena.xml"))
    arena.model = "arena"
    arena.compiler.eulerseq = "xyz"
    arena.compiler.boundmass = 1e-5
    arena.compiler.boundinertia = 1e-11
    visual = arena.visual
    visual.map.znear = 0.01
    visual.headlight.diffuse = (0.6, 0.6, 0.6)
    visual.headlight.ambient = (0.3, 0.3, 0.3)
    visual.headlight.specular = (0, 0, 0)
    return arena


def _basket(model_files: Path) -> mjcf.RootElement:
    """The basket with its three cameras; boxes collide in place of the drawn meshes."""
    basket = mjcf.from_path(str(model_files / _BASKET))
    basket.model = "base"
    for geom in basket.find_all("geom"):
        geom.contype = geom.conaffinity = 0
    mount = basket.find("body", "rgb_basket").add(
        "body", name="camera_ref", pos=(0, 0.6, 0), quat=(0.707, 0, 0, -0.707)
    )
    for name, (fovy, pos, quat) in _CAMERAS.items():
        mount.add("camera", name=name, fovy=fovy, pos=pos, quat=quat)
    body = basket.worldbody.add("body", name="collision_basket", quat=(0.707, 0, 0, 0.707))
    shared = dict(type="box", contype=1, conaffinity=1, rgba=(1, 1, 0, 0.3), group=5)
    body.add(
        "geom",
        name="basket_base_surface_CollisionGeom",
        pos=(0, 0, -0.02),
        size=(0.25, 0.25, 0.02),
        **shared,
    )
    walls = (
        ((-0.28, 0, 0.07), (0.2, 0.4, 0.005), (0, 1, 0, _SLOPE)),
        ((0.28, 0, 0.07), (0.2, 0.4, 0.005), (0, 1, 0, _SLOPE_BACK)),
        ((0, -0.28, 0.07), (0.4, 0.2, 0.005), (1, 0, 0, _SLOPE_BACK)),
        ((0, 0.28, 0.07), (0.4, 0.2, 0.005), (1, 0, 0, _SLOPE)),
    )
    for i, (pos, size, axisangle) in enumerate(walls, start=1):
        name = f"basket_sloped_side_surfaces_CollisionGeom{i}"
        body.add("geom", name=name, pos=pos, size=size, axisangle=axisangle, **shared)
    return basket


def _arm(model_files: Path) -> mjcf.RootElement:
    """Sawyer whose actuators integrate joint velocities into position targets."""
    path = model_files / _VENDOR / "rethink/sawyer_description/mjcf/sawyer.xml"
    arm = mjcf.from_path(str(path))
    arm.model = "robot0"
    for name, frictionloss in _JOINT_CLASSES.items():
        joint = arm.default.add("default", dclass=name).joint
        joint.frictionloss, joint.armature, joint.damping = frictionloss, 1, 0.1
    # The real gripper is mounted a quarter turn about the wrist's axis.
    arm.find("body", "hand").add(
        "site", name="real_aligned_tcp", type="sphere", quat=(0.70711, 0, 0, 0.70711)
    )
    for i, name in enumerate(JOINT_NAMES):
        velocity, effort = JOINT_VELOCITY_LIMITS[i], JOINT_EFFORT_LIMITS[i]
        arm.actuator.add(
            "general",
            name=f"j{i}",
            joint=arm.find("joint", name),
            dyntype="integrator",
            biastype="affine",
            gainprm=(500,),
            biasprm=(0, -500, -50),
            ctrllimited=True,
            ctrlrange=(-velocity, velocity),
            forcelimited=True,
            forcerange=(-effort, effort),
            # The original clips the targets in Python after every substep.
            actlimited=True,
            actrange=(JOINT_LOW[i], JOINT_HIGH[i]),
        )
    return arm


def _wrist_sensor(model_files: Path) -> mjcf.RootElement:
    path = model_files / _MODELS / "end_effectors/wrist_sensors/robotiq_fts300.xml"
    sensor = mjcf.from_path(str(path))
    sensor.model = "robotiq_fts300"
    # This sphere collides with nothing, but the body has no other inertia than its geoms'.
    sensor.find("body", "base_mount").add(
        "geom",
        name="base_mount_CollisionGeom",
        type="sphere",
        pos=(0, 0, 0.015),
        size=(0.05,),
        contype=0,
        conaffinity=0,
        rgba=(1, 1, 1, 0.3),
        group=5,
    )
    return sensor


def _gripper(model_files: Path) -> mjcf.RootElement:
    """Robotiq 2F-85 with DeepMind's finger tips, slowed like the real one."""
    path = model_files / _VENDOR / "robotiq_beta_robots/mujoco/robotiq_2f85_v2.xml"
    gripper = mjcf.from_path(str(path))
    gripper.model = "robotiq_2f85"
    actuator = gripper.find("actuator", "fingers_actuator")
    actuator.ctrlrange = (-GRIPPER_LIMIT, GRIPPER_LIMIT)
    actuator.dyntype = "integrator"
    actuator.gainprm = (100 * 0.8 / 255, 0, 0)  # 255 is the joint's 0.8 rad
    actuator.biasprm = (0, -100, 0)
    actuator.actlimited = True
    actuator.actrange = (0, GRIPPER_LIMIT)
    tip = gripper.find("default", "reinforced_fingertip").geom
    tip.friction = (0.5, 0.1, 0.01)
    tip.solimp = (0.9, 0.95, 0.001, 0.01, 2)
    tip.solref = (-30000, -200)
    gripper.find("default", "spring_link").joint.stiffness = 0.01
    driver = gripper.find("default", "driver").joint
    driver.armature, driver.damping = 0.1, 1
    for side in ("right", "left"):
        gripper.find("geom", f"reinforced_{side}_fingertip_geom").rgba = (1, 1, 1, 1)
        _add_pad_geoms(gripper.find("body", f"{side}_pad"), side)
    return gripper


def _add_pad_geoms(pad: mjcf.Element, side: str) -> None:
    # Weighs only: the pad's inertia is that of its geoms.
    pad.add(
        "geom",
        name=f"{side}_pad_CollisionGeom",
        type="box",
        pos=(0, 0.004, 0.019),
        size=(0.012, 0.01, 0.019),
        contype=0,
        conaffinity=0,
        rgba=(1, 1, 1, 0.3),
        group=5,
    )
    for i, height in enumerate((0.03, 0.015), start=1):
        pad.add(
            "geom",
            name=f"{side}_collision_box{i}",
            dclass="reinforced_fingertip",
            type="box",
            pos=(0, 0.0117, height),
            size=(0.007, 0.0021575, 0.005),
            rgba=(0, 0, 0, 0),
        )


def _prop(color: str, file: Path) -> mjcf.RootElement:
    """One object: a drawn mesh that has the mass and an equal one that collides."""
    name = f"rgb_object_{color}"
    wrapped = mjcf.RootElement(model=name)
    wrapped.worldbody.add("body", name="prop_root")
    content = mjcf.Asset(file.read_bytes(), ".stl", prefix=name)
    kinds = {
        "visual": dict(
            group=1,
            contype=0,
            conaffinity=0,
            mass=OBJECT_MASS,
            rgba=_OBJECT_RGBA[color],
        ),
        "collision": dict(
            group=4,
            contype=1,
            conaffinity=1,
            mass=0,
            condim=6,
            rgba=(0.5, 0.5, 0.5, 1),
            solref=(0.004, 1),
            friction=(0.5, 0.005, 0.0001),
        ),
    }
    for kind, attributes in kinds.items():
        asset = wrapped.asset.add("mesh", name=f"mesh_{kind}_{name}_00", file=content)
        wrapped.worldbody.add(
            "geom", name=f"mesh_{name}_00_{kind}", type="mesh", mesh=asset, **attributes
        )
    outer = mjcf.RootElement(model=name)
    root = outer.worldbody.add("body", name="prop_root")
    root.add("site", name="prop_root_site").attach(wrapped)
    return outer


def write(scene: mjcf.RootElement, folder: Path) -> None:
    """Writes `scene.xml` and three sets of its meshes: `full`, `hull` and `light`.

    The sets have the same file names, so the one XML text compiles with any of them. The objects'
    files are named by colour in the text and not written: `scene` inserts those of a triplet.
    """
    files = scene.get_assets()
    _fix_inertia(scene, mujoco.MjModel.from_xml_string(scene.to_xml_string(), files))
    xml = scene.to_xml_string()
    for name in ("full", "hull", "light"):
        (folder / name).mkdir()
    for name, content in files.items():
        prefix = name.split("-")[0]
        if prefix.startswith("rgb_object_"):
            xml = xml.replace(name, f"{prefix}.stl")
            continue
        triangles = meshes.read_stl(content)
        (folder / "full" / name).write_bytes(content)
        (folder / "hull" / name).write_bytes(meshes.write_stl(meshes.hull(triangles)))
        (folder / "light" / name).write_bytes(meshes.write_stl(_lighten(prefix, triangles)))
    (folder / "scene.xml").write_text(xml)


def _fix_inertia(scene: mjcf.RootElement, model: mujoco.MjModel) -> None:
    """Writes down the inertia that MuJoCo infers from meshes, so lighter ones do not change it."""
    for body in scene.find("body", "robot0/arm_base_link").find_all("body"):
        compiled = model.body(body.full_identifier)
        if body.inertial is None and compiled.mass[0] > 0:
            body.add(
                "inertial",
                mass=compiled.mass[0],
                pos=compiled.ipos,
                quat=compiled.iquat,
                diaginertia=compiled.inertia,
            )


def _lighten(name: str, triangles: np.ndarray) -> np.ndarray:
    """A mesh for drawing: at a camera's distance a pixel of a 64-pixel image is 10 mm wide."""
    if len(triangles) < MAX_LIGHT_FACES:
        return triangles
    scale = 1.0 if np.ptp(triangles.reshape(-1, 3), axis=0).max() < 2 else 1000.0  # some in mm
    simple = meshes.snap(triangles, CELL * scale)
    return meshes.hull(simple) if name in CONVEX_PARTS else simple
