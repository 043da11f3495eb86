"""Control steps of static shapes: their inputs as numpy arrays, and the policy that is fed by them.

For ONNX and for CUDA graphs. Shapes: L rows, one for each token of a timestep; S slots of the ring;
K key size; A action tokens; V their ids.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from gato_core.episode import Episode
from gato_core.spec import Image, Spec
from gato_core.tokenizer import Tokenizer

EMPTY = -2  # -1 is the place of the blank before the first timestep
CERTAIN = 1e9  # above any logit: what a prompt's actions are chosen by
ROTARY_BASE = 10000.0


@dataclass(frozen=True)
class StepSeconds:
    """Wall time of the stages of one step."""

    tokenize: float
    prefill: float
    decode: float


def first_to_read(
    prompt: Episode, spec: Spec, *, context_timesteps: int, num_layers: int, keep_prompt: bool
) -> int:
    """The timestep from which a prompt is read: the first that can still reach the present.

    Past timesteps reach it through all layers of a sliding cache. Raises KeyError or ValueError if
    the prompt does not fit the Spec, or if it is to be kept and fills the context.
    """
    prompt.check(spec)
    if not keep_prompt:
        return max(0, len(prompt) - num_layers * (context_timesteps - 1) - 1)
    if len(prompt) >= context_timesteps:
        raise ValueError(
            f"prompt: expected fewer timesteps to keep than the context's {context_timesteps}, "
            f"got {len(prompt)}"
        )
    return 0


class StepInputs:
    """Makes each step's inputs: tokens, their slots in the ring, what they see, and sampling noise.

    Every step has as many rows as a timestep has tokens. Parallel actions enter with their own
    observation. Autoregressive ones enter one by one, the last of them with the next observation;
    the first step has a blank in its place, which nobody sees but itself. The argmax of logits plus
    Gumbel noise times the temperature is a sample from their softmax.

    id: int64 (1, n): the last action's if autoregressive, the observation's, the separator.
    patch: uint8 (num_patches, 16, 16, 3), unless there are no images.
    slot: int64 (L,). mask: float32 (L, S), 0 where a row sees a slot, else minus infinity.
    rotation: float32 (2, L, K), cosine and signed sine of rotary angles, if rotary.
    noise: float32 (A, V).
    With keep_prompt also, as in `KVCache.moved`, either kept: float32 (S,), 1 for kept slots, and
    kept_rotation: float32 (2, L, K), if rotary, or else distance: int64 (L, S) from row to slot.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        context_timesteps: int,
        num_layers: int,
        action_mode: str,
        rotary_key_size: int | None,
        keep_prompt: bool = False,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> None:
        if not temperature >= 0.0:
            raise ValueError(f"temperature: expected >= 0, got {temperature}")
        self.tokenizer = tokenizer
        self.context_timesteps = context_timesteps
        self.num_layers = num_layers
        self.autoregressive = action_mode == "autoregressive"
        self.rotary_key_size = rotary_key_size
        self.keep_prompt = keep_prompt
        self.temperature = temperature
        self.num_rows = tokenizer.spec.tokens_per_timestep
        self.num_slots = (context_timesteps + 1) * self.num_rows
        self._random = np.random.default_rng(seed)
        self.reset()

    def reset(self, kept_timesteps: int = 0) -> None:
        """Begins an episode, whose first timesteps may be kept for ever."""
        self._key_position_S = np.full(self.num_slots, EMPTY)
        self._kept_timesteps = kept_timesteps
        self._next = -1 if self.autoregressive else 0
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

    def prompted(self, prompt: Episode) -> Iterator[dict[str, np.ndarray]]:
        """Begins an episode with a prompt: inputs of one forced step after the other."""
        first = first_to_read(
            prompt,
            self.tokenizer.spec,
            context_timesteps=self.context_timesteps,
            num_layers=self.num_layers,
            keep_prompt=self.keep_prompt,
        )
        self.reset(len(prompt) if self.keep_prompt else 0)
        ids_TA = self.tokenizer.encode_action(prompt.action)
        for t in range(first, len(prompt)):
            observation = {key: value[t] for key, value in prompt.observation.items()}
            yield self.observed(observation, ids_TA[t])

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
        num_kept = self._kept_timesteps * self.num_rows
        in_ring_L = num_kept + (position_L - num_kept) % (self.num_slots - num_kept)
        slot_L = np.where((0 <= position_L) & (position_L < num_kept), position_L, in_ring_L)
        self._key_position_S[slot_L] = position_L
        query_L1, key_S = position_L[:, None], self._key_position_S
        age_LS = query_L1 // self.num_rows - key_S // self.num_rows
        is_kept_S = np.arange(self.num_slots) < num_kept
        remembered_LS = is_kept_S | (age_LS < self.context_timesteps - self._kept_timesteps)
        seen_LS = (0 <= key_S) & (key_S <= query_L1) & remembered_LS
        seen_LS |= key_S == query_L1
        mask_LS = np.where(seen_LS, np.float32(0.0), np.float32(-np.inf))
        places = {"slot": slot_L, "mask": mask_LS}
        if self.rotary_key_size is not None:
            places["rotation"] = _rotation(position_L, self.rotary_key_size)
        if self.keep_prompt:
            places |= self._kept_places(position_L, is_kept_S)
        return places

    def _kept_places(self, position_L: np.ndarray, is_kept_S: np.ndarray) -> dict[str, np.ndarray]:
        timestep_L = position_L // self.num_rows
        moved_L = np.maximum(0, timestep_L - self.context_timesteps + 1) * self.num_rows
        if self.rotary_key_size is not None:
            turned = _rotation(-moved_L, self.rotary_key_size)
            return {"kept": is_kept_S.astype(np.float32), "kept_rotation": turned}
        distance_LS = position_L[:, None] - self._key_position_S - moved_L[:, None] * is_kept_S
        return {"distance": np.clip(distance_LS, 0, self.num_slots - 1)}


