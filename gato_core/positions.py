"""Positions of tokens: attention masks, relative distances and rotary angles.

Shapes: B sequences, L tokens, Q tokens whose output is wanted, S keys, H heads, K key size.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from gato_core.window import ROTARY_BASE


class Kept(NamedTuple):
    """How queries meet keys that stay in context while the window slides on, if angles tell place.

    The keys' angles are those of their first positions. Queries turn back instead.
    """

    rotation_BQ1K: tuple[Tensor, Tensor]  # of minus the distance that the window has moved
    is_kept_S: Tensor  # 1 where a slot is kept, else 0


class Places(NamedTuple):
    """Where one pass's tokens stand, the same for all layers; leading 1s where all rows agree."""

    mask_BHQS: Tensor  # 0 where a query sees a key, else minus infinity
    distance_BQS: Tensor  # from query back to key, in tokens
    rotation_BL1K: tuple[Tensor, Tensor]  # cosine and signed sine of the new tokens' rotary angles
    kept: Kept | None = None

    def at(self, index_BQ: Tensor) -> Places:
        """The same for some of the queries."""
        row_B1 = torch.arange(len(index_BQ), device=index_BQ.device)[:, None]

        def pick(x: Tensor) -> Tensor:
            return x.expand(len(index_BQ), *x.shape[1:])[row_B1, index_BQ]

        kept = self.kept
        if kept is not None:
            kept = kept._replace(rotation_BQ1K=tuple(map(pick, kept.rotation_BQ1K)))
        mask_BHQS = pick(self.mask_BHQS[:, 0])[:, None]
        return self._replace(mask_BHQS=mask_BHQS, distance_BQS=pick(self.distance_BQS), kept=kept)


def places(
    position_L: Tensor,
    key_position_S: Tensor,
    visible_BHLS: Tensor,
    key_size: int,
    dtype: torch.dtype,
) -> Places:
    """Masks, distances and rotary angles of tokens at absolute positions."""
    distance_LS = (position_L[:, None] - key_position_S).clamp(min=0)
    mask_BHLS = torch.zeros_like(visible_BHLS, dtype=dtype).masked_fill_(~visible_BHLS, -math.inf)
    return Places(mask_BHLS, distance_LS[None], rotation(position_L, key_size, dtype))


def rotation(position_L: Tensor, key_size: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """(1, L, 1, K) each: cosine and signed sine of the rotary angles of absolute positions."""
    # positions grow for ever: float64 keeps the angles exact where float32 would not
    exponent_K = torch.arange(0, key_size, 2, dtype=torch.float64, device=position_L.device)
    angle_LK = position_L[:, None] * ROTARY_BASE ** (-exponent_K / key_size)
    cos, sin = angle_LK.cos().to(dtype), angle_LK.sin().to(dtype)
    return torch.cat([cos, cos], -1)[None, :, None], torch.cat([-sin, sin], -1)[None, :, None]


def rotate(x_BLHK: Tensor, rotation_BL1K: tuple[Tensor, Tensor]) -> Tensor:
    """Rotary position embedding: pairs (i, i + K/2) turned by their angle."""
    cos_BL1K, sin_BL1K = (x.to(x_BLHK.dtype) for x in rotation_BL1K)
    swapped_BLHK = x_BLHK.roll(x_BLHK.shape[-1] // 2, dims=-1)
    return torch.addcmul(x_BLHK * cos_BL1K, swapped_BLHK, sin_BL1K)


def follow(everywhere: Places, moved_L: Tensor, is_kept_S: Tensor) -> Places:
    """The same where the kept keys have followed the window, by a distance for each query."""
    cos_BL1K = everywhere.rotation_BL1K[0]
    turned = rotation(-moved_L, cos_BL1K.shape[-1], cos_BL1K.dtype)
    return everywhere._replace(
        distance_BQS=everywhere.distance_BQS - moved_L[:, None] * is_kept_S,
        kept=Kept(turned, is_kept_S.to(cos_BL1K.dtype)),
    )


def sinusoids(distance_S: Tensor, width: int) -> Tensor:
    """Distances to float32 (S, width). Transformer-XL, section 3.3."""
    exponent = torch.arange(0, width, 2, device=distance_S.device) / width
    angle = distance_S[:, None] * ROTARY_BASE**-exponent
    return torch.cat([angle.sin(), angle.cos()], dim=-1)
