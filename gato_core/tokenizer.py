"""Observations and actions to tokens and back: the only place that knows the order of tokens.

A timestep is its observation's tokens in the order of sorted keys (images as patches in raster
order, vectors row-major), one separator, and the action's tokens. Paper, section 2.1. numpy only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from gato_core.embodiment import Embodiment
from gato_core.spec import PATCH_SIZE, Continuous, Discrete, Image, Modality, Spec, Text
from gato_core.vocab import Vocabulary, bin_centre, bin_index, mu_law

PATCH = -1  # stands in `id` where an image patch is, which has no id
NO_POSITION = 512  # the separator has no local position
ACTION_POSITION = 511  # all tokens of an action share one local position
NUM_POSITION_BINS = 128  # appendix C.3: patch intervals are quantised to this many

Array = TypeVar("Array")


@dataclass(frozen=True)
class Tokens(Generic[Array]):
    """Token sequences of one length, as numpy arrays or as tensors. `...` is () or (batch,).

    id: int64 (..., length), PATCH where an image patch stands.
    local_position: int64 (..., length), index among the timestep's observation tokens,
        ACTION_POSITION for action tokens, NO_POSITION for separators.
    target: bool (..., length), tokens that a network is to predict from those before them.
    patch: uint8 (num_patches, 16, 16, 3), in the order of the PATCH marks, row after row.
    patch_interval: uint8 (num_patches, 4), row low, row high, column low, column high of the patch
        within its image, in 1/128 of the side.
    actions_enter: whether action tokens enter a network with their ids, or all as zeros.
    mask: bool (length, length), which tokens each sees; all before it, if not given.
    """

    id: Array
    local_position: Array
    target: Array
    patch: Array
    patch_interval: Array
    actions_enter: bool = True
    mask: Array | None = None


def patches(image: np.ndarray) -> np.ndarray:
    """uint8 (..., height, width, 3) to (..., num_patches, 16, 16, 3) in raster order."""
    *lead, height, width, channels = image.shape
    rows, columns = height // PATCH_SIZE, width // PATCH_SIZE
    grid = image.reshape(*lead, rows, PATCH_SIZE, columns, PATCH_SIZE, channels)
    grid = np.moveaxis(grid, -3, -4)
    return grid.reshape(*lead, rows * columns, PATCH_SIZE, PATCH_SIZE, channels)


def patch_intervals(image: Image) -> np.ndarray:
    """uint8 (num_patches, 4): each patch's relative row and column interval. Appendix C.3."""

    def edges(side: int) -> np.ndarray:
        return np.round(np.arange(0, side + 1, PATCH_SIZE) / side * NUM_POSITION_BINS)

    row, column = edges(image.height), edges(image.width)
    r, c = np.mgrid[: len(row) - 1, : len(column) - 1].reshape(2, -1)
    return np.stack([row[r], row[r + 1], column[c], column[c + 1]], axis=1).astype(np.uint8)


def batch(sequences: Sequence[Tokens[np.ndarray]], padding_id: int) -> Tokens[np.ndarray]:
    """Sequences (length_i,) as one (batch, longest), padded on the right, where causality hides it.

    Padding is never a target.
    """

    def pad(arrays: list[np.ndarray], value: int) -> np.ndarray:
        longest = max(len(array) for array in arrays)
        rows = [np.pad(a, (0, longest - len(a)), constant_values=value) for a in arrays]
        return np.stack(rows)

    longest = max(sequences, key=lambda s: len(s.id))
    return Tokens(
        actions_enter=longest.actions_enter,
        mask=longest.mask,
        id=pad([s.id for s in sequences], padding_id),
        local_position=pad([s.local_position for s in sequences], NO_POSITION),
        target=pad([s.target for s in sequences], False),
        patch=np.concatenate([s.patch for s in sequences]),
        patch_interval=np.concatenate([s.patch_interval for s in sequences]),
    )


def encode_document(
    parts: Sequence[np.ndarray], vocabulary: Vocabulary, *, is_target: Sequence[bool] | None = None
) -> Tokens[np.ndarray]:
    """Text and images in their order, without a robot: (length,) tokens. Sections 2.1 and 3.2.

    parts: text as integer ids (n,), images as uint8 (height, width, 3). All text is a target, as in
    the paper, or that of the parts with is_target. A document has no timesteps, so no token has a
    local position. Raises ValueError naming the part with ids or an image size that do not exist.
    """
    ids, targets = [np.empty(0, np.int64)], [np.empty(0, bool)]
    patch, interval = [np.empty((0, 16, 16, 3), np.uint8)], [np.empty((0, 4), np.uint8)]
    for i, part in enumerate(parts):
        if part.ndim == 3:
            image = Image(*part.shape[:2])
            image.check(f"part {i}", part)
            patch.append(patches(part))
            interval.append(patch_intervals(image))
            ids.append(np.full(image.num_tokens, PATCH, np.int64))
        else:
            Text(len(part)).check(f"part {i}", part)
            _check_text(f"part {i}", part, vocabulary)
            ids.append(part.astype(np.int64))
        wanted = part.ndim == 1 and (is_target is None or is_target[i])
        targets.append(np.full(len(ids[-1]), wanted))
    id, target = np.concatenate(ids), np.concatenate(targets)
    target[:1] = False  # nothing stands before the first token
    return Tokens(
        id=id,
        local_position=np.full_like(id, NO_POSITION),
        target=target,
        patch=np.concatenate(patch),
        patch_interval=np.concatenate(interval),
    )


