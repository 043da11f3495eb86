"""The inputs of one control step of static shapes, as numpy arrays: for ONNX and for CUDA graphs.

Shapes: L rows, one for each token of a timestep; S slots of the ring; A action tokens; V their ids.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from gato_core.episode import Episode
from gato_core.spec import Image, Spec
from gato_core.tokenizer import Tokenizer

EMPTY = -1
CERTAIN = 1e9  # above any logit: what a prompt's actions are chosen by
ROTARY_BASE = 10000.0


class StepInputs:
    """Makes each step's inputs: tokens, their slots in the ring, what they see, and sampling noise.

    Every step has as many rows as a timestep has tokens. Parallel actions enter with their own
    observation. Autoregressive ones enter one by one, the last of them with the next observation;
    the first step has a blank in its place, which nobody sees but itself. The argmax of logits plus
    Gumbel noise times the temperature is a sample from their softmax.

    id: int64 (1, n): the last action's if autoregressive, the observation's, the separator.
    patch: uint8 (num_patches, 16, 16, 3), unless there are no images.
    slot: int64 (L,). mask: float32 (L, S), 0 where a row sees a slot, else minus infinity.
    rotation: float32 (2, L, key_size), cosine and signed sine of rotary angles, if rotary.
    noise: float32 (A, V).
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        context_timesteps: int,
        action_mode: str,
        rotary_key_size: int | None,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> None:
        if not temperature >= 0.0:
            raise ValueError(f"temperature: expected >= 0, got {temperature}")
        self.tokenizer = tokenizer
        self.context_timesteps = context_timesteps
        self.autoregressive = action_mode == "autoregressive"
        self.rotary_key_size = rotary_key_size
        self.temperature = temperature
        self.num_rows = tokenizer.spec.tokens_per_timestep
        self.num_slots = (context_timesteps + 1) * self.num_rows
        self._random = np.random.default_rng(seed)
        self.reset()

    def reset(self) -> None:
        """Begins an episode."""
        self._key_position_S = np.full(self.num_slots, EMPTY)
        self._start = self.num_rows if self.autoregressive else 0
        self._next = self._start - self.autoregressive
        self._last_id = self.tokenizer.vocabulary.separator

    def took(self, action_ids: np.ndarray) -> None:
        """Tells which ids (A,) the step came to."""
        self._last_id = int(action_ids[-1])

    def observed(
        self, observation: Mapping[str, np.ndarray], forced_ids: np.ndarray | None = None
    ) -> dict[str, np.ndarray]:
        """The inputs by name. With forced_ids (A,) the step can only come to these."""
        tokens = self.tokenizer.encode_observation(observation)
        id = tokens.id.reshape(1, -1)
        if self.autoregressive:
            id = np.concatenate([[[self._last_id]], id], axis=1)
        inputs = {"id": id, "noise": self._noise(forced_ids), **self._places()}
        if len(tokens.patch):
            inputs["patch"] = tokens.patch
        return inputs

    def prompted(self, prompt: Episode) -> list[tuple[dict[str, np.ndarray], np.ndarray]]:
        """Forced steps through a prompt: observations and the ids (A,) of the actions."""
        prompt.check(self.tokenizer.spec)
        ids_TA = self.tokenizer.encode_action(prompt.action)
        observations = [
            {key: value[t] for key, value in prompt.observation.items()} for t in range(len(prompt))
        ]
        return list(zip(observations, ids_TA))

    def _noise(self, forced_ids: np.ndarray | None) -> np.ndarray:
        first, last = self.tokenizer.action_ids
        shape = (self.tokenizer.spec.num_action_tokens, last - first)
        if forced_ids is not None:
            return CERTAIN * (np.arange(first, last) == forced_ids[:, None]).astype(np.float32)
        if self.temperature == 0.0:
            return np.zeros(shape, np.float32)
        return (self.temperature * self._random.gumbel(size=shape)).astype(np.float32)

    def _places(self) -> dict[str, np.ndarray]:
        """Slots, mask and rotation of the next rows; see `gato_core.cache` for what is visible."""
        position_L = self._next + np.arange(self.num_rows)
        self._next += self.num_rows
        slot_L = position_L % self.num_slots
        self._key_position_S[slot_L] = position_L
        query_L1, key_S = position_L[:, None], self._key_position_S
        age_LS = query_L1 // self.num_rows - key_S // self.num_rows
        seen_LS = (key_S <= query_L1) & (age_LS < self.context_timesteps) & (key_S >= self._start)
        seen_LS |= key_S == query_L1
        mask_LS = np.where(seen_LS, np.float32(0.0), np.float32(-np.inf))
        places = {"slot": slot_L, "mask": mask_LS}
        if self.rotary_key_size is not None:
            places["rotation"] = _rotation(position_L, self.rotary_key_size)
        return places


def blank(spec: Spec) -> dict[str, np.ndarray]:
    """An observation of zeros: every observation has the same layout."""
    return {
        key: np.zeros(modality.shape, np.uint8 if isinstance(modality, Image) else np.int64)
        for key, modality in spec.observation.items()
    }


def _rotation(position_L: np.ndarray, key_size: int) -> np.ndarray:
    """float32 (2, L, K): see `gato_core.model.rotate`. Positions grow for ever, hence float64."""
    angle = position_L[:, None] * ROTARY_BASE ** (-np.arange(0, key_size, 2) / key_size)
    cos, sin = np.cos(angle), np.sin(angle)
    both = [np.concatenate([cos, cos], axis=1), np.concatenate([-sin, sin], axis=1)]
    return np.stack(both).astype(np.float32)
