"""What a policy sees and does: modalities with shapes, limits and units, ordered by a Spec.

A Spec is saved with every dataset and checkpoint, so a policy can refuse a robot that differs.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

PATCH_SIZE = 16
WHOLE = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class Image:
    """A camera frame, uint8 (height, width, 3), RGB; sides are multiples of 16 pixels.

    crop: the part of the camera's picture that these pixels show: left, top, width and height as
    fractions of the picture.
    """

    height: int
    width: int
    crop: tuple[float, float, float, float] = WHOLE

    def __post_init__(self) -> None:
        check_crop(self.crop)
        for side, pixels in (("height", self.height), ("width", self.width)):
            if pixels <= 0 or pixels % PATCH_SIZE:
                raise ValueError(
                    f"Image {side}: expected a positive multiple of {PATCH_SIZE}, got {pixels}"
                )

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self.height, self.width, 3)

    @property
    def num_tokens(self) -> int:
        return (self.height // PATCH_SIZE) * (self.width // PATCH_SIZE)

    def check(self, name: str, value: np.ndarray) -> None:
        """Raises ValueError unless value is uint8 of this shape."""
        if (
            not isinstance(value, np.ndarray)
            or value.dtype != np.uint8
            or value.shape != self.shape
        ):
            raise ValueError(f"{name}: expected uint8 {self.shape}, got {_describe(value)}")


@dataclass(frozen=True)
class Continuous:
    """A vector of real numbers with per-dimension limits in the given unit.

    Values are scaled by the limits to [-1, 1] and binned uniformly; with `mu_law` they are
    companded instead, as the paper does for raw observations (section 2.1), and limits only inform.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    unit: str
    names: tuple[str, ...]
    mu_law: bool = False

    def __post_init__(self) -> None:
        if not len(self.low) == len(self.high) == len(self.names):
            raise ValueError(
                "Continuous: expected low, high and names of one length, "
                f"got {len(self.low)}, {len(self.high)} and {len(self.names)}"
            )
        if len(set(self.names)) != len(self.names):
            raise ValueError(f"Continuous: expected distinct names, got {self.names}")
        for name, low, high in zip(self.names, self.low, self.high):
            if not (math.isfinite(low) and math.isfinite(high) and low < high):
                raise ValueError(
                    f"Continuous {name}: expected finite low < high, got {low}, {high}"
                )

    @property
    def shape(self) -> tuple[int]:
        return (len(self.low),)

    @property
    def num_tokens(self) -> int:
        return len(self.low)

    def check(self, name: str, value: np.ndarray) -> None:
        """Raises ValueError unless value is a finite floating-point vector of this length."""
        if (
            not isinstance(value, np.ndarray)
            or value.dtype.kind != "f"
            or value.shape != self.shape
        ):
            raise ValueError(f"{name}: expected float {self.shape}, got {_describe(value)}")
        if not np.isfinite(value).all():
            bad = [self.names[i] for i in np.flatnonzero(~np.isfinite(value))]
            raise ValueError(f"{name}: expected finite values, got NaN or infinity in {bad}")


@dataclass(frozen=True)
class Discrete:
    """A vector of integers, each in [0, num_values)."""

    num_values: int
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if not 1 <= self.num_values <= 1024:
            raise ValueError(f"Discrete num_values: expected 1..1024, got {self.num_values}")

    @property
    def shape(self) -> tuple[int]:
        return (len(self.names),)

    @property
    def num_tokens(self) -> int:
        return len(self.names)

    def check(self, name: str, value: np.ndarray) -> None:
        """Raises ValueError unless value is an integer vector within the range."""
        if (
            not isinstance(value, np.ndarray)
            or value.dtype.kind not in "iu"
            or value.shape != self.shape
        ):
            raise ValueError(f"{name}: expected integer {self.shape}, got {_describe(value)}")
        if value.size and (value.min() < 0 or value.max() >= self.num_values):
            raise ValueError(f"{name}: expected values in [0, {self.num_values}), got {value}")


