"""Compares our scene, stepping, observations and reward with dm_robotics' own RGB-stacking.

    python3.11 -m venv /tmp/original        # 3.9 to 3.12; nothing of it enters our environment
    /tmp/original/bin/pip install mujoco==3.3.3 dm-control==1.0.31 dm-robotics-moma==0.10.0 \
        dm-robotics-manipulation==0.10.0 dm-robotics-controllers==0.10.0
    git clone https://github.com/google-deepmind/rgb_stacking /tmp/rgb_stacking
    .venv/bin/python tests/compat/compare.py --original /tmp/original/bin/python \
        --code /tmp/rgb_stacking

Prints a table and every difference with the reason for which it is allowed; exits with 1 if there
is one without a reason or a number is too large. The last line is JSON. Takes two CPU-minutes.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import mujoco
import numpy as np

import gato_sim
from gato_sim.domains.rgb_stacking import objects, observation, tasks
from gato_sim.domains.rgb_stacking.scene import scene

HERE = Path(__file__).parent
PHYSICS = scene.PHYSICS["benchmark"]
# Differences that cannot change what is simulated or seen: (kind, element, field) and why.
ALLOWED = (
    ("body", r"world|base/|base/collision_basket", r".*", "fixed: its inertia moves nothing"),
    ("actuator", r".*", r"actuator_act(limited|range)", "the original clips in Python instead"),
    ("camera|light", r".*", r"(cam|light)_poscom0", "used by cameras that follow a body; none do"),
    ("statistic", r"extent|meanmass|meansize|center", r".*", "scales decorations and clip planes"),
    ("visual", r"scale\..*", r".*", "scales decorations that are not drawn"),
)
RELATIVE, ABSOLUTE = 1e-6, 1e-9  # rounding of numbers written as text
# These depend on the contacts, which MuJoCo 4 solves a little differently.
FORCES = ("sawyer/joints/torque", "wrist/force", "wrist/torque")
LIMITS = {
    "qpos after 50 steps, our full meshes, MuJoCo 3.3.3": 1e-6,
    # Hulls have their vertices in another order: rounding, which lasting contact amplifies.
    "qpos after 50 steps, our hulls, MuJoCo 3.3.3": 5e-3,
    "poses, angles, velocities, flags of the same states": 1e-6,
    "forces and torques of the same states (N, N m)": 0.1,
    "joint commands for the same actions (rad/s)": 5e-3,
    "rewards that differ": 0,
    "frames out of order": 0,
}


def write_ours(folder: Path, triplet: tuple[str, str, str]) -> None:
    """Our scene as files, with both sets of meshes that matter and every option as a number."""
    options = scene.OPTIONS | {"timestep": PHYSICS.timestep, "integrator": PHYSICS.integrator}
    options = {k: getattr(v, "value", v) for k, v in options.items()}
    for mesh_set in ("full", "hull"):
        (folder / mesh_set).mkdir()
        xml, files = scene.scene_files(triplet, mesh_set)
        (folder / mesh_set / "scene.xml").write_text(xml)
        (folder / mesh_set / "options.json").write_text(json.dumps(options))
        for name, content in files.items():
            (folder / mesh_set / name).write_bytes(content)


def differences(original: dict, ours: dict) -> list[tuple[str, str, str, object, object]]:
    """(kind, element, field, original, ours) of everything that is not equal up to rounding."""
    found = []
    for kind in original:
        for element in sorted(original[kind].keys() | ours[kind].keys()):
            a, b = original[kind].get(element), ours[kind].get(element)
            if a is None or b is None:
                found.append((kind, element, "exists", a is not None, b is not None))
                continue
            for field in sorted(a.keys() | b.keys()):
                if not _equal(a.get(field), b.get(field)):
                    found.append((kind, element, field, a.get(field), b.get(field)))
    return found


def _equal(a, b) -> bool:
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_equal(a[k], b[k]) for k in a)
    if a == b or a is None or b is None or isinstance(a, str):
        return a == b
    a, b = np.asarray(a, float), np.asarray(b, float)
    scale = np.abs(a).max(initial=0)
    return a.shape == b.shape and bool((np.abs(a - b) <= ABSOLUTE + RELATIVE * scale).all())


def reason(difference: tuple, original: dict, ours: dict) -> str | None:
    """Why a difference is allowed, None if it is not."""
    kind, element, field, in_original, _ = difference
    if field == "exists" and kind == "geom" and in_original:
        geom = original["geom"][element]
        if geom["geom_contype"] == geom["geom_conaffinity"] == 0 and geom["geom_group"] > 2:
            return "touches nothing and is not drawn: for a controller that is not used"
    if field == "exists" and kind == "exclude" and in_original:
        if not _can_touch(element.split(" & "), ours):
            return "no geoms on these bodies could touch: left out for speed before MuJoCo 3"
    for kinds, elements, fields, why in ALLOWED:
        if all(
            re.fullmatch(pattern, word)
            for pattern, word in ((kinds, kind), (elements, element), (fields, field))
        ):
            return why
    return None


def _can_touch(bodies: list[str], ours: dict) -> bool:
    """Whether a geom of one body meets one of the other by the masks of contacts."""
    first, second = (
        [g for g in ours["geom"].values() if g["geom_bodyid"] == body] for body in bodies
    )
    return any(
        a["geom_contype"] & b["geom_conaffinity"] or b["geom_contype"] & a["geom_conaffinity"]
        for a in first
        for b in second
    )


def forced(simulation, rows: dict[str, np.ndarray], when: str, step: int) -> None:
    """Puts our simulation into a recorded state."""
    for name in ("qpos", "qvel", "act", "qacc_warmstart", "xfrc_applied", "ctrl"):
        getattr(simulation.data, name)[:] = rows[f"{when}/{name}"][step]
    mujoco.mj_forward(simulation.model, simulation.data)


def compare_steps(env, rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Our side of every recorded step: commands, rewards, observations, and where it leads."""
    simulation, result = env.simulation, {"ctrl": [], "reward": [], "qpos": []}
    frames = {key: [] for key in observation.STATE}
    for step, action in enumerate(rows["action"]):
        forced(simulation, rows, "before", step)
        clipped = np.clip(action, tasks.ACTION.low, tasks.ACTION.high)
        result["ctrl"].append(simulation.controller.ctrl(clipped, simulation.joint_angles))
        simulation.command(rows["after/ctrl"][step])
        simulation.step()
        result["qpos"].append(simulation.data.qpos.copy())
        window = observation.observe(simulation)["gripper/joints/velocity"]
        forced(simulation, rows, "after", step)
        result["reward"].append(float(env.success()))
        for key, value in observation.observe(simulation).items():
            frames[key].append(window if key == "gripper/joints/velocity" else value)
    return {k: np.stack(v) for k, v in (result | frames).items()}


