"""Keys and values of the timesteps in context: fixed buffers, used as a ring.

Shapes: N layers, B robots, H heads, S slots of the ring, K key size, Q new tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

EMPTY = -1
NEVER = 1 << 62  # timesteps until what is kept leaves


def visible(
    query_position_Q: Tensor, key_position_S: Tensor, tokens_per_timestep: int, num_timesteps: int
) -> Tensor:
    """bool (Q, S): keys not later than the query, within its timestep and those in context."""
    query_QS, key_QS = query_position_Q[:, None], key_position_S[None, :]
    age_QS = query_QS // tokens_per_timestep - key_QS // tokens_per_timestep
    return (key_QS <= query_QS) & (age_QS < num_timesteps) & (key_QS >= 0)


class KVCache:
    """Transformer-XL memory of the last whole timesteps, for robots that step together.

    The token at position p takes slot p % S, so a new timestep overwrites the oldest and nothing
    moves or is recomputed. One timestep more than the context is kept, because the last action
    token of a timestep enters together with the next observation and still sees its own context.

    The first timesteps may be kept for ever, such as a prompt: the context includes them. They have
    slots of their own, and are met as if they always stood right before the window's oldest
    timestep, as in training (see `moved`).
    """

    def __init__(
        self,
        *,
        num_layers: int,
        num_heads: int,
        key_size: int,
        tokens_per_timestep: int,
        context_timesteps: int,
        batch_size: int = 1,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> None:
        self.tokens_per_timestep = tokens_per_timestep
        self.context_timesteps = context_timesteps
        self.num_slots = (context_timesteps + 1) * tokens_per_timestep
        shape = (num_layers, batch_size, num_heads, self.num_slots, key_size)
        self.k_NBHSK = torch.zeros(shape, dtype=dtype, device=device)
        self.v_NBHSK = torch.zeros(shape, dtype=dtype, device=device)
        self.position_S = torch.full((self.num_slots,), EMPTY, device=device)
        self.start_B = torch.zeros(batch_size, dtype=torch.long, device=device)
        self.relative_NHSK: Tensor | None = None  # Transformer-XL: projected distances, set once
        self._reversed_NHWK: Tensor | None = None
        self.length = 0
        self.num_kept = 0
        self._slot_Q = torch.arange(0, device=device)

    @property
    def batch_size(self) -> int:
        return len(self.start_B)

    @property
    def dtype(self) -> torch.dtype:
        """What keys are kept in and attention computes in; no less precise than the layers."""
        return self.k_NBHSK.dtype

    def set_relative(self, relative_NHSK: Tensor) -> None:
        """Keeps the keys that stand for distances 0, 1, ..., S - 1, on a CPU also for windows."""
        self.relative_NHSK = relative_NHSK
        if relative_NHSK.device.type == "cpu":
            # backwards and around the ring more than twice: any window of it is a slice
            num_keys = 2 * (self.num_slots + self.tokens_per_timestep)
            distance_W = -torch.arange(num_keys) % self.num_slots
            self._reversed_NHWK = relative_NHSK[:, :, distance_W]

    def relative_window(self, layer: int, num_queries: int) -> Tensor | None:
        """Keys (H, S + Q, K) of the distances to each slot, for the Q newest tokens; else None.

        The row for token Q - 1 - i begins at key i. Only slots in one ring lie like this.
        """
        if self._reversed_NHWK is None or self.num_kept:
            return None
        start = -(self.length - 1) % self.num_slots
        return self._reversed_NHWK[layer, :, start : start + self.num_slots + num_queries]

    def reset(self, robot: int | None = None, *, kept_timesteps: int = 0) -> None:
        """Forgets all robots, or one of them, at the border of a timestep.

        Positions are relative, so one robot may begin anew while the others go on; what is kept is
        all robots' from their beginning.
        """
        if robot is None:
            assert kept_timesteps < self.context_timesteps, "nothing would be left for the present"
            self.length = 0
            self.num_kept = kept_timesteps * self.tokens_per_timestep
            self.position_S.fill_(EMPTY)
            self.start_B.zero_()
        else:
            assert not (self.num_kept or kept_timesteps), "kept timesteps are all robots'"
            self.start_B[robot] = self.length

    def claim(self, num_tokens: int) -> tuple[Tensor, Tensor]:
        """Takes slots for new tokens: their positions (Q,) and what they see, bool (B, 1, Q, S)."""
        offset = self.length % self.tokens_per_timestep
        assert offset + num_tokens <= 2 * self.tokens_per_timestep, "evicts what is still seen"
        position_Q = torch.arange(
            self.length, self.length + num_tokens, device=self.position_S.device
        )
        self.length += num_tokens
        self._slot_Q = position_Q % self.num_slots
        if self.num_kept:
            in_ring_Q = (position_Q - self.num_kept) % (self.num_slots - self.num_kept)
            self._slot_Q = torch.where(
                position_Q < self.num_kept, position_Q, self.num_kept + in_ring_Q
            )
        self.position_S[self._slot_Q] = position_Q
        mask_QS = self._visible(position_Q)
        since_BS = self.position_S >= self.start_B[:, None]
        return position_Q, mask_QS & since_BS[:, None, None]

    def _visible(self, position_Q: Tensor) -> Tensor:
        """bool (Q, S): `visible`, and what is kept, from then on."""
        length = self.tokens_per_timestep
        in_window = self.context_timesteps - self.num_kept // length
        mask_QS = visible(position_Q, self.position_S, length, in_window)
        if self.num_kept:
            mask_QS |= visible(position_Q, self.position_S, length, NEVER) & self.is_kept_S
        return mask_QS

    def moved(self, position_Q: Tensor) -> Tensor:
        """(Q,): how far the window has left behind what is kept, in tokens, as each query sees it.

        To that query a kept key stands at its position and so much more.
        """
        timestep_Q = position_Q // self.tokens_per_timestep
        return (timestep_Q - self.context_timesteps + 1).clamp(min=0) * self.tokens_per_timestep

    @property
    def is_kept_S(self) -> Tensor:
        """bool (S,): the slots of what is kept."""
        return torch.arange(self.num_slots, device=self.position_S.device) < self.num_kept

    def write(self, layer: int, k_BHQK: Tensor, v_BHQK: Tensor) -> tuple[Tensor, Tensor]:
        """Stores the claimed tokens' keys and values; returns the layer's whole buffers."""
        k_BHSK, v_BHSK = self.k_NBHSK[layer], self.v_NBHSK[layer]
        k_BHSK.index_copy_(2, self._slot_Q, k_BHQK.to(k_BHSK.dtype))
        v_BHSK.index_copy_(2, self._slot_Q, v_BHQK.to(v_BHSK.dtype))
        return k_BHSK, v_BHSK
