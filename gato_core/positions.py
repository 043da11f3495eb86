"""Positions of tokens: attention masks, relative distances and rotary angles.

Shapes: B sequences, L tokens, Q tokens whose output is wanted, S keys, H heads, K key size.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gato_core.window import ROTARY_BASE, rotation


class Kept(NamedTuple):
    """How queries meet keys that stay in context while the window slides on, if angles tell place.

    The keys' angles are those of their first positions. Queries turn back instead.
    """

    rotation_BQ1K: tuple[Tensor, Tensor]  # of minus the distance that the window has moved
    is_kept_BHQS: Tensor  # 1 where a slot is kept, else 0


class Places(NamedTuple):
    """Where one pass's tokens stand, the same for all layers; leading 1s where all rows agree."""

    mask_BHQS: Tensor  # 0 where a query sees a key, else minus infinity
    distance_BQS: Tensor  # from query back to key, in tokens
    rotation_BL1K: tuple[Tensor, Tensor]  # cosine and signed sine of the new tokens' rotary angles
    kept: Kept | None = None

    def at(self, index_BQ: Tensor) -> Places:
        """The same for some of the queries."""
        row_B1 = torch.arange(len(index_BQ), device=index_BQ.device)[:, None]
        return self._of(lambda x: x.expand(len(index_BQ), *x.shape[1:])[row_B1, index_BQ])

    def rows(self, rows: slice) -> Places:
        """The same for tokens in a row, themselves and as queries."""
        cos, sin = self.rotation_BL1K
        return self._of(lambda x: x[:, rows])._replace(rotation_BL1K=(cos[:, rows], sin[:, rows]))

    def _of(self, pick: Callable[[Tensor], Tensor]) -> Places:
        """Picked of what is the queries'."""
        kept = self.kept
        if kept is not None:
            cos, sin = kept.rotation_BQ1K
            kept = kept._replace(rotation_BQ1K=(pick(cos), pick(sin)))
        mask_BHQS = pick(self.mask_BHQS[:, 0])[:, None]
        return self._replace(mask_BHQS=mask_BHQS, distance_BQS=pick(self.distance_BQS), kept=kept)


def places(start: int, seen_LS: Tensor, key_size: int, dtype: torch.dtype) -> Places:
    """Of L tokens of which the first is number `start` of S, for a mask of what they see."""
    num_new, num_keys = seen_LS.shape
    position_L = np.arange(start, start + num_new)
    rotation_2LK = torch.from_numpy(rotation(position_L, key_size)).to(seen_LS.device, dtype)
    cos, sin = rotation_2LK[:, None, :, None]
    mask_LS = torch.zeros_like(seen_LS, dtype=dtype).masked_fill_(~seen_LS, -math.inf)
    token_S = torch.arange(num_keys, device=seen_LS.device)
    distance_LS = (token_S[start : start + num_new, None] - token_S).clamp(min=0)
    return Places(mask_LS[None, None], distance_LS[None], (cos, sin))


def rotate(x_BLHK: Tensor, rotation_BL1K: tuple[Tensor, Tensor]) -> Tensor:
    """Rotary position embedding: pairs (i, i + K/2) turned by their angle."""
    cos_BL1K, sin_BL1K = (x.to(x_BLHK.dtype) for x in rotation_BL1K)
    swapped_BLHK = x_BLHK.roll(x_BLHK.shape[-1] // 2, dims=-1)
    return torch.addcmul(x_BLHK * cos_BL1K, swapped_BLHK, sin_BL1K)


def sinusoids(distance_S: Tensor, width: int) -> Tensor:
    """Distances to float32 (S, width). Transformer-XL, section 3.3."""
    exponent = torch.arange(0, width, 2, device=distance_S.device) / width
    angle = distance_S[:, None] * ROTARY_BASE**-exponent
    return torch.cat([angle.sin(), angle.cos()], dim=-1)
