"""One control step as a function of static shapes, sampling included: exported and captured whole.

It computes what `GatoPolicy` does by way of `Gato.extend`, with everything that depends on time
handed in (see `gato_core.window`), so that nothing waits for a value before the action is known.

Shapes: N layers, B = 1 robot, H heads, S slots of the ring, K key size, L rows, Q new tokens,
D width, A action tokens, V their ids.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from gato_core.model import Gato, ModelConfig
from gato_core.positions import Kept, Places
from gato_core.tokenizer import ACTION_POSITION, PATCH, Tokenizer, Tokens
from gato_core.window import blank


class Ring:
    """Keys and values of the window, for one pass; the network meets it as it meets a KVCache.

    Written in place, or anew where a graph of pure functions is traced.
    """

    def __init__(self, cache: Mapping[str, Tensor], relative_NHSK: Tensor | None, in_place: bool):
        self.k, self.v = list(cache["k"].unbind()), list(cache["v"].unbind())
        self.relative_NHSK = relative_NHSK
        self.slot_Q: Tensor
        self._write = Tensor.index_copy_ if in_place else Tensor.index_copy

    def write(self, layer: int, k_BHQK: Tensor, v_BHQK: Tensor) -> tuple[Tensor, Tensor]:
        """Stores new tokens' keys and values; returns the layer's whole buffers."""
        dtype = self.k[layer].dtype
        self.k[layer] = self._write(self.k[layer], 2, self.slot_Q, k_BHQK.to(dtype))
        self.v[layer] = self._write(self.v[layer], 2, self.slot_Q, v_BHQK.to(dtype))
        return self.k[layer], self.v[layer]

    def relative_window(self, layer: int, num_queries: int) -> None:
        """None: where its slots begin is not known to the host."""


class ControlStep(nn.Module):
    """From a step's inputs to the ids of its action. The model's dtype is the computation's."""

    def __init__(self, model: Gato, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.model = model.eval()
        self.num_actions = tokenizer.spec.num_action_tokens
        self.action_ids = tokenizer.action_ids
        self.autoregressive = model.config.action_mode == "autoregressive"
        tokens = tokenizer.encode_observation(blank(tokenizer.spec))
        position = tokens.local_position.reshape(1, -1)
        if self.autoregressive:
            position = np.concatenate([[[ACTION_POSITION]], position], axis=1)
        row_P = np.flatnonzero(tokens.id.reshape(-1) == PATCH) + self.autoregressive
        device = model.embedding.weight.device
        for name, array in (
            ("position_BL", position),
            ("patch_row_P", row_P),
            ("interval_P4", tokens.patch_interval),
        ):
            self.register_buffer(name, torch.from_numpy(array).to(device), persistent=False)
        cache = model.new_cache(tokenizer.spec.tokens_per_timestep)
        self.register_buffer("relative_NHSK", cache.relative_NHSK, persistent=False)
        self.cache = {"k": cache.k_NBHSK, "v": cache.v_NBHSK}

    def forward(
        self, inputs: Mapping[str, Tensor], cache: Mapping[str, Tensor], in_place: bool = True
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Action ids (1, A), and the keys and values (N, B, H, S, K) afterwards."""
        ring = Ring(cache, self.relative_NHSK, in_place)
        places = self._places(inputs)
        x_BLD = self._embed(inputs["id"], inputs.get("patch"))
        if self.autoregressive:
            id_BA = self._in_turn(x_BLD, places, inputs, ring)
        else:
            id_BA = self._all_at_once(x_BLD, places, inputs, ring)
        if in_place:
            return id_BA, cache["k"], cache["v"]
        return id_BA, torch.stack(ring.k), torch.stack(ring.v)

    def _in_turn(
        self, x_BLD: Tensor, places: Places, inputs: Mapping[str, Tensor], ring: Ring
    ) -> Tensor:
        """Each action token sampled after those before it."""
        ids, row = [], 0
        for noise_V in inputs["noise"]:
            x_B1D = self._pass(x_BLD, places, inputs["slot"], row, 1, ring)
            row += x_BLD.shape[1]
            ids.append(self._sample(x_B1D, noise_V))
            x_BLD = self._embed_action(ids[-1])
        return torch.cat(ids, dim=1)

    def _all_at_once(
        self, x_BLD: Tensor, places: Places, inputs: Mapping[str, Tensor], ring: Ring
    ) -> Tensor:
        """All action tokens from one pass, in which they enter as zeros."""
        blank_BA = inputs["id"][:, : self.num_actions] * 0
        x_BLD = torch.cat([x_BLD, self._embed_action(blank_BA)], dim=1)
        x_BQD = self._pass(x_BLD, places, inputs["slot"], 0, self.num_actions + 1, ring)
        return self._sample(x_BQD[:, :-1], inputs["noise"])

    def _pass(
        self, x_BLD: Tensor, places: Places, slot_L: Tensor, row: int, num_outputs: int, ring: Ring
    ) -> Tensor:
        """Features (1, num_outputs, D) of the last of the tokens that begin in a row."""
        length = x_BLD.shape[1]
        rows = slice(row, row + length)
        ring.slot_Q = slot_L[rows]
        places = _rows(places, rows)
        index_BQ = torch.arange(length - num_outputs, length, device=x_BLD.device)[None]
        return self.model._transform(x_BLD, places, index_BQ, ring)

    def _places(self, inputs: Mapping[str, Tensor]) -> Places:
        mask_LS = inputs["mask"].to(self.cache["k"].dtype)
        num_slots = mask_LS.shape[1]
        slot_S = torch.arange(num_slots, device=mask_LS.device)
        distance_LS = (inputs["slot"][:, None] - slot_S) % num_slots
        rotation_2LK = inputs.get("rotation", mask_LS[None].expand(2, -1, -1))
        cos, sin = rotation_2LK[:, None, :, None]
        kept = None
        if "kept" in inputs:
            turned_cos, turned_sin = inputs["kept_rotation"][:, None, :, None]
            kept = Kept((turned_cos, turned_sin), inputs["kept"].to(mask_LS.dtype))
        distance_LS = inputs.get("distance", distance_LS)
        return Places(mask_LS[None, None], distance_LS[None], (cos, sin), kept)

    def _embed(self, id_BL: Tensor, patch: Tensor | None) -> Tensor:
        x_BLD = self.model.embed(_tokens(id_BL, self.position_BL))
        if patch is None:
            return x_BLD
        patch_PD = self.model.patch_embedder(patch, self.interval_P4)
        position_P = self.position_BL[0, self.patch_row_P]
        patch_PD = patch_PD + self.model.local_position(position_P)
        return x_BLD.index_copy(1, self.patch_row_P, patch_PD[None])

    def _embed_action(self, id_BA: Tensor) -> Tensor:
        return self.model.embed(_tokens(id_BA, torch.full_like(id_BA, ACTION_POSITION)))

    def _sample(self, x_BQD: Tensor, noise_QV: Tensor) -> Tensor:
        logits_BQV = self.model.logits(x_BQD, self.action_ids)
        return (logits_BQV.float() + noise_QV).argmax(-1) + self.action_ids[0]


class Traced(nn.Module):
    """A ControlStep of positional tensors that writes nothing in place: what an exporter reads."""

    def __init__(self, step: ControlStep, names: Sequence[str]) -> None:
        super().__init__()
        self.step, self.names = step, names

    def forward(self, *tensors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        *inputs, k_NBHSK, v_NBHSK = tensors
        cache = {"k": k_NBHSK, "v": v_NBHSK}
        return self.step(dict(zip(self.names, inputs)), cache, in_place=False)


def layout(config: ModelConfig) -> dict:
    """What StepInputs need to know of a model, JSON-ready."""
    return {
        "context_timesteps": config.context_timesteps,
        "num_layers": config.num_layers,
        "action_mode": config.action_mode,
        "rotary_key_size": config.key_size if config.positions == "rotary" else None,
    }


def _rows(places: Places, rows: slice) -> Places:
    """The places of some rows of a timestep."""

    def some(rotation_BL1K: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        cos, sin = rotation_BL1K
        return cos[:, rows], sin[:, rows]

    kept = places.kept and places.kept._replace(rotation_BQ1K=some(places.kept.rotation_BQ1K))
    mask_BHQS, distance_BQS = places.mask_BHQS[:, :, rows], places.distance_BQS[:, rows]
    return Places(mask_BHQS, distance_BQS, some(places.rotation_BL1K), kept)


def _tokens(id_BL: Tensor, position_BL: Tensor) -> Tokens[Tensor]:
    """Tokens without their patches, which are put in their rows afterwards."""
    none = torch.empty((0, 16, 16, 3), dtype=torch.uint8, device=id_BL.device)
    return Tokens(id_BL, position_BL, torch.ones_like(id_BL, dtype=torch.bool), none, none)
