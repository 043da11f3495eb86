"""Reads datasets: LeRobot v3 folders, in image or video mode, with the Spec in gato.json.

`DatasetWriter` (gato_core/data/writer.py) writes them.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from gato_core.data import features, metadata
from gato_core.data import statistics as feature_statistics
from gato_core.data.features import ACTION, EXECUTED, PRIVILEGED, REWARD, STATE
from gato_core.data.folder import EpisodeFiles
from gato_core.data.writer import DatasetWriter as DatasetWriter
from gato_core.episode import Episode


@dataclass
class _Stored:
    """An episode in memory: small arrays, encoded images, and the frames decoded so far."""

    arrays: dict[str, np.ndarray]
    encoded: dict[str, pa.Array]  # none in video mode
    frames: dict[str, np.ndarray]  # empty when there is no room for decoded frames
    decoded: np.ndarray  # bool (T,)


class Dataset:
    """Reads a dataset folder; images are decoded on demand and kept while `memory_gb` allows.

    rows: one dict per episode, the columns of meta/episodes without statistics, `gato/task`,
    `gato/success`, `gato/terminated`, `gato/seed`, `gato/source` and `gato/info` (JSON) among them.
    Safe to read from several threads. Raises FileNotFoundError when a file is missing, ValueError
    when one is damaged, naming it, or when features or rate are not what the Spec says, with every
    difference.
    """

    def __init__(self, root: str | Path, *, memory_gb: float = 8.0) -> None:
        self.root = Path(root)
        self.info = metadata.read_info(self.root)
        self.spec = metadata.read_spec(self.root)
        self._columns = features.feature_names(self.spec)
        self._slices = features.state_slices(self.spec)
        self._check_features()
        self._files = EpisodeFiles(self.root)
        self._files.check_cameras(self._cameras)
        self.rows = self._files.rows
        self.lengths = np.array([row["length"] for row in self.rows], np.int64)
        self._stored: dict[int, _Stored] = {}
        self._mutex = threading.Lock()
        # Reads are uniformly random, so evicting would gain nothing: what fits is kept. Encoded
        # episodes go first, because reading one again costs more than decoding a frame again.
        self._encoded_room = int(memory_gb * 1e9)
        self._decoded_room = self._encoded_room - self._files.num_bytes

    @property
    def num_episodes(self) -> int:
        return len(self.rows)

    @property
    def warnings(self) -> list[str]:
        """What other readers of the folder may stumble over, a line each."""
        return self._files.warnings

    @property
    def num_timesteps(self) -> int:
        return int(self.lengths.sum())

    @property
    def successes(self) -> np.ndarray:
        """bool (num_episodes,)"""
        return np.array([row["gato/success"] for row in self.rows], bool)

    def information(self, name: str) -> list:
        """What the episodes' `info` say under this name, of those that say it."""
        infos = [json.loads(row["gato/info"]) for row in self.rows]
        return [info[name] for info in infos if info.get(name) is not None]

    @property
    def tasks(self) -> list[str]:
        """The task of each episode. Our first datasets named its objects there instead."""
        return [
            row["tasks"][0]
            if row["gato/task"] == json.loads(row["gato/info"]).get("objects")
            else row["gato/task"]
            for row in self.rows
        ]

    def episode(self, i: int) -> Episode:
        """The whole i-th episode."""
        return self.read(i, 0, int(self.lengths[i]))

    def read(self, i: int, start: int, stop: int) -> Episode:
        """Timesteps [start, stop) of the i-th episode, in arrays of their own.

        Raises IndexError outside the episode, ValueError for damaged or non-finite data.
        """
        length = int(self.lengths[i])
        if not 0 <= start < stop <= length:
            raise IndexError(
                f"episode {i}: expected 0 <= start < stop <= {length}, got {start}, {stop}"
            )
        with self._mutex:
            stored = self._stored.get(i) or self._load(i)
            arrays = {name: value[start:stop].copy() for name, value in stored.arrays.items()}
            arrays |= {name: self._frames(i, stored, name, start, stop) for name in self._cameras}
            if stored.frames:
                stored.decoded[start:stop] = True
        return self._to_episode(self.rows[i], arrays)

    @property
    def privileged(self) -> list[str]:
        """Keys of the simulator's truth."""
        names = [name for name in self.info["features"] if name.startswith(PRIVILEGED)]
        return [name.removeprefix(PRIVILEGED) for name in names]

    @property
    def has_executed(self) -> bool:
        """Whether it is kept what was done beside the labels."""
        return EXECUTED in self.info["features"]

    def numbers(self, i: int) -> dict[str, np.ndarray]:
        """All of the i-th episode but pictures, by feature, (T, n), as stored, not kept."""
        return self._files.read(i, self._numbers)

    def column(self, name: str) -> np.ndarray:
        """One feature without images over all timesteps, (num_timesteps, n), as stored.

        Raises KeyError for an unknown feature, ValueError for a damaged file.
        """
        return self._files.column(name)

    def statistics(self) -> list[dict[str, dict[str, list]]]:
        """Per episode {feature: {statistic: values}}, from meta/episodes."""
        rows = metadata.read_rows(self.root, self.info, statistics=True)
        return [feature_statistics.of_row(row) for row in rows]

    def _check_features(self) -> None:
        """Notes cameras and numbers; raises ValueError where the folder is unlike the Spec."""
        table = self.info["features"]
        executed = EXECUTED in table
        own = {*self._columns.values(), ACTION} | ({EXECUTED} if executed else set())
        # words that no column holds are the episode's task
        own -= {self._columns[key] for key in self.spec.words("", 0)} - table.keys()
        cameras = [n for n in own if n in table and table[n]["dtype"] in ("image", "video")]
        self._cameras = {name: tuple(table[name]["shape"]) for name in sorted(cameras)}
        extra = {name for name in table if name.startswith(PRIVILEGED)} | {REWARD}
        self._numbers = sorted(((own | extra) & table.keys()) - self._cameras.keys())
        expected = features.features(self.spec, {}, executed=executed)
        problems = features.differences(expected, table, sorted(own))
        rate = 1 / self.spec.control_timestep
        if abs(self.info["fps"] - rate) > 1e-3:
            problems.append(f"fps: expected {rate:g} by the Spec, got {self.info['fps']}")
        if problems:
            raise ValueError(f"{self.root}: unlike its Spec:\n  " + "\n  ".join(problems))

    def _load(self, i: int) -> _Stored:
        """Reads an episode's numbers and encoded images and keeps them if there is room."""
        images = [name for name in self._cameras if self.info["features"][name]["dtype"] == "image"]
        read = self._files.read(i, [*self._numbers, *images])
        length = int(self.lengths[i])
        stored = _Stored(
            {name: read[name] for name in self._numbers},
            {name: read[name] for name in images},
            {},
            np.zeros(length, bool),
        )
        where = f"{self.root}: episode {i}"
        features.check_finite(stored.arrays, self.info["features"], where)
        num_bytes = sum(value.nbytes for value in read.values())
        frames_bytes = sum(length * int(np.prod(shape)) for shape in self._cameras.values())
        if num_bytes <= self._encoded_room:
            self._encoded_room -= num_bytes
            self._stored[i] = stored
            if frames_bytes <= self._decoded_room:
                self._decoded_room -= frames_bytes
                for name, shape in self._cameras.items():
                    stored.frames[name] = np.empty((length, *shape), np.uint8)
        return stored

    def _frames(self, i: int, stored: _Stored, name: str, start: int, stop: int) -> np.ndarray:
        """uint8 (stop - start, height, width, 3)"""
        frames = stored.frames.get(name)
        if frames is None:
            return self._decode(i, stored, name, start, stop)
        for first, last in _gaps(stored.decoded, start, stop):
            frames[first:last] = self._decode(i, stored, name, first, last)
        return frames[start:stop].copy()

    def _decode(self, i: int, stored: _Stored, name: str, start: int, stop: int) -> np.ndarray:
        """uint8 (stop - start, height, width, 3) from PNG or video."""
        shape = self._cameras[name]
        if name not in stored.encoded:
            frames = self._files.video(i, name, start, stop)
            if frames.shape[1:] != shape:
                raise ValueError(
                    f"{self.root}: episode {i}: {name}: expected frames of {shape}, "
                    f"got {frames.shape[1:]}"
                )
            return frames
        frames = np.empty((stop - start, *shape), np.uint8)
        for t in range(start, stop):
            where = f"{self.root}: episode {i}, timestep {t}, {name}"
            data = self._files.picture(stored.encoded[name], t, where)
            frames[t - start] = features.decode_png(data, shape, where)
        return frames

    def _to_episode(self, row: Mapping, arrays: Mapping[str, np.ndarray]) -> Episode:
        action = arrays[ACTION]
        words = self.spec.words(row["gato/task"], len(action))
        vectors = {key: arrays[STATE][:, part] for key, part in self._slices.items()}
        observation = {
            key: vectors[key] if key in vectors else arrays[name] if name in arrays else words[key]
            for key, name in self._columns.items()
        }
        rewards = arrays.get(REWARD, np.zeros((len(action), 1), np.float32))
        return Episode(
            observation=observation,
            action=action,
            reward=rewards[:, 0],
            task=row["gato/task"],
            source=row["gato/source"],
            seed=row["gato/seed"],
            success=row["gato/success"],
            executed=arrays.get(EXECUTED),
            terminated=row["gato/terminated"],
            privileged={
                name.removeprefix(PRIVILEGED): value
                for name, value in arrays.items()
                if name.startswith(PRIVILEGED)
            },
            info=json.loads(row["gato/info"]),
        )


def _gaps(decoded: np.ndarray, start: int, stop: int) -> list[tuple[int, int]]:
    """Runs of timesteps within [start, stop) that are not decoded yet."""
    missing = np.flatnonzero(~decoded[start:stop]) + start
    runs = np.split(missing, np.flatnonzero(np.diff(missing) > 1) + 1)
    return [(int(run[0]), int(run[-1]) + 1) for run in runs if len(run)]
