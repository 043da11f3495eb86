"""The network: patches and ids to embeddings, a decoder-only transformer, logits. Paper, section 2.

Shapes: B sequences, L tokens, Q tokens whose output is wanted, S keys, D width, H heads,
K key size, P patches, V ids.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gato_core.cache import KVCache
from gato_core.id_embedding import IdEmbedding
from gato_core.positions import Places, places, rotate, sinusoids
from gato_core.tokenizer import ACTION_POSITION, NO_POSITION, NUM_POSITION_BINS, PATCH, Tokens
from gato_core.vocab import ENGLISH, SMALL, Vocabulary


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of the network.

    ff_width is the width before GEGLU splits it. positions: "relative" as in Transformer-XL, the
    paper's by its parameter count, or "rotary". action_position: one local position "shared" by all
    action tokens, or "none"; the paper says both. The patch embedder looks at pixels in squares of
    patch_stride. stochastic_depth and dropout are probabilities.
    """

    num_layers: int
    num_heads: int
    width: int
    ff_width: int
    key_size: int
    positions: Literal["relative", "rotary"]
    vocabulary: Vocabulary = field(default_factory=Vocabulary)
    patch_channels: int = 64
    patch_stride: int = 4
    stochastic_depth: float = 0.0
    dropout: float = 0.0
    action_position: Literal["shared", "none"] = "shared"

    def __post_init__(self) -> None:
        for name, choices in (
            ("positions", ("relative", "rotary")),
            ("action_position", ("shared", "none")),
            ("patch_stride", (1, 2, 4, 8)),
        ):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name}: expected one of {choices}, got {getattr(self, name)!r}")
        for name, divisor in (("ff_width", 2), ("key_size", 2), ("patch_channels", 32)):
            if getattr(self, name) % divisor:
                raise ValueError(
                    f"{name}: expected a multiple of {divisor}, got {getattr(self, name)}"
                )
        for name in ("stochastic_depth", "dropout"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"{name}: expected [0, 1), got {getattr(self, name)}")


def _paper(num_layers: int, num_heads: int, width: int, key_size: int) -> ModelConfig:
    """One column of table 5."""
    return ModelConfig(
        num_layers, num_heads, width, 4 * width, key_size, "relative", ENGLISH, stochastic_depth=0.1
    )


def _control(num_layers: int, width: int, key_size: int = 32) -> ModelConfig:
    """A small network for control only, unless `with_text`: no text ids, rotary positions."""
    return ModelConfig(
        num_layers, width // key_size, width, 4 * width, key_size, "rotary", Vocabulary(num_text=0)
    )


PRESETS = {
    "1.2b": _paper(24, 16, 2048, 128),
    "364m": _paper(12, 12, 1536, 128),
    "79m": _paper(8, 24, 768, 32),
    "control-12m": _control(7, 384),
    "control-5m": _control(6, 256),
    "control-2m": _control(4, 192),
    "debug": replace(_control(2, 64, 16), patch_channels=32),
}


def preset(name: str) -> ModelConfig:
    """A named configuration. Raises ValueError listing the names if there is none such."""
    if name not in PRESETS:
        raise ValueError(f"preset: expected one of {sorted(PRESETS)}, got {name!r}")
    return PRESETS[name]


def with_text(config: ModelConfig) -> ModelConfig:
    """The configuration with the small text vocabulary before its other ids, if it has no text."""
    old = config.vocabulary
    if old.num_text:
        return config
    # discrete values shared their rows with continuous ones, and still do
    offset = old.discrete_offset + SMALL.num_text
    return replace(config, vocabulary=replace(SMALL, discrete_offset=offset))


def to_tensors(
    tokens: Tokens[np.ndarray], device: torch.device | str | None = None
) -> Tokens[Tensor]:
    """The same tokens as tensors (sharing memory on the CPU), with a batch dimension."""
    id, local_position, target = (
        torch.from_numpy(np.atleast_2d(array)).to(device)
        for array in (tokens.id, tokens.local_position, tokens.target)
    )
    patch = torch.from_numpy(tokens.patch).to(device)
    patch_interval = torch.from_numpy(tokens.patch_interval).to(device)
    mask = None if tokens.mask is None else torch.from_numpy(tokens.mask).to(device)
    enter = tokens.actions_enter
    return Tokens(id, local_position, target, patch, patch_interval, enter, mask)


