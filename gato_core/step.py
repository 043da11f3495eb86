"""One control step as a function of static shapes, sampling included: what runs everywhere.

Everything that depends on time is handed in (see `gato_core.window`), so that nothing waits for a
value before the action is known, and the step can be captured or exported whole.

Shapes: N layers, B robots, H heads, S slots of the cache, K key size, L rows, Q new tokens,
D width, A action tokens, V their ids.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from gato_core.cache import KVCache
from gato_core.model import Gato, ModelConfig, plain
from gato_core.positions import Kept, Places
from gato_core.tokenizer import ACTION_POSITION, PATCH, Tokenizer
from gato_core.window import blank


class ControlStep(nn.Module):
    """From a step's inputs to the ids of its action. The model's dtype is the computation's."""

    first_slot_B1: Tensor
    position_BL: Tensor
    row_P: Tensor
    interval_P4: Tensor
    relative_NHSK: Tensor | None

    def __init__(self, model: Gato, tokenizer: Tokenizer, num_robots: int = 1) -> None:
        super().__init__()
        spec = tokenizer.spec
        self.model = model.eval()
        self.num_actions = spec.num_action_tokens
        self.action_ids = tokenizer.action_ids
        self.autoregressive = tokenizer.embodiment.autoregressive
        tokens = tokenizer.encode_observation(blank(spec))
        num_before, num_after = (1, 0) if self.autoregressive else (0, self.num_actions)
        position_L = np.pad(
            tokens.local_position[0], (num_before, num_after), constant_values=ACTION_POSITION
        )
        row_P = np.flatnonzero(tokens.id[0] == PATCH) + num_before
        num_slots = (tokenizer.embodiment.context_timesteps + 1) * spec.tokens_per_timestep
        robot_B1 = np.arange(num_robots)[:, None]
        for name, array in (
            ("first_slot_B1", robot_B1 * num_slots),
            ("position_BL", np.tile(position_L, (num_robots, 1))),
            ("row_P", (robot_B1 * len(position_L) + row_P).ravel()),
            ("interval_P4", np.tile(tokens.patch_interval, (num_robots, 1))),
        ):
            self.register_buffer(name, torch.from_numpy(array).to(self.device), persistent=False)
        cache = model.new_cache(num_slots, num_robots)
        self.register_buffer("relative_NHSK", cache.relative_NHSK, persistent=False)
        self.k_NHBSK, self.v_NHBSK = torch.stack(cache.k), torch.stack(cache.v)

    @property
    def device(self) -> torch.device:
        return self.model.embedding.weight.device

    @torch.inference_mode()
    def run(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Action ids (B, A) of one step, which goes into the cache."""
        tensors = {name: torch.from_numpy(array).to(self.device) for name, array in inputs.items()}
        return self(tensors, self.k_NHBSK, self.v_NHBSK)[0].cpu().numpy()

    def forward(
        self, inputs: Mapping[str, Tensor], k_NHBSK: Tensor, v_NHBSK: Tensor, in_place: bool = True
    ) -> tuple[Tensor, KVCache]:
        """Action ids (B, A), and the cache afterwards."""
        cache = KVCache(k_NHBSK, v_NHBSK, self.relative_NHSK, in_place=in_place)
        patch = inputs["patch"].flatten(0, 1) if "patch" in inputs else None
        tokens = plain(
            inputs["id"],
            self.position_BL,
            patch,
            self.interval_P4,
            actions_enter=self.autoregressive,
        )
        x_BLD = self.model.embed(tokens, self.row_P)
        everywhere = self._places(inputs, k_NHBSK.dtype)
        if self.autoregressive:
            return self._in_turn(x_BLD, everywhere, inputs, cache), cache
        x_BQD = self._pass(x_BLD, everywhere, inputs["slot"], 0, self.num_actions + 1, cache)
        return self._sample(x_BQD[:, :-1], inputs["noise"]), cache

    def _in_turn(
        self, x_BLD: Tensor, everywhere: Places, inputs: Mapping[str, Tensor], cache: KVCache
    ) -> Tensor:
        """Each action token sampled after those before it."""
        ids: list[Tensor] = []
        row = 0
        for noise_BV in inputs["noise"].unbind(1):
            x_B1D = self._pass(x_BLD, everywhere, inputs["slot"], row, 1, cache)
            row += x_BLD.shape[1]
            ids.append(self._sample(x_B1D, noise_BV[:, None]))
            x_BLD = self.model.embed(plain(ids[-1], torch.full_like(ids[-1], ACTION_POSITION)))
        return torch.cat(ids, dim=1)

    def _pass(
        self,
        x_BLD: Tensor,
        everywhere: Places,
        slot_BL: Tensor,
        row: int,
        num_outputs: int,
        cache: KVCache,
    ) -> Tensor:
        """Features (B, num_outputs, D) of the last of the tokens that begin in a row."""
        batch_size, length, _ = x_BLD.shape
        rows = slice(row, row + length)
        cache.slot_BQ = self.first_slot_B1 + slot_BL[:, rows]
        last_Q = torch.arange(length - num_outputs, length, device=x_BLD.device)
        index_BQ = last_Q.expand(batch_size, -1)
        return self.model.transform(x_BLD, everywhere.rows(rows), index_BQ, cache)

    def _places(self, inputs: Mapping[str, Tensor], dtype: torch.dtype) -> Places:
        mask_BLS = inputs["mask"].to(dtype)
        num_slots = mask_BLS.shape[2]
        slot_S = torch.arange(num_slots, device=mask_BLS.device)
        distance_BLS = (inputs["slot"][:, :, None] - slot_S) % num_slots
        kept = None
        if "kept" in inputs:
            is_kept_BHQS = inputs["kept"].to(dtype)[:, None, None]
            kept = Kept(_both(inputs["kept_rotation"]), is_kept_BHQS)
        rotation = inputs.get("rotation", mask_BLS[:, None].expand(-1, 2, -1, -1))
        distance_BLS = inputs.get("distance", distance_BLS)
        return Places(mask_BLS[:, None], distance_BLS, _both(rotation), kept)

    def _sample(self, x_BQD: Tensor, noise_BQV: Tensor) -> Tensor:
        logits_BQV = self.model.logits(x_BQD, self.action_ids)
        return (logits_BQV.float() + noise_BQV).argmax(-1) + self.action_ids[0]


class Traced(nn.Module):
    """A ControlStep of positional tensors that writes nothing in place: what an exporter reads."""

    def __init__(self, step: ControlStep, names: Sequence[str]) -> None:
        super().__init__()
        self.step, self.names = step, names

    def forward(self, *tensors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        *inputs, k_NHBSK, v_NHBSK = tensors
        id_BA, cache = self.step(dict(zip(self.names, inputs)), k_NHBSK, v_NHBSK, in_place=False)
        return id_BA, torch.stack(cache.k), torch.stack(cache.v)


def layout(config: ModelConfig) -> dict:
    """What StepInputs need to know of a model, JSON-ready."""
    return {
        "num_layers": config.num_layers,
        "rotary_key_size": config.key_size if config.positions == "rotary" else None,
    }


def _both(rotation_B2LK: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and signed sine (B, L, 1, K)."""
    cos, sin = rotation_B2LK[:, :, :, None].unbind(1)
    return cos, sin
