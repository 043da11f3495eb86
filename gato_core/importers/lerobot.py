"""LeRobot datasets of others, image or video mode, as episodes of a Spec.

A camera's key `<camera>/pixels` is the feature `observation.images.<camera>`, else
`observation.<camera>` or `<camera>`. The numbers of any other key are looked for in the feature
`observation.<key>`, else in `observation.state`, by name, alone or with the key before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa

from gato_core.data import features
from gato_core.data.features import ACTION, REWARD, STATE
from gato_core.data.folder import EpisodeFiles
from gato_core.episode import Episode
from gato_core.importers import draft_spec as draft
from gato_core.importers import fit_images
from gato_core.importers.admission import float32, typed
from gato_core.spec import Continuous, Image, Modality, Spec, Text

OBSERVATION = "observation."
CAMERAS = ("observation.images.", OBSERVATION, "")  # what may stand before a camera's name
BLOCK = 64  # frames of a video decoded at a time, at their full size


def draft_spec(files: EpisodeFiles, image_size: int) -> tuple[Spec, list[str]]:
    """A Spec with all cameras, all vectors `observation.*` and the action, and what to know of it.

    See draft_spec.py. What cannot be read is left out, with a warning.
    Raises ValueError where there is no action or no observation.
    """
    table = files.info["features"]
    warnings: list[str] = []
    observation: dict[str, Modality] = {}
    if ACTION not in table:
        raise ValueError(f"{files.root}: expected a feature {ACTION}, got {sorted(table)}")
    for name, feature in table.items():
        try:
            if is_camera(feature):
                files.check_cameras([name])
                height, width, _ = picture(files, 0, name, 0).shape
                observation[_camera_key(table, name)] = draft.image(height, width, image_size)
            elif name.startswith(OBSERVATION) and _is_vector(feature):
                observation[name.removeprefix(OBSERVATION)] = _drafted(files, name, warnings)
            elif name != ACTION and name not in features.SCALARS:
                warnings.append(f"{name}: {feature['dtype']} {feature['shape']}: left out")
        except ValueError as error:  # the Spec may do without it
            warnings.append(f"{name}: left out: {error}")
    action = _drafted(files, ACTION, warnings)
    return Spec(observation, action, 1 / files.info["fps"]), warnings


def episodes(files: EpisodeFiles, spec: Spec) -> Iterator[Episode]:
    """Every episode, in order, resized and sorted as the Spec asks.

    Raises ValueError listing what the dataset has otherwise: features, names, rate.
    """
    where, table = sources(files, spec), files.info["features"]
    names = sorted({name for name, columns in where.values() if columns is not None})
    names += [REWARD] if REWARD in table else []
    for i, row in enumerate(files.rows):
        numbers = files.read(i, names)
        vectors = {
            key: typed(
                numbers[name].reshape(row["length"], -1)[:, columns],
                spec.action if key == ACTION else spec.observation[key],
                f"{files.root}: episode {i}: {key}",
            )
            for key, (name, columns) in where.items()
            if columns is not None
        }
        action = vectors.pop(ACTION)
        words = spec.words(row["gato/task"], len(action))
        reward = numbers.get(REWARD, np.zeros((len(action), 1)))[:, 0]
        yield Episode(
            vectors
            | words
            | {key: _images(files, i, where[key][0], image) for key, image in _cameras(spec)},
            action,
            float32(reward),
            task=row["gato/task"],
            source=row["gato/source"],
            seed=row["gato/seed"],
            success=row["gato/success"],
            terminated=row["gato/terminated"],
            info={"dataset": str(files.root.resolve()), "episode": row["episode_index"]},
        )


def sources(files: EpisodeFiles, spec: Spec) -> dict[str, tuple[str, list[int] | None]]:
    """{key: (feature, its columns in the Spec's order; None for a camera)}, the action's too.

    Raises ValueError listing what the dataset has otherwise.
    """
    table, problems = files.info["features"], []
    found: dict[str, tuple[str, list[int] | None]] = {}
    for key, modality in {**spec.observation, ACTION: spec.action}.items():
        if isinstance(modality, Text):
            continue  # the episode's task
        if isinstance(modality, Image):
            names = _camera_names(key)
            name = next((n for n in names if n in table and is_camera(table[n])), None)
            if name is None:
                problems.append(f"{key}: expected a camera {names[0]}, got {sorted(table)}")
            else:
                found[key] = (name, None)
            continue
        own = ACTION if key == ACTION else OBSERVATION + key.replace("/", ".")
        name = own if own in table else STATE
        there = features.places(table[name]) if name in table else []
        columns, missing = _columns(key, modality, there)
        if missing:
            problems.append(f"{key}: expected {missing} in {name}, got {there}")
        else:
            found[key] = (name, columns)
    if abs(files.info["fps"] * spec.control_timestep - 1) > 1e-6:
        rate = 1 / spec.control_timestep
        problems.append(f"fps: expected {rate:g} by the Spec, got {files.info['fps']}")
    if problems:
        raise ValueError(f"{files.root}: unlike the Spec:\n  " + "\n  ".join(problems))
    files.check_cameras(name for name, columns in found.values() if columns is None)
    return found


def _columns(key: str, modality: Modality, there: list[str]) -> tuple[list[int], list[str]]:
    """The columns of a modality's names, and the names that have none; ours bear the key, too."""
    plain = [label.removeprefix(f"{key}/") for label in there]
    count = modality.num_tokens
    numbered = [str(i) for i in range(count)]
    names = list(getattr(modality, "names", numbered))
    if there == [f"{key}/{i}" for i in range(count)]:  # as our writer calls integers
        names = numbered
    missing = [name for name in names if name not in there and name not in plain]
    known = [(there if name in there else plain) for name in names]
    return [one.index(n) for n, one in zip(names, known) if n not in missing], missing


def _drafted(files: EpisodeFiles, name: str, warnings: list[str]) -> Continuous:
    labels = features.places(files.info["features"][name])
    values = files.column(name).reshape(-1, len(labels))
    drafted, unsound = draft.continuous(values, labels, name)
    warnings += unsound
    return drafted


def _camera_names(key: str) -> list[str]:
    """Features that may hold a camera's pictures, the likeliest first."""
    camera = key.removesuffix("/pixels")
    return [prefix + plain for prefix in CAMERAS for plain in (camera.replace("/", "."), camera)]


def _camera_key(table: Mapping, name: str) -> str:
    """The shortest key that leads back to this feature and to no other."""
    for prefix in filter(name.startswith, CAMERAS):
        key = f"{name.removeprefix(prefix)}/pixels"
        if next(n for n in _camera_names(key) if n in table) == name:
            return key
    raise AssertionError(name)  # its whole name leads to it


def is_camera(feature: Mapping) -> bool:
    """Whether a feature holds colour pictures; depth maps are none."""
    return feature["dtype"] in ("image", "video") and not _is_depth(feature)


def _is_depth(feature: Mapping) -> bool:
    info = feature.get("info")
    return isinstance(info, Mapping) and bool(info.get("video.is_depth_map"))


def _is_vector(feature: Mapping) -> bool:
    return feature["dtype"].startswith(("float", "int", "uint"))


def _cameras(spec: Spec) -> list[tuple[str, Image]]:
    return [(key, m) for key, m in spec.observation.items() if isinstance(m, Image)]


def _images(files: EpisodeFiles, i: int, name: str, image: Image) -> np.ndarray:
    """uint8 (T, *image.shape)"""
    where = f"{files.root}: episode {i}: {name}"
    return np.concatenate(
        [fit_images.fitted(block, image, where) for block in _pictures(files, i, name)]
    )


def picture(files: EpisodeFiles, i: int, name: str, t: int) -> np.ndarray:
    """uint8 (height, width, 3): one frame at the camera's own size."""
    if files.info["features"][name]["dtype"] == "video":
        return files.video(i, name, t, t + 1)[0]
    return _decoded(files, files.read(i, [name])[name], t, f"{files.root}: episode {i}: {name}")


def _decoded(files: EpisodeFiles, encoded: pa.Array, t: int, where: str) -> np.ndarray:
    return features.decode_image(files.picture(encoded, t, where), where)


def _pictures(files: EpisodeFiles, i: int, name: str) -> Iterator[np.ndarray]:
    """An episode's frames at the camera's own size, uint8 (BLOCK or less, height, width, 3)."""
    is_video = files.info["features"][name]["dtype"] == "video"
    encoded = [] if is_video else files.read(i, [name])[name]
    where, length = f"{files.root}: episode {i}: {name}", files.rows[i]["length"]
    for start in range(0, length, BLOCK):
        stop = min(start + BLOCK, length)
        if is_video:
            yield files.video(i, name, start, stop)
            continue
        frames = [_decoded(files, encoded, t, where) for t in range(start, stop)]
        if len({frame.shape for frame in frames}) > 1:
            raise ValueError(f"{where}: expected pictures of one size, got several in an episode")
        yield np.stack(frames)
