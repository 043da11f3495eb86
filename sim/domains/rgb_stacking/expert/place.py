"""Where to put one convex solid down on another so that it stays. Lengths in m, world frame.

Geometry proposes a place and the what-if simulation disposes: where the top would not stay, a grid
of places is tried.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.spatial import ConvexHull

from gato_sim.domains.rgb_stacking.expert.grasp import Solid
from gato_sim.domains.rgb_stacking.expert.whatif import WhatIf

STEEPEST = 0.75  # least vertical component of the normal of a face that carries
REWARD_REACH = 0.042  # the reward wants centres less than 0.05 apart
FRACTIONS = np.linspace(0.0, 1.0, 17)
SECONDS = 0.7  # of what-if simulation: by then a top that slides has fallen
PLACED_GAP = 0.003  # m, at which an object is let go
DROP = 0.0005  # m above contact, where the what-if simulation lets go
JITTER = 0.005  # m, of a real placement
PITCH = 0.014  # m, of the grid of places
STAYS, LEANS, FALLS = 2, 1, 0  # strictly stacked, stacked by the published criterion, neither


def choose_place(
    whatif: WhatIf,
    solids: Mapping[str, Solid],
    poses: Mapping[str, np.ndarray],
    colors: tuple[str, str, str],
    *,
    thorough: bool = True,
) -> tuple[np.ndarray, int]:
    """Horizontal position (2,) for the top's centre, and what is to be expected there.

    solids in their body frames and poses (7,) by colour; colors: top, base and third. The top
    keeps the orientation of its pose. The expectation is STAYS, LEANS or FALLS; only a thorough
    search tries a grid of places.
    """
    top, base, third = colors
    held, below, other = (solids[color].at(poses[color]) for color in colors)
    centers = poses[base][:3], poses[top][:3]
    first = place_target(below, centers[0], held, centers[1], other)

    def expect(place: np.ndarray) -> int:
        gap = vertical_gap(held.shifted(np.append(place - centers[1][:2], 0.0)), below)
        if not np.isfinite(gap):
            return FALLS
        start = np.append(np.append(place, centers[1][2] - gap + DROP), poses[top][3:])
        whatif.outcome({**poses, top: start}, SECONDS)
        return whatif.judge(*colors)

    around = JITTER * np.array([(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)])
    worst = min(expect(first + step) for step in around)
    if worst == STAYS or not thorough:
        return first, worst
    steps = np.arange(-2, 3)
    grid = PITCH * np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1)
    near = np.linalg.norm(grid, axis=2) < REWARD_REACH
    values = np.zeros(near.shape)
    values[near] = [expect(centers[0][:2] + offset) for offset in grid[near]]
    around = _mean_of_neighbours(values)
    best = np.unravel_index(np.argmax(values + around), values.shape)
    # balanced where every neighbour falls is no place for a robot
    expectation = values[best] if around[best] >= 1 else min(values[best], LEANS)
    return centers[0][:2] + grid[best], int(expectation)


def _mean_of_neighbours(values: np.ndarray) -> np.ndarray:
    """Of the four around each entry of a grid; outside it is zero."""
    padded = np.pad(values, 1)
    around = padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]
    return np.mean(around, axis=0)


def place_target(
    base: Solid, base_center: np.ndarray, held: Solid, held_center: np.ndarray, other: Solid
) -> np.ndarray:
    """Horizontal position (2,) for the held solid's centre so that it rests on the base.

    The centre comes to lie over the base's best top face and both together over what the base
    stands on, clear of the other solid. Over a sloped top it starts uphill, because the held
    solid tips until it is flush.
    """
    face = most_level_face(base, 1.0)
    if face is None:
        return base_center[:2].copy()
    normal = base.normals[face]
    polygon = face_polygon(base, face)
    rest = _grid_over(polygon)
    drop = held_center[2] - held.vertices[:, 2].min()
    start = rest - normal[:2] * drop
    margin = polygon_margin(rest, polygon)
    footing = most_level_face(base, -1.0)
    if footing is not None:
        together = 0.5 * (rest + base_center[:2])
        margin = np.minimum(margin, 2 * polygon_margin(together, face_polygon(base, footing)))
    reach = REWARD_REACH - np.linalg.norm(rest - base_center[:2], axis=1)
    score = np.minimum(margin, reach) - 0.15 * np.linalg.norm(rest - polygon.mean(axis=0), axis=1)
    top = float((base.offsets[face] - polygon.mean(axis=0) @ normal[:2]) / normal[2])
    if other.top > top - 0.002:
        clear = separation(start - held_center[:2], held.vertices[:, :2], other.vertices[:, :2])
        score = score + 3 * np.minimum(clear - 0.003, 0.0)
    return start[np.argmax(score)]


def separation(shift: np.ndarray, moving: np.ndarray, fixed: np.ndarray) -> np.ndarray:
    """Gap (N,) between two convex polygons (V, 2) after moving the first by shift (N, 2)."""
    normals = np.concatenate(
        [ConvexHull(moving).equations[:, :2], -ConvexHull(fixed).equations[:, :2]]
    )
    reach = (moving @ normals.T).max(axis=0)
    return ((fixed @ normals.T).min(axis=0) - reach - shift @ normals.T).max(axis=1)


def most_level_face(solid: Solid, sign: float) -> int | None:
    """Index of the top (sign +1) or bottom (-1) face; None when all are too steep."""
    face = int(np.argmax(sign * solid.normals[:, 2]))
    return face if sign * solid.normals[face, 2] > STEEPEST else None


def face_polygon(solid: Solid, face: int) -> np.ndarray:
    """Corners (V, 2) of a face, seen from above."""
    distance = solid.offsets[face] - solid.vertices @ solid.normals[face]
    return solid.vertices[distance < 5e-4, :2]


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
