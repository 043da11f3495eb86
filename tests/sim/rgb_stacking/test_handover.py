"""Handover: the states are the trained policy's, the labels the expert's."""

from pathlib import Path

import numpy as np
import pytest

from gato_core import checkpoint
from gato_core.embodiment import Embodiment
from gato_core.model import PRESETS, Gato
from gato_sim.collect_config import CollectConfig, trial
from gato_sim.demonstrations import demonstrate
from gato_sim.domains.rgb_stacking.handover import (
    EXPERT_STEPS,
    MAX_POLICY_SHARE,
    POLICY_STEPS,
    Handover,
)
from gato_sim.domains.rgb_stacking.tasks import robot_spec


class Always:
    """A policy of one action."""

    def __init__(self, value: float) -> None:
        self.value = np.full(5, value, np.float32)

    def reset(self, prompt=None):
        pass

    def step(self, observation):
        return self.value


def turns(seed: int, num_steps: int = 400) -> list[tuple[bool, int]]:
    """Who acts, the trained policy or not, and for how many steps, in order."""
    both = Handover(Always(1.0), Always(2.0), seed=seed)
    both.reset()
    found: list[tuple[bool, int]] = []
    for _ in range(num_steps):
        label = both.step({})
        np.testing.assert_array_equal(label, 1.0)
        is_actors = bool(both.executed(label)[0] == 2.0)
        if found and found[-1][0] == is_actors:
            found[-1] = (is_actors, found[-1][1] + 1)
        else:
            found.append((is_actors, 1))
    return found


@pytest.mark.parametrize("seed", range(8))
def test_they_take_turns_and_the_expert_finishes(seed):
    found = turns(seed)
    assert len(found) >= 4
    for is_actors, steps in found[:-1]:
        low, high = POLICY_STEPS if is_actors else EXPERT_STEPS
        assert low <= steps <= high
    assert not found[-1][0]
    last_begins = 400 - found[-1][1]
    assert last_begins <= MAX_POLICY_SHARE * 400 + POLICY_STEPS[1]


def test_a_coin_decides_who_begins():
    assert {turns(seed, 1)[0][0] for seed in range(20)} == {True, False}


def test_demonstrations_tell_the_label_from_what_the_trained_policy_did(tmp_path):
    spec, path = robot_spec(()), tmp_path / "actor"
    checkpoint.save(path, Gato(PRESETS["debug"]), Embodiment("robot", spec), {})
    config = CollectConfig(
        out=Path("unused"), cameras=(), perturb="none", actor=path, max_steps=12, workers=0
    )
    episodes = [demonstrate(config, trial(config, index)) for index in range(6)]
    low, high = (np.float32(bound) for bound in (spec.action.low, spec.action.high))
    strayed = [(e.executed != np.clip(e.action, low, high)).any() for e in episodes]
    assert set(strayed) == {True, False}
    for episode in episodes:
        episode.check(spec)
