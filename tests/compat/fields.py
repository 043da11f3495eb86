"""A compiled MjModel as plain data, {kind: {element: {field: value}}}, with names for indices.

Two models can be compared by it although their elements are ordered differently. Runs with any
MuJoCo from 3.3 on, so both environments of the comparison use this file.
"""

from __future__ import annotations

from collections import defaultdict

import mujoco
import numpy as np

_OBJECT = mujoco.mjtObj
# {kind: (prefix of its fields, type, count)}
KINDS = {
    "body": ("body_", _OBJECT.mjOBJ_BODY, "nbody"),
    "joint": ("jnt_", _OBJECT.mjOBJ_JOINT, "njnt"),
    "geom": ("geom_", _OBJECT.mjOBJ_GEOM, "ngeom"),
    "site": ("site_", _OBJECT.mjOBJ_SITE, "nsite"),
    "camera": ("cam_", _OBJECT.mjOBJ_CAMERA, "ncam"),
    "light": ("light_", _OBJECT.mjOBJ_LIGHT, "nlight"),
    "material": ("mat_", _OBJECT.mjOBJ_MATERIAL, "nmat"),
    "texture": ("tex_", _OBJECT.mjOBJ_TEXTURE, "ntex"),
    "tendon": ("tendon_", _OBJECT.mjOBJ_TENDON, "ntendon"),
    "actuator": ("actuator_", _OBJECT.mjOBJ_ACTUATOR, "nu"),
    "sensor": ("sensor_", _OBJECT.mjOBJ_SENSOR, "nsensor"),
    "equality": ("eq_", _OBJECT.mjOBJ_EQUALITY, "neq"),
}
# Fields that hold the index of an element: {field: its kind}.
_INDICES = {
    "body_parentid": "body",
    "body_rootid": "body",
    "body_weldid": "body",
    "jnt_bodyid": "body",
    "geom_bodyid": "body",
    "site_bodyid": "body",
    "cam_bodyid": "body",
    "cam_targetbodyid": "body",
    "light_bodyid": "body",
    "light_targetbodyid": "body",
    "geom_matid": "material",
    "site_matid": "material",
    "tendon_matid": "material",
}
# Where arrays lie, and what the compiler derives for speed: says nothing about the scene.
_BOOKKEEPING = ("adr", "num", "dataid", "bvh", "plugin", "treeid", "history", "sameframe")


def model_fields(model: mujoco.MjModel) -> dict[str, dict[str, dict]]:
    """Every element's fields, as lists, numbers and names that JSON can hold."""
    arrays = {name: getattr(model, name) for name in dir(model) if not name.startswith("_")}
    arrays = {name: value for name, value in arrays.items() if isinstance(value, np.ndarray)}
    result = {}
    for kind, (prefix, _, count) in KINDS.items():
        size = getattr(model, count)
        fields = {
            name: value
            for name, value in arrays.items()
            if name.startswith(prefix)
            and value.shape[:1] == (size,)
            and not any(word in name.removeprefix(prefix) for word in _BOOKKEEPING)
        }
        result[kind] = {
            element: {name: _value(model, kind, i, name, fields[name][i]) for name in fields}
            for i, element in enumerate(element_names(model, kind))
        }
    for i, fields in enumerate(result["body"].values()):
        fields["inertia_tensor"] = _inertia(model, i)
        del fields["body_inertia"], fields["body_iquat"]  # axes of nearly equal moments are free
    _add_dofs(model, arrays, result["joint"])
    result["geom"] = {
        name: fields | {"mesh": _mesh(model, i)}
        for i, (name, fields) in enumerate(result["geom"].items())
    }
    result["exclude"] = {name: {} for name in _excludes(model)}
    result["wrap"] = {str(i): {"prm": float(model.wrap_prm[i])} for i in range(model.nwrap)}
    result["option"] = {name: {"value": value} for name, value in _structure(model.opt).items()}
    result["statistic"] = {name: {"value": v} for name, v in _structure(model.stat).items()}
    result["visual"] = {
        f"{part}.{name}": {"value": value}
        for part in ("global_", "headlight", "map", "quality", "rgba", "scale")
        for name, value in _structure(getattr(model.vis, part)).items()
    }
    return result


