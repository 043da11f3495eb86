"""The inputs of a control step as numpy arrays: tokens, and all that depends on time.

Shapes: L rows, one for each token of a timestep; S slots of the cache, used as a ring; K key size;
A action tokens; V their ids.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from gato_core.episode import Episode
from gato_core.spec import Image, Spec
from gato_core.tokenizer import Tokenizer

CERTAIN = 1e9  # above any logit: what a prompt's actions are chosen by
EMPTY = -1  # in place of a position; that of the blank before the first timestep, too
ROTARY_BASE = 10000.0


class StepInputs:
    """Makes one robot's inputs: tokens, their slots in the ring, what they see, sampling noise.

    Every step has as many rows as a timestep has tokens. Parallel actions enter with their own
    observation. Autoregressive ones enter one by one, the last of them with the next observation;
    the first step has a blank in its place, which nobody sees but itself.

    The token at position p takes slot p % S, so a new timestep overwrites the oldest and nothing
    moves or is recomputed. One timestep more than the context is kept, because the last action
    token of a timestep enters together with the next observation and still sees its own context.
    With keep_prompt a prompt's timesteps have slots of their own, which are never overwritten; they
    are met as if they stood right before the window's oldest timestep, as in training.

    id: int64 (L,): the last action's if autoregressive; the observation's, the separator; zeros in
        the place of the action if parallel.
    patch: uint8 (num_patches, 16, 16, 3), unless there are no images.
    slot: int64 (L,). mask: float32 (L, S), 0 where a row sees a slot, else minus infinity.
    rotation: float32 (2, L, K), cosine and signed sine of rotary angles, if rotary.
    noise: float32 (A, V), added to the logits before the likeliest id is taken.
    With keep_prompt also, if rotary, kept: float32 (S,), 1 for kept slots, and kept_rotation:
    float32 (2, L, K), of minus the tokens by which the window has left behind what is kept; else
    distance: int64 (L, S) from row to slot.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        num_layers: int,
        rotary_key_size: int | None,
        keep_prompt: bool = False,
        temperature: float = 0.0,
    ) -> None:
        if not temperature >= 0.0:
            raise ValueError(f"temperature: expected >= 0, got {temperature}")
        self.tokenizer = tokenizer
        embodiment = tokenizer.embodiment
        self.context_timesteps = embodiment.context_timesteps
        self.hides_past_actions = embodiment.autoregressive and not embodiment.sees_past_actions
        self.num_layers = num_layers
        self.autoregressive = embodiment.autoregressive
        self.rotary_key_size = rotary_key_size
        self.keep_prompt = keep_prompt
        self.temperature = temperature
        self.num_rows = tokenizer.spec.tokens_per_timestep
        self.num_slots = (self.context_timesteps + 1) * self.num_rows
        self._blank = blank(tokenizer.spec)
        first, last = tokenizer.action_ids
        self._noiseless = np.zeros((tokenizer.spec.num_action_tokens, last - first), np.float32)
        self.seed(0)
        self.reset()

    def seed(self, seed: int | tuple[int, ...]) -> None:
        """Determines all draws from now on."""
        self._random = np.random.default_rng(seed)

    def reset(self, prompt: Episode | None = None) -> int:
        """Begins an episode. Returns the timestep from which a prompt is to be read.

        That is the first that can still reach the present: through all layers of a sliding window.
        Raises KeyError or ValueError for a prompt that does not fit the Spec or, if it is to be
        kept, fills the context.
        """
        num_kept, first = 0, 0
        if prompt is not None:
            prompt.check(self.tokenizer.spec)
            reach = self.num_layers * (self.context_timesteps - 1) + 1
            first = max(0, len(prompt) - reach)
            if self.keep_prompt:
                num_kept, first = len(prompt), 0
            if self.keep_prompt and num_kept >= self.context_timesteps:
                raise ValueError(
                    "prompt: expected fewer timesteps to keep than the context's "
                    f"{self.context_timesteps}, got {num_kept}"
                )
        self._num_kept = num_kept * self.num_rows
        self._next = -1 if self.autoregressive else 0
        self._last_id = self.tokenizer.vocabulary.separator
        return first

    def read(self, prompt: Episode) -> Iterator[dict[str, np.ndarray]]:
        """Begins an episode with a prompt: inputs of one step after the other."""
        first = self.reset(prompt)
        ids_TA = self.tokenizer.encode_action(prompt.action)
        for t in range(first, len(prompt)):
            observation = {key: value[t] for key, value in prompt.observation.items()}
            yield self._inputs(observation, self._certain(ids_TA[t]))
            self.took(ids_TA[t])

    def observed(self, observation: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The inputs of a step, by name."""
        noise: np.ndarray = self._noiseless
        if self.temperature:  # the argmax of logits plus such noise is a sample of their softmax
            gumbel = self._random.gumbel(size=noise.shape)
            noise = (self.temperature * gumbel).astype(np.float32)
        return self._inputs(observation, noise)

    def idle(self) -> dict[str, np.ndarray]:
        """Inputs that leave no trace: what they write is overwritten by the next step unseen."""
        return self._inputs(self._blank, self._noiseless)

    def took(self, action_ids: np.ndarray) -> None:
        """Tells which ids (A,) the step came to, and that it is over."""
        self._last_id = int(action_ids[-1])
        self._next += self.num_rows

    def _certain(self, ids_A: np.ndarray) -> np.ndarray:
        first, last = self.tokenizer.action_ids
        return CERTAIN * (np.arange(first, last) == ids_A[:, None]).astype(np.float32)

    def _inputs(
        self, observation: Mapping[str, np.ndarray], noise: np.ndarray
    ) -> dict[str, np.ndarray]:
        tokens = self.tokenizer.encode_observation(observation)
        others = [self._last_id] if self.autoregressive else [0] * len(noise)
        order = (others, tokens.id[0]) if self.autoregressive else (tokens.id[0], others)
        inputs = {"id": np.concatenate(order), "noise": noise, **self._places()}
        if len(tokens.patch):
            inputs["patch"] = tokens.patch
        return inputs

    def _places(self) -> dict[str, np.ndarray]:
        """Slots, mask and rotation of the next rows."""
        position_L = self._next + np.arange(self.num_rows)
        newest, num_kept = position_L[-1], self._num_kept
        slot_S, ring = np.arange(self.num_slots), self.num_slots - num_kept
        is_kept_S = slot_S < num_kept
        key_S = np.where(is_kept_S, slot_S, newest - (newest - slot_S) % ring)
        key_S[(key_S > newest) | (~is_kept_S & (key_S < num_kept))] = EMPTY
        is_own_L = (0 <= position_L) & (position_L < num_kept)
        slot_L = np.where(is_own_L, position_L, num_kept + (position_L - num_kept) % ring)
        query_L1 = position_L[:, None]
        age_LS = query_L1 // self.num_rows - key_S // self.num_rows
        remembered_LS = is_kept_S | (age_LS < self.context_timesteps - num_kept // self.num_rows)
        seen_LS = (0 <= key_S) & (key_S <= query_L1) & remembered_LS
        if self.hides_past_actions:
            is_action_S = key_S % self.num_rows >= self.num_rows - len(self._noiseless)
            seen_LS &= ~(is_action_S & (age_LS > 0))
        seen_LS |= slot_L[:, None] == slot_S  # a blank sees itself
        places = {"slot": slot_L, "mask": np.where(seen_LS, np.float32(0.0), -np.float32(np.inf))}
        if self.rotary_key_size is not None:
            places["rotation"] = rotation(position_L, self.rotary_key_size)
        if self.keep_prompt:
            places |= self._kept_places(query_L1, key_S, is_kept_S)
        return places

    def _kept_places(
        self, query_L1: np.ndarray, key_S: np.ndarray, is_kept_S: np.ndarray
    ) -> dict[str, np.ndarray]:
        timestep_L1 = query_L1 // self.num_rows
        moved_L1 = np.maximum(0, timestep_L1 - self.context_timesteps + 1) * self.num_rows
        if self.rotary_key_size is not None:
            turned = rotation(-moved_L1[:, 0], self.rotary_key_size)
            return {"kept": is_kept_S.astype(np.float32), "kept_rotation": turned}
        distance_LS = query_L1 - key_S - moved_L1 * is_kept_S
        return {"distance": np.clip(distance_LS, 0, self.num_slots - 1)}


def blank(spec: Spec) -> dict[str, np.ndarray]:
    """An observation of zeros: every observation has the same layout."""
    return {
        key: np.zeros(modality.shape, np.uint8 if isinstance(modality, Image) else np.int64)
        for key, modality in spec.observation.items()
    }


def rotation(position_L: np.ndarray, key_size: int) -> np.ndarray:
    """float32 (2, L, K): cosine and signed sine of rotary angles; see `positions.rotate`."""
    # positions grow for ever: float64 keeps the angles exact where float32 would not
    angle = position_L[:, None] * ROTARY_BASE ** (-np.arange(0, key_size, 2) / key_size)
    cos, sin = np.cos(angle), np.sin(angle)
    both = [np.concatenate([cos, cos], axis=1), np.concatenate([-sin, sin], axis=1)]
    return np.stack(both).astype(np.float32)