def free_run(env, rows: dict[str, np.ndarray], num_steps: int) -> np.ndarray:
    """qpos (num_steps, nq) under our own MuJoCo after the recorded commands, from their start."""
    forced(env.simulation, rows, "before", 0)
    result = []
    for ctrl in rows["after/ctrl"][:num_steps]:
        env.simulation.command(ctrl)
        env.simulation.step()
        result.append(env.simulation.data.qpos.copy())
    return np.stack(result)


def figures(rows: dict[str, np.ndarray], ours: dict, run: np.ndarray) -> dict[str, float]:
    """The numbers of the table."""
    num_steps = len(run)
    recorded = rows["after/qpos"][:num_steps]
    observed = {
        key: np.abs(rows[f"observation/{key}"][:, 0] - ours[key].reshape(len(ours[key]), *shape))
        for key, (shape, _, _) in observation.STATE.items()
    }
    for key, error in observed.items():
        print(f"  {key:28}{error.max():12.2e}")
    stacks = [rows[f"observation/{key}"] for key in observation.STATE]
    out_of_order = sum(int((stack[1:, 1] != stack[:-1, 0]).any()) for stack in stacks)
    version = mujoco.__version__
    return {
        "qpos after 50 steps, our full meshes, MuJoCo 3.3.3": _worst(rows["replay/full"], recorded),
        "qpos after 50 steps, our hulls, MuJoCo 3.3.3": _worst(rows["replay/hull"], recorded),
        f"qpos after 1 step, ours, MuJoCo {version}, median": float(
            np.median(np.abs(ours["qpos"] - rows["after/qpos"]).max(1))
        ),
        f"qpos after 50 steps, ours, MuJoCo {version}": _worst(run, recorded),
        f"arm's joints after 50 steps (rad), MuJoCo {version}": _worst(run[:, :7], recorded[:, :7]),
        "poses, angles, velocities, flags of the same states": max(
            float(error.max()) for key, error in observed.items() if key not in FORCES
        ),
        "forces and torques of the same states (N, N m)": max(
            float(observed[key].max()) for key in FORCES
        ),
        "joint commands for the same actions (rad/s)": _worst(ours["ctrl"], rows["after/ctrl"]),
        "rewards that differ": int((ours["reward"] != rows["reward"]).sum()),
        "rewards of 1 among them all": int(rows["reward"].sum()),
        "frames out of order": out_of_order,
    }


