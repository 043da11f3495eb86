"""Attention maps and t-SNE embeddings of a checkpoint: `gato analyze`.

Attention maps over a timestep's image patches, and a t-SNE of embeddings. Paper, section 5.
Shapes: H heads, L tokens, P patches, D width, N sequences.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
import tyro
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from gato_core import checkpoint
from gato_core.dataset import Dataset
from gato_core.episode import Episode
from gato_core.model import Gato, to_tensors
from gato_core.spec import PATCH_SIZE, Image, Spec
from gato_core.tokenizer import Tokenizer
from gato_core.tools.tsne import principal_components, tsne

SIDE = 192  # pixels of one map in the picture
WHITE, BLACK = (255, 255, 255), (0, 0, 0)


@dataclass(frozen=True)
class AttentionConfig:
    """Maps of the attention that a frame's patches receive, one for each camera and head.

    example: gato analyze attention --checkpoint checkpoints/control --data datasets/train
    """

    checkpoint: Path
    data: Path
    embodiment: str | None = None
    """Which of the checkpoint's, where there are several."""
    episode: int = 0
    timestep: int | None = None
    """The middle of the episode, if not given."""
    layer: int = 0
    """The paper shows the first."""
    heads: tuple[int, ...] = ()
    """All, if not given."""
    looking: Literal["all", "action"] = "all"
    """Whose attention: of all the timestep's later tokens, as in the paper, or of those from which
    its action is predicted."""
    output: Path = Path("outputs/analyze/attention.png")


@dataclass(frozen=True)
class EmbeddingConfig:
    """A t-SNE of sequence embeddings: one point for each sequence, coloured by its label.

    example: gato analyze embedding --checkpoint checkpoints/control --data datasets/train
    """

    checkpoint: Path
    data: tuple[Path, ...]
    embodiment: str | None = None
    """Which of the checkpoint's, where there are several."""
    by: Literal["task", "dataset", "progress"] = "task"
    """What colours mean; progress is the quarter of the episode."""
    num_sequences: int = 300
    layer: int | None = None
    """The middle one, if not given, as in the paper."""
    seed: int = 0
    output: Path = Path("outputs/analyze/embedding.png")


def main() -> int:
    """Writes a picture; the last line is JSON. 1 with a message for what does not fit."""
    config = tyro.extras.subcommand_cli_from_dict(
        {"attention": AttentionConfig, "embedding": EmbeddingConfig}, prog="gato analyze"
    )
    attention = isinstance(config, AttentionConfig)
    try:
        found = analyze_attention(config) if attention else analyze_embedding(config)
    except (ValueError, OSError) as error:
        print(f"gato analyze: {error}", file=sys.stderr)
        return 1
    print(json.dumps(found))
    return 0


def analyze_attention(config: AttentionConfig) -> dict:
    """Maps of the attention that a frame's patches receive, one for each camera and head."""
    loaded = checkpoint.load(config.checkpoint)
    tokenizer = loaded.tokenizer(config.embodiment)
    dataset = _dataset(config.data, tokenizer.spec)
    if not 0 <= config.episode < dataset.num_episodes:
        raise ValueError(f"episode: expected 0..{dataset.num_episodes - 1}, got {config.episode}")
    length = int(dataset.lengths[config.episode])
    t = length // 2 if config.timestep is None else config.timestep
    if not 0 <= t < length:
        raise ValueError(f"timestep: expected 0..{length - 1}, got {t}")
    first = max(0, t + 1 - tokenizer.embodiment.context_timesteps)
    episode = dataset.read(config.episode, first, t + 1)
    map_HP = received(loaded.model, tokenizer, episode, config.layer, config.looking)
    heads = config.heads or tuple(range(len(map_HP)))
    if not set(heads) <= set(range(len(map_HP))):
        raise ValueError(f"heads: expected 0..{len(map_HP) - 1}, got {heads}")
    _write(config.output, draw_maps(map_HP[list(heads)], tokenizer.spec, episode, heads))
    return {"picture": str(config.output), "episode": config.episode, "timestep": t,
            "layer": config.layer, "heads": list(heads)}  # fmt: skip