def plain(
    id_BL: Tensor,
    local_position_BL: Tensor,
    patch: Tensor | None = None,
    patch_interval: Tensor | None = None,
    actions_enter: bool = True,
) -> Tokens[Tensor]:
    """Tokens to read, none of which is a target."""
    if patch is None or patch_interval is None:
        patch = torch.empty((0, 16, 16, 3), dtype=torch.uint8, device=id_BL.device)
        patch_interval = torch.empty((0, 4), dtype=torch.uint8, device=id_BL.device)
    no_target = torch.zeros_like(id_BL, dtype=torch.bool)
    return Tokens(id_BL, local_position_BL, no_target, patch, patch_interval, actions_enter)


def attend(q_BHQK: Tensor, k_BHSK: Tensor, v_BHSK: Tensor, bias_BHQS: Tensor) -> Tensor:
    """Scaled dot-product attention with a bias on the scores."""
    if not q_BHQK.requires_grad:
        return F.scaled_dot_product_attention(q_BHQK, k_BHSK, v_BHSK, bias_BHQS)
    # written out for training: on a CPU the fused backward takes six times longer
    score_BHQS = (q_BHQK * q_BHQK.shape[-1] ** -0.5) @ k_BHSK.transpose(-1, -2)
    return (score_BHQS + bias_BHQS).softmax(-1).to(v_BHSK.dtype) @ v_BHSK


