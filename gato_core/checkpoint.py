"""Checkpoints: model.safetensors and config.json in a folder, verified by samples when loaded.

config.json keeps the ModelConfig, the embodiments, the provenance, and golden samples: what this
model answered to made-up observations of each embodiment, and to a made-up text, when it was saved.
Nothing is ever unpickled.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from gato_core.data.atomic import replacing_folder
from gato_core.embodiment import Embodiment, choose
from gato_core.model import Gato, ModelConfig, to_tensors
from gato_core.spec import Continuous, Discrete, Image, Modality, Spec, Text
from gato_core.tokenizer import Tokenizer, Tokens, encode_document
from gato_core.vocab import Vocabulary

FORMAT_VERSION = 2
READABLE = (1, 2)
NAME_1 = "rgb_stacking"  # of the one embodiment that a checkpoint of version 1 has
LARGEST = 1 << 16  # of a size in config.json: more is damage, and no memory would hold it
KIND = "gato"
WEIGHTS, CONFIG = "model.safetensors", "config.json"
GOLDEN_TIMESTEPS = 2
GOLDEN_TEXT_IDS = 1000  # of which golden text is made, if there are so many
GOLDEN_WORDS = 8
LOGIT_TOLERANCE = 1e-3  # float32 on another processor differs by about 1e-5


class Golden(NamedTuple):
    """The likeliest ids at a golden sample's targets, and their logits."""

    ids: list[int]
    logits: list[float]


class Checkpoint(NamedTuple):
    model: Gato
    embodiments: dict[str, Embodiment]
    provenance: dict

    def embodiment(self, name: str | None = None) -> Embodiment:
        """The one of this name, or the only one. Raises ValueError that names them all."""
        return choose(self.embodiments, name)

    def tokenizer(self, name: str | None = None) -> Tokenizer:
        """Of an embodiment. Errors as of `embodiment`."""
        return Tokenizer(self.embodiment(name), self.model.config.vocabulary)


def save(
    path: str | Path,
    model: Gato,
    embodiments: Embodiment | Iterable[Embodiment],
    provenance: Mapping,
    *,
    beside: Callable[[Path], None] | None = None,
) -> None:
    """Writes a checkpoint directory, whole or not at all; an older one at `path` is replaced.

    Weights are kept as float32. provenance: JSON-ready (data, commit, command, versions).
    beside: see `write`. Raises ValueError for two embodiments of one name.
    """
    if isinstance(embodiments, Embodiment):
        embodiments = [embodiments]
    weights = {name: x.detach().float().cpu() for name, x in model.state_dict().items()}
    fresh = Gato(model.config)
    fresh.load_state_dict(weights)
    content: dict[str, dict] = {}
    for each in embodiments:
        if each.name in content:
            raise ValueError(f"embodiments: expected different names, got {each.name!r} twice")
        tokenizer = Tokenizer(each, model.config.vocabulary)
        golden = _golden(fresh, golden_tokens(tokenizer), tokenizer.action_ids)
        content[each.name] = each.to_dict() | {"golden": golden._asdict()}
    vocabulary, text = model.config.vocabulary, None
    if vocabulary.num_text:
        golden = _golden(fresh, golden_text(vocabulary), (0, vocabulary.num_text))
        text = {"pieces_sha256": vocabulary.pieces_sha256, "golden": golden._asdict()}
    described = {
        "kind": KIND,
        "model": dataclasses.asdict(model.config),
        "embodiments": content,
        "text": text,
        "provenance": dict(provenance),
    }
    write(path, weights, described, beside)


def write(
    path: str | Path,
    weights: Mapping[str, torch.Tensor],
    content: Mapping,
    beside: Callable[[Path], None] | None = None,
) -> None:
    """A directory of weights and of `content` (JSON) beside their hash, whole or not at all.

    beside: writes what else belongs to it into the folder that it is given.
    Raises OSError when it cannot be written; an older one at `path` is as it was then.
    """
    try:
        with replacing_folder(Path(path)) as folder:
            save_file(dict(weights), folder / WEIGHTS)
            named = {"format_version": FORMAT_VERSION, "weights_sha256": _sha256(folder / WEIGHTS)}
            (folder / CONFIG).write_text(json.dumps(named | dict(content), indent=1) + "\n")
            if beside is not None:
                beside(folder)
    except SafetensorError as error:
        raise OSError(f"{path}: could not be written: {error}") from error


