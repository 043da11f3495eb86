"""A small robot and its data, for the tests of gato_core."""

from dataclasses import replace

import numpy as np
import torch

from gato_core.episode import Episode
from gato_core.model import Gato, ModelConfig, preset
from gato_core.spec import Continuous, Discrete, Image, Modality, Spec, Text
from gato_core.tokenizer import PATCH, Tokens


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


def stretch(tokens: Tokens[torch.Tensor], start: int, stop: int) -> Tokens[torch.Tensor]:
    """Tokens [start, stop) of each row, with their patches."""
    is_patch = tokens.id == PATCH
    order = is_patch.flatten().cumsum(0).view_as(tokens.id) - 1
    mine = order[:, start:stop][is_patch[:, start:stop]]
    return replace(
        tokens,
        id=tokens.id[:, start:stop],
        local_position=tokens.local_position[:, start:stop],
        target=tokens.target[:, start:stop],
        patch=tokens.patch[mine],
        patch_interval=tokens.patch_interval[mine],
    )


def policy_borders(num_timesteps: int) -> list[int]:
    """Passes as the policy makes them: last action token and observation, then token by token."""
    length, borders = SMALL.tokens_per_timestep, [0]
    for t in range(num_timesteps):
        first = t * length + SMALL.num_observation_tokens + 1
        borders += [first, first + 1, first + 2]
    return [*borders, num_timesteps * length]