class StepPolicy:
    """A policy whose step is one function of StepInputs; `_act` runs it, to the ids (A,)."""

    def __init__(self, inputs: StepInputs) -> None:
        self._inputs = inputs
        self.tokenizer = inputs.tokenizer
        self.seconds = StepSeconds(0.0, 0.0, 0.0)

    @property
    def spec(self) -> Spec:
        return self.tokenizer.spec

    def reset(self, prompt: Episode | None = None) -> None:
        """Forgets everything, then reads a prompt. Errors as of `GatoPolicy.reset`."""
        if prompt is None:
            self._inputs.reset()
            return
        for inputs in self._inputs.prompted(prompt):
            self._inputs.took(self._act(inputs))

    def step(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        """The action (A,). Raises KeyError or ValueError naming what is wrong in an observation."""
        self.spec.check_observation(observation)
        started = time.perf_counter()
        inputs = self._inputs.observed(observation)
        tokenized = time.perf_counter()
        ids = self._act(inputs)
        self._inputs.took(ids)
        self.seconds = StepSeconds(tokenized - started, time.perf_counter() - tokenized, 0.0)
        return self.tokenizer.decode_action(ids)

    def _act(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        raise NotImplementedError


def blank(spec: Spec) -> dict[str, np.ndarray]:
    """An observation of zeros: every observation has the same layout."""
    return {
        key: np.zeros(modality.shape, np.uint8 if isinstance(modality, Image) else np.int64)
        for key, modality in spec.observation.items()
    }


def _rotation(position_L: np.ndarray, key_size: int) -> np.ndarray:
    """float32 (2, L, K): see `positions.rotate`. Positions grow for ever, hence float64."""
    angle = position_L[:, None] * ROTARY_BASE ** (-np.arange(0, key_size, 2) / key_size)
    cos, sin = np.cos(angle), np.sin(angle)
    both = [np.concatenate([cos, cos], axis=1), np.concatenate([-sin, sin], axis=1)]
    return np.stack(both).astype(np.float32)