def load(path: str | Path) -> Checkpoint:
    """The model (float32, CPU, in evaluation mode), its embodiments and its provenance.

    Raises FileNotFoundError for a missing file, and ValueError naming the file, what was expected
    and what was got for a damaged file, another version, other tensors, or other golden answers.
    """
    path = Path(path)
    content = _read_gato(path)
    with _complete(path):
        config, sha256 = model_config(content["model"]), content["weights_sha256"]
        bodies = _embodiments(content)
        goldens = {name: _read_golden(content["embodiments"][name]["golden"]) for name in bodies}
        text = content["text"] and _read_golden(content["text"]["golden"])
        provenance = content["provenance"]
    least = 4 * config.num_layers * config.width * (config.ff_width + config.num_heads)
    if least > (path / WEIGHTS).stat().st_size:  # or a damaged size would ask for all memory
        raise ValueError(
            f"{path / CONFIG}: model: expected sizes that {path / WEIGHTS} has, got at least "
            f"{least} bytes of {config}"
        )
    model = Gato(config)
    load_weights(path / WEIGHTS, model, sha256)
    for name, each in bodies.items():
        tokenizer = Tokenizer(each, config.vocabulary)
        tokens = golden_tokens(tokenizer)
        _check_golden(f"{path}: {name}", goldens[name], model, tokens, tokenizer.action_ids)
    if text:
        ids = (0, config.vocabulary.num_text)
        _check_golden(f"{path}: text", text, model, golden_text(config.vocabulary), ids)
    return Checkpoint(model, bodies, provenance)


def embodiments(path: str | Path) -> dict[str, Embodiment]:
    """What bodies a checkpoint has, by name, without its weights. Errors as of `load`."""
    path = Path(path)
    content = _read_gato(path)
    with _complete(path):
        return _embodiments(content)


def sizes(path: str | Path) -> ModelConfig:
    """Of a checkpoint's network, which is not made. Errors as of `load`."""
    path = Path(path)
    content = _read_gato(path)
    with _complete(path):
        return model_config(content["model"])


def kind(path: str | Path) -> str:
    """What a checkpoint holds: "gato", or the name of a baseline. Errors as of `load`."""
    return read(Path(path)).get("kind", KIND)


def read(path: Path, expected_kind: str | None = None) -> dict:
    """config.json of a checkpoint directory that has all its files. Errors as of `load`."""
    for name in (CONFIG, WEIGHTS):
        if not (path / name).is_file():
            raise FileNotFoundError(f"{path / name}: expected a checkpoint's {name}, got no file")
    content = _read_config(path / CONFIG)
    got = content.get("kind", KIND)  # the first checkpoints had no kind
    if expected_kind is not None and got != expected_kind:
        raise ValueError(f"{path / CONFIG}: expected kind {expected_kind!r}, got {got!r}")
    return content


def _read_gato(path: Path) -> dict:
    """config.json of a network, in the form of the newest version."""
    content = read(path, KIND)
    if content["format_version"] != 1:
        return content
    with _complete(path):
        model = dict(content["model"])
        golden = content["golden"]
        mode = model.pop("action_mode")
        only = {
            "spec": content["spec"],
            "context_timesteps": model.pop("context_timesteps"),
            "action_mode": mode,
            "sees_past_actions": mode == "autoregressive",
            "temperature": content.get("temperature", 0.0),
            "golden": {"ids": golden["action_ids"], "logits": golden["logits"]},
        }
    return content | {"model": model, "embodiments": {NAME_1: only}, "text": None}


@contextlib.contextmanager
def _complete(path: Path) -> Iterator[None]:
    try:
        yield
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path / CONFIG}: expected a complete config, got {error!r}") from error
    except ValueError as error:
        raise ValueError(f"{path / CONFIG}: {error}") from error


def _embodiments(content: Mapping) -> dict[str, Embodiment]:
    return {name: Embodiment.from_dict(name, x) for name, x in content["embodiments"].items()}


def _read_golden(data: Mapping) -> Golden:
    return Golden(data["ids"], data["logits"])


def model_config(data: Mapping) -> ModelConfig:
    """Inverts `dataclasses.asdict` of a ModelConfig. Raises ValueError for sizes of no sense."""
    for field in dataclasses.fields(ModelConfig):
        value = data.get(field.name, 1)
        if field.type == "int" and not (type(value) is int and 1 <= value <= LARGEST):
            raise ValueError(f"{field.name}: expected 1..{LARGEST}, got {value!r}")
    return ModelConfig(**{**data, "vocabulary": Vocabulary(**data["vocabulary"])})


