"""The simulation without a task: joint commands in, joint angles and images out."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from gato_core.spec import WHOLE
from gato_sim.arm.controller import Controller, positive, site_pose
from gato_sim.arm.sawyer import CONTROL_TIMESTEP, GRIPPER_LIMIT
from gato_sim.domains.rgb_stacking import reset
from gato_sim.domains.rgb_stacking.objects import COLORS
from gato_sim.domains.rgb_stacking.randomise import Draw, Nominal
from gato_sim.domains.rgb_stacking.scene import scene
from gato_sim.domains.rgb_stacking.scene.render import RenderTwin

FINGER_RANGE = 0.8  # rad, from open to closed
# The gripper's velocity is read over this window, whatever the physics' timestep: the original
# counts 25 substeps of 0.5 ms (it meant 2 ms each).
GRIPPER_WINDOW = 0.0125  # s
_STATE = mujoco.mjtState.mjSTATE_INTEGRATION


@dataclass(frozen=True)
class Snapshot:
    """All that determines the future of a Simulation; only for the triplet it was taken of."""

    triplet: tuple[str, str, str]
    state: np.ndarray
    gripper_window_start: float
    num_steps: int
    coming: tuple[tuple[int, tuple[float, ...]], ...]


class Simulation:
    """The benchmark's scene, stepped by 0.05 s at a time.

    `command` takes what a robot driver takes: seven joint velocities and the gripper's command.
    """

    def __init__(self, triplet: tuple[str, str, str], *, physics: str = "benchmark") -> None:
        self.physics_name = physics
        self._twin: RenderTwin | None = None
        self._draw: Draw | None = None
        self.physics = scene.physics(physics)
        self.controller = Controller()
        self.load_triplet(triplet)

    def load_triplet(self, triplet: tuple[str, str, str]) -> None:
        """Exchanges the (red, green, blue) objects; `reset` must follow."""
        self.triplet = tuple(triplet)
        self.model = scene.compile_scene(self.triplet, self.physics)
        self.data = mujoco.MjData(self.model)
        self.elements = scene.find_elements(self.model)
        self.settled = False
        self._nominal: Nominal | None = None
        self._gripper_window_start = 0.0
        self._num_steps = 0
        self._coming = ()
        if self._twin is not None:
            self._twin.load_triplet(self.triplet)

    def vary(self, draw: Draw | None) -> None:
        """Changes the scene as a draw of `randomise` says, None undoes it; `reset` must follow."""
        if self._nominal is None and draw is not None:
            self._nominal = Nominal(self.model)
        if self._nominal is not None:
            self._nominal.apply(self.model, self.data, draw)
        self._draw = draw
        if self._twin is not None:
            self._twin.vary(draw)

    def reset(self, rng: np.random.Generator) -> None:
        """Draws the start of an episode: arm, objects, settling (RGB-Stacking's distribution)."""
        model, data, elements = self.model, self.data, self.elements
        mujoco.mj_resetData(model, data)
        angles = reset.draw_arm(self.controller, rng)
        data.qpos[elements.arm_qpos] = angles
        data.act[:7] = angles
        reset.place_objects(model, data, elements, rng)
        self.settled = reset.settle(model, data, elements)
        data.act[:7] = angles  # the held arm's targets drifted by nothing but rounding
        data.act[7] = 0.0
        weight = -model.opt.gravity * model.body_mass[elements.robot_bodies, None]
        data.xfrc_applied[elements.robot_bodies, :3] = weight
        self._num_steps = 0
        self._coming = ()
        mujoco.mj_forward(model, data)
        self._gripper_window_start = self.gripper_angle

    def command(self, ctrl: np.ndarray, *, after: float = 0.0) -> None:
        """Sets the actuators: (8,) joint velocities (rad/s), gripper (-255 opens, 255 closes).

        after: seconds until that happens, to the nearest timestep of the physics.
        """
        ctrl = np.asarray(ctrl, dtype=np.float64)
        if ctrl.shape != (8,) or not np.isfinite(ctrl).all():
            raise ValueError(f"ctrl: expected (8,) finite numbers, got {ctrl.shape} {ctrl}")
        num_substeps = round(after / self.physics.timestep)
        if num_substeps == 0:
            self.data.ctrl[:] = ctrl
        else:
            self._coming += ((num_substeps, tuple(ctrl)),)

    def step(self) -> None:
        """Advances one control timestep, 0.05 s."""
        end = self.physics.num_substeps
        window_start = end - round(GRIPPER_WINDOW / self.physics.timestep)
        coming, done = self._coming, 0
        self._coming = tuple((due - end, ctrl) for due, ctrl in coming if due > end)
        for mark in sorted({window_start, end} | {due for due, _ in coming if due < end}):
            mujoco.mj_step(self.model, self.data, mark - done)
            done = mark
            if mark == window_start:
                self._gripper_window_start = self.gripper_angle
            for due, ctrl in coming:
                if due == mark:
                    self.data.ctrl[:] = ctrl
        mujoco.mj_forward(self.model, self.data)  # sensors and contacts of the new state
        self._num_steps += 1

    @property
    def time(self) -> float:
        """Seconds since the last reset."""
        return self._num_steps * CONTROL_TIMESTEP

    @property
    def joint_angles(self) -> np.ndarray:
        """rad, float64 (7,)."""
        return self.data.qpos[self.elements.arm_qpos]

    @property
    def joint_velocities(self) -> np.ndarray:
        """rad/s, float64 (7,)."""
        return self.data.qvel[self.elements.arm_dof]

    @property
    def gripper_angle(self) -> float:
        """The gripper's own integer scale: 0 open to 255 closed."""
        angle = self.data.qpos[self.elements.finger_qpos] / FINGER_RANGE
        return float(np.round(np.clip(angle * GRIPPER_LIMIT, 0, GRIPPER_LIMIT)))

    @property
    def gripper_velocity(self) -> float:
        """Change of the rounded angle over the last 12.5 ms, as the original reports it."""
        return self.gripper_angle - self._gripper_window_start

    @property
    def pinch_pose(self) -> np.ndarray:
        """Point between the finger tips, (7,): xyz (m), quaternion wxyz with w >= 0."""
        return site_pose(self.data, self.elements.pinch_site)

    @property
    def tcp_pose(self) -> np.ndarray:
        """Wrist, (7,): xyz (m), quaternion wxyz with w >= 0."""
        return site_pose(self.data, self.elements.wrist_site)

    def object_poses(self) -> dict[str, np.ndarray]:
        """{"red", "green", "blue": (7,)}: xyz (m) and quaternion wxyz with w >= 0."""
        poses = {}
        for color in COLORS:
            pose = self.data.qpos[self.elements.object_qpos[color]]
            poses[color] = np.concatenate([pose[:3], positive(pose[3:])])
        return poses

    def place_object(self, color: str, pose: np.ndarray) -> None:
        """Puts one object at rest at a pose (7,), for what-if simulation and tests."""
        self.data.qpos[self.elements.object_qpos[color]] = pose
        self.data.qvel[self.elements.object_dof[color]] = 0.0
        mujoco.mj_forward(self.model, self.data)

    def render(
        self,
        camera: str,
        size: int | tuple[int, int],
        crop: tuple[float, float, float, float] = WHOLE,
    ) -> np.ndarray:
        """What a camera sees now, uint8 (height, width, 3); `size` is the side or (height, width).

        crop: left, top, width, height of what is drawn, as fractions of the camera's picture.
        Raises ValueError for an unknown camera, RuntimeError where OpenGL is missing.
        """
        height, width = (size, size) if isinstance(size, int) else size
        if self._twin is None:
            self._twin = RenderTwin(self.triplet)
            self._twin.vary(self._draw)
        return self._twin.render(self.data.qpos, camera, height, width, crop)

    def close(self) -> None:
        """Frees the OpenGL contexts, if an image was ever drawn."""
        if self._twin is not None:
            self._twin.close()
            self._twin = None

    def snapshot(self) -> Snapshot:
        """The complete state; `restore` continues from it exactly."""
        state = np.empty(mujoco.mj_stateSize(self.model, _STATE))
        mujoco.mj_getState(self.model, self.data, state, _STATE)
        window_start = self._gripper_window_start
        return Snapshot(self.triplet, state, window_start, self._num_steps, self._coming)

    def restore(self, snapshot: Snapshot) -> None:
        """Returns to a snapshot. Raises ValueError if it is of other objects."""
        if snapshot.triplet != self.triplet:
            raise ValueError(f"snapshot: expected triplet {self.triplet}, got {snapshot.triplet}")
        mujoco.mj_setState(self.model, self.data, snapshot.state, _STATE)
        mujoco.mj_forward(self.model, self.data)
        self._gripper_window_start = snapshot.gripper_window_start
        self._num_steps = snapshot.num_steps
        self._coming = snapshot.coming
