"""Where the gripper can hold a convex solid: antipodal grasps from face planes and chords.

The gripper points down and closes along a horizontal axis, its yaw; a grasp is the pinch point
between the finger pads and that yaw. Lengths in m, angles in rad, frames as said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import ConvexHull

MAX_WIDTH = 0.082  # the open fingers are 0.0858 apart
FINGER_INSIDE = 0.0429  # open finger, from the pinch point along the closing axis
FINGER_OUTSIDE = 0.0625
FINGER_HALF_BREADTH = 0.011
PALM_DEPTH = 0.055  # what fits between the pinch point and the palm
TIP_BELOW_PINCH = 0.012  # fingertips swing down while they close
TURN_COST = 0.4  # per rad from the present yaw; 4 is the cost of faces at right angles to the axis
LOWEST_PINCH = 0.0715  # the benchmark's workspace ends at 0.0698

PAD_SIDEWAYS = np.array([-0.009, 0.0, 0.009])
PAD_HEIGHTS = np.array([-0.007, 0.002, 0.011])
OFFSETS = np.array([0.0, -0.006, 0.006, -0.012, 0.012, -0.02, 0.02, -0.03, 0.03])


@dataclass(frozen=True)
class Solid:
    """Convex solid: vertices (V, 3) and face planes normals (F, 3) . x <= offsets (F,)."""

    vertices: np.ndarray
    normals: np.ndarray
    offsets: np.ndarray

    def at(self, pose: np.ndarray) -> Solid:
        """The solid in the world when its body frame has pose (7,), xyz and quaternion wxyz."""
        rotation = rotation_matrix(pose[3:])
        normals = self.normals @ rotation.T
        return Solid(
            self.vertices @ rotation.T + pose[:3], normals, self.offsets + normals @ pose[:3]
        )

    def shifted(self, translation: np.ndarray) -> Solid:
        """The solid moved by translation (3,)."""
        return Solid(
            self.vertices + translation, self.normals, self.offsets + self.normals @ translation
        )

    @property
    def top(self) -> float:
        return float(self.vertices[:, 2].max())


@dataclass(frozen=True)
class Grasp:
    """Pinch point (3,) and yaw of the closing axis in the world, object width along it."""

    position: np.ndarray
    yaw: float
    width: float
    cost: float


def rotation_matrix(quaternion: np.ndarray) -> np.ndarray:
    """Unit quaternion wxyz (4,) to (3, 3)."""
    w, x, y, z = quaternion
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def convex_solid(points: np.ndarray) -> Solid:
    """Convex hull of points (N, 3); coplanar triangles become one face plane."""
    hull = ConvexHull(points)
    planes = np.unique(np.round(hull.equations, 4), axis=0)
    keep: list[np.ndarray] = []
    for plane in planes:
        if all(plane[:3] @ other[:3] < 0.9995 for other in keep):
            keep.append(plane)
    normals = np.array([plane[:3] / np.linalg.norm(plane[:3]) for plane in keep])
    vertices = points[hull.vertices]
    return Solid(vertices, normals, (normals @ vertices.T).max(axis=1))


def wrapped(angle: np.ndarray | float) -> np.ndarray | float:
    """Angle of an axis without direction, in [-pi/2, pi/2)."""
    return (angle + np.pi / 2) % np.pi - np.pi / 2


def chords(solid: Solid, origins: np.ndarray, direction: np.ndarray):
    """Where lines enter and leave the solid: s_in, s_out (N,), NaN outside, and exit alignments.

    origins and direction are (N, 3); the alignments are |normal . direction| of both end faces.
    """
    speed = direction @ solid.normals.T
    slack = solid.offsets - origins @ solid.normals.T
    parallel = np.abs(speed) < 1e-6
    with np.errstate(divide="ignore", invalid="ignore"):
        crossing = slack / speed
    leave = np.where(speed > 1e-6, crossing, np.inf)
    enter = np.where(speed < -1e-6, crossing, -np.inf)
    s_in, s_out = enter.max(axis=1), leave.min(axis=1)
    miss = (s_in >= s_out) | (parallel & (slack < 0)).any(axis=1)
    rows = np.arange(len(origins))
    align_in = -speed[rows, enter.argmax(axis=1)]
    align_out = speed[rows, leave.argmin(axis=1)]
    return np.where(miss, np.nan, s_in), np.where(miss, np.nan, s_out), align_in, align_out


def best_grasp(
    solid: Solid,
    center: np.ndarray,
    obstacles: Sequence[Solid],
    yaw: float,
    yaw_range: tuple[float, float],
) -> Grasp | None:
    """The cheapest antipodal grasp of a solid in the world; None when no yaw fits the gripper.

    center (3,) is its centre of mass; yaw the gripper's now; yaw_range how far it can be changed
    in either direction (negative, positive). Preferred are flat parallel faces, near the centre,
    close to the present yaw, with room for the open fingers.
    """
    yaws, turns = _candidate_yaws(solid, yaw, yaw_range)
    if len(yaws) == 0:
        return None
    height = max(LOWEST_PINCH, center[2] - 0.003, solid.top - PALM_DEPTH)
    yaw_N = np.repeat(yaws, len(OFFSETS))
    turn_N = np.repeat(turns, len(OFFSETS))
    offset_N = np.tile(OFFSETS, len(yaws))
    axis = np.stack([np.cos(yaw_N), np.sin(yaw_N), np.zeros_like(yaw_N)], axis=1)
    side = np.stack([-np.sin(yaw_N), np.cos(yaw_N), np.zeros_like(yaw_N)], axis=1)
    start = np.array([center[0], center[1], height]) + offset_N[:, None] * side
    middle, width, cost = _pad_contact(solid, start, axis, side)
    position = start + middle[:, None] * axis
    cost = cost + TURN_COST * np.abs(turn_N) + 12 * np.abs(offset_N)
    cost = cost + _blocked(obstacles, position, axis, side, width)
    cost = np.where((width < MAX_WIDTH) & np.isfinite(cost), cost, np.inf)
    best = int(np.argmin(cost))
    if not np.isfinite(cost[best]):
        return None
    return Grasp(position[best], float(yaw_N[best]), float(width[best]), float(cost[best]))


def _candidate_yaws(solid: Solid, yaw: float, yaw_range: tuple[float, float]):
    """Yaws of side-face normals and a coarse fan, with the signed turn to each from yaw."""
    upright = solid.normals[np.abs(solid.normals[:, 2]) < 0.6]
    square = np.arctan2(upright[:, 1], upright[:, 0])
    fan = np.arange(12) * (np.pi / 12)
    away = np.abs(wrapped(fan[:, None] - square)).min(axis=1, initial=np.pi) > 0.2
    yaws = np.concatenate([square, fan[away]])
    turns = wrapped(yaws - yaw)
    turns = np.concatenate([turns, turns - np.sign(turns) * np.pi])
    turns = turns[(turns > yaw_range[0]) & (turns < yaw_range[1])]
    return yaw + turns, turns


def _pad_contact(solid: Solid, start: np.ndarray, axis: np.ndarray, side: np.ndarray):
    """Middle and width of the solid between the pads along axis (N,), and a cost of the hold."""
    pad_v, pad_z = (grid.ravel() for grid in np.meshgrid(PAD_SIDEWAYS, PAD_HEIGHTS))
    pads = pad_v[None, :, None] * side[:, None, :] + pad_z[None, :, None] * np.array([0, 0, 1.0])
    origins = (start[:, None, :] + pads).reshape(-1, 3)
    directions = np.repeat(axis, len(pad_v), axis=0)
    s_in, s_out, align_in, align_out = (
        values.reshape(len(start), -1) for values in chords(solid, origins, directions)
    )
    missed = np.isnan(s_in)
    low = np.where(missed, 9.0, s_in).min(axis=1)
    high = np.where(missed, -9.0, s_out).max(axis=1)
    touch_in = ~missed & (s_in < low[:, None] + 0.0015)
    touch_out = ~missed & (s_out > high[:, None] - 0.0015)
    contact = np.minimum(touch_in.mean(axis=1), touch_out.mean(axis=1))
    align = np.minimum(
        np.where(touch_in, align_in, 0).max(axis=1), np.where(touch_out, align_out, 0).max(axis=1)
    )
    middle, width = (low + high) / 2, np.where(missed.all(axis=1), 9.0, high - low)
    cost = 4 * (1 - align) + 0.5 * (1 - contact) + 40 * np.maximum(0, width - 0.074)
    return middle, width, cost


def _blocked(obstacles, position, axis, side, width) -> np.ndarray:
    """Cost (N,) of obstacles where the open fingers stand or close through."""
    if not obstacles:
        return np.zeros(len(position))
    along = np.stack([width / 2 + 0.004, np.full(len(width), FINGER_INSIDE)]).max(axis=0)
    along = np.stack([along, (along + FINGER_OUTSIDE) / 2, np.full(len(along), FINGER_OUTSIDE)])
    points = [
        position + sign * reach[:, None] * axis + across * side + np.array([0, 0, height])
        for sign in (-1, 1)
        for reach in along
        for across in (-FINGER_HALF_BREADTH, 0, FINGER_HALF_BREADTH)
        for height in (-0.004, 0.02, 0.045)
    ]
    points_PN3 = np.array(points)
    depth = np.full(points_PN3.shape[:2], -np.inf)
    for solid in obstacles:
        outside = (points_PN3 @ solid.normals.T - solid.offsets).max(axis=2)
        depth = np.maximum(depth, -outside)
    deepest = depth.max(axis=0)
    return np.where(deepest > -0.002, 1.0 + 30 * np.maximum(deepest, 0), 0.0)