@dataclass(frozen=True)
class Text:
    """A string, or its ids: exactly `num_tokens` of a vocabulary, once padded or cut.

    Datasets and users have the words; which ids they are, only a network's vocabulary says.
    """

    num_tokens: int

    @property
    def shape(self) -> tuple[int]:
        return (self.num_tokens,)

    def check(self, name: str, value: np.ndarray) -> None:
        """Raises ValueError unless value is a string or an integer vector of this length."""
        if isinstance(value, str):
            return
        if (
            not isinstance(value, np.ndarray)
            or value.dtype.kind not in "iu"
            or value.shape != self.shape
        ):
            raise ValueError(
                f"{name}: expected a string or integer ids {self.shape}, got {_describe(value)}"
            )


Modality = Image | Continuous | Discrete | Text
_MODALITIES = {cls.__name__: cls for cls in (Image, Continuous, Discrete, Text)}


@dataclass(frozen=True)
class Spec:
    """One robot and task as the policy meets it.

    observation: modality by key; sorted keys are the token order (paper, section 2.1).
    action: the vector the policy returns. control_timestep: seconds between actions.
    """

    observation: Mapping[str, Modality]
    action: Continuous | Discrete
    control_timestep: float

    def __post_init__(self) -> None:
        if not self.observation:
            raise ValueError("Spec: expected at least one observation, got none")
        if not 0 < self.control_timestep < math.inf:
            raise ValueError(f"control_timestep: expected > 0 s, got {self.control_timestep}")
        object.__setattr__(
            self, "observation", {key: self.observation[key] for key in sorted(self.observation)}
        )

    @property
    def num_observation_tokens(self) -> int:
        return sum(modality.num_tokens for modality in self.observation.values())

    @property
    def num_action_tokens(self) -> int:
        return self.action.num_tokens

    @property
    def tokens_per_timestep(self) -> int:
        """Observation tokens, one separator and the action tokens: a constant for a Spec."""
        return self.num_observation_tokens + 1 + self.num_action_tokens

    def words(self, task: str, num_timesteps: int) -> dict[str, np.ndarray]:
        """{key: strings (T,)}: what is to be done, in every observation that is Text."""
        keys = [key for key, modality in self.observation.items() if isinstance(modality, Text)]
        return {key: np.full(num_timesteps, task, object) for key in keys}

    def check_observation(self, observation: Mapping[str, np.ndarray]) -> None:
        """Raises KeyError or ValueError naming each missing, surplus or malformed entry."""
        missing = sorted(self.observation.keys() - observation.keys())
        surplus = sorted(observation.keys() - self.observation.keys())
        if missing or surplus:
            raise KeyError(
                f"observation: expected {list(self.observation)}, "
                f"missing {missing}, surplus {surplus}"
            )
        for key, modality in self.observation.items():
            modality.check(key, observation[key])

    def to_dict(self) -> dict:
        """A JSON-ready dict; `Spec.from_dict` inverts it."""
        return {
            "observation": {k: _modality_to_dict(m) for k, m in self.observation.items()},
            "action": _modality_to_dict(self.action),
            "control_timestep": self.control_timestep,
        }

    @classmethod
    def from_dict(cls, data: object) -> Spec:
        """Inverts `to_dict`; ValueError naming what is missing, unknown or of another type."""
        kinds = {"observation": "", "action": "", "control_timestep": "float"}
        data = _check_fields("Spec", data, kinds)
        if not isinstance(data["observation"], Mapping):
            raise ValueError(f"observation: expected an object, got {data['observation']!r}")
        action = _modality_from_dict("action", data["action"])
        if not isinstance(action, Continuous | Discrete):
            raise ValueError(f"action: expected Continuous or Discrete, got {data['action']}")
        return cls(
            observation={k: _modality_from_dict(k, m) for k, m in data["observation"].items()},
            action=action,
            control_timestep=float(data["control_timestep"]),
        )

    def differences(self, other: Spec) -> list[str]:
        """Every way `other` departs from this Spec, one line each with expected and got."""
        ours, theirs = _flatten(self.to_dict()), _flatten(other.to_dict())
        return [
            f"{key}: expected {ours.get(key, 'nothing')}, got {theirs.get(key, 'nothing')}"
            for key in sorted(ours.keys() | theirs.keys())
            if ours.get(key, None) != theirs.get(key, None)
        ]


