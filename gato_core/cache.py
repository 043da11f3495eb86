"""Keys and values of the tokens in context, in buffers of a fixed size.

Shapes: N layers, B sequences, H heads, S slots, K key size, Q new tokens.
"""

from __future__ import annotations

from torch import Tensor


class KVCache:
    """S slots for each of B sequences. Who writes says where; what is seen is a mask's to say.

    relative_NHSK: Transformer-XL's keys of the distances 0, 1, ..., S - 1, computed once.
    in_place: otherwise writing makes new tensors, as a graph of pure functions must.
    """

    def __init__(
        self,
        k_NHBSK: Tensor,
        v_NHBSK: Tensor,
        relative_NHSK: Tensor | None,
        *,
        in_place: bool = True,
    ) -> None:
        self.k, self.v = list(k_NHBSK.unbind()), list(v_NHBSK.unbind())
        self.relative_NHSK = relative_NHSK
        self.in_place = in_place
        self.slot_BQ: Tensor  # of the new tokens, numbered through all sequences

    @property
    def num_slots(self) -> int:
        return self.k[0].shape[2]

    def write(self, layer: int, k_BHQK: Tensor, v_BHQK: Tensor) -> tuple[Tensor, Tensor]:
        """Stores the new tokens; returns the layer's whole buffers (B, H, S, K)."""
        slot = self.slot_BQ.flatten()
        for buffers, new_BHQK in ((self.k, k_BHQK), (self.v, v_BHQK)):
            flat, new = buffers[layer].flatten(1, 2), new_BHQK.transpose(0, 1).flatten(1, 2)
            # what is kept may be more precise than the layers: attention is as precise as its keys
            copy = flat.index_copy_ if self.in_place else flat.index_copy
            buffers[layer] = copy(1, slot, new.to(flat.dtype)).view(buffers[layer].shape)
        return self.k[layer].transpose(0, 1), self.v[layer].transpose(0, 1)
