"""Baselines beside Gato: a small CNN and an MLP that give a mixture of Gaussians over actions.

No tokens, no memory: one observation in, one action out. Checkpoints are directories as Gato's, of
kind "bc" (behaviour cloning) or "crr" (critic-regularised regression); `policy.load` opens any.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, distributions, nn

from gato_core import checkpoint
from gato_core.episode import Episode
from gato_core.spec import Continuous, Discrete, Image, Spec

KINDS = ("bc", "crr")
LOG_STD_RANGE = (-5.0, 0.5)  # of actions scaled to [-1, 1]
ACTION_TOLERANCE = 1e-3  # of golden actions, scaled likewise


@dataclass(frozen=True)
class BaselineConfig:
    """Sizes; images halve in each layer of the CNN."""

    channels: tuple[int, ...] = (32, 64, 64)
    width: int = 256
    num_components: int = 5


class Encoder(nn.Module):
    """Observations of a Spec to features (B, width): a CNN for each camera, then an MLP."""

    def __init__(self, spec: Spec, config: BaselineConfig, num_extra: int = 0) -> None:
        super().__init__()
        images = [m for m in spec.observation.values() if isinstance(m, Image)]
        self.cameras = nn.ModuleList(_cnn(image, config) for image in images)
        num_inputs = num_extra + config.width * len(images) + num_values(spec)
        self.mlp = nn.Sequential(
            nn.Linear(num_inputs, config.width),
            nn.LayerNorm(config.width),
            nn.GELU(),
            nn.Linear(config.width, config.width),
            nn.GELU(),
        )

    def forward(self, images: list[Tensor], values: Tensor, extra: Tensor | None = None) -> Tensor:
        """images: uint8 (B, height, width, 3) of each camera. values: float32 (B, n)."""
        seen = [
            camera(image.permute(0, 3, 1, 2).float() / 127.5 - 1.0)
            for camera, image in zip(self.cameras, images)
        ]
        return self.mlp(torch.cat([*seen, values, *([] if extra is None else [extra])], dim=1))


class Actor(nn.Module):
    """A mixture of Gaussians over actions scaled to [-1, 1]."""

    def __init__(self, spec: Spec, config: BaselineConfig) -> None:
        super().__init__()
        self.spec, self.config, self.action = spec, config, _checked(spec)
        self.encoder = Encoder(spec, config)
        self.num_actions = len(spec.action.names)
        self.head = nn.Linear(config.width, config.num_components * (1 + 2 * self.num_actions))

    def forward(self, images: list[Tensor], values: Tensor) -> distributions.MixtureSameFamily:
        """The distribution of actions (B, A)."""
        output = self.head(self.encoder(images, values))
        size = self.config.num_components * self.num_actions
        mean, log_std, logit = output.split([size, size, self.config.num_components], dim=1)
        mean, log_std = (x.unflatten(1, (-1, self.num_actions)) for x in (mean, log_std))
        normal = distributions.Normal(mean, log_std.clamp(*LOG_STD_RANGE).exp())
        return distributions.MixtureSameFamily(
            distributions.Categorical(logits=logit), distributions.Independent(normal, 1)
        )

    def best(self, images: list[Tensor], values: Tensor) -> Tensor:
        """The mean (B, A) of the likeliest component."""
        found = self(images, values)
        index = found.mixture_distribution.logits.argmax(1)
        means = found.component_distribution.base_dist.loc
        return means[torch.arange(len(means), device=means.device), index]


class BaselinePolicy:
    """An actor that acts. temperature 0 takes the likeliest component's mean, else it samples."""

    def __init__(self, actor: Actor, *, temperature: float = 0.0, seed: int = 0) -> None:
        self.actor, self.spec, self.temperature = actor.eval(), actor.spec, temperature
        self._generator = torch.Generator()
        self.seed(seed)

    def seed(self, seed: int) -> None:
        """Determines all draws from now on."""
        self._generator.manual_seed(seed)

    def reset(self, prompt: Episode | None = None) -> None:
        """Nothing is remembered."""

    @torch.inference_mode()
    def step(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        """The action float32 (A,). Raises KeyError or ValueError for an unfit observation."""
        self.spec.check_observation(observation)
        now = {key: value[None] for key, value in observation.items()}
        inputs = to_inputs(self.spec, now)
        action = self._sample(inputs) if self.temperature else self.actor.best(*inputs)
        return unscaled(self.actor.action, action[0].numpy())

    def _sample(self, inputs: tuple[list[Tensor], Tensor]) -> Tensor:
        """(1, A), all draws from this policy's own generator."""
        found = self.actor(*inputs)
        index = torch.multinomial(found.mixture_distribution.probs, 1, generator=self._generator)
        normal = found.component_distribution.base_dist
        mean, std = normal.loc[0, index[0]], normal.scale[0, index[0]]
        return mean + std * self.temperature * torch.randn(mean.shape, generator=self._generator)


def to_inputs(
    spec: Spec, observation: Mapping[str, np.ndarray], device: torch.device | str = "cpu"
) -> tuple[list[Tensor], Tensor]:
    """Observations (B, *shape) by key as the images (B, h, w, 3) and the values (B, n)."""
    images: list[Tensor] = []
    values = [np.empty((len(next(iter(observation.values()))), 0), np.float32)]
    for key in sorted(spec.observation):
        modality, value = spec.observation[key], observation[key]
        match modality:
            case Image():
                images.append(torch.from_numpy(np.ascontiguousarray(value)).to(device))
            case Continuous():
                values.append(scaled(modality, value))
            case Discrete():
                one_hot = np.eye(modality.num_values, dtype=np.float32)[value]
                values.append(one_hot.reshape(len(value), -1))
    return images, torch.from_numpy(np.concatenate(values, axis=1)).to(device)


def num_values(spec: Spec) -> int:
    """Of the vector that `to_inputs` makes."""
    total = 0
    for modality in spec.observation.values():
        if not isinstance(modality, Image):
            each = modality.num_values if isinstance(modality, Discrete) else 1
            total += int(np.prod(modality.shape)) * each
    return total


def scaled(modality: Continuous, value: np.ndarray) -> np.ndarray:
    """float32: the limits become -1 and 1; values outside are clipped."""
    low, high = np.asarray(modality.low), np.asarray(modality.high)
    return np.clip((value - low) / (high - low) * 2.0 - 1.0, -1.0, 1.0).astype(np.float32)


def unscaled(modality: Continuous, value: np.ndarray) -> np.ndarray:
    """Inverts `scaled`."""
    low, high = np.asarray(modality.low), np.asarray(modality.high)
    return (low + (np.clip(value, -1.0, 1.0) + 1.0) / 2.0 * (high - low)).astype(np.float32)


def save(
    path: str | Path,
    kind: str,
    actor: Actor,
    provenance: Mapping,
    beside: Callable[[Path], None] | None = None,
) -> None:
    """Writes a checkpoint directory, whole or not at all, as `checkpoint.write` does."""
    if kind not in KINDS:
        raise ValueError(f"kind: expected one of {KINDS}, got {kind!r}")
    content = {
        "kind": kind,
        "model": dataclasses.asdict(actor.config),
        "spec": actor.spec.to_dict(),
        "golden": _golden(actor).tolist(),
        "provenance": dict(provenance),
    }
    weights = {name: x.detach().float().cpu() for name, x in actor.state_dict().items()}
    checkpoint.write(path, weights, content, beside)


def load(path: str | Path) -> tuple[Actor, dict]:
    """The actor in evaluation mode, and its provenance. Errors as of `checkpoint.load`."""
    path = Path(path)
    content = checkpoint.read(path)
    if content.get("kind") not in KINDS:
        raise ValueError(f"{path}: expected kind {' or '.join(KINDS)}, got {content.get('kind')!r}")
    try:
        sizes: dict = {
            k: tuple(v) if isinstance(v, list) else v for k, v in content["model"].items()
        }
        actor = Actor(Spec.from_dict(content["spec"]), BaselineConfig(**sizes)).eval()
        golden, sha256 = np.asarray(content["golden"]), content["weights_sha256"]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: expected a complete config.json, got {error!r}") from error
    checkpoint.load_weights(path / checkpoint.WEIGHTS, actor, sha256)
    got = _golden(actor)
    if np.abs(got - golden).max() > ACTION_TOLERANCE:
        raise ValueError(f"{path}: golden sample: expected {golden.tolist()}, got {got.tolist()}")
    return actor, content["provenance"]


@torch.no_grad()
def _golden(actor: Actor) -> np.ndarray:
    """Scaled actions (T, A) for a made-up observation, the same on every machine."""
    observation, _ = checkpoint.golden_timesteps(actor.spec)
    device = next(actor.parameters()).device
    return actor.eval().best(*to_inputs(actor.spec, observation, device)).cpu().numpy()


def _cnn(image: Image, config: BaselineConfig) -> nn.Module:
    layers: list[nn.Module] = []
    before = 3
    for channels in config.channels:
        layers += [nn.Conv2d(before, channels, 3, stride=2, padding=1), nn.GELU()]
        before = channels
    sides = [-(-side // 2 ** len(config.channels)) for side in (image.height, image.width)]
    size = before * sides[0] * sides[1]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(size, config.width))


def _checked(spec: Spec) -> Continuous:
    """The action. Raises ValueError for a Spec that no actor fits."""
    if not isinstance(spec.action, Continuous):
        raise ValueError(f"action: expected Continuous, got {type(spec.action).__name__}")
    for key, modality in spec.observation.items():
        if not isinstance(modality, Image | Continuous | Discrete):
            raise ValueError(f"{key}: expected no text, got {type(modality).__name__}")
    return spec.action
