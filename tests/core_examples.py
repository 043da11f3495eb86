"""A small robot and its data, for the tests of gato_core."""

from dataclasses import replace

import numpy as np
import torch

from gato_core.episode import Episode
from gato_core.model import Gato, ModelConfig, preset
from gato_core.spec import Continuous, Discrete, Image, Modality, Spec, Text


def continuous(size: int, limit: float = 1.0, unit: str = "rad") -> Continuous:
    return Continuous((-limit,) * size, (limit,) * size, unit, tuple(f"x{i}" for i in range(size)))


SMALL = Spec(
    {"left/pixels": Image(32, 32), "right/pixels": Image(16, 32), "arm/joints": continuous(3)},
    continuous(3, 0.07, "m/s"),
    0.05,
)
BENCHMARK = Spec(  # the paper's robot: two cameras and 22 values of proprioception
    {
        "basket_front_left/pixels": Image(128, 128),
        "basket_front_right/pixels": Image(128, 128),
        "sawyer/proprioception": continuous(22),
    },
    continuous(5),
    0.05,
)


def values(modality: Modality, rng: np.random.Generator, *lead: int) -> np.ndarray:
    """Random values (*lead, *shape) of one modality."""
    shape = (*lead, *modality.shape)
    match modality:
        case Image():
            return rng.integers(0, 256, shape, dtype=np.uint8)
        case Continuous(low=low, high=high):
            return rng.uniform(low, high, shape).astype(np.float32)
        case Discrete(num_values=num_values):
            return rng.integers(0, num_values, shape)
        case Text():
            return rng.integers(0, 100, shape)


def observations(spec: Spec, rng: np.random.Generator, *lead: int) -> dict[str, np.ndarray]:
    return {key: values(modality, rng, *lead) for key, modality in spec.observation.items()}


def episode(spec: Spec, rng: np.random.Generator, num_timesteps: int) -> Episode:
    return Episode(
        observation=observations(spec, rng, num_timesteps),
        action=values(spec.action, rng, num_timesteps),
        reward=np.zeros(num_timesteps, np.float32),
        task="a task",
        source="a test",
        seed=0,
        success=True,
    )


def tiny(positions: str = "rotary", **changes: object) -> ModelConfig:
    """A configuration small enough for tests, of either position scheme."""
    return replace(preset("debug"), positions=positions, context_timesteps=2, **changes)


def random_model(config: ModelConfig, seed: int = 0, scale: float = 1.5) -> Gato:
    """A network whose every part matters: fresh weights, enlarged, and no zeros."""
    torch.manual_seed(seed)
    model = Gato(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.any():
                parameter.mul_(scale)
            else:
                parameter.normal_(std=0.3)
        model.local_position.weight[-1] = 0.0
    return model
