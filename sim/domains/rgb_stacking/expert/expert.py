"""Scripted expert: stacks one object on another from privileged state, so that it can be cloned.

Almost memoryless: each action follows from the present poses, the gripper's angle and its
contacts. Remembered are decisions only, in an object's frame, until they are carried out or the
object has moved: the grasp, the place, and whether the base must be laid anew first. Velocities
are proportional to the error and saturate. `top` goes on `base` (red on blue in the benchmark);
`third` is in the way.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from gato_core.episode import Episode
from gato_sim.arm.sawyer import (
    MAX_ANGULAR_VELOCITY,
    MAX_LINEAR_VELOCITY,
    WORKSPACE_HIGH,
    WORKSPACE_LOW,
)
from gato_sim.domains.rgb_stacking.benchmark import BASKET_ORIGIN, NUM_STEPS
from gato_sim.domains.rgb_stacking.expert import base, place, topple
from gato_sim.domains.rgb_stacking.expert.grasp import (
    Grasp,
    Solid,
    best_grasp,
    rotation_matrix,
    wrapped,
)
from gato_sim.domains.rgb_stacking.expert.place import vertical_gap
from gato_sim.domains.rgb_stacking.expert.sight import Sight, angle_between, apart, tilt_between
from gato_sim.domains.rgb_stacking.objects import COLORS

GAIN = 4.0  # 1/s; more makes the arm, which lags by about 0.15 s, swing round its goal
YAW_GAIN = 4.0
OPEN, CLOSE = -255.0, 255.0
WIDE_OPEN_ANGLE = 2.0
OPEN_ANGLE = 10.0  # of 255: more open than this counts as open
SHUT_ANGLE = 215.0  # closed without anything between the fingers
WRIST_MARGIN = 0.12  # rad kept from the wrist's limits of +-pi/2
FLOOR = BASKET_ORIGIN[2]

HOVER = 0.015  # m between the fingertips and an object's top while not above the grasp
CARRY = 0.03  # m between the held object and what is below until it is above its place
FUNNEL = 1.5  # m of height per m of lateral error
RETREAT = 0.09  # m above the stack where the gripper waits at the end
PLACED_GAP = 0.003
PLACED_ERROR = 0.008
RESTING_GAP = 0.006
RECHOOSE_STEPS = 2  # between choices of a grasp on the way to the object
RECHOOSE_DISTANCE = 0.05  # m from the object, sideways: nearer the choice stands
MOVED = 0.2  # rad an object may turn before what was decided about it is decided anew
TIPPING = 0.15  # rad of the base's turn: from here on the finger follows through

MAX_CLOSINGS = 4  # of the gripper on the top in an episode, then it is not going to succeed
MAX_BASE_TASKS = 2
MAX_SEARCHES = 3  # with the top in hand, for a place where it stays
BASE_STEPS = 140  # control steps that laying one anew may take
STEPS_TO_STACK = 120  # that must remain after it
MAX_STEPS_WITHOUT_GRASP = 30
LEAST_STEPS = {True: 25, False: 70}  # control steps to a stack, with the top in hand or not


class ScriptedExpert:
    """Policy protocol over a live environment, whose simulation it reads. seed is unused.

    stage: what it is doing now, in a word or two.
    """

    def __init__(self, env, *, seed: int = 0) -> None:
        self.env = env
        self.reset()

    def reset(self, prompt: Episode | None = None) -> None:
        """Forgets all decisions. A prompt is ignored."""
        self._top, self._base = self.env.top, self.env.base
        (self._third,) = set(COLORS) - {self._top, self._base}
        self._sight: Sight | None = None
        self._grasp: tuple | None = None  # of the object to be moved, in its frame
        self._place: tuple | None = None  # of the top, in the base's frame
        self._decided_for: list[np.ndarray] | None = None  # orientations of top and base
        self._task: base.Relay | topple.Topple | None = None  # before the stack
        self._expectation = place.STAYS
        self._releasing = self._let_go = False
        self._steps_left, self._task_steps = NUM_STEPS, 0
        self._num_searches = self._num_tasks = self._num_closings = self._steps_without_grasp = 0
        self.stage = "approach"

    def step(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        """Action float32 (5,): velocity x, y, z (m/s), yaw rate (rad/s), gripper (+-255)."""
        self._look()
        before = self.stage
        velocity, gripper = self._act()
        linear = np.clip(GAIN * velocity[:3], -MAX_LINEAR_VELOCITY, MAX_LINEAR_VELOCITY)
        yaw_rate = np.clip(YAW_GAIN * velocity[3], -MAX_ANGULAR_VELOCITY, MAX_ANGULAR_VELOCITY)
        self._releasing = self.stage == "release"
        self._steps_left -= 1
        self._task_steps += self._task is not None
        self._num_closings += self.stage == "grasp" and before != "grasp" and self._task is None
        self._steps_without_grasp += self.stage == "no grasp"
        return np.array([*linear, yaw_rate, gripper], dtype=np.float32)

    @property
    def hopeless(self) -> bool:
        """Whether this episode will not end in success: no way, too many tries, or too late."""
        if self.stage in ("release", "retreat", "done"):
            return False
        holds = self._sight.fingers_on(self._top) == 2
        impossible = self._task is None and self._expectation == place.FALLS and not holds
        return (
            impossible
            or self._steps_without_grasp > MAX_STEPS_WITHOUT_GRASP
            or self._num_closings > MAX_CLOSINGS
            or self._steps_left < LEAST_STEPS[holds]
        )

    def _look(self) -> None:
        simulation = self.env.simulation
        if self._sight is None or self._sight.model is not simulation.model:
            self._sight = Sight(simulation)
        self._sight.look(simulation)

    def _act(self) -> tuple[np.ndarray, float]:
        """Error in position and yaw (4,), and the gripper's command."""
        moving = self._moving
        fingers = self._sight.fingers_on(moving)
        if self._releasing and fingers and self._sight.angle > WIDE_OPEN_ANGLE:
            return np.zeros(4), OPEN
        if fingers == 2:
            return self._lay_down() if isinstance(self._task, base.Relay) else self._stack()
        if self._stacked():
            return self._retreat()
        self._decide()
        if isinstance(self._task, topple.Topple):
            return self._tip_over()
        return self._pick(self._moving)

    @property
    def _moving(self) -> str:
        return self._task.color if isinstance(self._task, base.Relay) else self._top

    def _decide(self) -> None:
        """At the start, and when top or base lie anew: whether the base carries the top so."""
        lie = [self._sight.rotation(color) for color in (self._top, self._base)]
        if self._task is not None:
            if not self._is_task_over():
                return
            self._task = self._grasp = None
        elif self._decided_for is not None:
            turns = [tilt_between(*pair) for pair in zip(lie, self._decided_for)]
            if max(turns) < MOVED or not self._sight.is_still:
                return
        self._decided_for = lie
        poses = base.without(self._top, self._sight)
        colors = (self._top, self._base, self._third)
        late = self._steps_left < BASE_STEPS + STEPS_TO_STACK
        if not self._plan_place(poses, thorough=False):
            if self._num_tasks < MAX_BASE_TASKS and not late:
                self._task = base.choose_task(self._sight, poses, colors)
            if self._task is None:
                self._plan_place(poses, thorough=True)
            else:
                self._grasp, self._task_steps, self._let_go = None, 0, False
                self._num_tasks += 1

    def _plan_place(self, poses: Mapping[str, np.ndarray], *, thorough: bool) -> bool:
        """Chooses and remembers the top's place; whether the top will stay there."""
        spot, self._expectation = place.choose_place(
            self._sight.whatif,
            self._sight.shapes,
            poses,
            (self._top, self._base, self._third),
            thorough=thorough,
        )
        pose = poses[self._base]
        rotation = rotation_matrix(pose[3:])
        point = rotation.T @ (np.append(spot, pose[2]) - pose[:3])
        self._place = (point, rotation, rotation_matrix(poses[self._top][3:]))
        return self._expectation == place.STAYS

    def _is_task_over(self) -> bool:
        """Whether the object lies or stands as it shall, or it takes too long."""
        if self._task_steps > BASE_STEPS:
            return True
        if isinstance(self._task, topple.Topple):
            solid = self._sight.solids[self._base]
            done = topple.turned(self._task, solid) > np.pi / 2 - 0.1
            return done and self._sight.pinch[2] > solid.top + HOVER
        return self._let_go and not self._sight.fingers_on(self._task.color)

    def _stacked(self) -> bool:
        sight = self._sight
        above = sight.poses[self._top][:3] - sight.poses[self._base][:3]
        near = np.hypot(above[0], above[1]) < 0.05 and above[2] > 0.02
        gap = vertical_gap(sight.solids[self._top], sight.solids[self._base]) if near else np.inf
        return bool(gap < RESTING_GAP)

    def _pick(self, color: str) -> tuple[np.ndarray, float]:
        grasp = self._chosen_grasp(color)
        pinch, angle = self._sight.pinch, self._sight.angle
        if grasp is None:
            self.stage = "no grasp"
            return np.array([0, 0, WORKSPACE_HIGH[2] - pinch[2], 0]), OPEN
        error = grasp.position - pinch
        turn = self._turn_to(grasp.yaw, grasp.position)
        room = (0.0858 - grasp.width) / 2
        axis = np.array([np.cos(grasp.yaw), np.sin(grasp.yaw)])
        along, across = abs(axis @ error[:2]), abs(axis[0] * error[1] - axis[1] * error[0])
        off = max(along / min(0.006, room * 0.6), across / 0.008, abs(turn) / 0.12)
        near = np.hypot(error[0], error[1]) < 0.02 and abs(error[2]) < 0.012
        ready = off < 1 and abs(error[2]) < 0.005
        if ready or (near and OPEN_ANGLE < angle < SHUT_ANGLE):
            self.stage = "grasp"
            return np.array([0, 0, 0, 0.0]), CLOSE
        hover = self._hover(color, np.hypot(error[0], error[1]))
        height = grasp.position[2] + np.clip((off - 1) * 0.01, 0, hover - grasp.position[2])
        if angle > 3 * OPEN_ANGLE:
            height = max(height, min(hover, pinch[2]))
        self.stage = "descend" if off < 1.5 else "approach"
        return self._over(error, height - pinch[2], turn), OPEN

    @staticmethod
    def _over(error: np.ndarray, rise: float, turn: float) -> np.ndarray:
        """Error (4,) that goes up before it goes sideways."""
        sideways = np.clip(1 - (rise - 0.01) / 0.02, 0, 1)
        return np.array([*(sideways * error[:2]), rise, sideways * turn])

    def _turn_to(self, yaw: float, position: np.ndarray) -> float:
        """Yaw error to a closing axis, the long way round where the wrist's limit is in between."""
        turn = float(wrapped(yaw - self._sight.yaw))
        wrist = self._sight.wrist + turn - self._azimuth_change(position)
        limit = np.pi / 2 - 0.3 * WRIST_MARGIN
        if wrist > limit:
            return turn - np.pi
        return turn + np.pi if wrist < -limit else turn

    def _azimuth_change(self, position: np.ndarray) -> float:
        """How far the arm swings on the way to a point; the wrist turns back as much."""
        here, there = self._sight.pinch, position
        return float(np.arctan2(there[1], there[0]) - np.arctan2(here[1], here[0]))

    def _hover(self, color: str, distance: float) -> float:
        """Safe pinch height at a horizontal distance from the work on an object."""
        highest = max(solid.top for solid in self._sight.solids.values())
        own = self._sight.solids[color].top
        blend = np.clip((distance - 0.03) / 0.03, 0, 1)
        return min(own + blend * (highest - own) + HOVER, WORKSPACE_HIGH[2] - 0.002)

    def _chosen_grasp(self, color: str) -> Grasp | None:
        """The remembered grasp where the object is now; a new one if it turned or none is.

        On the way there it is chosen anew, so that it follows from what a clone can see.
        """
        sight, pose = self._sight, self._sight.poses[color]
        rotation = sight.rotation(color)
        is_away = np.hypot(*(pose[:2] - sight.pinch[:2])) > RECHOOSE_DISTANCE
        is_due = is_away and self._steps_left % RECHOOSE_STEPS == 0
        if self._grasp is not None and not is_due:
            point, axis, width, planned = self._grasp
            if angle_between(rotation, planned) < 0.3 or sight.angle > OPEN_ANGLE:
                world = rotation @ axis
                return Grasp(
                    pose[:3] + rotation @ point, float(np.arctan2(world[1], world[0])), width, 0.0
                )
        room = np.pi / 2 - WRIST_MARGIN
        wrist = sight.wrist - self._azimuth_change(pose[:3])
        others = [solid for other, solid in sight.solids.items() if other != color]
        grasp = best_grasp(
            sight.solids[color],
            pose[:3],
            [*others, *sight.walls],
            sight.yaw,
            (-room - wrist, room - wrist),
        )
        self._grasp = None
        if grasp is not None:
            axis = np.array([np.cos(grasp.yaw), np.sin(grasp.yaw), 0])
            point = rotation.T @ (grasp.position - pose[:3])
            self._grasp = (point, rotation.T @ axis, grasp.width, rotation)
        return grasp

    def _target(self) -> np.ndarray:
        """Where the top's centre (2,) shall be, from the place in the base's frame."""
        sight = self._sight
        rotation, held = sight.rotation(self._base), sight.rotation(self._top)
        if self._place is None or self._turned_since_planned(rotation, held):
            self._num_searches += 1
            self._plan_place(sight.poses, thorough=self._num_searches <= MAX_SEARCHES)
        return sight.poses[self._base][:2] + (rotation @ self._place[0])[:2]

    def _turned_since_planned(self, base: np.ndarray, held: np.ndarray) -> bool:
        _, planned_base, planned_held = self._place
        turns = angle_between(base, planned_base), angle_between(held, planned_held)
        return max(turns) > MOVED

    def _stack(self) -> tuple[np.ndarray, float]:
        """Carries the top to its place on the base and lets go there."""
        sight = self._sight
        held, below = sight.solids[self._top], sight.solids[self._base]
        error = self._within_reach(self._target() - sight.poses[self._top][:2])
        distance = float(np.hypot(*error))
        gap = vertical_gap(held.shifted(np.array([*error, 0])), below)
        gap = gap if np.isfinite(gap) else held.vertices[:, 2].min() - below.top
        if gap < PLACED_GAP and distance < PLACED_ERROR:
            self.stage = "release"
            return np.zeros(4), OPEN
        wanted = np.clip((distance - 0.004) * FUNNEL, 0, CARRY)
        rise = wanted - gap if wanted > 0 else -gap - 0.002
        return self._carry(self._top, error, rise, [below]), CLOSE

    def _lay_down(self) -> tuple[np.ndarray, float]:
        """Carries top or base to a free spot and lets go above the floor, where it falls flat."""
        sight, color = self._sight, self._task.color
        held = sight.solids[color]
        error = self._within_reach(self._task.spot - sight.poses[color][:2])
        distance = float(np.hypot(*error))
        gap = held.vertices[:, 2].min() - FLOOR
        if gap < PLACED_GAP and distance < 2 * PLACED_ERROR:
            self.stage, self._let_go = "release", True
            return np.zeros(4), OPEN
        wanted = np.clip((distance - 0.008) * FUNNEL, 0, CARRY)
        rise = wanted - gap if wanted > 0 else -gap - 0.002
        other = self._base if color == self._top else self._top
        return self._carry(color, error, rise, [sight.solids[other]]), CLOSE

    def _within_reach(self, error: np.ndarray) -> np.ndarray:
        low, high = (np.array(limit[:2]) for limit in (WORKSPACE_LOW, WORKSPACE_HIGH))
        return np.clip(error, low - self._sight.pinch[:2], high - self._sight.pinch[:2])

    def _carry(self, color: str, error: np.ndarray, rise: float, below: list[Solid]) -> np.ndarray:
        """Error (4,) of a held object, over what is below and what is in the way."""
        held, third = self._sight.solids[color], self._sight.solids[self._third]
        bottom = held.vertices[:, 2].min()
        distance = float(np.hypot(*error))
        sideways = np.clip((bottom - FLOOR - 0.003) / 0.01, 0, 1)
        for solid in below:
            sideways = min(sideways, _free(held, solid, rise))
        if distance > 0.03:
            over = third.top + CARRY / 2 - bottom
            sideways = min(sideways, _free(held, third, over))
            if apart(held, third) < over + 0.03:
                rise = max(rise, over)
        rise = min(rise, WORKSPACE_HIGH[2] - 0.002 - self._sight.pinch[2])
        self.stage = "lift" if sideways < 0.5 else "carry" if distance > 0.004 else "place"
        return np.array([*(sideways * error), rise, 0.0])

    def _tip_over(self) -> tuple[np.ndarray, float]:
        """Walks one end of the base over its far edge with the closed gripper."""
        sight, way = self._sight, self._task
        solid, pose = sight.solids[self._base], sight.poses[self._base]
        turned = topple.turned(way, solid)
        start, ahead, yaw = topple.finger(way, solid, pose)
        if turned > way.balance + topple.FALLING:
            self.stage = "tipped"
            return np.array([0, 0, solid.top + 2 * HOVER - sight.pinch[2], 0.0]), CLOSE
        error = start - sight.pinch
        turn = self._turn_to(yaw, start)
        behind = np.hypot(error[0], error[1]) < 0.008 and abs(turn) < 0.1
        low = abs(error[2]) < 0.006
        if self.stage == "tip" or (behind and low):
            self.stage = "tip"
            return np.array([*(ahead - sight.pinch), turn]), CLOSE
        self.stage = "behind"
        hover = self._hover(self._base, 1.0)
        height = start[2] if behind else max(hover, start[2])
        return self._over(error, height - sight.pinch[2], turn), CLOSE

    def _retreat(self) -> tuple[np.ndarray, float]:
        sight = self._sight
        if sight.fingers_on(self._top) and sight.angle > WIDE_OPEN_ANGLE:
            self.stage = "release"
            return np.zeros(4), OPEN
        height = min(sight.solids[self._top].top + RETREAT, WORKSPACE_HIGH[2] - 0.005)
        rise = height - sight.pinch[2]
        self.stage = "retreat" if rise > 0.01 else "done"
        return np.array([0, 0, max(rise, 0.0), 0.0]), OPEN


def _free(held: Solid, other: Solid, rise: float) -> float:
    """Share of sideways speed while the held one must still rise so much to pass over another."""
    distance = apart(held, other)
    return float(np.clip(max((distance - rise) / 0.02, 1.5 - rise / 0.02), 0, 1))