def element_names(model: mujoco.MjModel, kind: str) -> list[str]:
    """The elements' names; one without is called by its body and its place there."""
    _, type_, count = KINDS[kind]
    names, seen = [], defaultdict(int)
    for i in range(getattr(model, count)):
        name = mujoco.mj_id2name(model, type_, i)
        if not name:
            owner = getattr(model, f"{KINDS[kind][0]}bodyid", None)
            body = "" if owner is None else _name(model, _OBJECT.mjOBJ_BODY, int(owner[i]))
            name = f"{kind} {seen[body]} of {body}"
            seen[body] += 1
        names.append(name)
    return names


def _value(model: mujoco.MjModel, kind: str, i: int, name: str, value: np.ndarray):
    if name in _INDICES:
        return _name(model, KINDS[_INDICES[name]][1], int(value))
    if name in ("actuator_trnid", "eq_obj1id", "eq_obj2id", "sensor_objid", "sensor_refid"):
        return _target(model, name, i, value)
    return value.tolist()


def _target(model: mujoco.MjModel, name: str, i: int, value: np.ndarray):
    if name == "actuator_trnid":
        is_joint = model.actuator_trntype[i] == mujoco.mjtTrn.mjTRN_JOINT
        type_ = _OBJECT.mjOBJ_JOINT if is_joint else _OBJECT.mjOBJ_TENDON
        return _name(model, type_, int(value[0]))
    if name.startswith("eq_"):
        is_joint = model.eq_type[i] == mujoco.mjtEq.mjEQ_JOINT
        return _name(model, _OBJECT.mjOBJ_JOINT if is_joint else _OBJECT.mjOBJ_BODY, int(value))
    types = model.sensor_objtype if name == "sensor_objid" else model.sensor_reftype
    return _name(model, _OBJECT(int(types[i])), int(value))


def _name(model: mujoco.MjModel, type_: mujoco.mjtObj, i: int) -> str | None:
    return mujoco.mj_id2name(model, type_, i) if i >= 0 else None


def _inertia(model: mujoco.MjModel, body: int) -> list:
    """The inertia tensor about the centre of mass in the body's axes, (3, 3)."""
    rotation = np.empty(9)
    mujoco.mju_quat2Mat(rotation, model.body_iquat[body])
    rotation = rotation.reshape(3, 3)
    return (rotation * model.body_inertia[body] @ rotation.T).tolist()


def _add_dofs(model: mujoco.MjModel, arrays: dict, joints: dict[str, dict]) -> None:
    for i, fields in enumerate(joints.values()):
        start = model.jnt_dofadr[i]
        end = start + (6 if model.jnt_type[i] == mujoco.mjtJoint.mjJNT_FREE else 1)
        for name in ("frictionloss", "armature", "damping", "solref", "solimp", "invweight0", "M0"):
            fields[f"dof_{name}"] = arrays[f"dof_{name}"][start:end].tolist()


def _mesh(model: mujoco.MjModel, geom: int) -> dict | None:
    """Vertices of a mesh geom, summed up: their number, and the box they fill in its body."""
    mesh = model.geom_dataid[geom]
    if mesh < 0:
        return None
    start, count = model.mesh_vertadr[mesh], model.mesh_vertnum[mesh]
    vertices = model.mesh_vert[start : start + count]
    rotation = np.empty(9)
    mujoco.mju_quat2Mat(rotation, model.geom_quat[geom])
    inside = vertices @ rotation.reshape(3, 3).T + model.geom_pos[geom]
    return {
        "num_faces": int(model.mesh_facenum[mesh]),
        "low": inside.min(0).tolist(),
        "high": inside.max(0).tolist(),
        "mean": inside.mean(0).tolist(),
    }


def _excludes(model: mujoco.MjModel) -> list[str]:
    """Names of the pairs of bodies whose contacts are left out, each pair sorted."""
    names = element_names(model, "body")
    pairs = [(int(s) >> 16, int(s) & 0xFFFF) for s in model.exclude_signature]
    return sorted(" & ".join(sorted(names[i] for i in pair)) for pair in pairs)


def _structure(part) -> dict:
    names = [n for n in dir(part) if not n.startswith("_") and not callable(getattr(part, n))]
    return {name: np.asarray(getattr(part, name)).tolist() for name in names}
