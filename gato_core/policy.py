"""The policy: a model, its tokenizer and its cache; from observation to action. Section 2.4."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from gato_core import checkpoint
from gato_core.deploy.packed import pack
from gato_core.episode import Episode
from gato_core.model import Gato, to_tensors
from gato_core.spec import Spec
from gato_core.tokenizer import ACTION_POSITION, Tokenizer, Tokens
from gato_core.window import StepSeconds, first_to_read


class Policy(Protocol):
    """Whoever acts: a network, a scripted expert, a person."""

    def reset(self, prompt: Episode | None = None) -> None:
        """Begins an episode; a prompt is a demonstration to begin it with."""

    def step(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        """The action (A,) for an observation, in the Spec's unit."""


def sample(logits: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    """Indices (...,) drawn from the softmax of logits (..., V) / temperature; 0 is the argmax."""
    if temperature == 0.0:
        return logits.argmax(-1)
    weight = (logits.float() / temperature).softmax(-1)
    return torch.multinomial(weight.flatten(0, -2), 1, generator=generator).view(weight.shape[:-1])


class GatoPolicy:
    """A checkpoint that acts. It keeps the last timesteps of one episode in its cache.

    temperature 0 takes the likeliest id of each action token. Every draw comes from this policy's
    own generator, so a seed and the observations determine the actions. The model's dtype is the
    dtype of the computation. With keep_prompt a prompt stays in context for the whole episode.
    """

    def __init__(
        self,
        model: Gato,
        tokenizer: Tokenizer,
        *,
        temperature: float = 0.0,
        seed: int = 0,
        keep_prompt: bool = False,
    ) -> None:
        if not temperature >= 0.0:
            raise ValueError(f"temperature: expected >= 0, got {temperature}")
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.temperature = temperature
        self.keep_prompt = keep_prompt
        self.seconds = StepSeconds(0.0, 0.0, 0.0)
        self._device = model.embedding.weight.device
        self._generator = torch.Generator(self._device).manual_seed(seed)
        self._cache = model.new_cache(tokenizer.spec.tokens_per_timestep)
        self._parallel = model.config.action_mode == "parallel"
        self._none = self._action_tokens(torch.empty((1, 0), dtype=torch.long))
        self._last_id = self._none  # the last action token, which has not entered the cache

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        temperature: float = 0.0,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        keep_prompt: bool = False,
    ) -> GatoPolicy:
        """The policy of a checkpoint directory. Errors as of `checkpoint.load`."""
        loaded = checkpoint.load(path)
        model = pack(loaded.model.to(device=device, dtype=dtype))
        options = {"temperature": temperature, "seed": seed, "keep_prompt": keep_prompt}
        return cls(model, loaded.tokenizer, **options)

    @property
    def spec(self) -> Spec:
        return self.tokenizer.spec

    @torch.inference_mode()
    def reset(self, prompt: Episode | None = None) -> None:
        """Forgets everything, then reads the prompt's timesteps as if it had lived them.

        Raises KeyError or ValueError if the prompt does not fit the Spec, or is too long to keep.
        """
        config, first = self.model.config, 0
        if prompt is not None:
            first = first_to_read(
                prompt,
                self.spec,
                context_timesteps=config.context_timesteps,
                num_layers=config.num_layers,
                keep_prompt=self.keep_prompt,
            )
        kept = prompt is not None and self.keep_prompt
        self._cache.reset(kept_timesteps=len(prompt) if kept else 0)
        self._last_id = self._none
        if prompt is None:
            return
        for t in range(first, len(prompt)):
            now = {key: value[t : t + 1] for key, value in prompt.observation.items()}
            tokens = self.tokenizer.encode_timesteps(now, prompt.action[t : t + 1])
            self.model.extend(to_tensors(tokens, self._device), self._cache)

    @torch.inference_mode()
    def step(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        """The action (A,). Raises KeyError or ValueError naming what is wrong in an observation."""
        self.spec.check_observation(observation)
        started = time.perf_counter()
        tokens = to_tensors(self.tokenizer.encode_observation(observation), self._device)
        tokenized = time.perf_counter()
        id_BA, prefilled = self._all_at_once(tokens) if self._parallel else self._in_turn(tokens)
        action = self.tokenizer.decode_action(id_BA[0].cpu().numpy())
        decoded = time.perf_counter()
        self.seconds = StepSeconds(tokenized - started, prefilled - tokenized, decoded - prefilled)
        return action

    def _in_turn(self, tokens: Tokens[Tensor]) -> tuple[Tensor, float]:
        """Action ids (1, A), each sampled after those before it, and when the prefill ended."""
        x_BQD = self.model.extend(_join(self._last_id, tokens), self._cache)
        prefilled = time.perf_counter()
        ids = [self._sample(x_BQD)]
        while len(ids) < self.spec.num_action_tokens:
            x_BQD = self.model.extend(self._action_tokens(ids[-1]), self._cache)
            ids.append(self._sample(x_BQD))
        self._last_id = self._action_tokens(ids[-1])
        return torch.cat(ids, dim=1), prefilled

    def _all_at_once(self, tokens: Tokens[Tensor]) -> tuple[Tensor, float]:
        """Action ids (1, A) of one pass, in which action tokens enter as zeros."""
        num_actions = self.spec.num_action_tokens
        blank = self._action_tokens(torch.zeros_like(tokens.id[:, :num_actions]))
        x_BQD = self.model.extend(_join(tokens, blank), self._cache, num_actions + 1)
        prefilled = time.perf_counter()
        return self._sample(x_BQD[:, :-1]), prefilled

    def _sample(self, x_BQD: Tensor) -> Tensor:
        """Ids (B, Q) within the action's range, and no others, from features."""
        action_ids = self.tokenizer.action_ids
        logits_BQV = self.model.logits(x_BQD, action_ids)
        return sample(logits_BQV, self.temperature, self._generator) + action_ids[0]

    def _action_tokens(self, id_BA: Tensor) -> Tokens[Tensor]:
        id_BA = id_BA.to(self._device)
        position = torch.full_like(id_BA, ACTION_POSITION)
        no_patch = torch.empty((0, 16, 16, 3), dtype=torch.uint8, device=self._device)
        return Tokens(id_BA, position, torch.ones_like(id_BA, dtype=torch.bool), no_patch, no_patch)


def _join(a: Tokens[Tensor], b: Tokens[Tensor]) -> Tokens[Tensor]:
    """Two stretches of one sequence, of which at most one has patches."""
    patched = a if len(a.patch) else b
    return Tokens(
        torch.cat([a.id, b.id], dim=1),
        torch.cat([a.local_position, b.local_position], dim=1),
        torch.cat([a.target, b.target], dim=1),
        patched.patch,
        patched.patch_interval,
    )