class Tokenizer:
    """Tokens of one embodiment. Every timestep has the same layout, made once here."""

    def __init__(self, embodiment: Embodiment, vocabulary: Vocabulary) -> None:
        """Raises ValueError when its Spec needs positions or ids that do not exist."""
        spec = embodiment.spec
        if spec.num_observation_tokens > ACTION_POSITION:
            raise ValueError(
                f"observation: expected at most {ACTION_POSITION} tokens a timestep, "
                f"got {spec.num_observation_tokens}"
            )
        has_text = any(isinstance(m, Text) for m in spec.observation.values())
        if has_text and not vocabulary.num_text:
            raise ValueError("observation: expected no text (vocabulary without text), got Text")
        if isinstance(spec.action, Continuous) and spec.action.mu_law:
            raise ValueError("action: expected mu_law=False (appendix B), got True")
        self.embodiment = embodiment
        self.spec = spec
        self.vocabulary = vocabulary
        self._slices = _slices(spec)
        self._id = np.full(spec.tokens_per_timestep, PATCH, np.int64)
        self._id[spec.num_observation_tokens] = vocabulary.separator
        self._local_position = np.arange(spec.tokens_per_timestep)
        self._local_position[spec.num_observation_tokens] = NO_POSITION
        self._local_position[spec.num_observation_tokens + 1 :] = ACTION_POSITION
        self._target = self._local_position == ACTION_POSITION
        images = [m for m in spec.observation.values() if isinstance(m, Image)]
        empty = np.empty((0, 4), np.uint8)
        self._interval = np.concatenate([empty, *map(patch_intervals, images)])

    @property
    def action_ids(self) -> tuple[int, int]:
        """First id of actions, and one past the last: nothing else may ever be sampled."""
        action, vocabulary = self.spec.action, self.vocabulary
        if isinstance(action, Discrete):
            return vocabulary.discrete_offset, vocabulary.discrete_offset + action.num_values
        return vocabulary.continuous_offset, vocabulary.separator

    def encode_observation(self, observation: Mapping[str, np.ndarray]) -> Tokens[np.ndarray]:
        """One observation and its separator, batch of one: what precedes the action."""
        end = self.spec.num_observation_tokens + 1
        now = {key: np.asarray(value)[None, None] for key, value in observation.items()}
        id = np.tile(self._id[:end], (1, 1, 1))
        patch = self._encode_observations(now, id)
        return self._tokens(id, patch)

    def encode_timesteps(
        self,
        observation: Mapping[str, np.ndarray],
        action: np.ndarray,
        *,
        text_is_target: bool = False,
    ) -> Tokens[np.ndarray]:
        """Timesteps (..., T, *shape) of each key and actions (..., T, A) to (..., T * K) tokens.

        `...` is () or (batch,), K the tokens of a timestep; Text may be strings (..., T). Targets
        are the action tokens, and text if asked.
        """
        lead = action.shape[:-1]
        id = np.broadcast_to(self._id, (*lead, len(self._id))).copy()
        patch = self._encode_observations(observation, id)
        id[..., self.spec.num_observation_tokens + 1 :] = self.encode_action(action)
        tokens = self._tokens(id, patch)
        if text_is_target:
            tokens.target[..., :] |= np.tile(self._is_text(), lead[-1])
            tokens.target[..., 0] = False  # nothing stands before the first token
        return tokens

    def encode_action(self, action: np.ndarray) -> np.ndarray:
        """Actions (..., A) in the Spec's unit to int64 ids (..., A); values outside are clipped."""
        return _encode(self.spec.action, action, self.vocabulary)

    def decode_action(self, id: np.ndarray) -> np.ndarray:
        """Action ids (..., A) to float32 at bin centres in the Spec's unit; int64 if discrete.

        Raises ValueError for ids that are no actions.
        """
        first, last = self.action_ids
        bins = np.asarray(id) - first
        if bins.size and not (0 <= bins.min() and bins.max() < last - first):
            raise ValueError(f"action ids: expected [{first}, {last}), got {np.asarray(id)}")
        action = self.spec.action
        if isinstance(action, Discrete):
            return bins
        low, high = np.asarray(action.low), np.asarray(action.high)
        return (low + (bin_centre(bins) + 1.0) / 2.0 * (high - low)).astype(np.float32)

    def _encode_observations(
        self, observation: Mapping[str, np.ndarray], id: np.ndarray
    ) -> np.ndarray:
        """Writes ids (..., T, K) in place; returns the patches (num_patches, 16, 16, 3)."""
        images = []
        for key, modality in self.spec.observation.items():
            if isinstance(modality, Image):
                images.append(patches(observation[key]))
            else:
                value = observation[key]
                if isinstance(modality, Text):
                    value = _text_ids(value, modality.num_tokens, self.vocabulary)
                    _check_text(key, value, self.vocabulary)
                id[..., self._slices[key]] = _encode(modality, value, self.vocabulary)
        if not images:
            return np.empty((0, PATCH_SIZE, PATCH_SIZE, 3), np.uint8)
        return np.concatenate(images, axis=-4).reshape(-1, PATCH_SIZE, PATCH_SIZE, 3)

    def _tokens(self, id: np.ndarray, patch: np.ndarray) -> Tokens[np.ndarray]:
        """Joins ids (..., T, K) over time and adds what is constant in every timestep."""
        *lead, num_timesteps, length = id.shape
        shape = (*lead, num_timesteps * length)
        repeats = len(patch) // max(len(self._interval), 1)

        def every_timestep(layout: np.ndarray) -> np.ndarray:
            return np.broadcast_to(layout[:length], id.shape).reshape(shape).copy()

        return Tokens(
            actions_enter=self.embodiment.autoregressive,
            mask=self._mask(num_timesteps) if length == len(self._id) else None,
            id=id.reshape(shape),
            local_position=every_timestep(self._local_position),
            target=every_timestep(self._target),
            patch=patch,
            patch_interval=np.tile(self._interval, (repeats, 1)),
        )

    def _mask(self, num_timesteps: int) -> np.ndarray | None:
        """bool (T * K, T * K): all before, but actions of earlier timesteps if they are hidden."""
        if self.embodiment.sees_past_actions or not self.embodiment.autoregressive:
            return None
        token = np.arange(num_timesteps * len(self._id))
        timestep = token // len(self._id)
        is_action = np.tile(self._target, num_timesteps)
        return (token <= token[:, None]) & ~(is_action & (timestep < timestep[:, None]))

    def _is_text(self) -> np.ndarray:
        is_text = np.zeros(self.spec.tokens_per_timestep, bool)
        for key, modality in self.spec.observation.items():
            is_text[self._slices[key]] = isinstance(modality, Text)
        return is_text