def analyze_embedding(config: EmbeddingConfig) -> dict:
    """A t-SNE of sequence embeddings: one point for each sequence, coloured by its label."""
    loaded = checkpoint.load(config.checkpoint)
    layer = loaded.model.config.num_layers // 2 if config.layer is None else config.layer
    tokenizer = loaded.tokenizer(config.embodiment)
    datasets = [_dataset(path, tokenizer.spec) for path in config.data]
    rng = np.random.default_rng(config.seed)
    vectors, labels = [], []
    for i in range(config.num_sequences):
        dataset = datasets[i % len(datasets)]
        episode, start, stop = _draw(dataset, tokenizer.embodiment.context_timesteps, rng)
        read = dataset.read(episode, start, stop)
        vectors.append(embedding(loaded.model, tokenizer, read, layer))
        progress = 4 * start // int(dataset.lengths[episode])
        names = {
            "task": read.task,
            "dataset": dataset.root.name,
            "progress": f"quarter {progress + 1}",
        }
        labels.append(names[config.by])
    perplexity = min(30.0, len(vectors) / 3)
    points = tsne(principal_components(np.stack(vectors)), perplexity=perplexity, seed=config.seed)
    _write(config.output, draw_points(points, labels))
    return {"picture": str(config.output), "layer": layer, "sequences": len(labels),
            "labels": len(set(labels))}  # fmt: skip


class _Recorder(TorchFunctionMode):
    """Notes the queries, keys and biases of each fused attention, in the order of layers."""

    def __init__(self) -> None:
        self.calls: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
        super().__init__()

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is F.scaled_dot_product_attention:
            bias = args[3] if len(args) > 3 else kwargs["attn_mask"]
            self.calls.append((args[0], args[1], bias))
        return function(*args, **(kwargs or {}))


@torch.inference_mode()
def attention_scores(
    model: Gato, tokenizer: Tokenizer, episode: Episode, layer: int
) -> torch.Tensor:
    """Scores (H, L - 1, L) of one layer before the softmax; minus infinity for what is hidden."""
    if not 0 <= layer < model.config.num_layers:
        raise ValueError(f"layer: expected 0..{model.config.num_layers - 1}, got {layer}")
    tokens = to_tensors(tokenizer.encode_timesteps(episode.observation, episode.action))
    recorder = _Recorder()
    with recorder:
        model.eval()(replace(tokens, target=torch.ones_like(tokens.target)))
    q_BHQK, k_BHSK, bias_BHQS = recorder.calls[layer]
    score_BHQS = q_BHQK @ k_BHSK.transpose(-1, -2) * q_BHQK.shape[-1] ** -0.5 + bias_BHQS
    return score_BHQS[0, :, : tokens.id.shape[1] - 1]


def received(
    model: Gato, tokenizer: Tokenizer, episode: Episode, layer: int = 0, looking: str = "all"
) -> np.ndarray:
    """(H, P): the attention that each patch of the last timestep receives within it.

    Appendix J: scores within the timestep, without those of tokens to themselves; softmax over
    each row; mean over the later tokens, or over those that predict the action.
    """
    spec = tokenizer.spec
    is_patch = _is_patch(spec)
    start, length = (len(episode) - 1) * spec.tokens_per_timestep, spec.tokens_per_timestep
    score_HLL = attention_scores(model, tokenizer, episode, layer)[:, start:, start:]
    itself = torch.eye(length, dtype=torch.bool)[: length - 1]
    weight_HLL = score_HLL.masked_fill(itself, -torch.inf).softmax(-1).nan_to_num(0.0)
    later = torch.arange(length - 1)[:, None] > torch.arange(length)
    if looking == "action":
        later[: spec.num_observation_tokens] = False
    total_HL = (weight_HLL * later).sum(1) / later.sum(0).clamp(min=1)
    return total_HL[:, torch.from_numpy(is_patch)].float().numpy()


@torch.inference_mode()
def embedding(model: Gato, tokenizer: Tokenizer, episode: Episode, layer: int) -> np.ndarray:
    """(D,): the mean of one layer's features over all tokens of a sequence."""
    tokens = to_tensors(tokenizer.encode_timesteps(episode.observation, episode.action))
    seen: list[torch.Tensor] = []
    handle = model.blocks[layer].register_forward_hook(lambda _, __, out: seen.append(out))
    try:
        model.eval()(replace(tokens, target=torch.ones_like(tokens.target)))
    finally:
        handle.remove()
    return seen[0][0].float().mean(0).numpy()


