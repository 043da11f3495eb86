"""What is true of a moment: which object is where, on what, and what the gripper does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from gato_core.spec import WHOLE
from gato_sim.domains.rgb_stacking.objects import COLORS
from gato_sim.domains.rgb_stacking.reward import is_aligned, touches
from gato_sim.domains.rgb_stacking.scene.scene import BASKET
from gato_sim.domains.rgb_stacking.simulation import Simulation

OPEN_BELOW, CLOSED_ABOVE = 15.0, 200.0  # of the gripper's 0 to 255
APART = 0.12  # of the picture's width: nearer ones are not called left or right of each other
EDGE = (
    0.04  # of its height: fingers above it are out of the picture, whatever the point between them
)
DOMINANT, TRACE = 50, 0.004  # how much of a colour, of 255, and in what share of the pixels
Crop = tuple[float, float, float, float]


@dataclass(frozen=True)
class Facts:
    """on: what stands on what, the lower one carrying it. floor: what the basket carries.

    held: what both fingers touch. gripper: "open", "closed" (on nothing), "holding", or "" where
    it is in between or out of the picture. across: where each object is in the whole picture of
    the camera, 0 at its left edge to 1.
    """

    on: Mapping[str, str]
    floor: frozenset[str]
    held: str | None
    gripper: str
    across: Mapping[str, float]

    def is_left(self, one: str, other: str) -> bool | None:
        """Whether one is left of the other in the picture; None where they are side by side."""
        distance = self.across[other] - self.across[one]
        return None if abs(distance) < APART else distance > 0

    @property
    def place(self) -> Mapping[str, str]:
        """By colour, of the objects whose place is beyond doubt: a colour, "gripper" or "floor"."""
        floor = {color: "floor" for color in COLORS if color in self.floor}  # a set has no order
        places = floor | dict(self.on)
        if self.held is not None:
            places[self.held] = "gripper"
        return places


def facts(simulation: Simulation, camera: str, crop: Crop = WHOLE) -> Facts:
    """The facts of the present state, as one of the basket's cameras, or a part of its picture,
    shows it."""
    elements = simulation.elements
    geoms = elements.object_geoms
    held = {
        color
        for color in COLORS
        if all(touches(simulation, geoms[color], pad) for pad in elements.pad_geoms)
    }
    floor = {c for c in COLORS if touches(simulation, geoms[c], elements.basket_geoms)} - held
    on = {
        top: base
        for top, base in permutations(COLORS, 2)
        if top not in held | floor
        and is_aligned(simulation, top, base)
        and touches(simulation, geoms[top], geoms[base])
    }
    is_seen = _is_within(_spot(simulation, camera, simulation.pinch_pose[:3]), crop)
    across = {
        color: _spot(simulation, camera, pose[:3])[0]
        for color, pose in simulation.object_poses().items()
    }
    return Facts(
        on=on,
        floor=frozenset(floor),
        held=next(iter(held)) if len(held) == 1 and is_seen else None,
        gripper=_gripper(simulation, bool(held)) if is_seen else "",
        across=across,
    )


def seen(image: np.ndarray) -> set[str]:
    """Which objects an image uint8 (height, width, 3) shows more than a trace of."""
    pixels = image.reshape(-1, 3).astype(int)
    strongest = {
        color: pixels[:, channel] - np.delete(pixels, channel, axis=1).max(1) > DOMINANT
        for channel, color in enumerate(COLORS)
    }
    return {color for color, mask in strongest.items() if mask.mean() > TRACE}


def _gripper(simulation: Simulation, holds: bool) -> str:
    if holds:
        return "holding"
    angle = simulation.gripper_angle
    return "open" if angle < OPEN_BELOW else "closed" if angle > CLOSED_ABOVE else ""


def _spot(simulation: Simulation, name: str, point: np.ndarray) -> tuple[float, float]:
    """Where a point is in the whole, square picture of a camera: from left and top, 0 to 1."""
    camera = simulation.model.camera(BASKET + name).id
    rotation = simulation.data.cam_xmat[camera].reshape(3, 3)
    half = np.tan(np.radians(simulation.model.cam_fovy[camera]) / 2)
    x, y, z = rotation.T @ (point - simulation.data.cam_xpos[camera])
    reach = -z * half  # a camera looks along -z
    return float(0.5 + 0.5 * x / reach), float(0.5 - 0.5 * y / reach)


def _is_within(spot: tuple[float, float], crop: Crop) -> bool:
    left, top, width, height = crop
    return left < spot[0] < left + width and top + EDGE < spot[1] < top + height
