"""Records what dm_robotics' own RGB-stacking does. Runs in its environment, not in ours.

    python original.py --code rgb_stacking --out FOLDER [--ours FOLDER] [--steps 50]

`compare.py` starts it and says how to make that environment. Writes the compiled scene's fields,
a trajectory of states, commands, observations, rewards and images, and, for the scene that
`--ours` holds, its fields as this MuJoCo compiles them and where the same commands lead it.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import re
import sys
from pathlib import Path

os.environ.setdefault("MUJOCO_GL", "osmesa")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import mujoco
import numpy as np
from fields import model_fields

STATE = ("qpos", "qvel", "act", "qacc_warmstart", "xfrc_applied", "ctrl")
CAMERAS = ("basket_front_left", "basket_front_right", "basket_back_left")
NUM_APPROACH = 80
# m, red's origin from blue's: on it, on its edge, over the edge, beside it, above it
OFFSETS = ((0, 0, 0.062), (0.02, 0, 0.062), (0.055, 0, 0.062), (0, -0.06, 0.01), (0, 0, 0.12))


def build(code: Path, task: str, observations: str = "ALL"):
    """The environment with a set of observations and the sparse reward."""
    sys.path.insert(0, str(code))
    from dm_robotics.agentflow.preprocessors import observation_transforms

    # dm_robotics 0.10 refuses what the released task does: merging into names that exist.
    observation_transforms.MergeObservations = functools.partial(
        observation_transforms.MergeObservations, raise_on_overwrite=False
    )
    from rgb_stacking import environment

    chosen = environment.ObservationSet[observations]
    return environment.rgb_stacking(task, chosen, use_sparse_reward=True)


def without_cameras(code: Path, task: str):
    """The environment with no camera sensors, which no option of it offers."""
    from dm_robotics.moma.sensors import camera_sensor

    build_sensors, camera_sensor.build_camera_sensors = (
        camera_sensor.build_camera_sensors,
        lambda *_: [],
    )
    try:
        return build(code, task, "STATE_ONLY")
    finally:
        camera_sensor.build_camera_sensors = build_sensors


def physics_of(env):
    """(MjModel, MjData) that the environment steps."""
    physics = env.base_env.physics
    return physics.model.ptr, physics.data.ptr


def towards_red(timestep) -> np.ndarray:
    """Action (5,) that takes the open gripper to the red object."""
    way = timestep.observation["rgb30_red/to_pinch"][0, :3]
    return np.concatenate([np.clip(4 * way, -0.07, 0.07), [0.0, -255.0]]).astype(np.float32)


def random_action(rng: np.random.Generator) -> np.ndarray:
    """Any motion, mostly downwards among the objects."""
    action = rng.uniform(-1, 1, 5) * (0.07, 0.07, 0.07, 1.0, 255.0) - (0, 0, 0.02, 0, 0)
    return action.astype(np.float32)


def place(env, offset: np.ndarray) -> None:
    """Puts blue upright on the basket's floor and red at `offset` (3,) from it, both at rest."""
    model, data = physics_of(env)
    blue = np.array([0.6, 0.05, 0.0748])
    for color, position in (("blue", blue), ("red", blue + offset)):
        joint = model.joint(f"rgb_object_{color}/")
        data.qpos[joint.qposadr[0] :][:7] = (*position, 1, 0, 0, 0)
        data.qvel[joint.dofadr[0] :][:6] = 0
    mujoco.mj_forward(model, data)


class Recorder:
    """Steps the environment and keeps what came of it, one row a step."""

    def __init__(self, env) -> None:
        self._env, (_, self._data) = env, physics_of(env)
        self.rows: dict[str, list] = {}

    def step(self, action: np.ndarray):
        """One control step; rows begin with before/, after/ and observation/."""
        self._state("before")
        timestep = self._env.step(action)
        self._state("after")
        self._add("action", action)
        self._add("reward", timestep.reward)
        for key, value in timestep.observation.items():
            if "pixels" not in key:
                self._add(f"observation/{key}", value)
        return timestep

    def look(self, timestep) -> None:
        """Keeps the three images that this state has."""
        self._add("image/qpos", self._data.qpos.copy())
        for camera in CAMERAS:
            self._add(f"image/{camera}", timestep.observation[f"{camera}/pixels"])

    def _state(self, when: str) -> None:
        for name in STATE:
            self._add(f"{when}/{name}", getattr(self._data, name).copy())

    def _add(self, name: str, value) -> None:
        self.rows.setdefault(name, []).append(value)


def record(env, num_steps: int, seed: int) -> dict[str, np.ndarray]:
    """Arrays over steps: random motion at the red object, then stacks and what is none."""
    env.base_env.random_state.seed(seed)
    rng = np.random.default_rng(seed)
    timestep = env.reset()
    recorder = Recorder(env)  # a reset may build a new model
    recorder.look(timestep)
    for _ in range(NUM_APPROACH):
        timestep = env.step(towards_red(timestep))
    recorder.look(timestep)
    for _ in range(num_steps):
        timestep = recorder.step(random_action(rng))
    recorder.look(timestep)
    for offset in OFFSETS:
        place(env, np.array(offset))
        for _ in range(3):
            timestep = recorder.step(np.array([0, 0, 0.07, 0, -255], np.float32))
    recorder.look(timestep)
    return {name: np.stack(values) for name, values in recorder.rows.items()}


def load(folder: Path) -> mujoco.MjModel:
    """Our scene, compiled by this MuJoCo, with our options."""
    # Newer dm_control names a default class for textures; MuJoCo 3.3 knows no such thing.
    xml = (folder / "scene.xml").read_text()
    xml = re.sub(r'(<texture [^>]*?) class="[^"]*"', r"\1", xml)
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    model = mujoco.MjModel.from_xml_string(xml, files)
    for name, value in json.loads((folder / "options.json").read_text()).items():
        setattr(model.opt, name, value)
    return model


def replay(model: mujoco.MjModel, rows: dict[str, np.ndarray], num_steps: int) -> np.ndarray:
    """qpos after each of the recorded commands, from the recorded start."""
    data = mujoco.MjData(model)
    for name in STATE:
        getattr(data, name)[:] = rows[f"before/{name}"][0]
    mujoco.mj_forward(model, data)
    data.qacc_warmstart[:] = rows["before/qacc_warmstart"][0]
    result = []
    for ctrl in rows["after/ctrl"][:num_steps]:
        data.ctrl[:] = ctrl
        mujoco.mj_step(model, data, 100)
        mujoco.mj_forward(model, data)
        result.append(data.qpos.copy())
    return np.stack(result)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--code", type=Path, required=True, help="checkout of rgb_stacking")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--ours", type=Path, help="our scene: folders full and hull")
    parser.add_argument("--task", default="rgb_test_triplet1")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    env = build(arguments.code, arguments.task)
    rows = record(env, arguments.steps, arguments.seed)
    model, _ = physics_of(env)
    fields = {"mujoco": mujoco.__version__, "original": model_fields(model)}
    if arguments.ours:
        fields["ours"] = model_fields(load(arguments.ours / "full"))
        for mesh_set in ("full", "hull"):
            ours = load(arguments.ours / mesh_set)
            rows[f"replay/{mesh_set}"] = replay(ours, rows, arguments.steps)
    np.savez_compressed(arguments.out / "trajectory.npz", task=arguments.task, **rows)
    (arguments.out / "fields.json").write_text(json.dumps(fields))
    env.close()


if __name__ == "__main__":
    main()
    # dm_control's renderer cannot be freed after Python's thread pools have ended.
    os._exit(0)
