"""Demonstrations in robomimic's HDF5 files as episodes of a Spec.

    data                        attribute env_args: JSON with env_name and env_kwargs.control_freq
    data/demo_<i>/actions       (T, A)
    data/demo_<i>/rewards       (T,), 1 on success; may be missing
    data/demo_<i>/obs/<name>    (T, ...): pictures uint8 (T, height, width, 3), or vectors

A camera's key `<camera>/pixels` is `<camera>_image` or `<camera>`; any other key is itself, `/`
read as `_`. Nothing in the file names the numbers of a vector: the Spec does, in the file's order.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from gato_core.episode import Episode
from gato_core.importers import draft_spec as draft
from gato_core.importers import fit_images
from gato_core.spec import Image, Spec

ROBOSUITE_RATE = 20.0  # Hz, where the file tells none


def count(path: Path) -> int:
    """Number of demonstrations."""
    with _File(path) as file:
        return len(file.demos)


def draft_spec(path: Path, image_size: int) -> Spec:
    """A Spec with all observations of the file and the action; see draft."""
    with _File(path) as file:
        vectors: dict[str, list[np.ndarray]] = {}
        observation = {}
        for demo in file.demos:
            vectors.setdefault("action", []).append(file.array(demo, "actions"))
            for name in file.data[demo]["obs"]:
                stored = file.data[demo]["obs"][name]
                if _is_camera(stored):
                    key = f"{name.removesuffix('_image')}/pixels"
                    observation[key] = draft.image(*stored.shape[1:3], image_size)
                else:
                    vectors.setdefault(name, []).append(file.array(demo, f"obs/{name}"))
        drafted = {}
        for name, parts in vectors.items():
            values = np.concatenate([part.reshape(len(part), -1) for part in parts])
            drafted[name] = draft.continuous(values, [str(i) for i in range(values.shape[1])])
        action = drafted.pop("action")
        return Spec(observation | drafted, action, 1 / (file.rate or ROBOSUITE_RATE))


def episodes(path: Path, spec: Spec) -> Iterator[Episode]:
    """Every demonstration, in the order of their numbers, pictures resized as the Spec asks.

    Raises ValueError listing what the file has otherwise: names, shapes, rate.
    """
    with _File(path) as file:
        if file.rate and abs(file.rate * spec.control_timestep - 1) > 1e-6:
            raise ValueError(
                f"{path}: expected {1 / spec.control_timestep:g} Hz by the Spec, got {file.rate:g}"
            )
        for number, demo in enumerate(file.demos):
            names = file.names(demo, spec)
            observation = {}
            for key, modality in spec.observation.items():
                array = file.array(demo, f"obs/{names[key]}")
                if isinstance(modality, Image):
                    array = fit_images.fitted(array, modality, f"{path}: {demo}: {names[key]}")
                else:
                    array = array.reshape(len(array), -1).astype(np.float32)
                observation[key] = array
            action = file.array(demo, "actions").astype(np.float32)
            reward = np.zeros(len(action), np.float32)
            if "rewards" in file.data[demo]:
                reward = file.array(demo, "rewards").astype(np.float32)
            yield Episode(
                observation,
                action,
                reward,
                task=file.task,
                source="robomimic",
                seed=number,
                success=bool(reward.max() > 0) if "rewards" in file.data[demo] else True,
                info={"file": path.name, "demo": demo},
            )


class _File:
    """An open HDF5 file. Raises ValueError naming it when it is damaged or no robomimic file."""

    def __init__(self, path: Path) -> None:
        import h5py  # an extra: few datasets are HDF5

        self.path = path
        try:
            self._file = h5py.File(path, "r")
        except OSError as error:
            raise ValueError(f"{path}: expected HDF5, damaged or truncated: {error}") from error
        self.data = self._file.get("data", {})
        self.demos = sorted((d for d in self.data if d.startswith("demo_")), key=_number)
        if not self.demos:
            raise ValueError(f"{path}: expected groups data/demo_<i>, got {sorted(self._file)}")
        arguments = json.loads(self.data.attrs.get("env_args", "{}"))
        self.rate = float(arguments.get("env_kwargs", {}).get("control_freq", 0))
        self.task = str(arguments.get("env_name", ""))

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def array(self, demo: str, name: str) -> np.ndarray:
        try:
            return self.data[demo][name][:]
        except OSError as error:
            raise ValueError(f"{self.path}: damaged at {demo}/{name}: {error}") from error

    def names(self, demo: str, spec: Spec) -> dict[str, str]:
        """{key: name within obs}. Raises ValueError listing what is missing or of another shape."""
        obs: Mapping = self.data[demo]["obs"]
        found, problems = {}, []
        for key, modality in spec.observation.items():
            names = [key, key.replace("/", "_")]
            if isinstance(modality, Image):
                camera = key.removesuffix("/pixels")
                names = [f"{camera}_image", camera]
            name = next((name for name in names if name in obs), None)
            if name is None:
                problems.append(f"{key}: expected one of {names}, got {sorted(obs)}")
                continue
            found[key] = name
            size = int(np.prod(obs[name].shape[1:]))
            if not isinstance(modality, Image) and size != modality.num_tokens:
                problems.append(f"{key}: expected {modality.num_tokens} numbers, got {size}")
        got = self.data[demo]["actions"].shape
        if got[1:] != spec.action.shape:
            problems.append(f"action: expected {spec.action.shape}, got {got[1:]}")
        if problems:
            where = f"{self.path}: {demo}: unlike the Spec:"
            raise ValueError("\n  ".join([where, *problems]))
        return found


def _number(demo: str) -> int:
    return int(demo.removeprefix("demo_"))


def _is_camera(stored: object) -> bool:
    return stored.dtype == np.uint8 and len(stored.shape) == 4 and stored.shape[3] == 3