def _slices(spec: Spec) -> dict[str, slice]:
    """Where each key's tokens stand within the timestep."""
    slices, start = {}, 0
    for key, modality in spec.observation.items():
        slices[key] = slice(start, start + modality.num_tokens)
        start += modality.num_tokens
    return slices


def _text_ids(value: np.ndarray, num_tokens: int, vocabulary: Vocabulary) -> np.ndarray:
    """Strings (...,) to ids (..., num_tokens); ids stay as they are."""
    if value.dtype.kind not in "OU":
        return value
    from gato_core.text import pieces  # robots without words do without SentencePiece

    words, index = np.unique(value, return_inverse=True)
    ids = np.stack([pieces.fit(str(one), num_tokens, vocabulary) for one in words])
    return ids[index.reshape(value.shape)]


def _check_text(name: str, ids: np.ndarray, vocabulary: Vocabulary) -> None:
    if ids.size and (ids.min() < 0 or ids.max() >= vocabulary.num_text):
        raise ValueError(
            f"{name}: expected text ids in [0, {vocabulary.num_text}), got {ids.min()}..{ids.max()}"
        )


def _encode(modality: Modality, value: np.ndarray, vocabulary: Vocabulary) -> np.ndarray:
    """Values (..., n) of one modality without patches to int64 ids (..., n)."""
    match modality:
        case Continuous(mu_law=True):
            return bin_index(mu_law(value)) + np.int64(vocabulary.continuous_offset)
        case Continuous():
            low, high = np.asarray(modality.low), np.asarray(modality.high)
            scaled = (value - low) / (high - low) * 2.0 - 1.0
            return bin_index(scaled) + np.int64(vocabulary.continuous_offset)
        case Discrete():
            return np.asarray(value, np.int64) + vocabulary.discrete_offset
        case Text():
            return np.asarray(value, np.int64)
    raise AssertionError(modality)