def draw_maps(
    map_HP: np.ndarray, spec: Spec, episode: Episode, heads: tuple[int, ...]
) -> np.ndarray:
    """RGB uint8: a row for each camera, its last frame first, then one map for each head."""
    rows, first = [], 0
    for key, modality in spec.observation.items():
        if not isinstance(modality, Image):
            continue
        frame = _enlarge(episode.observation[key][-1])
        tiles = [_titled(frame, key.split("/")[0])]
        mine = map_HP[:, first : first + modality.num_tokens]
        first += modality.num_tokens
        grid = (modality.height // PATCH_SIZE, modality.width // PATCH_SIZE)
        for head, map_P in zip(heads, mine):
            tiles.append(_titled(_overlay(frame, map_P.reshape(grid)), f"head {head}"))
        rows.append(np.concatenate(tiles, axis=1))
    width = max(row.shape[1] for row in rows)
    padded = [np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0))) for row in rows]
    return np.concatenate(padded)


def draw_points(points: np.ndarray, labels: list[str]) -> np.ndarray:
    """RGB uint8: points (N, 2) in the colours of their labels, with a legend."""
    size, margin = 800, 40
    low, high = points.min(0), points.max(0)
    place = margin + (points - low) / (high - low) * (size - 2 * margin)
    names = sorted(set(labels))
    picture = np.full((size, size + 320, 3), 255, np.uint8)
    hue = (np.arange(len(names)) * 180 / len(names)).astype(np.uint8)
    hsv = np.stack([hue, np.full_like(hue, 220), np.full_like(hue, 200)], axis=1)[None]
    colours = dict(zip(names, cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0].tolist()))
    for (x, y), label in zip(place.round().astype(int).tolist(), labels):
        cv2.circle(picture, (x, y), 5, colours[label], -1, cv2.LINE_AA)
    for i, name in enumerate(names[:30]):
        y = margin + 24 * i
        cv2.circle(picture, (size + 10, y), 6, colours[name], -1, cv2.LINE_AA)
        _write_on(picture, f"{name} ({labels.count(name)})", (size + 24, y + 5), BLACK)
    return picture


def _draw(dataset: Dataset, length: int, rng: np.random.Generator) -> tuple[int, int, int]:
    """A random window of whole timesteps: episode, start, stop."""
    episode = int(rng.integers(dataset.num_episodes))
    total = int(dataset.lengths[episode])
    start = int(rng.integers(max(1, total - length + 1)))
    return episode, start, min(start + length, total)


def _dataset(path: Path, spec: Spec) -> Dataset:
    dataset = Dataset(path)
    if differences := spec.differences(dataset.spec):
        raise ValueError(f"{path}: the Spec differs:\n  " + "\n  ".join(differences))
    return dataset


def _is_patch(spec: Spec) -> np.ndarray:
    """bool (tokens_per_timestep,). Raises ValueError for a Spec without images."""
    kinds = [isinstance(m, Image) for m in spec.observation.values()]
    if not any(kinds):
        raise ValueError(f"observation: expected an image, got {list(spec.observation)}")
    sizes = [m.num_tokens for m in spec.observation.values()]
    observed = np.repeat(kinds, sizes)
    return np.concatenate([observed, np.zeros(1 + spec.num_action_tokens, bool)])


def _enlarge(frame: np.ndarray) -> np.ndarray:
    scale = SIDE / frame.shape[0]
    size = (round(frame.shape[1] * scale), SIDE)
    return cv2.resize(frame, size, interpolation=cv2.INTER_CUBIC)


def _overlay(frame: np.ndarray, patch_map: np.ndarray) -> np.ndarray:
    """The frame under its map (rows, columns); the largest value is brightest."""
    heat = (255 * patch_map / max(patch_map.max(), 1e-12)).astype(np.uint8)
    heat = cv2.resize(heat, frame.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    colour = cv2.cvtColor(cv2.applyColorMap(heat, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    return cv2.addWeighted(frame, 0.45, colour, 0.55, 0)


def _titled(tile: np.ndarray, title: str) -> np.ndarray:
    """The tile below a line of text, with a border."""
    framed = np.pad(tile, ((22, 4), (2, 2), (0, 0)))
    _write_on(framed, title, (4, 15), WHITE)
    return framed


def _write_on(picture: np.ndarray, words: str, place: tuple[int, int], colour: tuple) -> None:
    cv2.putText(picture, words, place, cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, 1, cv2.LINE_AA)


def _write(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)):
        raise ValueError(f"{path}: expected the name of a picture, such as attention.png")
