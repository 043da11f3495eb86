"""Checkpoints: model.safetensors and config.json in a folder, verified by samples when loaded.

config.json keeps the ModelConfig, the Spec, the provenance and a golden sample: what this model
answered to a made-up observation when it was saved. Nothing is ever unpickled.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from gato_core.data.atomic import replacing_folder
from gato_core.model import Gato, ModelConfig, to_tensors
from gato_core.spec import Continuous, Discrete, Modality, Spec, Text
from gato_core.tokenizer import Tokenizer
from gato_core.vocab import Vocabulary

FORMAT_VERSION = 1
LARGEST = 1 << 16  # of a size in config.json: more is damage, and no memory would hold it
KIND = "gato"
WEIGHTS, CONFIG = "model.safetensors", "config.json"
GOLDEN_TIMESTEPS = 2
GOLDEN_TEXT_IDS = 1000  # of which golden text is made, if there are so many
LOGIT_TOLERANCE = 1e-3  # float32 on another processor differs by about 1e-5


class Golden(NamedTuple):
    """The likeliest action ids at the golden timesteps, and their logits."""

    action_ids: list[int]
    logits: list[float]


class Checkpoint(NamedTuple):
    model: Gato
    spec: Spec
    provenance: dict

    @property
    def tokenizer(self) -> Tokenizer:
        return Tokenizer(self.spec, self.model.config.vocabulary)


def save(
    path: str | Path,
    model: Gato,
    config: ModelConfig,
    spec: Spec,
    provenance: Mapping,
    *,
    temperature: float = 0.0,
    beside: Callable[[Path], None] | None = None,
) -> None:
    """Writes a checkpoint directory, whole or not at all; an older one at `path` is replaced.

    Weights are kept as float32. provenance: JSON-ready (data, commit, command, versions).
    temperature: see the function of this name. beside: see `write`.
    """
    if config != model.config:
        raise ValueError(f"config: expected the model's own, {model.config}, got {config}")
    weights = {name: x.detach().float().cpu() for name, x in model.state_dict().items()}
    fresh = Gato(config)
    fresh.load_state_dict(weights)
    write(
        path,
        weights,
        {
            "kind": KIND,
            "model": dataclasses.asdict(config),
            "spec": spec.to_dict(),
            "golden": _golden(fresh, spec)._asdict(),
            "temperature": temperature,
            "provenance": dict(provenance),
        },
        beside,
    )


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
    """The model (float32, CPU, in evaluation mode), its Spec and its provenance.

    Raises FileNotFoundError for a missing file, and ValueError naming the file, what was expected
    and what was got for a damaged file, another version, other tensors, or other golden answers.
    """
    path = Path(path)
    content = read(path, KIND)
    try:
        config, spec = model_config(content["model"]), Spec.from_dict(content["spec"])
        sha256, provenance = content["weights_sha256"], content["provenance"]
        golden = Golden(**content["golden"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path / CONFIG}: expected a complete config, got {error!r}") from error
    least = 4 * config.num_layers * config.width * (config.ff_width + config.num_heads)
    if least > (path / WEIGHTS).stat().st_size:  # or a damaged size would ask for all memory
        raise ValueError(
            f"{path / CONFIG}: model: expected sizes that {path / WEIGHTS} has, got at least "
            f"{least} bytes of {config}"
        )
    model = Gato(config)
    load_weights(path / WEIGHTS, model, sha256)
    _check_golden(path, golden, model, spec)
    return Checkpoint(model, spec, provenance)


def kind(path: str | Path) -> str:
    """What a checkpoint holds: "gato", or the name of a baseline. Errors as of `load`."""
    return read(Path(path)).get("kind", KIND)


def temperature(path: str | Path) -> float:
    """At which a checkpoint's actions are best drawn, if its maker found one; 0, the likeliest.

    Raises ValueError unless it is 0 or more, and as `load` does.
    """
    value = read(Path(path)).get("temperature", 0.0)
    if not (isinstance(value, int | float) and 0 <= value < math.inf):
        raise ValueError(f"{path}: temperature: expected a number of 0 or more, got {value!r}")
    return float(value)


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


def model_config(data: Mapping) -> ModelConfig:
    """Inverts `dataclasses.asdict` of a ModelConfig. Raises ValueError for sizes of no sense."""
    for field in dataclasses.fields(ModelConfig):
        value = data.get(field.name, 1)
        if field.type == "int" and not (type(value) is int and 1 <= value <= LARGEST):
            raise ValueError(f"{field.name}: expected 1..{LARGEST}, got {value!r}")
    return ModelConfig(**{**data, "vocabulary": Vocabulary(**data["vocabulary"])})


def sizes(path: str | Path) -> ModelConfig:
    """Of a checkpoint's network, which is not made. Errors as of `load`."""
    path = Path(path)
    try:
        return model_config(read(path, KIND)["model"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path / CONFIG}: expected a complete config, got {error!r}") from error


def golden_timesteps(spec: Spec, num_text: int = 0) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Made-up observations (T, *shape) by key and actions (T, A): the same on every machine."""
    observation = {key: _made_up(m, num_text) for key, m in spec.observation.items()}
    return observation, _made_up(spec.action, num_text)


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
def _golden_logits(model: Gato, spec: Spec) -> tuple[torch.Tensor, int]:
    """Logits (N, action ids) for the actions of the golden timesteps, and the first action id."""
    tokenizer = Tokenizer(spec, model.config.vocabulary)
    made_up = golden_timesteps(spec, tokenizer.vocabulary.num_text)
    tokens = to_tensors(tokenizer.encode_timesteps(*made_up))
    first, last = tokenizer.action_ids
    return model.eval()(tokens)[:, first:last], first


def _golden(model: Gato, spec: Spec) -> Golden:
    logits, first = _golden_logits(model, spec)
    best = logits.max(-1)
    return Golden((best.indices + first).tolist(), best.values.tolist())


def _check_golden(path: Path, golden: Golden, model: Gato, spec: Spec) -> None:
    """Raises ValueError unless the model still prefers the same ids; they may differ in a tie."""
    logits, first = _golden_logits(model, spec)
    ids, values = golden
    if not (
        isinstance(ids, list)
        and isinstance(values, list)
        and len(ids) == len(values) == len(logits)
        and all(type(i) is int and first <= i < first + logits.shape[1] for i in ids)
        and all(isinstance(value, int | float) for value in values)
    ):
        raise ValueError(
            f"{path}: golden sample: expected {len(logits)} action ids and their logits, got "
            f"{ids} and {values}"
        )
    expected = torch.tensor(golden.logits)
    index = torch.tensor(golden.action_ids)[:, None] - first
    tolerance = LOGIT_TOLERANCE * expected.abs().clamp(min=1.0)
    same = (logits.gather(1, index)[:, 0] - expected).abs() <= tolerance
    still_best = logits.max(-1).values - expected <= tolerance
    if not (same & still_best).all():
        raise ValueError(
            f"{path}: golden sample: expected action ids {golden.action_ids} with logits "
            f"{golden.logits}, got {(logits.argmax(-1) + first).tolist()} with logits "
            f"{logits.max(-1).values.tolist()}"
        )


def _read_config(file: Path) -> dict:
    try:
        content = json.loads(file.read_text())
    except ValueError as error:
        raise ValueError(f"{file}: expected JSON, got {error}") from error
    version = content.get("format_version") if isinstance(content, dict) else None
    if version != FORMAT_VERSION:
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
