"""LeRobot datasets of others, image or video mode, as episodes of a Spec.

A camera's key `<camera>/pixels` is the feature `observation.images.<camera>`. The numbers of any
other key are looked for in the feature `observation.<key>`, else in `observation.state`, by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from gato_core.data import features
from gato_core.data.features import ACTION, REWARD, STATE
from gato_core.data.folder import EpisodeFiles
from gato_core.episode import Episode
from gato_core.importers import draft_spec as draft
from gato_core.importers import fit_images
from gato_core.spec import Continuous, Image, Spec

IMAGES = "observation.images."
BLOCK = 64  # frames of a video decoded at a time, at their full size


def count(root: Path) -> int:
    """Number of episodes."""
    return EpisodeFiles(root).info["total_episodes"]


def draft_spec(root: Path, image_size: int) -> Spec:
    """A Spec with all cameras, `observation.state` and the action; see draft."""
    files = EpisodeFiles(root)
    observation = {}
    for name, feature in files.info["features"].items():
        if feature["dtype"] in ("image", "video"):
            _, height, width, _ = next(_pictures(files, 0, name)).shape
            key = f"{name.removeprefix(IMAGES)}/pixels"
            observation[key] = draft.image(height, width, image_size)
    if STATE in files.info["features"]:
        observation["state"] = draft.continuous(files.column(STATE), _names(files, STATE))
    action = draft.continuous(files.column(ACTION), _names(files, ACTION))
    return Spec(observation, action, 1 / files.info["fps"])


def episodes(root: Path, spec: Spec) -> Iterator[Episode]:
    """Every episode, in order, resized and sorted as the Spec asks.

    Raises ValueError listing what the dataset has otherwise: features, names, rate.
    """
    files = EpisodeFiles(root)
    where = _sources(files, spec)
    table = files.info["features"]
    names = sorted({name for name, columns in where.values() if columns is not None})
    names += [name for name in (REWARD, features.SUCCESS) if name in table]
    for i, row in enumerate(files.rows):
        numbers = files.read(i, names)
        features.check_finite(numbers, table, f"{root}: episode {i}")
        vectors = {
            key: numbers[name][:, columns].astype(_dtype(spec, key))
            for key, (name, columns) in where.items()
            if columns is not None
        }
        action, success = vectors.pop(ACTION), row["gato/success"]
        if features.SUCCESS in numbers:
            success = bool(numbers[features.SUCCESS].any())
        yield Episode(
            vectors
            | {key: _images(files, i, where[key][0], image) for key, image in _cameras(spec)},
            action,
            numbers[REWARD][:, 0] if REWARD in numbers else np.zeros(len(action), np.float32),
            task=row["gato/task"],
            source=row["gato/source"],
            seed=row["gato/seed"],
            success=success,
            info={"dataset": root.name, "episode": i},
        )


def _sources(files: EpisodeFiles, spec: Spec) -> dict[str, tuple[str, list[int] | None]]:
    """{key: (feature, its columns in the Spec's order; None for a camera)}, the action's too."""
    table, found, problems = files.info["features"], {}, []
    for key, modality in {**spec.observation, ACTION: spec.action}.items():
        if isinstance(modality, Image):
            name = f"{IMAGES}{key.removesuffix('/pixels').replace('/', '.')}"
            found[key] = (name, None)
            is_camera = name in table and table[name]["dtype"] in ("image", "video")
            if not is_camera:
                problems.append(f"{key}: expected a camera {name}, got {sorted(table)}")
            continue
        own = ACTION if key == ACTION else f"observation.{key.replace('/', '.')}"
        name = own if own in table else STATE
        names = _names(files, name) if name in table else []
        if missing := [label for label in modality.names if label not in names]:
            problems.append(f"{key}: expected {missing} in {name}, got {names}")
        else:
            found[key] = (name, [names.index(label) for label in modality.names])
    if abs(files.info["fps"] * spec.control_timestep - 1) > 1e-6:
        rate = 1 / spec.control_timestep
        problems.append(f"fps: expected {rate:g} by the Spec, got {files.info['fps']}")
    if problems:
        raise ValueError(f"{files.root}: unlike the Spec:\n  " + "\n  ".join(problems))
    return found


def _names(files: EpisodeFiles, name: str) -> list[str]:
    """What the dataset calls a feature's dimensions: a list, lists in a dict, or nothing."""
    feature = files.info["features"][name]
    labels = feature["names"]
    if isinstance(labels, Mapping):
        labels = [label for part in labels.values() for label in part]
    count = int(np.prod(feature["shape"]))
    return list(labels) if labels and len(labels) == count else [f"{i}" for i in range(count)]


def _cameras(spec: Spec) -> list[tuple[str, Image]]:
    return [(key, m) for key, m in spec.observation.items() if isinstance(m, Image)]


def _dtype(spec: Spec, key: str) -> type:
    modality = spec.action if key == ACTION else spec.observation[key]
    return np.float32 if isinstance(modality, Continuous) else np.int64


def _images(files: EpisodeFiles, i: int, name: str, image: Image) -> np.ndarray:
    """uint8 (T, *image.shape)"""
    where = f"{files.root}: episode {i}: {name}"
    return np.concatenate(
        [fit_images.fitted(block, image, where) for block in _pictures(files, i, name)]
    )


def _pictures(files: EpisodeFiles, i: int, name: str) -> Iterator[np.ndarray]:
    """An episode's frames at the camera's own size, uint8 (BLOCK or less, height, width, 3)."""
    is_video = files.info["features"][name]["dtype"] == "video"
    encoded = [] if is_video else files.read(i, [name])[name]
    where, length = f"{files.root}: episode {i}: {name}", files.rows[i]["length"]
    for start in range(0, length, BLOCK):
        stop = min(start + BLOCK, length)
        if is_video:
            yield files.video(i, name, start, stop)
        else:
            data = [encoded[t].as_buffer() for t in range(start, stop)]
            yield np.stack([features.decode_image(one, where) for one in data])