def _worst(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).max())


def report_fields(fields: dict) -> tuple[int, int]:
    """Prints the differences; how many are allowed, how many are not."""
    reasons: dict[str, list[str]] = {}
    wrong = []
    for difference in differences(fields["original"], fields["ours"]):
        why = reason(difference, fields["original"], fields["ours"])
        if why is None:
            wrong.append(difference)
        else:
            reasons.setdefault(why, []).append(" ".join(difference[:3]))
    for why, names in reasons.items():
        print(f"allowed, {len(names)}: {why}\n    e.g. {names[0]}")
    for kind, element, field, a, b in wrong:
        print(f"DIFFERENT {kind} {element} {field}: original {str(a)[:90]}, ours {str(b)[:90]}")
    return sum(map(len, reasons.values())), len(wrong)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--original", type=Path, required=True, help="python of its environment")
    parser.add_argument("--code", type=Path, required=True, help="checkout of rgb_stacking")
    parser.add_argument("--task", default="rgb_test_triplet1", choices=objects.TEST_TRIPLETS)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for what was recorded")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        out = arguments.keep or Path(scratch)
        out.mkdir(parents=True, exist_ok=True)
        ours = Path(scratch) / "ours"
        ours.mkdir()
        write_ours(ours, objects.TEST_TRIPLETS[arguments.task])
        command = [arguments.original, HERE / "original.py", "--code", arguments.code]
        command += ["--out", out, "--ours", ours, "--task", arguments.task]
        command += ["--steps", str(arguments.steps), "--seed", str(arguments.seed)]
        subprocess.run(list(map(str, command)), check=True, stderr=subprocess.DEVNULL)
        fields = json.loads((out / "fields.json").read_text())
        rows = dict(np.load(out / "trajectory.npz"))
    num_allowed, num_wrong = report_fields(fields)
    env = gato_sim.load(arguments.task, seed=0, physics="benchmark")
    env.reset()
    table = figures(rows, compare_steps(env, rows), free_run(env, rows, arguments.steps))
    too_large = [name for name, limit in LIMITS.items() if table[name] > limit]
    for name, value in table.items():
        limit = f"  (limit {LIMITS[name]:g})" if name in LIMITS else ""
        print(f"{name:60}{value:10.2g}{limit}{'  TOO LARGE' if name in too_large else ''}")
    record = {"fields_allowed": num_allowed, "fields_different": num_wrong} | table
    print(json.dumps({"compare": arguments.task, "seed": arguments.seed} | record))
    return int(bool(num_wrong or too_large))


if __name__ == "__main__":
    sys.exit(main())
