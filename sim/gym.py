"""The environment for Gymnasium: importing this module registers "gato/RgbStacking-v0".

    import gymnasium
    import gato_sim.gym

    env = gymnasium.make("gato/RgbStacking-v0", triplet="rgb_test_triplet3")

or, in one, gymnasium.make("gato_sim.gym:gato/RgbStacking-v0", ...).
"""

from __future__ import annotations

import gymnasium
import numpy as np
from gymnasium import spaces

from gato_sim.arm.sawyer import (
    CONTROL_TIMESTEP,
    GRIPPER_LIMIT,
    JOINT_HIGH,
    JOINT_LOW,
    JOINT_VELOCITY_LIMITS,
)
from gato_sim.domains.rgb_stacking import observation, tasks
from gato_sim.domains.rgb_stacking.environment import load

RENDER_CAMERA = "overview"
RENDER_SIZE = 480  # pixels
_POSE = np.array([np.inf] * 3 + [1.0] * 4)
_COMMAND = np.array([*JOINT_VELOCITY_LIMITS, GRIPPER_LIMIT])
_OVERSHOOT = 0.1  # rad: a joint's limit is a stiff spring


def _bounds(key: str) -> tuple[np.ndarray | float, np.ndarray | float]:
    """Lowest and highest values of one frame; infinite where the simulation has no bound."""
    if key == "action/environment":
        return -_COMMAND, _COMMAND
    if key == "gripper/grasp":
        return observation.NO_GRASP, observation.OUTWARD_GRASP
    if key == "gripper/joints/angle":
        return 0.0, GRIPPER_LIMIT
    if key == "gripper/joints/velocity":
        return -GRIPPER_LIMIT, GRIPPER_LIMIT
    if key == "sawyer/joints/angle":
        return np.array(JOINT_LOW) - _OVERSHOOT, np.array(JOINT_HIGH) + _OVERSHOOT
    if key.endswith("pose"):
        low = -_POSE
        low[3] = 0.0  # w of a quaternion
        return low, _POSE
    if key.endswith("to_pinch"):  # the quaternions' difference too
        high = np.array([np.inf] * 3 + [1.0] + [2.0] * 3)
        return -high, high
    return -np.inf, np.inf  # velocities, forces and torques


def observation_space(cameras: tuple[str, ...], shape: tuple[int, int, int]) -> spaces.Dict:
    """The benchmark's stacked states, newest first, and the cameras' images uint8 `shape`."""
    state = {}
    for key, (frame, depth, dtype) in observation.STATE.items():
        low, high = (
            np.broadcast_to(np.asarray(bound, dtype), (depth, *frame)) for bound in _bounds(key)
        )
        state[key] = spaces.Box(low.copy(), high.copy(), dtype=dtype)
    images = {f"{camera}/pixels": spaces.Box(0, 255, shape, np.uint8) for camera in cameras}
    return spaces.Dict(state | images)


class RgbStacking(gymnasium.Env):
    """Red onto blue within 400 steps of 0.05 s; the reward is 1 while it is there.

    Nothing ends an episode early: `terminated` is always False, as in the benchmark, and
    `truncated` is True at the last step. `info` has "success_strict" and "triplet".
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": round(1 / CONTROL_TIMESTEP)}

    def __init__(
        self,
        triplet: str = "rgb_train_random",
        *,
        cameras: tuple[str, ...] = (),
        image_size: int = 64,
        view: str = "whole",
        physics: str = "benchmark",
        randomise: str = "none",
        render_mode: str | None = None,
    ) -> None:
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode: expected None or 'rgb_array', got {render_mode!r}")
        self.render_mode = render_mode
        self._env = load(
            triplet,
            seed=0,
            physics=physics,
            cameras=tuple(cameras),
            image_size=image_size,
            view=view,
            randomise=randomise,
        )
        self._seeded = False
        self.observation_space = observation_space(self._env.cameras, self._env.image.shape)
        low, high = (np.array(bound, np.float32) for bound in (tasks.ACTION.low, tasks.ACTION.high))
        self.action_space = spaces.Box(low, high, dtype=np.float32)

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        """The next episode; with `seed`, the first one of that seed, the same every time.

        options: {"triplet": a task or "red,green,blue" ids} from now on. Raises ValueError for
        unknown ids or another option.
        """
        super().reset(seed=seed)
        unknown = sorted(set(options or {}) - {"triplet"})
        if unknown:
            raise ValueError(f"options: expected only 'triplet', got {unknown}")
        if seed is None and not self._seeded:
            seed = int(self.np_random.integers(2**31))
        self._seeded = True
        timestep = self._env.reset(seed=seed, task=(options or {}).get("triplet"))
        return timestep.observation, self._info()

    def step(self, action: np.ndarray):
        """(observation, reward, terminated, truncated, info) after 0.05 s."""
        if not self._env.is_running:
            raise gymnasium.error.ResetNeeded("step: expected reset() first, the episode is over")
        timestep = self._env.step(action)
        return timestep.observation, float(timestep.reward), False, timestep.last(), self._info()

    def render(self) -> np.ndarray | None:
        """A view of the robot, uint8 (480, 480, 3), in render mode rgb_array."""
        if self.render_mode is None:
            return None
        return self._env.simulation.render(RENDER_CAMERA, RENDER_SIZE)

    def close(self) -> None:
        """Frees the OpenGL contexts."""
        self._env.close()

    def _info(self) -> dict:
        return {"success_strict": self._env.success_strict(), "triplet": self._env.triplet}


gymnasium.register("gato/RgbStacking-v0", entry_point="gato_sim.gym:RgbStacking")