def golden_timesteps(spec: Spec, num_text: int = 0) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Made-up observations (T, *shape) by key and actions (T, A): the same on every machine."""
    observation = {key: _made_up(m, num_text) for key, m in spec.observation.items()}
    return observation, _made_up(spec.action, num_text)


def golden_tokens(tokenizer: Tokenizer) -> Tokens[np.ndarray]:
    """Made-up timesteps of an embodiment."""
    made_up = golden_timesteps(tokenizer.spec, tokenizer.vocabulary.num_text)
    return tokenizer.encode_timesteps(*made_up)


def golden_text(vocabulary: Vocabulary) -> Tokens[np.ndarray]:
    """A made-up text, in front of it a picture."""
    parts = (Image(16, 16), Text(GOLDEN_WORDS))
    image, words = (_made_up(each, vocabulary.num_text)[0] for each in parts)
    return encode_document([image, words], vocabulary)


def _made_up(modality: Modality, num_text: int) -> np.ndarray:
    """(T, *shape): multiples of the golden ratio modulo one, spread over the modality's range."""
    shape = (GOLDEN_TIMESTEPS, *modality.shape)
    fraction = np.arange(np.prod(shape)).reshape(shape) * 0.6180339887498949 % 1.0
    match modality:
        case Continuous(low=low, high=high):
            return (np.asarray(low) + fraction * np.subtract(high, low)).astype(np.float32)
        case Discrete(num_values=num_values):
            return (fraction * num_values).astype(np.int64)
        case Text():
            return (fraction * min(num_text, GOLDEN_TEXT_IDS)).astype(np.int64)
    return (fraction * 256).astype(np.uint8)


@torch.inference_mode()
def _golden_logits(model: Gato, tokens: Tokens[np.ndarray], ids: tuple[int, int]) -> torch.Tensor:
    """Logits (N, V) of the ids in a range, for the golden sample's targets."""
    return model.eval()(to_tensors(tokens))[:, ids[0] : ids[1]]


def _golden(model: Gato, tokens: Tokens[np.ndarray], ids: tuple[int, int]) -> Golden:
    best = _golden_logits(model, tokens, ids).max(-1)
    return Golden((best.indices + ids[0]).tolist(), best.values.tolist())


def _check_golden(
    name: str, golden: Golden, model: Gato, tokens: Tokens[np.ndarray], ids: tuple[int, int]
) -> None:
    """Raises ValueError unless the model still prefers the same ids; they may differ in a tie."""
    logits = _golden_logits(model, tokens, ids)
    first, last = ids
    if not (
        isinstance(golden.ids, list)
        and isinstance(golden.logits, list)
        and len(golden.ids) == len(golden.logits) == len(logits)
        and all(type(i) is int and first <= i < last for i in golden.ids)
        and all(isinstance(value, int | float) for value in golden.logits)
    ):
        raise ValueError(
            f"{name}: golden sample: expected {len(logits)} ids and their logits, got "
            f"{golden.ids} and {golden.logits}"
        )
    expected = torch.tensor(golden.logits)
    index = torch.tensor(golden.ids)[:, None] - ids[0]
    tolerance = LOGIT_TOLERANCE * expected.abs().clamp(min=1.0)
    same = (logits.gather(1, index)[:, 0] - expected).abs() <= tolerance
    still_best = logits.max(-1).values - expected <= tolerance
    if not (same & still_best).all():
        raise ValueError(
            f"{name}: golden sample: expected ids {golden.ids} with logits "
            f"{golden.logits}, got {(logits.argmax(-1) + ids[0]).tolist()} with logits "
            f"{logits.max(-1).values.tolist()}"
        )


def _read_config(file: Path) -> dict:
    try:
        content = json.loads(file.read_text())
    except ValueError as error:
        raise ValueError(f"{file}: expected JSON, got {error}") from error
    version = content.get("format_version") if isinstance(content, dict) else None
    if version not in READABLE:
        raise ValueError(f"{file}: expected format_version {FORMAT_VERSION}, got {version}")
    return content


def load_weights(file: Path, model: nn.Module, sha256: str) -> None:
    """Fills the model; raises ValueError for damage or for tensors that are not the model's."""
    try:
        weights = load_file(file)
    except SafetensorError as error:
        raise ValueError(f"{file}: expected safetensors, got {error}") from error
    expected = {name: tuple(x.shape) for name, x in model.state_dict().items()}
    got = {name: tuple(x.shape) for name, x in weights.items()}
    wrong = [
        f"{name}: expected {expected.get(name, 'nothing')}, got {got.get(name, 'nothing')}"
        for name in sorted(expected.keys() | got.keys())
        if expected.get(name) != got.get(name)
    ]
    if wrong:
        raise ValueError(f"{file}: " + "; ".join(wrong))
    if _sha256(file) != sha256:
        raise ValueError(f"{file}: expected SHA-256 {sha256}, got {_sha256(file)}")
    model.load_state_dict(weights)


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
