"""Prompts: a network follows the one it is shown where nothing else tells the task."""

import numpy as np
import pytest
import train_examples
from core_examples import continuous

from gato_core.dataset import DatasetWriter
from gato_core.episode import Episode
from gato_core.policy import load
from gato_core.spec import Spec
from gato_training.config import changed
from gato_training.train import train

SPEC = Spec({"joints": continuous(1)}, continuous(1), 0.05)


def episode(task: str, seed: int, length: int = 8) -> Episode:
    """Nothing to see but noise; the task is to push to one side."""
    rng = np.random.default_rng(seed)
    side = 0.8 if task == "right" else -0.8
    return Episode(
        {"joints": rng.uniform(-1, 1, (length, 1)).astype(np.float32)},
        np.full((length, 1), side, np.float32),
        np.zeros(length, np.float32),
        task=task, source="expert", seed=seed, success=True,
    )  # fmt: skip


def test_a_network_follows_the_prompt_where_only_the_prompt_tells_the_task(tmp_path):
    with DatasetWriter(tmp_path / "demos", SPEC) as writer:
        for seed in range(12):
            writer.add(episode(("left", "right")[seed % 2], seed))
    config = changed(
        train_examples.config(tmp_path, str(tmp_path / "demos")),
        prompt_fraction=0.5, sees_past_actions=True, auxiliary=0.0, augment=None, ema=None,
        stochastic_depth=0.0, steps=120, learning_rate=4e-3, warmup_steps=5, batch_size=16,
        log_every=120, evaluate_every=120, save_every=120, target_smoothing=0.0,
    )  # fmt: skip
    train(config)
    policy = load(config.folder / "checkpoints/last", keep_prompt=True)
    for seed, (task, side) in enumerate((("left", -1), ("right", 1)) * 3, start=100):
        policy.reset(episode(task, seed, length=1))
        action = policy.step({"joints": np.zeros(1, np.float32)})
        assert action[0] * side == pytest.approx(0.8, abs=0.2), task
