"""The embedding of ids, of which text's are a table of their own.

Batches without text leave that table alone, its gradient and its moments: 32,000 rows of width 256
are 8 M numbers that a small network would otherwise update for nothing. In checkpoints the rows are
one tensor, as the paper has it.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import torch
from torch import Tensor, nn

# what a module's state is: its type in torch's own hooks
State = MutableMapping[str, Any]


class IdEmbedding(nn.Embedding):
    """Rows (V, D) of ids: text's, then all others. `weight` are the others'; see `rows`."""

    def __init__(self, num_text: int, num_ids: int, width: int) -> None:
        super().__init__(num_ids - num_text, width)
        self.num_text = num_text
        self.text = nn.Embedding(num_text, width) if num_text else None
        if num_text:
            self.register_state_dict_post_hook(_join)
            self.register_load_state_dict_pre_hook(_split)

    def rows(self, first: int, last: int) -> Tensor:
        """(last - first, D): of the ids in a range."""
        n = self.num_text
        if self.text is None or first >= n:
            return self.weight[first - n : last - n]
        if last <= n:
            return self.text.weight[first:last]
        return torch.cat([self.text.weight[first:], self.weight[: last - n]])

    def forward(self, id: Tensor) -> Tensor:
        """(..., D)."""
        if self.text is None:
            return super().forward(id)
        is_text = id < self.num_text
        other = super().forward((id - self.num_text).clamp(min=0))
        if self.training and not is_text.any():
            return other
        words = self.text(id.clamp(max=self.num_text - 1))
        return torch.where(is_text[..., None], words, other)


def _join(module: IdEmbedding, state: State, prefix: str, *_: object) -> None:
    """One tensor of all rows, text's first."""
    words = state.pop(f"{prefix}text.weight")
    state[f"{prefix}weight"] = torch.cat([words, state[f"{prefix}weight"]])


def _split(module: IdEmbedding, state: State, prefix: str, *_: object) -> None:
    """Undoes `_join`; a tensor of another size is left as it is, to be refused."""
    whole = state.get(f"{prefix}weight")
    if whole is not None and len(whole) == module.num_text + module.num_embeddings:
        state[f"{prefix}text.weight"] = whole[: module.num_text]
        state[f"{prefix}weight"] = whole[module.num_text :]
