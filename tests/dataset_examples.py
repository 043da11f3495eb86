"""A Spec with every modality, made-up episodes of it, and datasets of those."""

import numpy as np

from gato_core.dataset import DatasetWriter
from gato_core.episode import Episode
from gato_core.spec import Continuous, Discrete, Image, Spec

JOINTS = Continuous((-3.0,) * 2, (3.0,) * 2, "rad", ("j0", "j1"))
SPEC = Spec(
    {
        "left/pixels": Image(16, 32),
        "right/pixels": Image(32, 32),
        "arm/joints": JOINTS,
        "gripper": Continuous((0.0,), (1.0,), "1", ("angle",)),
        "mode": Discrete(4, ("phase",)),
    },
    Continuous((-0.07, -1.0, -255.0), (0.07, 1.0, 255.0), "mixed", ("x", "yaw", "grip")),
    0.05,
)


def make_episode(seed: int, num_timesteps: int = 7) -> Episode:
    rng = np.random.default_rng(seed)
    return Episode(
        observation={
            "left/pixels": rng.integers(0, 256, (num_timesteps, 16, 32, 3), np.uint8),
            "right/pixels": rng.integers(0, 256, (num_timesteps, 32, 32, 3), np.uint8),
            "arm/joints": rng.normal(size=(num_timesteps, 2)).astype(np.float32),
            "gripper": rng.random((num_timesteps, 1), np.float32),
            "mode": rng.integers(0, 4, (num_timesteps, 1)),
        },
        action=rng.normal(size=(num_timesteps, 3)).astype(np.float32),
        reward=rng.random(num_timesteps, np.float32),
        task=f"task {seed % 2}",
        source="expert",
        seed=seed,
        success=seed % 3 == 0,
        privileged={"red": rng.normal(size=(num_timesteps, 3)).astype(np.float32)},
        info={"physics": "stable", "objects": ["r3", "s0", "b2"]},
    )


def write(root, seeds, **options) -> None:
    with DatasetWriter(root, SPEC, **options) as writer:
        for seed in seeds:
            writer.add(make_episode(seed, 5 + seed))


def assert_equal(got: Episode, expected: Episode) -> None:
    for name in ("observation", "privileged"):
        ours, theirs = getattr(got, name), getattr(expected, name)
        assert ours.keys() == theirs.keys()
        for key, value in theirs.items():
            assert ours[key].dtype == value.dtype
            np.testing.assert_array_equal(ours[key], value)
    np.testing.assert_array_equal(got.action, expected.action)
    np.testing.assert_array_equal(got.reward, expected.reward)
    for name in ("task", "source", "seed", "success", "info"):
        assert getattr(got, name) == getattr(expected, name)