def check_crop(crop: tuple[float, ...]) -> None:
    """Raises ValueError unless crop is (left, top, width, height) within the unit square."""
    inside = len(crop) == 4 and all(math.isfinite(number) for number in crop)
    if inside:
        left, top, width, height = crop
        slack = 1 + 1e-9  # 1/3 + 2/3 may round to more than 1
        inside = min(left, top) >= 0 and min(width, height) > 0
        inside = inside and left + width <= slack and top + height <= slack
    if not inside:
        raise ValueError(
            "crop: expected left, top, width, height as fractions of the picture, "
            f"inside it, got {crop}"
        )


def summary(spec: Spec) -> list[str]:
    """One line for each key, the action and the rate."""
    modalities = {**spec.observation, "action": spec.action}
    lines = []
    for key, modality in modalities.items():
        names = f" {', '.join(modality.names)}" if hasattr(modality, "names") else ""
        unit = f" [{modality.unit}]" if isinstance(modality, Continuous) else ""
        kind = type(modality).__name__
        lines.append(f"{key}: {kind} {tuple(modality.shape)}{unit}{names}")
    return [*lines, f"control_timestep: {spec.control_timestep} s, "
            f"{spec.tokens_per_timestep} tokens a timestep"]  # fmt: skip


def _describe(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.shape}"
    return type(value).__name__


def _modality_to_dict(modality: Modality) -> dict:
    return {"modality": type(modality).__name__, **dataclasses.asdict(modality)}


def _modality_from_dict(key: str, data: object) -> Modality:
    name = data.get("modality") if isinstance(data, Mapping) else data
    if not (isinstance(name, str) and isinstance(data, Mapping) and name in _MODALITIES):
        raise ValueError(f"{key}: modality: expected one of {sorted(_MODALITIES)}, got {name!r}")
    fields = {k: v for k, v in data.items() if k != "modality"}
    kinds = {field.name: str(field.type) for field in dataclasses.fields(_MODALITIES[name])}
    usual = {k: getattr(_MODALITIES[name], k) for k in kinds if hasattr(_MODALITIES[name], k)}
    _check_fields(f"{key}: {name}", usual | fields, kinds)
    tuples: dict = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
    return _MODALITIES[name](**tuples)


def _check_fields(where: str, data: object, kinds: Mapping[str, str]) -> Mapping:
    """The data; raises ValueError unless it holds these fields, of these types."""
    if not isinstance(data, Mapping) or data.keys() != kinds.keys():
        got = list(data) if isinstance(data, Mapping) else repr(data)
        raise ValueError(f"{where}: expected {list(kinds)}, got {got}")
    for key, value in data.items():
        if not _is_of(value, kinds[key]):
            raise ValueError(f"{where}: {key}: expected {kinds[key]}, got {value!r}")
    return data


def _is_of(value: object, kind: str) -> bool:
    """Whether a value of JSON is of this type; whole numbers are floats too."""
    if kind.startswith("tuple["):
        inner = kind.removeprefix("tuple[").split(",")[0]
        return isinstance(value, list | tuple) and all(_is_of(one, inner) for one in value)
    types = {"int": int, "float": int | float, "str": str, "bool": bool}
    of_bool = isinstance(value, bool) and kind != "bool"
    return kind not in types or (isinstance(value, types[kind]) and not of_bool)


def _flatten(data: Mapping, prefix: str = "") -> dict[str, str]:
    """Nested dict to {"a.b": JSON text}; lists count as leaves."""
    flat: dict[str, str] = {}
    for key, value in data.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = json.dumps(value)
    return flat
