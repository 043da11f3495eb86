"""A robot arm for the controller: the benchmark's Sawyer, or one that a URDF or MJCF describes.

Only kinematics and limits are kept of a description: it may lack meshes, or inertias.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np

from gato_sim.arm.sawyer import (
    JOINT_HIGH,
    JOINT_LOW,
    JOINT_NAMES,
    JOINT_VELOCITY_LIMITS,
    WORKSPACE_HIGH,
    WORKSPACE_LOW,
)

NUM_JOINTS = 7
WRIST_RANGE = np.pi / 2  # rad, either side
NULL_SPACE_ANGLES = np.array(
    [0.0, -0.5186220703125, -0.529384765625, 1.220857421875, 0.40857421875, 1.07831640625, 0.0]
)
MIN_JOINTS = 6  # with fewer the gripper cannot both be led and point down

# Sawyer's links (Rethink's description), then the wrist and the point between the finger tips.
_LINKS = (
    ("0 0 0.08", "1 0 0 0"),
    ("0.081 0.05 0.237", "0.5 -0.5 0.5 0.5"),
    ("0 -0.14 0.1325", "0.707107 0.707107 0 0"),
    ("0 -0.042 0.26", "0.707107 -0.707107 0 0"),
    ("0 -0.115 -0.1265", "0.707107 0.707107 0 0"),
    ("0 0.031 0.275", "0.707107 -0.707107 0 0"),
    ("0 -0.11 0.1053", "0.0616248 0.06163 -0.704416 0.704416"),
)
_HAND = """<body pos="0 0 0.0245" quat="0.707107 0 0 0.707107">
  <site name="wrist"/><site name="pinch" pos="0 0 0.2012" quat="0.707107 0 0 -0.707107"/></body>"""


@dataclass(frozen=True, eq=False)
class Arm:
    """Kinematics, and what the arm may do; angles in rad, velocities in rad/s, lengths in m.

    joints: names in the order of every vector (n,). qpos, dof: their indices in the model, which
    may have further joints. wrist, pinch: sites; z of both points out of the gripper, and what is
    commanded is the motion of the wrist. low, high (n,): infinite for a joint without limits.
    wrist_range: what the last joint may turn to either side before yaw is refused.
    """

    model: mujoco.MjModel
    joints: tuple[str, ...]
    qpos: np.ndarray
    dof: np.ndarray
    wrist: int
    pinch: int
    low: np.ndarray
    high: np.ndarray
    velocity_limits: np.ndarray
    rest_angles: np.ndarray
    workspace_low: np.ndarray
    workspace_high: np.ndarray
    wrist_range: float = np.inf


def sawyer() -> Arm:
    """The benchmark's arm, and its numbers."""
    model = mujoco.MjModel.from_xml_string(_sawyer_xml())
    return Arm(
        model,
        JOINT_NAMES,
        qpos=np.arange(NUM_JOINTS),
        dof=np.arange(NUM_JOINTS),
        wrist=model.site("wrist").id,
        pinch=model.site("pinch").id,
        low=np.array(JOINT_LOW),
        high=np.array(JOINT_HIGH),
        velocity_limits=np.array(JOINT_VELOCITY_LIMITS),
        rest_angles=NULL_SPACE_ANGLES,
        workspace_low=np.array(WORKSPACE_LOW),
        workspace_high=np.array(WORKSPACE_HIGH),
        wrist_range=WRIST_RANGE,
    )


def from_file(
    path: Path,
    joints: Sequence[str],
    pinch_frame: str,
    wrist_frame: str = "",
    *,
    velocity_limits: Sequence[float] = (),
    rest_angles: Sequence[float] = (),
    workspace_low: Sequence[float] = WORKSPACE_LOW,
    workspace_high: Sequence[float] = WORKSPACE_HIGH,
) -> Arm:
    """The arm of a URDF or MJCF file, whose world frame is the one of the policy's training.

    pinch_frame, wrist_frame: a link (body) or a site; the wrist is the pinch unless given.
    velocity_limits: by default those of a URDF. rest_angles, which free joints tend to: by default
    the middle of each joint's range, 0 without one. Raises FileNotFoundError, or ValueError naming
    what the description lacks.
    """
    spec = _kinematics(path)
    pinch_site = _site_at(spec, path, pinch_frame)
    wrist_site = _site_at(spec, path, wrist_frame or pinch_frame)
    try:
        model = spec.compile()
    except ValueError as error:
        raise ValueError(f"{path}: expected kinematics that MuJoCo compiles: {error}") from error
    _check_joints(path, model, joints, model.site(pinch_site).bodyid[0])
    entries = [model.joint(name) for name in joints]
    low, middle, high = _ranges(model, entries)
    limits = velocity_limits if len(velocity_limits) else _urdf_velocity_limits(path, joints)
    return Arm(
        model,
        tuple(joints),
        qpos=np.array([joint.qposadr[0] for joint in entries]),
        dof=np.array([joint.dofadr[0] for joint in entries]),
        wrist=model.site(wrist_site).id,
        pinch=model.site(pinch_site).id,
        low=low,
        high=high,
        velocity_limits=_vector("velocity_limits", limits, joints, low=0.0),
        rest_angles=_vector("rest_angles", rest_angles if len(rest_angles) else middle, joints),
        workspace_low=np.array(workspace_low),
        workspace_high=np.array(workspace_high),
    )


