"""Whether one object is stacked on another: the benchmark's sparse reward, a strict one, stages.

The benchmark stacks red on blue; `top` and `base` are the colours of any pair.
"""

from __future__ import annotations

import numpy as np

from gato_sim.domains.rgb_stacking.benchmark import TOUCHING
from gato_sim.domains.rgb_stacking.objects import COLORS
from gato_sim.domains.rgb_stacking.simulation import Simulation

MAX_HORIZONTAL_DISTANCE = 0.05  # m, between the objects' origins
MIN_HEIGHT = 0.02  # m, of the top's origin above the base's
REACH_DISTANCE = 0.06  # m, between pinch point and the top's origin
STAGES = ("reached", "grasped", "lifted", "aligned", "stacked", "released")


def touches(simulation: Simulation, first: np.ndarray, second: np.ndarray) -> bool:
    """Whether any geom of one bool mask (ngeom,) touches any of the other."""
    contact = simulation.data.contact
    pairs = contact.geom[contact.dist <= TOUCHING]
    a, b = pairs[:, 0], pairs[:, 1]
    return bool(((first[a] & second[b]) | (first[b] & second[a])).any())


def success(simulation: Simulation, top: str = "red", base: str = "blue") -> bool:
    """The published criterion: top above and touching base, not touched by the robot.

    The original also means to ask that the top be off the ground, but looks for geoms that the
    scene lacks; so it may stand on the basket's floor and lean on the base. `success_strict`
    repairs it.
    """
    geoms = simulation.elements.object_geoms
    return (
        is_aligned(simulation, top, base)
        and touches(simulation, geoms[top], geoms[base])
        and not touches(simulation, geoms[top], simulation.elements.robot_geoms)
    )


def success_strict(simulation: Simulation, top: str = "red", base: str = "blue") -> bool:
    """`success`, and the top touches neither basket nor the third object: base alone carries it."""
    carried = not touches(
        simulation, simulation.elements.object_geoms[top], _other_supports(simulation, top, base)
    )
    return success(simulation, top, base) and carried


def is_aligned(simulation: Simulation, top: str = "red", base: str = "blue") -> bool:
    """Whether top's origin is above base's: within 5 cm sideways, more than 2 cm higher."""
    poses = simulation.object_poses()
    offset = poses[top][:3] - poses[base][:3]
    return bool(np.hypot(offset[0], offset[1]) < MAX_HORIZONTAL_DISTANCE and offset[2] > MIN_HEIGHT)


def stages(simulation: Simulation, top: str = "red", base: str = "blue") -> dict[str, bool]:
    """What is true now of the way to a stack, for curves of progress. Keys: STAGES."""
    elements = simulation.elements
    upper, robot = elements.object_geoms[top], elements.robot_geoms
    supported = touches(simulation, upper, _other_supports(simulation, top, base))
    on_base = touches(simulation, upper, elements.object_geoms[base])
    held = touches(simulation, upper, robot)
    distance = np.linalg.norm(simulation.pinch_pose[:3] - simulation.object_poses()[top][:3])
    aligned = is_aligned(simulation, top, base) and not supported
    return {
        "reached": bool(distance < REACH_DISTANCE),
        "grasped": all(touches(simulation, upper, pad) for pad in elements.pad_geoms),
        "lifted": held and not supported and not on_base,
        "aligned": aligned,
        "stacked": aligned and on_base,
        "released": aligned and on_base and not held,
    }


def _other_supports(simulation: Simulation, top: str, base: str) -> np.ndarray:
    """Bool mask (ngeom,) of what could carry the top instead of the base."""
    (third,) = set(COLORS) - {top, base}
    return simulation.elements.basket_geoms | simulation.elements.object_geoms[third]
