"""A small robot and its data, for the tests of gato_core."""

from dataclasses import replace

import numpy as np
import torch

from gato_core.embodiment import Embodiment
from gato_core.episode import Episode
from gato_core.model import Gato, ModelConfig, preset, to_tensors
from gato_core.policy import _together
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
    return replace(preset("debug"), positions=positions, **changes)


def body(
    kind: str = "autoregressive",
    spec: Spec = SMALL,
    context_timesteps: int = 2,
    name: str = "a body",
    **options: object,
) -> Embodiment:
    """Of each kind there is: "autoregressive", the same with past actions "hidden", "parallel"."""
    mode = "autoregressive" if kind == "hidden" else kind
    seen = kind == "autoregressive"
    return Embodiment(name, spec, context_timesteps, mode, seen, **options)


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


def band_mask(length: int, tokens_per_timestep: int, num_timesteps: int) -> torch.Tensor:
    """bool (L, L): causal, and not beyond the timesteps in context; what the cache computes."""
    position_L = torch.arange(length)
    timestep_L = position_L // tokens_per_timestep
    age_LL = timestep_L[:, None] - timestep_L
    return (position_L <= position_L[:, None]) & (age_LL < num_timesteps)


@torch.inference_mode()
def full_logits(model, tokenizer, episode, mask=None) -> torch.Tensor:
    """(T, A, V): of an episode's actions, by the forward pass of training over all of it."""
    tokens = to_tensors(tokenizer.encode_timesteps(episode.observation, episode.action))
    if mask is not None:
        tokens = replace(tokens, mask=mask if tokens.mask is None else mask & tokens.mask)
    first, last = tokenizer.action_ids
    return model(tokens)[:, first:last].unflatten(0, (len(episode), -1))


@torch.inference_mode()
def stepped_logits(policy, model, episodes) -> torch.Tensor:
    """(B, T, A, V): the same of B robots' episodes, by steps of a policy that is made to act so.

    The policy goes on from where it is. None in place of an episode is a robot that stands still.
    """
    ids = [e and policy.tokenizer.encode_action(e.action) for e in episodes]
    parallel = not policy.embodiment.autoregressive
    steps, seen = [], []
    handle = model.norm.register_forward_hook(lambda _, __, x_BQD: seen.append(x_BQD))
    for t in range(len(next(e for e in episodes if e is not None))):
        inputs = []
        for robot, each, ids_TA in zip(policy._robots, episodes, ids):
            if each is None:
                inputs.append(robot.idle())
                continue
            now = {key: value[t] for key, value in each.observation.items()}
            inputs.append(robot._inputs(now, robot._certain(ids_TA[t])))
        got = policy._run(_together(inputs))
        for robot, ids_TA, id_A in zip(policy._robots, ids, got):
            if ids_TA is not None:
                assert np.array_equal(id_A, ids_TA[t])
                robot.took(id_A)
        x_BAD = seen[0][:, :-1] if parallel else torch.cat(seen, dim=1)
        steps.append(model.logits(x_BAD, policy.tokenizer.action_ids))
        seen.clear()
    handle.remove()
    return torch.stack(steps, dim=1)
