"""RGB-stacking as a dm_env environment: observations, the 5-D action, the sparse reward."""

from __future__ import annotations

import dm_env
import numpy as np
from dm_env import specs

from gato_sim.arm.sawyer import CONTROL_TIMESTEP
from gato_sim.domains.rgb_stacking import objects, observation, reward, tasks
from gato_sim.domains.rgb_stacking.benchmark import NUM_STEPS
from gato_sim.domains.rgb_stacking.randomise import Draw, draw
from gato_sim.domains.rgb_stacking.randomise import check as check_profile
from gato_sim.domains.rgb_stacking.simulation import Simulation

_VARIATION = 1  # tells the generator of an episode's variation from that of its initial state
NO_OP = np.zeros(5)  # zero twist; the gripper opens, since its command is not positive


def load(
    task: str,
    *,
    seed: int,
    physics: str = "benchmark",
    cameras: tuple[str, ...] = (),
    image_size: int = 64,
    view: str = "whole",
    resample_triplet: bool | None = None,
    randomise: str = "none",
) -> Environment:
    """The environment of a task: a name in `objects.TASKS` or red, green, blue ids "r3,s0,b2".

    Red is to be put on blue unless the task says otherwise: "rgb_test_triplet1:blue_on_green".
    physics: "benchmark" (official scores) or "stable" (faster, objects at rest stay at rest).
    cameras: rendered and observed as "<camera>/pixels", uint8 (image_size, image_size, 3); with
    view "basket" the upper two thirds of the picture alone, (image_size, 3/2 image_size, 3).
    resample_triplet: whether every episode draws new objects; by default random tasks do.
    randomise: a profile of `randomise.PROFILES`, drawn anew for every episode.
    Raises ValueError naming what is valid for an unknown task, physics, camera or size.
    """
    return Environment(
        task,
        seed=seed,
        physics=physics,
        cameras=cameras,
        image_size=image_size,
        view=view,
        resample_triplet=resample_triplet,
        randomise=randomise,
    )


