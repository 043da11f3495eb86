"""Preparations where the top would not stay on the base: lay an object down, or tip it over.

What leans on something falls flat when it is laid down alone; a prism with a ridge on top stands
on its end after it was tipped over. The what-if simulation says which helps.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from gato_sim.domains.rgb_stacking.benchmark import BASKET_ORIGIN
from gato_sim.domains.rgb_stacking.expert import place, topple
from gato_sim.domains.rgb_stacking.expert.sight import Sight, apart
from gato_sim.domains.rgb_stacking.objects import COLORS

FLOOR = BASKET_ORIGIN[2]
FAR_AWAY = 3.0  # m beside the basket, where an object does not matter
LEANING = 0.06  # rad between the lowest face and the floor
SECONDS = 1.0  # until everything lies still
CLEARANCE = 0.012  # m to the other objects
NUM_SPOTS = 4  # tried, the nearest first
SPOTS = np.stack(np.meshgrid([0.54, 0.57, 0.6, 0.63, 0.66], [-0.06, -0.03, 0.0, 0.03, 0.06]), -1)


@dataclass(frozen=True)
class Relay:
    """Lay the object of a colour, top or base, down with its centre over spot (2,)."""

    color: str
    spot: np.ndarray


def without(top: str, sight: Sight) -> dict[str, np.ndarray]:
    """Poses by colour once the top has been taken away; its own is as it lies now."""
    away = sight.poses[top] + np.array([FAR_AWAY, 0, 0, 0, 0, 0, 0])
    return sight.whatif.outcome({**sight.poses, top: away}, SECONDS) | {top: sight.poses[top]}


def choose_task(
    sight: Sight, poses: Mapping[str, np.ndarray], colors: tuple[str, str, str]
) -> Relay | topple.Topple | None:
    """What makes the base carry the top, None if nothing does. colors: top, base and third."""
    top, base, _ = colors
    ways = itertools.chain(
        _relays(sight, poses, base) if _leans(sight, poses, base) else (),
        _relays(sight, poses, top) if _leans(sight, poses, top) else (),
        _topples(sight, poses, colors),
    )
    for way, pose in ways:
        color = way.color if isinstance(way, Relay) else base
        rested = sight.whatif.outcome({**poses, color: pose}, SECONDS)
        _, expectation = place.choose_place(
            sight.whatif, sight.shapes, rested, colors, thorough=False
        )
        if expectation == place.STAYS:
            return way
    return None


def _leans(sight: Sight, poses: Mapping[str, np.ndarray], color: str) -> bool:
    """Whether no face of an object lies flat."""
    lowest = sight.shapes[color].at(poses[color]).normals[:, 2].min()
    return bool(np.arccos(np.clip(-lowest, -1, 1)) > LEANING)


def _relays(sight: Sight, poses: Mapping[str, np.ndarray], color: str):
    """Spots with room for an object, and its pose there just above the floor."""
    pose = poses[color]
    solid = sight.shapes[color].at(pose)
    others = [sight.shapes[other].at(poses[other]) for other in COLORS if other != color]
    num_tried = 0
    for spot in sorted(SPOTS.reshape(-1, 2), key=lambda s: np.linalg.norm(s - pose[:2])):
        moved = solid.shifted(np.append(spot - pose[:2], 0.0))
        if min(apart(moved, other) for other in others) > 2 * CLEARANCE:
            num_tried += 1
            if num_tried > NUM_SPOTS:
                return
            drop = FLOOR + place.PLACED_GAP - solid.vertices[:, 2].min()
            yield Relay(color, spot), np.concatenate([spot, [pose[2] + drop], pose[3:]])


def _topples(sight: Sight, poses: Mapping[str, np.ndarray], colors: tuple[str, str, str]):
    """Ways to tip the base that have room, and the pose it comes to stand in."""
    top, base, third = colors
    solid = sight.shapes[base].at(poses[base])
    for way in topple.topples(solid, poses[base]):
        landed = topple.landing(way, solid, poses[base])
        stands = sight.shapes[base].at(landed)
        others = [sight.shapes[color].at(poses[color]) for color in (top, third)]
        if min(apart(stands, other) for other in others) > CLEARANCE:
            yield way, landed
