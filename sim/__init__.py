"""RGB-stacking in raw MuJoCo: scene, environment, expert, collection, evaluation.

    environment = gato_sim.load("rgb_test_triplet3", seed=7, physics="stable")

Names below are imported when first used, so the package itself needs neither MuJoCo nor a GL.
"""

from __future__ import annotations

from importlib import import_module

_HOMES = {
    "Environment": "gato_sim.domains.rgb_stacking.environment",
    "Simulation": "gato_sim.domains.rgb_stacking.simulation",
    "load": "gato_sim.domains.rgb_stacking.environment",
    "policy_observation": "gato_sim.domains.rgb_stacking.tasks",
    "robot_spec": "gato_sim.domains.rgb_stacking.tasks",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'gato_sim' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
