"""Where to put one convex solid down on another so that it stays. Lengths in m, world frame."""

from __future__ import annotations

import numpy as np
from scipy.spatial import ConvexHull

from gato_sim.grasp import Solid

STEEPEST_TOP = 0.75  # least upward component of a face normal that counts as a top
SUPPORT_BAND = 0.002  # vertices this close to the lowest one carry a solid
REWARD_REACH = 0.042  # the reward wants centres less than 0.05 apart
FRACTIONS = np.linspace(0.0, 1.0, 17)


def place_target(
    base: Solid, base_center: np.ndarray, held: Solid, held_center: np.ndarray
) -> np.ndarray:
    """Horizontal position (2,) for the held solid's centre so that it rests on the base.

    The centre comes to lie over the base's best top face and both together over what the base
    stands on. Over a sloped top it starts uphill, because the held solid tips until it is flush.
    """
    face = top_face(base)
    if face is None:
        return base_center[:2].copy()
    normal = base.normals[face]
    on_face = base.offsets[face] - base.vertices @ normal < 5e-4
    polygon = base.vertices[on_face, :2]
    lowest = base.vertices[:, 2].min()
    support = base.vertices[base.vertices[:, 2] < lowest + SUPPORT_BAND, :2]
    rest = _grid_over(polygon)
    start = rest - normal[:2] * (held_center[2] - held.vertices[:, 2].min())
    together = 0.5 * (rest + base_center[:2])
    margin = np.minimum(polygon_margin(rest, polygon), 2 * polygon_margin(together, support))
    reach = REWARD_REACH - np.linalg.norm(rest - base_center[:2], axis=1)
    score = np.minimum(margin, reach) - 0.15 * np.linalg.norm(rest - polygon.mean(axis=0), axis=1)
    return start[np.argmax(score)]


def top_face(solid: Solid) -> int | None:
    """Index of the face to stack on: large, high and level; None when all are too steep."""
    level = np.flatnonzero(solid.normals[:, 2] > STEEPEST_TOP)
    if len(level) == 0:
        return None
    return int(level[np.argmax(solid.normals[level, 2])])


def vertical_gap(upper: Solid, lower: Solid) -> float:
    """How far the upper solid can sink until it touches the lower one; inf if it misses it."""
    points = np.concatenate([_grid_over(upper.vertices[:, :2]), upper.vertices[:, :2]])
    points = np.concatenate([points, lower.vertices[:, :2]])
    bottom = _surface(upper, points, -1.0)
    top = _surface(lower, points, 1.0)
    gap = bottom - top
    gap = gap[np.isfinite(gap)]
    return float(gap.min()) if len(gap) else np.inf


def polygon_margin(points: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    """Signed distance (N,) of points (N, 2) to the border of a convex polygon, > 0 inside.

    polygon is (V, 2) in any order; a degenerate one (a point, a line) gives minus the distance
    to its middle.
    """
    spread = np.linalg.svd(polygon - polygon.mean(axis=0), compute_uv=False)
    if len(polygon) < 3 or spread[-1] < 1e-4:
        return -np.linalg.norm(points - polygon.mean(axis=0), axis=1)
    equations = ConvexHull(polygon).equations
    return -(points @ equations[:, :2].T + equations[:, 2]).max(axis=1)


def _grid_over(polygon: np.ndarray) -> np.ndarray:
    """Grid points (N, 2) over the bounding box of a polygon (V, 2)."""
    low, high = polygon.min(axis=0), polygon.max(axis=0)
    x, y = np.meshgrid(*(low + FRACTIONS[:, None] * (high - low)).T)
    return np.stack([x.ravel(), y.ravel()], axis=1)


def _surface(solid: Solid, points: np.ndarray, sign: float) -> np.ndarray:
    """Height (N,) of the solid's upper (sign +1) or lower (-1) surface at points (N, 2), or NaN."""
    slack = solid.offsets - points @ solid.normals[:, :2].T
    rise = solid.normals[:, 2]
    up, down = rise > 1e-3, rise < -1e-3
    top = (slack[:, up] / rise[up]).min(axis=1)
    bottom = (slack[:, down] / rise[down]).max(axis=1)
    inside = (top >= bottom - 1e-5) & (slack[:, ~up & ~down] >= -1e-5).all(axis=1)
    return np.where(inside, top if sign > 0 else bottom, np.nan)