class Environment(dm_env.Environment):
    """Episodes of 400 steps; episode i of a seed is always the same, whatever was done before."""

    control_timestep = CONTROL_TIMESTEP  # s, that each step lasts

    def __init__(
        self,
        task: str,
        *,
        seed: int,
        physics: str = "benchmark",
        cameras: tuple[str, ...] = (),
        image_size: int = 64,
        view: str = "whole",
        resample_triplet: bool | None = None,
        randomise: str = "none",
    ) -> None:
        tasks.check_cameras(cameras)
        check_image_size(image_size)
        check_profile(randomise)
        self._resample_triplet = resample_triplet
        self._set_task(task)
        self.randomise = randomise
        self.variation: Draw | None = None  # of this episode
        self.cameras, self.image = tuple(cameras), tasks.view_image(view, image_size)
        self._seed, self._episode = seed, 0
        triplet = objects.draw_triplet(task, self._episode_rng())
        self.simulation = Simulation(triplet, physics=physics)
        self._stack = observation.Stack()
        self._step = NUM_STEPS

    @property
    def triplet(self) -> tuple[str, str, str]:
        """The (red, green, blue) object ids of this episode."""
        return self.simulation.triplet

    @property
    def objects(self) -> str:
        """Ids of this episode, and the stack if it is not red on blue: itself a task."""
        return objects.join_task(",".join(self.triplet), objects.split_task(self.task)[1])

    @property
    def is_running(self) -> bool:
        """Whether an episode has begun and not ended."""
        return self._step < NUM_STEPS

    def reset(self, *, seed: int | None = None, task: str | None = None) -> dm_env.TimeStep:
        """The next episode; with `seed`, the first episode of that seed.

        task: what is to be stacked from now on. Raises ValueError for unknown objects.
        """
        if task is not None:
            self._set_task(task)
        if seed is not None:
            self._seed, self._episode = seed, 0
        rng = self._episode_rng()
        if self.randomise != "none":
            self.variation = draw(self.randomise, (self._seed, self._episode, _VARIATION))
        self._episode += 1
        triplet = objects.draw_triplet(self.task, rng)
        if (self._resample or task is not None) and triplet != self.triplet:
            self.simulation.load_triplet(triplet)
        if self.randomise != "none":
            self.simulation.vary(self.variation)
        self.simulation.reset(rng)
        self._act(NO_OP)
        self._step = 0
        return dm_env.restart(self._observation(self._stack.reset))

    def step(self, action: np.ndarray | None, *, after: float = 0.0) -> dm_env.TimeStep:
        """One control step of 0.05 s; the action (5,) is clipped to its bounds.

        after: seconds until the action takes effect, the one before it lasting so long; None
        instead of an action lets it last in any case. After the last of 400 steps the next call
        resets, as dm_env asks. Raises ValueError for another shape, NaN or infinity.
        """
        if self._step == NUM_STEPS:
            return self.reset()
        if action is None:
            self.simulation.step()
        elif np.shape(action) != (5,) or not np.isfinite(action).all():
            raise ValueError(f"action: expected (5,) finite numbers, got {action!r}")
        else:
            latency = after + (self.variation.latency if self.variation else 0.0)
            self._act(np.clip(action, tasks.ACTION.low, tasks.ACTION.high), latency)
        self._step += 1
        values = np.float32(self.success()), self._observation(self._stack.push)
        if self._step == NUM_STEPS:
            return dm_env.truncation(*values, discount=1.0)
        return dm_env.transition(*values)

    def success(self) -> bool:
        """The benchmark's criterion in the present state."""
        return reward.success(self.simulation, self.top, self.base)

    def success_strict(self) -> bool:
        """As `success`, and the upper object touches neither basket nor the third object."""
        return reward.success_strict(self.simulation, self.top, self.base)

    def state_observation(self) -> dict[str, np.ndarray]:
        """The stacked state observations of the present state: 292 numbers, no images."""
        return self._stack.arrays()

    def stages(self) -> dict[str, bool]:
        """Which stages on the way to a stack hold in the present state."""
        return reward.stages(self.simulation, self.top, self.base)

    def observation_spec(self) -> dict[str, specs.Array]:
        state = {
            key: specs.Array((depth, *shape), dtype, key)
            for key, (shape, depth, dtype) in observation.STATE.items()
        }
        shape = self.image.shape
        images = {
            f"{camera}/pixels": specs.BoundedArray(shape, np.uint8, 0, 255, f"{camera}/pixels")
            for camera in self.cameras
        }
        return state | images

    def action_spec(self) -> specs.BoundedArray:
        low, high = (np.float32(bound) for bound in (tasks.ACTION.low, tasks.ACTION.high))
        return specs.BoundedArray((5,), np.float32, low, high, "\t".join(tasks.ACTION.names))

    def reward_spec(self) -> specs.BoundedArray:
        return specs.BoundedArray((), np.float32, 0.0, 1.0, "reward")

    def close(self) -> None:
        self.simulation.close()

    def _set_task(self, task: str) -> None:
        is_random = objects.parse_task(task) is None
        self.task = task
        self.top, self.base = objects.colors_of(objects.split_task(task)[1])
        asked = self._resample_triplet
        self._resample = is_random if asked is None else asked

    def _episode_rng(self) -> np.random.Generator:
        return np.random.default_rng((self._seed, self._episode))

    def _act(self, action: np.ndarray, after: float = 0.0) -> None:
        simulation = self.simulation
        ctrl = simulation.controller.ctrl(action, simulation.joint_angles)
        simulation.command(ctrl, after=after)
        simulation.step()

    def _observation(self, stack) -> dict[str, np.ndarray]:
        state = stack(observation.observe(self.simulation))
        size = (self.image.height, self.image.width)
        images = {
            f"{camera}/pixels": self.simulation.render(camera, size, self.image.crop)
            for camera in self.cameras
        }
        return state | images


def check_image_size(image_size: int) -> None:
    """Raises ValueError unless the size is a multiple of 16 pixels up to 512."""
    if not isinstance(image_size, int) or image_size % 16 or not 16 <= image_size <= 512:
        raise ValueError(
            f"image_size: expected a multiple of 16 from 16 to 512 pixels, got {image_size!r}"
        )