class Attention(nn.Module):
    """Causal attention with relative positions, by distance (Transformer-XL) or by rotation."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.num_heads, self.key_size = config.num_heads, config.key_size
        inner = config.num_heads * config.key_size
        self.query_key_value = nn.Linear(config.width, 3 * inner)
        self.out = nn.Linear(inner, config.width)
        self.by_distance = config.positions == "relative"
        if self.by_distance:
            self.distance = nn.Linear(config.width, inner, bias=False)
            self.content_bias_HK = nn.Parameter(torch.zeros(self.num_heads, self.key_size))
            self.distance_bias_HK = nn.Parameter(torch.zeros(self.num_heads, self.key_size))

    def forward(
        self,
        x_BLD: Tensor,
        everywhere: Places,
        index_BQ: Tensor | None,
        cache: KVCache | None,
        layer: int,
    ) -> Tensor:
        """What all tokens, or those at index_BQ, gather from one another and from the cache."""
        qkv_BLHK = self.query_key_value(x_BLD).unflatten(-1, (-1, self.key_size))
        qk_BLHK, v_BLHK = qkv_BLHK.split([2 * self.num_heads, self.num_heads], dim=2)
        if not self.by_distance:
            qk_BLHK = rotate(qk_BLHK, everywhere.rotation_BL1K)
        q_BLHK, k_BLHK = qk_BLHK.chunk(2, dim=2)
        k_BHSK, v_BHSK = k_BLHK.transpose(1, 2), v_BLHK.transpose(1, 2)
        if cache is not None:
            k_BHSK, v_BHSK = cache.write(layer, k_BHSK, v_BHSK)
        wanted = everywhere
        if index_BQ is not None:
            q_BLHK, wanted = _at(q_BLHK, index_BQ), everywhere.at(index_BQ)
        q_BLHK = q_BLHK.to(k_BHSK.dtype)
        q_BHQK, bias_BHQS = q_BLHK.transpose(1, 2), wanted.mask_BHQS
        if wanted.kept is not None and not self.by_distance:
            turned_BLHK = rotate(q_BLHK, wanted.kept.rotation_BQ1K) - q_BLHK
            change_BHQS = turned_BLHK.transpose(1, 2) @ k_BHSK.transpose(-1, -2)
            bias_BHQS = bias_BHQS + change_BHQS * self.key_size**-0.5 * wanted.kept.is_kept_BHQS
        if self.by_distance:
            bias_BHQS = bias_BHQS + self._distance_scores(q_BHQK, wanted, cache, layer)
            q_BHQK = q_BHQK + self.content_bias_HK[:, None].to(q_BHQK.dtype)
        a_BHQK = attend(q_BHQK, k_BHSK, v_BHSK, bias_BHQS).to(v_BLHK.dtype)
        return self.out(a_BHQK.transpose(1, 2).flatten(2))

    def distances(self, num_distances: int) -> Tensor:
        """Keys (H, S, K) that stand for the distances 0, 1, ..., num_distances - 1."""
        weight = self.distance.weight
        distance_S = torch.arange(num_distances, device=weight.device)
        r_SD = self.distance(sinusoids(distance_S, weight.shape[1]).to(weight.dtype))
        return r_SD.unflatten(-1, (self.num_heads, self.key_size)).transpose(0, 1)

    def _distance_scores(
        self, q_BHQK: Tensor, wanted: Places, cache: KVCache | None, layer: int
    ) -> Tensor:
        """(B, H, Q, S): how queries score the distances to their keys. Transformer-XL."""
        q_BHQK = (q_BHQK + self.distance_bias_HK[:, None].to(q_BHQK.dtype)) * self.key_size**-0.5
        distance_B1QS = wanted.distance_BQS[:, None]
        num_keys = distance_B1QS.shape[-1]
        relative_NHSK = None if cache is None else cache.relative_NHSK
        r_HSK = self.distances(num_keys) if relative_NHSK is None else relative_NHSK[layer]
        index_BHQS = distance_B1QS.expand(*q_BHQK.shape[:3], -1)
        return (q_BHQK @ r_HSK.transpose(-1, -2)).gather(-1, index_BHQS)


class FeedForward(nn.Module):
    """GEGLU: half of the first layer's outputs gates the other half."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.width, config.ff_width)
        self.down = nn.Linear(config.ff_width // 2, config.width)

    def forward(self, x_BQD: Tensor) -> Tensor:
        value, gate = self.up(x_BQD).chunk(2, dim=-1)
        return self.down(value * F.gelu(gate))


class Block(nn.Module):
    """Pre-norm transformer block. Table 5, appendix C.1."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.width)
        self.attention = Attention(config)
        self.feed_forward_norm = nn.LayerNorm(config.width)
        self.feed_forward = FeedForward(config)
        self.dropout = nn.Dropout(config.dropout)
        self.stochastic_depth = config.stochastic_depth

    def forward(
        self,
        x_BLD: Tensor,
        everywhere: Places,
        index_BQ: Tensor | None,
        cache: KVCache | None,
        layer: int,
    ) -> Tensor:
        """(B, L, D) to the same, or to (B, Q, D) where only the tokens at index_BQ are wanted."""
        a_BQD = self.attention(self.attention_norm(x_BLD), everywhere, index_BQ, cache, layer)
        x_BQD = x_BLD if index_BQ is None else _at(x_BLD, index_BQ)
        x_BQD = x_BQD + self._regularize(a_BQD)
        return x_BQD + self._regularize(self.feed_forward(self.feed_forward_norm(x_BQD)))

    def _regularize(self, x_BLD: Tensor) -> Tensor:
        """Dropout, and stochastic depth: the sub-layer skipped for some sequences. Appendix D."""
        if not self.training:
            return x_BLD
        x_BLD = self.dropout(x_BLD)
        if self.stochastic_depth == 0.0:
            return x_BLD
        keep = 1.0 - self.stochastic_depth
        kept_B11 = torch.rand(len(x_BLD), 1, 1, device=x_BLD.device) < keep
        return x_BLD * (kept_B11 / keep).to(x_BLD.dtype)


class PatchEmbedder(nn.Module):
    """One residual block (v2: pre-activation, GroupNorm, GELU) and the patch's place in its image.

    Appendices C.2 and C.3. The paper gives no channel counts and no projection.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        channels, stride = config.patch_channels, config.patch_stride
        self.stem = nn.Conv2d(3, channels, stride, stride)
        self.norm1 = nn.GroupNorm(32, channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm2 = nn.GroupNorm(32, channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.project = nn.Linear(channels * (16 // stride) ** 2, config.width)
        self.row = nn.Embedding(NUM_POSITION_BINS, config.width)
        self.column = nn.Embedding(NUM_POSITION_BINS, config.width)

    def forward(self, patch: Tensor, interval_P4: Tensor) -> Tensor:
        """uint8 (P, 16, 16, 3) and their intervals to (P, D)."""
        # contiguous: torch's GroupNorm takes ten times longer with channels last
        pixel = patch.permute(0, 3, 1, 2).contiguous().to(self.stem.weight.dtype)
        pixel = (pixel / 127.5 - 1.0) / 4.0  # 4 is the square root of the patch size
        x = self.stem(pixel)
        h = self.conv1(F.gelu(self.norm1(x)))
        x = x + self.conv2(F.gelu(self.norm2(h)))
        row_P, column_P = self._index(interval_P4[:, :2]), self._index(interval_P4[:, 2:])
        return self.project(x.flatten(1)) + self.row(row_P) + self.column(column_P)

    def _index(self, interval_P2: Tensor) -> Tensor:
        """A place in each interval: any in training, its mean in evaluation. Appendix C.3."""
        low, high = interval_P2.float().unbind(-1)
        if self.training:
            index = (low + torch.rand_like(low) * (high - low)).floor()
        else:
            index = ((low + high) / 2).round()
        return index.long().clamp(max=NUM_POSITION_BINS - 1)


class Gato(nn.Module):
    """The transformer over tokens of every modality. It knows ids and places, but no Spec."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        vocabulary = config.vocabulary
        self.embedding = IdEmbedding(vocabulary.num_text, vocabulary.size, config.width)
        # the last row, of tokens without a local position, stays zero
        self.local_position = nn.Embedding(NO_POSITION + 1, config.width, padding_idx=NO_POSITION)
        self.patch_embedder = PatchEmbedder(config)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(config.width)
        self.apply(_initialize)
        self._initialize_scales()

    @torch.no_grad()
    def _initialize_scales(self) -> None:
        """Numbers begin as sinusoids of their value, so that near ones are near from the start.

        Image tasks are learned from ten times fewer samples than with unrelated vectors. Sub-layers
        begin small, patches as large as ids.
        """
        first, end = self.config.vocabulary.continuous_offset, self.config.vocabulary.separator
        self.embedding.rows(first, end).copy_(_scale(end - first, self.config.width))
        for table in (self.patch_embedder.row, self.patch_embedder.column):
            shuffled_D = torch.randperm(self.config.width)
            table.weight.copy_(_scale(NUM_POSITION_BINS, self.config.width)[:, shuffled_D])
        self.local_position.weight[NO_POSITION] = 0.0
        self.patch_embedder.project.weight.mul_(0.25)
        for block in self.layers:
            for last in (block.attention.out, block.feed_forward.down):
                last.weight.mul_((2 * self.config.num_layers) ** -0.5)

    @property
    def layers(self) -> list[Block]:
        """The blocks by their class, which torch's list of modules does not tell."""
        return cast("list[Block]", list(self.blocks))

    def forward(self, tokens: Tokens[Tensor]) -> Tensor:
        """Logits (N, V) for the N targets; their ids are `tokens.id[tokens.target]`."""
        x_BQD, wanted_BQ = self.features(tokens)
        return self.logits(x_BQD[wanted_BQ])

    def features(self, tokens: Tokens[Tensor]) -> tuple[Tensor, Tensor]:
        """Features (B, Q, D) of the tokens before targets, and which are (B, Q), as rows differ."""
        length, device, mask_LL = tokens.id.shape[1], tokens.id.device, tokens.mask
        if mask_LL is None:
            mask_LL = torch.ones((length, length), dtype=torch.bool, device=device).tril()
        everywhere = places(0, mask_LL, self.config.key_size, self.embedding.weight.dtype)
        index_BQ, wanted_BQ = _before_targets(tokens.target)
        return self.transform(self.embed(tokens), everywhere, index_BQ), wanted_BQ

    def logits(self, x: Tensor, id_range: tuple[int, int] | None = None) -> Tensor:
        """Features (..., D) to logits (..., V), or to those of the ids in a range."""
        first, last = id_range or (0, self.config.vocabulary.size)
        return F.linear(x, self.embedding.rows(first, last))

    def embed(self, tokens: Tokens[Tensor], row_P: Tensor | None = None) -> Tensor:
        """(B, L, D): patches and ids, with local positions. Section 2.2.

        row_P: where the patches stand among the B x L tokens, if the caller knows.
        """
        x_BLD = self.embedding(tokens.id.clamp(min=0))
        if not tokens.actions_enter:
            x_BLD = x_BLD * (tokens.local_position != ACTION_POSITION)[..., None]
        if len(tokens.patch) or self.training:  # or none: every process exchanges every gradient
            patch_PD = self.patch_embedder(tokens.patch, tokens.patch_interval).to(x_BLD.dtype)
            row_P = (tokens.id.flatten() == PATCH).nonzero()[:, 0] if row_P is None else row_P
            x_BLD = x_BLD.flatten(0, 1).index_copy(0, row_P, patch_PD).view(x_BLD.shape)
        position_BL = tokens.local_position
        if self.config.action_position == "none":
            position_BL = position_BL.masked_fill(position_BL == ACTION_POSITION, NO_POSITION)
        return x_BLD + self.local_position(position_BL)

    def transform(
        self,
        x_BLD: Tensor,
        everywhere: Places,
        index_BQ: Tensor | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """Embeddings to features; the last block only where its output is wanted."""
        *blocks, last = self.blocks
        for layer, block in enumerate(blocks):
            x_BLD = block(x_BLD, everywhere, None, cache, layer)
        return self.norm(last(x_BLD, everywhere, index_BQ, cache, len(blocks)))

    @torch.no_grad()
    def new_cache(self, num_slots: int, batch_size: int = 1) -> KVCache:
        """An empty cache for the weights as they are now."""
        weight, config = self.embedding.weight, self.config
        # a CPU attends in float32 sooner than in bfloat16: a single token in a sixth of the time
        rounded_on_cpu = weight.dtype == torch.bfloat16 and weight.device.type == "cpu"
        dtype = torch.float32 if rounded_on_cpu else weight.dtype
        shape = (config.num_layers, config.num_heads, batch_size, num_slots, config.key_size)
        k_NHBSK, v_NHBSK = (torch.zeros(shape, dtype=dtype, device=weight.device) for _ in "kv")
        relative_NHSK = None
        if config.positions == "relative":
            distances = [block.attention.distances(num_slots) for block in self.layers]
            relative_NHSK = torch.stack(distances).to(dtype)
        return KVCache(k_NHBSK, v_NHBSK, relative_NHSK)


def _at(x: Tensor, index_BQ: Tensor) -> Tensor:
    """Tokens (B, L, ...) at index_BQ."""
    return x[torch.arange(len(x), device=x.device)[:, None], index_BQ]


def _before_targets(target_BL: Tensor) -> tuple[Tensor, Tensor]:
    """Where outputs are wanted: positions (B, Q), and which of them are (rows may differ)."""
    wanted_BL = target_BL[:, 1:]
    num_wanted = int(wanted_BL.sum(1).max())
    index_BQ = wanted_BL.int().argsort(dim=1, descending=True, stable=True)[:, :num_wanted]
    return index_BQ, wanted_BL.gather(1, index_BQ)


def _initialize(module: nn.Module) -> None:
    """Normal weights that keep the scale of their inputs, zero biases; torch's own convolutions."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=module.weight.shape[1] ** -0.5)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


def _scale(num_values: int, width: int) -> Tensor:
    """(num_values, width): evenly spaced values as sinusoids, the finest over a few of them."""
    value = torch.linspace(-1.0, 1.0, num_values)
    frequency = (num_values / 5.0) ** torch.linspace(0.0, 1.0, width // 2)
    angle = value[:, None] * frequency
    return torch.cat([angle.sin(), angle.cos()], dim=1) * (2.0 / width) ** 0.5
