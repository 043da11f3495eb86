"""Demonstrations in robomimic's HDF5 files, also Isaac Lab's, as episodes of a Spec.

    data                        attribute env_args: JSON with env_name and env_kwargs.control_freq
                                (robosuite), or sim_args.dt and sim_args.decimation (Isaac Lab)
    data/demo_<i>               attribute success, or an array of it, if somebody says it
    data/demo_<i>/actions       (T, A)
    data/demo_<i>/rewards       (T,), may be missing
    data/demo_<i>/obs/<name>    (T, ...): pictures uint8 (T, height, width, 3), or vectors

A camera's key `<camera>/pixels` is `<camera>_image` or `<camera>`; any other key is itself, `/`
read as `_` or as a group. Nothing in the file names the numbers of a vector: the Spec does, in the
file's order.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gato_core.data.outcomes import outcomes
from gato_core.episode import Episode
from gato_core.importers import draft_spec as draft
from gato_core.importers import fit_images
from gato_core.importers.admission import float32, typed
from gato_core.spec import Image, Modality, Spec, Text

if TYPE_CHECKING:
    import h5py

SUFFIXES = (".hdf5", ".h5")
ROBOSUITE_RATE = 20.0  # Hz, where the file tells none
DEMO = re.compile(r"demo_(\d+)")


class DemonstrationFile:
    """An open HDF5 file. Raises ValueError naming it when it is damaged or no robomimic file.

    demos: names in the order of their numbers, empty ones left out. successes: a bool each.
    rate: Hz, None where the file tells none. task: the environment's name, "" without one.
    warnings: what somebody should know of it.
    """

    def __init__(self, path: Path, *, unknown_is_success: bool = False) -> None:
        import h5py  # an extra: few datasets are HDF5

        self.path, self.warnings = path, []
        try:
            self._file = h5py.File(path, "r")
        except OSError as error:
            raise ValueError(f"{path}: expected HDF5, damaged or truncated: {error}") from error
        self._dataset, self._group = h5py.Dataset, h5py.Group
        arguments = self._env_args()
        self.rate = _rate(arguments, f"{path}: data: env_args")
        name = arguments.get("env_name")
        self.task = name if isinstance(name, str) else ""
        self.demos = self._demos()
        rewards = [self.rewards(demo) for demo in self.demos]
        flags = [self._flag(demo) for demo in self.demos]
        found = outcomes(flags, rewards, unknown_is_success, is_explicit=True)
        self.successes = found.successes
        self.warnings += [f"{path}: {found.warning}"] if found.warning else []

    def __enter__(self) -> DemonstrationFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def array(self, demo: str, name: str) -> np.ndarray:
        """(T, ...) of numbers. Raises ValueError naming the file, the place and what is there."""
        where = f"{self.path}: data/{demo}/{name}"
        stored = self._get(f"data/{demo}/{name}")
        if not isinstance(stored, self._dataset) or stored.dtype.kind not in "biuf":
            kind = getattr(stored, "dtype", "a group" if stored is not None else "nothing")
            raise ValueError(f"{where}: expected numbers, got {kind}")
        if len(stored.shape or ()) == 0:
            raise ValueError(f"{where}: expected a row for each timestep, got {stored.shape}")
        try:
            return stored[:]
        except (OSError, MemoryError, ValueError) as error:
            raise ValueError(f"{where}: damaged: {error}") from error

    def rewards(self, demo: str) -> np.ndarray | None:
        """(T,), None where there are none."""
        if self._get(f"data/{demo}/rewards") is None:
            return None
        return self.array(demo, "rewards").ravel()

    def observations(self, demo: str) -> dict[str, h5py.Dataset]:
        """{name: stored numbers} of all that was observed; groups within groups joined by `/`."""
        return self._numbers(f"data/{demo}/obs", 4)

    def names(self, demo: str, spec: Spec) -> dict[str, str]:
        """{key: name within obs}. Raises ValueError listing what is missing or of another shape."""
        obs = self.observations(demo)
        found, problems = {}, []
        for key, modality in spec.observation.items():
            if isinstance(modality, Text):
                continue  # the file's task
            names = [key, key.replace("/", "_")]
            if isinstance(modality, Image):
                camera = key.removesuffix("/pixels")
                names = [f"{camera}_image", camera]
            name = next((name for name in names if name in obs), None)
            if name is None:
                problems.append(f"{key}: expected one of {names}, got {sorted(obs)}")
                continue
            found[key] = name
            size = math.prod(obs[name].shape[1:])
            if isinstance(modality, Image) and not _is_camera(obs[name]):
                got = f"{obs[name].dtype} {obs[name].shape}"
                problems.append(f"{key}: expected uint8 (T, height, width, 3), got {got}")
            elif not isinstance(modality, Image) and size != modality.num_tokens:
                problems.append(f"{key}: expected {modality.num_tokens} numbers, got {size}")
        shape = self.array(demo, "actions").shape[1:] or (1,)
        if shape != spec.action.shape:
            problems.append(f"action: expected {spec.action.shape}, got {shape}")
        if problems:
            where = f"{self.path}: {demo}: unlike the Spec:"
            raise ValueError("\n  ".join([where, *problems]))
        return found

    def _get(self, place: str) -> h5py.Dataset | h5py.Group | None:
        """What lies at a place of the file; None for nothing, also behind a broken link."""
        try:
            return self._file.get(place)
        except (KeyError, OSError, RuntimeError, ValueError):
            return None

    def _listed(self, place: str) -> list[str]:
        """The names in a group; none where there is no group."""
        group = self._get(place)
        try:
            return list(group) if isinstance(group, self._group) else []
        except (KeyError, OSError, RuntimeError, ValueError) as error:
            raise ValueError(f"{self.path}: {place}: damaged: {error}") from error

    def _numbers(self, place: str, depth: int) -> dict[str, h5py.Dataset]:
        found: dict[str, h5py.Dataset] = {}
        for name in self._listed(place):
            stored = self._get(f"{place}/{name}")
            if isinstance(stored, self._dataset) and stored.dtype.kind in "biuf" and stored.shape:
                found[name] = stored
            elif isinstance(stored, self._group) and depth:
                inner = self._numbers(f"{place}/{name}", depth - 1)
                found |= {f"{name}/{key}": value for key, value in inner.items()}
        return found

    def _demos(self) -> list[str]:
        """Demonstrations with at least one action; the others are warned of."""
        names = self._listed("data")
        found = sorted(filter(DEMO.fullmatch, names), key=_number)
        if others := [name for name in names if not DEMO.fullmatch(name)]:
            self.warnings.append(f"{self.path}: data: left out, as no demo_<i>: {_some(others)}")
        if not found:
            raise ValueError(
                f"{self.path}: expected groups data/demo_<i>, got {_some(self._all_names())}"
            )
        empty = [demo for demo in found if not len(self.array(demo, "actions"))]
        if empty:
            self.warnings.append(f"{self.path}: left out, as without actions: {_some(empty)}")
        if len(empty) == len(found):
            raise ValueError(f"{self.path}: expected demonstrations, got {len(empty)} empty ones")
        return [demo for demo in found if demo not in empty]

    def _all_names(self) -> list[str]:
        """The places of the file, to tell what it has instead of demonstrations."""
        places: list[str] = []
        try:
            self._file.visit(lambda name: places.append(name) if len(places) < 20 else True)
        except (KeyError, OSError, RuntimeError, ValueError):
            places.append("what cannot be read")
        return places

    def _env_args(self) -> Mapping:
        """What the attribute says; nothing where it is missing, empty or null."""
        where = f"{self.path}: data: env_args"
        data = self._get("data")
        text = self._attribute(data, "env_args", where) if data is not None else None
        text = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
        if text is None or (isinstance(text, str) and not text.strip()):
            return {}
        try:
            if not isinstance(text, str):
                raise TypeError(type(text))
            arguments = json.loads(text)
        except (ValueError, TypeError, RecursionError) as error:
            raise ValueError(f"{where}: expected JSON, got {str(text)[:80]!r}") from error
        if arguments is not None and not isinstance(arguments, dict):
            raise ValueError(f"{where}: expected an object of JSON, got {str(text)[:80]!r}")
        return arguments or {}

    def _flag(self, demo: str) -> bool | None:
        """The attribute `success` of a demonstration, or an array that is true once; else None.

        A bool, 0 or 1, or their names.
        """
        where = f"{self.path}: data/{demo}: attribute success"
        value = self._attribute(self._get(f"data/{demo}"), "success", where)
        if value is None and self._get(f"data/{demo}/success") is not None:
            return bool(np.nan_to_num(self.array(demo, "success")).any())
        if value is None:
            return None
        value = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        value = np.asarray(value).ravel().tolist()
        words = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}
        word = str(value[0]).lower() if len(value) == 1 else ""
        if word not in words:
            raise ValueError(f"{where}: expected true or false, got {value!r}")
        return words[word]

    @staticmethod
    def _attribute(holder: h5py.Group, name: str, where: str) -> object:
        try:
            return holder.attrs.get(name)
        except (OSError, RuntimeError, TypeError, ValueError) as error:
            raise ValueError(f"{where}: damaged: {error}") from error


def draft_spec(file: DemonstrationFile, image_size: int) -> tuple[Spec, list[str]]:
    """A Spec with all observations and the action, and what to know of it; see draft_spec.py."""
    vectors: dict[str, list[np.ndarray]] = {}
    observation: dict[str, Modality] = {}
    left_out: dict[str, str] = {}
    seen = {demo: file.observations(demo) for demo in file.demos}
    shared = set.intersection(*map(set, seen.values()))
    for demo, stored_by_name in seen.items():
        vectors.setdefault("action", []).append(_rows(file.array(demo, "actions")))
        for name, stored in stored_by_name.items():
            if name not in shared:
                left_out[name] = "not in every demonstration"
            elif _is_camera(stored):
                key = f"{name.removesuffix('_image')}/pixels"
                observation[key] = draft.image(stored.shape[1], stored.shape[2], image_size)
            elif len(stored.shape) < 4:
                vectors.setdefault(name, []).append(_rows(file.array(demo, f"obs/{name}")))
            else:
                left_out[name] = f"neither picture nor vector: {stored.dtype} {stored.shape[1:]}"
    warnings = [f"{name}: {reason}: left out" for name, reason in left_out.items()]
    drafted = {}
    for name, parts in vectors.items():
        sizes = sorted({part.shape[1] for part in parts})
        if len(sizes) > 1 or not sizes[0]:
            raise ValueError(f"{file.path}: {name}: expected one size, got {sizes} numbers")
        labels = [str(i) for i in range(sizes[0])]
        drafted[name], unsound = draft.continuous(np.concatenate(parts), labels, name)
        warnings += unsound
    action = drafted.pop("action")
    return Spec({**observation, **drafted}, action, 1 / (file.rate or ROBOSUITE_RATE)), warnings


def check(file: DemonstrationFile, spec: Spec) -> None:
    """Raises ValueError where the file is unlike the Spec: rate, names, shapes, lengths."""
    if file.rate and abs(file.rate * spec.control_timestep - 1) > 1e-6:
        raise ValueError(
            f"{file.path}: expected {1 / spec.control_timestep:g} Hz by the Spec, got {file.rate:g}"
        )
    for demo in file.demos:
        obs, length = file.observations(demo), len(file.array(demo, "actions"))
        rewards = file.rewards(demo)
        if rewards is not None and (len(rewards) != length or not np.isfinite(rewards).all()):
            raise ValueError(
                f"{file.path}: data/{demo}/rewards: expected {length} finite values, as many as "
                f"actions, got {len(rewards)}, {int((~np.isfinite(rewards)).sum())} not finite"
            )
        for name in file.names(demo, spec).values():
            if obs[name].shape[0] != length:
                raise ValueError(
                    f"{file.path}: data/{demo}/obs/{name}: expected {length} timesteps, as many as "
                    f"actions, got {obs[name].shape[0]}"
                )


def episodes(file: DemonstrationFile, spec: Spec) -> Iterator[Episode]:
    """Every demonstration, in the order of their numbers, pictures resized as the Spec asks.

    Raises ValueError listing what the file has otherwise: names, shapes, rate.
    """
    check(file, spec)
    for demo, success in zip(file.demos, file.successes):
        names, observation = file.names(demo, spec), {}
        for key, name in names.items():
            array, modality = file.array(demo, f"obs/{name}"), spec.observation[key]
            if isinstance(modality, Image):
                array = fit_images.fitted(array, modality, f"{file.path}: {demo}: {name}")
            else:
                array = typed(_rows(array), modality, f"{file.path}: {demo}: {name}")
            observation[key] = array
        action = typed(_rows(file.array(demo, "actions")), spec.action, f"{file.path}: {demo}")
        rewards = file.rewards(demo)
        reward = np.zeros(len(action), np.float32) if rewards is None else float32(rewards)
        yield Episode(
            observation | spec.words(file.task, len(action)),
            action,
            reward,
            task=file.task,
            source="robomimic",
            seed=_number(demo),
            success=success,
            info={"file": str(file.path.resolve()), "demo": demo},
        )


def _rate(arguments: Mapping, where: str) -> float | None:
    """Hz. Raises ValueError for what is no rate."""
    kwargs, simulation = (arguments.get(name) or {} for name in ("env_kwargs", "sim_args"))
    if not (isinstance(kwargs, dict) and isinstance(simulation, dict)):
        raise ValueError(f"{where}: expected objects env_kwargs and sim_args, got {arguments!r}")
    rate, told = kwargs.get("control_freq"), "env_kwargs.control_freq"
    if rate is None and {"dt", "decimation"} <= simulation.keys():
        parts, told = [simulation["dt"], simulation["decimation"]], "sim_args.dt and decimation"
        sound = all(_is_positive(part) for part in parts)
        rate = 1 / (parts[0] * parts[1]) if sound else parts
    if rate is not None and not _is_positive(rate):
        raise ValueError(f"{where}: {told}: expected a number above 0, got {rate!r}")
    return None if rate is None else float(rate)


def _is_positive(value: object) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return 1e-9 < value < 1e9


def _rows(values: np.ndarray) -> np.ndarray:
    """(T, n)"""
    return values.reshape(len(values), -1)


def _number(demo: str) -> int:
    match = DEMO.fullmatch(demo)
    assert match
    return int(match[1])


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _is_camera(stored: h5py.Dataset) -> bool:
    return stored.dtype == np.uint8 and len(stored.shape) == 4 and stored.shape[3] == 3
