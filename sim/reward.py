"""Whether red is stacked on blue: the benchmark's sparse reward, a strict one, and stages."""

from __future__ import annotations

import numpy as np

from gato_sim.constants import TOUCHING
from gato_sim.simulation import Simulation

MAX_HORIZONTAL_DISTANCE = 0.05  # m, between the objects' origins
MIN_HEIGHT = 0.02  # m, of red's origin above blue's
REACH_DISTANCE = 0.06  # m, between pinch point and red's origin
STAGES = ("reached", "grasped", "lifted", "aligned", "stacked", "released")


def touches(simulation: Simulation, first: np.ndarray, second: np.ndarray) -> bool:
    """Whether any geom of one bool mask (ngeom,) touches any of the other."""
    contact = simulation.data.contact
    pairs = contact.geom[contact.dist <= TOUCHING]
    a, b = pairs[:, 0], pairs[:, 1]
    return bool(((first[a] & second[b]) | (first[b] & second[a])).any())


def success(simulation: Simulation) -> bool:
    """The published criterion: red above and touching blue, not touched by the robot.

    The original also means to ask that red be off the ground, but looks for geoms that the scene
    lacks; so red may stand on the basket's floor and lean on blue. `success_strict` repairs it.
    """
    geoms = simulation.elements.object_geoms
    return (
        is_aligned(simulation)
        and touches(simulation, geoms["red"], geoms["blue"])
        and not touches(simulation, geoms["red"], simulation.elements.robot_geoms)
    )


def success_strict(simulation: Simulation) -> bool:
    """`success`, and red touches neither the basket nor green: blue alone carries it."""
    elements = simulation.elements
    red = elements.object_geoms["red"]
    others = elements.basket_geoms | elements.object_geoms["green"]
    return success(simulation) and not touches(simulation, red, others)


def is_aligned(simulation: Simulation) -> bool:
    """Whether red's origin is above blue's: within 5 cm sideways, more than 2 cm higher."""
    poses = simulation.object_poses()
    offset = poses["red"][:3] - poses["blue"][:3]
    return bool(np.hypot(offset[0], offset[1]) < MAX_HORIZONTAL_DISTANCE and offset[2] > MIN_HEIGHT)


def stages(simulation: Simulation) -> dict[str, bool]:
    """What is true now of the way to a stack, for curves of progress. Keys: STAGES."""
    elements = simulation.elements
    red, robot = elements.object_geoms["red"], elements.robot_geoms
    supported = touches(simulation, red, elements.basket_geoms | elements.object_geoms["green"])
    on_blue = touches(simulation, red, elements.object_geoms["blue"])
    held = touches(simulation, red, robot)
    distance = np.linalg.norm(simulation.pinch_pose[:3] - simulation.object_poses()["red"][:3])
    aligned = is_aligned(simulation) and not supported
    return {
        "reached": bool(distance < REACH_DISTANCE),
        "grasped": all(touches(simulation, red, pad) for pad in elements.pad_geoms),
        "lifted": held and not supported and not on_blue,
        "aligned": aligned,
        "stacked": aligned and on_blue,
        "released": aligned and on_blue and not held,
    }