def _kinematics(path: Path) -> mujoco.MjSpec:
    """Bodies, joints and sites of a description, without what may need other files."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a URDF or MJCF file, found none")
    try:
        spec = mujoco.MjSpec.from_file(str(path))
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"{path}: expected URDF or MJCF that MuJoCo reads: {error}") from error
    for elements in (
        *(spec.keys, spec.sensors, spec.actuators, spec.tendons, spec.equalities, spec.pairs),
        *(spec.excludes, spec.skins, spec.flexes, spec.geoms, spec.cameras, spec.lights),
        *(spec.meshes, spec.hfields, spec.materials, spec.textures),
    ):
        for element in list(elements):
            spec.delete(element)
    spec.compiler.fusestatic = False  # a tool frame without mass is a frame nevertheless
    spec.compiler.balanceinertia = True
    spec.compiler.boundmass = spec.compiler.boundinertia = 1.0
    return spec


def _site_at(spec: mujoco.MjSpec, path: Path, frame: str) -> str:
    """The name of a site at a frame; bodies get one. Raises ValueError for an unknown frame."""
    if spec.site(frame) is not None:
        return frame
    body, site = spec.body(frame), f"gato_{frame}"
    if body is None:
        frames = [element.name for element in (*spec.bodies, *spec.sites) if element.name]
        raise ValueError(f"{path}: expected a frame of {frames}, got {frame!r}")
    if spec.site(site) is None:
        body.add_site(name=site)
    return site


def _check_joints(path: Path, model: mujoco.MjModel, joints: Sequence[str], pinch: int) -> None:
    """Raises ValueError unless `joints` are the hinges between the world and the pinch frame."""
    chain, body = [], int(pinch)
    while body:
        first, count = int(model.body_jntadr[body]), int(model.body_jntnum[body])
        chain = [model.joint(i) for i in range(first, first + count)] + chain
        body = int(model.body_parentid[body])
    names = [joint.name for joint in chain]
    if sorted(joints) != sorted(names) or len(names) < MIN_JOINTS:
        raise ValueError(
            f"{path}: expected the joints between world and pinch frame, at least {MIN_JOINTS}, "
            f"to be {list(joints)}, got {names}"
        )
    others = [j.name for j in chain if model.jnt_type[j.id] != mujoco.mjtJoint.mjJNT_HINGE]
    if others:
        raise ValueError(f"{path}: expected revolute joints, got other types for {others}")


def _ranges(model: mujoco.MjModel, joints: Sequence) -> np.ndarray:
    """Lowest, middle and highest angles (3, n) in rad of a model's joints; -inf, 0, inf of free."""
    limited = np.array([bool(model.jnt_limited[joint.id]) for joint in joints])
    low, high = np.array([joint.range for joint in joints]).T
    free = np.array([[-np.inf], [0.0], [np.inf]])
    return np.where(limited, [low, (low + high) / 2, high], free)


def _urdf_velocity_limits(path: Path, joints: Sequence[str]) -> list[float]:
    """rad/s of each joint's <limit velocity>, which MuJoCo does not read; empty for MJCF."""
    root = ElementTree.parse(path).getroot()
    limits = {
        joint.get("name"): float(limit.get("velocity", "nan"))
        for joint in root.iter("joint")
        for limit in joint.iter("limit")
    }
    return [limits.get(name, float("nan")) for name in joints] if root.tag == "robot" else []


def _vector(
    name: str, values: Sequence[float], joints: Sequence[str], low: float = -np.inf
) -> np.ndarray:
    vector = np.array(values, np.float64)
    if vector.shape != (len(joints),) or not (np.isfinite(vector) & (vector > low)).all():
        raise ValueError(
            f"{name}: expected {len(joints)} numbers above {low} for {list(joints)}, "
            f"got {vector.tolist()}"
        )
    return vector


def _sawyer_xml() -> str:
    links = "".join(
        f'<body pos="{pos}" quat="{quat}"><joint axis="0 0 1"/>' for pos, quat in _LINKS
    )
    return (
        '<mujoco><compiler angle="radian" boundmass="1" boundinertia="1"/><worldbody>'
        f"{links}{_HAND}{'</body>' * NUM_JOINTS}</worldbody></mujoco>"
    )
