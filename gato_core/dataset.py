"""Datasets of episodes: LeRobot v3 folders (image mode) with the Spec beside them in gato.json.

    data/chunk-000/file-000.parquet ...            one row per timestep, one row group per episode
    meta/episodes/chunk-000/file-000.parquet ...   one row per episode, one file per data file
    meta/stats.json  meta/tasks.parquet
    gato.json                                      the Spec and which feature holds which key
    meta/info.json                                 written last: what it counts is what exists

A killed writer loses at most the episodes it had not flushed; opening the folder again resumes.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gato_core import features
from gato_core.episode import Episode
from gato_core.features import ACTION, IMAGE_TYPE, PRIVILEGED, STATE
from gato_core.spec import Spec
from gato_core.storage import (
    lock,
    open_parquet,
    read_json,
    replacing,
    tasks_table,
    write_json,
    write_row_groups,
)

CODEBASE_VERSION = "v3.0"
GATO_VERSION = 1
FILES_PER_CHUNK = 1000
FLUSH_BYTES = 50_000_000  # LeRobot wants data files below 100 MB
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"


@dataclass
class _Pending:
    """An encoded episode that waits for the next flush."""

    row: dict
    table: pa.Table
    statistics: dict[str, dict[str, list]]


class DatasetWriter:
    """Appends episodes to a new dataset folder, or to one with an equal Spec.

    Every `episodes_per_file` episodes become durable together. `task` replaces the episodes' own
    task as LeRobot's task text. Raises ValueError listing the differences when the Spec differs,
    RuntimeError when another process is writing there.
    """

    def __init__(
        self,
        root: str | Path,
        spec: Spec,
        *,
        task: str | None = None,
        robot_type: str = "sawyer_rgb_stacking",
        episodes_per_file: int = 16,
    ) -> None:
        self.root, self.spec = Path(root), spec
        self._task, self._robot_type = task, robot_type
        self._episodes_per_file = episodes_per_file
        self._frames_per_second = _frames_per_second(spec.control_timestep)
        self._features: dict[str, dict] | None = None
        self._rows: list[dict] = []
        self._statistics: dict[str, dict[str, list]] = {}
        self._pending: list[_Pending] = []
        self._lock = lock(self.root)
        if (self.root / "meta/info.json").exists():
            try:
                self._resume()
            except BaseException:
                self._lock.close()
                raise

    @property
    def num_episodes(self) -> int:
        return len(self._all_rows())

    @property
    def seeds(self) -> list[int]:
        """Seeds of the episodes held, in order of arrival."""
        return [row["gato/seed"] for row in self._all_rows()]

    def add(self, episode: Episode) -> None:
        """Checks, encodes and queues an episode. Raises ValueError or KeyError if it is unsound."""
        episode.check(self.spec)
        sizes = {key: int(np.prod(v.shape[1:])) for key, v in episode.privileged.items()}
        table = features.features(self.spec, sizes)
        if self._features is None:
            self._features = table
        elif self._features != table:
            expected = {
                key.removeprefix(PRIVILEGED): value["shape"][0]
                for key, value in self._features.items()
                if key.startswith(PRIVILEGED)
            }
            raise ValueError(f"privileged: expected {expected} as in {self.root}, got {sizes}")
        arrays = features.columns(episode, self.spec)
        features.check_finite(arrays, self._features, "episode")
        row = self._episode_row(episode)
        arrays |= features.index_columns(row, self._frames_per_second)
        encoded = features.to_table(arrays, features.schema(self._features))
        self._pending.append(_Pending(row, encoded, features.statistics(arrays)))
        size = sum(pending.table.nbytes for pending in self._pending)
        if len(self._pending) >= self._episodes_per_file or size >= FLUSH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Makes every episode added so far durable, as one more data file."""
        if not self._pending:
            return
        file = _file_number(self._rows[-1]) + 1 if self._rows else 0
        where = {"chunk_index": file // FILES_PER_CHUNK, "file_index": file % FILES_PER_CHUNK}
        rows = [pending.row | _located(where) for pending in self._pending]
        stored = [
            row | features.flat_statistics(p.statistics) for row, p in zip(rows, self._pending)
        ]
        with replacing(self.root / DATA_PATH.format(**where)) as path:
            write_row_groups(path, [pending.table for pending in self._pending])
        with replacing(self.root / EPISODES_PATH.format(**where)) as path:
            pq.write_table(pa.Table.from_pylist(stored), path)
        parts = [self._statistics] if self._statistics else []
        self._statistics = features.merge_statistics(
            parts + [pending.statistics for pending in self._pending]
        )
        self._rows, self._pending = self._rows + rows, []
        self._write_meta()

    def close(self) -> None:
        """Flushes and releases the folder."""
        self.flush()
        self._lock.close()

    def __enter__(self) -> DatasetWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _all_rows(self) -> list[dict]:
        return self._rows + [pending.row for pending in self._pending]

    def _resume(self) -> None:
        """Takes up an existing folder and removes files that no info.json ever counted."""
        existing = Dataset(self.root)
        if differences := existing.spec.differences(self.spec):
            raise ValueError(f"{self.root}: the Spec differs:\n  " + "\n  ".join(differences))
        self._features, self._rows = existing.info["features"], existing.rows
        self._robot_type = existing.info["robot_type"]
        # stats.json may be one flush ahead of info.json; the episodes' own statistics are not
        self._statistics = features.merge_statistics(existing.statistics())
        patterns = (DATA_PATH, EPISODES_PATH)
        kept = {self.root / pattern.format(**_where(r)) for r in self._rows for pattern in patterns}
        for folder in ("data", "meta/episodes"):
            for path in set((self.root / folder).glob("*/*")) - kept:
                path.unlink()

    def _episode_row(self, episode: Episode) -> dict:
        rows = self._all_rows()
        start = rows[-1]["dataset_to_index"] if rows else 0
        tasks, task = _tasks(rows), self._task or episode.task
        return {
            "episode_index": len(rows),
            "tasks": [task],
            "task_index": tasks.index(task) if task in tasks else len(tasks),
            "length": len(episode),
            "dataset_from_index": start,
            "dataset_to_index": start + len(episode),
            "gato/task": episode.task,
            "gato/seed": int(episode.seed),
            "gato/success": bool(episode.success),
            "gato/source": episode.source,
            "gato/info": json.dumps(episode.info),
        }

    def _write_meta(self) -> None:
        """Statistics, tasks and Spec, then info.json, which makes the new files count."""
        tasks = _tasks(self._rows)
        write_json(self.root / "meta/stats.json", self._statistics)
        with replacing(self.root / "meta/tasks.parquet") as path:
            pq.write_table(tasks_table(tasks), path)
        layout = {
            key: {"feature": name, **({"start": s.start, "stop": s.stop} if s else {})}
            for key, name in features.feature_names(self.spec).items()
            for s in [features.state_slices(self.spec).get(key)]
        }
        gato = {"version": GATO_VERSION, "spec": self.spec.to_dict(), "features": layout}
        write_json(self.root / "gato.json", gato)
        info = {
            "codebase_version": CODEBASE_VERSION,
            "robot_type": self._robot_type,
            "total_episodes": len(self._rows),
            "total_frames": self._rows[-1]["dataset_to_index"],
            "total_tasks": len(tasks),
            "chunks_size": FILES_PER_CHUNK,
            "data_files_size_in_mb": 100,
            "video_files_size_in_mb": 200,
            "fps": self._frames_per_second,
            "splits": {"train": f"0:{len(self._rows)}"},
            "data_path": DATA_PATH,
            "video_path": None,
            "features": self._features,
        }
        write_json(self.root / "meta/info.json", info)


@dataclass
class _Stored:
    """An episode in memory: small arrays, PNG bytes, and the frames decoded so far."""

    arrays: dict[str, np.ndarray]
    png: dict[str, pa.Array]
    frames: dict[str, np.ndarray]  # empty when there is no room for decoded frames
    decoded: np.ndarray  # bool (T,)


class Dataset:
    """Reads a dataset folder; images are decoded on demand and kept while `memory_gb` allows.

    rows: one dict per episode, the columns of meta/episodes without statistics, `gato/success`,
    `gato/seed`, `gato/source` and `gato/info` (JSON) among them. Safe to read from several threads.
    Raises FileNotFoundError when a file is missing, ValueError when one is damaged, naming it.
    """

    def __init__(self, root: str | Path, *, memory_gb: float = 8.0) -> None:
        self.root = Path(root)
        self.info = read_json(self.root / "meta/info.json")
        gato = read_json(self.root / "gato.json")
        for name, expected, got in (
            ("codebase_version", CODEBASE_VERSION, self.info["codebase_version"]),
            ("gato.json version", GATO_VERSION, gato["version"]),
        ):
            if got != expected:
                raise ValueError(f"{root}: expected {name} {expected}, got {got}")
        self.spec = Spec.from_dict(gato["spec"])
        self.rows = self._read_episodes(statistics=False)
        self.lengths = np.array([row["length"] for row in self.rows], np.int64)
        files_bytes = self._check_files()
        self._columns = features.feature_names(self.spec)
        self._slices = features.state_slices(self.spec)
        self._stored: dict[int, _Stored] = {}
        self._mutex = threading.Lock()
        # Reads are uniformly random, so evicting would gain nothing: what fits is kept. Encoded
        # episodes go first, because reading one again costs more than decoding a frame again.
        self._encoded_room = int(memory_gb * 1e9)
        self._decoded_room = self._encoded_room - files_bytes

    @property
    def num_episodes(self) -> int:
        return len(self.rows)

    @property
    def num_timesteps(self) -> int:
        return int(self.lengths.sum())

    @property
    def successes(self) -> np.ndarray:
        """bool (num_episodes,)"""
        return np.array([row["gato/success"] for row in self.rows], bool)

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
            arrays |= {name: self._frames(i, stored, name, start, stop) for name in stored.png}
            if stored.frames:
                stored.decoded[start:stop] = True
        return self._to_episode(self.rows[i], arrays)

    def column(self, name: str) -> np.ndarray:
        """One feature without images over all timesteps, (num_timesteps, n), as stored.

        Raises KeyError for an unknown feature, ValueError for a damaged file.
        """
        shape = self.info["features"][name]["shape"]
        paths = dict.fromkeys(self.root / DATA_PATH.format(**_where(row)) for row in self.rows)
        parts = []
        for path in paths:
            try:
                column = open_parquet(path).read(columns=[name])[name].combine_chunks()
            except (pa.ArrowException, OSError) as error:
                raise ValueError(f"{path}: damaged: {error}") from error
            parts.append(features.to_numpy(column, shape))
        return np.concatenate(parts)

    def statistics(self) -> list[dict[str, dict[str, list]]]:
        """Per episode {feature: {statistic: values}}, from meta/episodes."""
        parts: list[dict[str, dict[str, list]]] = []
        for row in self._read_episodes(statistics=True):
            part: dict[str, dict[str, list]] = {}
            for key in row.keys():
                if key.startswith("stats/"):
                    _, name, statistic = key.split("/")
                    part.setdefault(name, {})[statistic] = row[key]
            parts.append(part)
        return parts

    def _read_episodes(self, *, statistics: bool) -> list[dict]:
        rows: list[dict] = []
        file, total = 0, self.info["total_episodes"]
        while len(rows) < total:
            where = {"chunk_index": file // FILES_PER_CHUNK, "file_index": file % FILES_PER_CHUNK}
            parquet = open_parquet(self.root / EPISODES_PATH.format(**where))
            names = [n for n in parquet.schema_arrow.names if statistics or n[:6] != "stats/"]
            rows += parquet.read(columns=names).to_pylist()
            file += 1
        if [row["episode_index"] for row in rows] != list(range(total)):
            raise ValueError(
                f"{self.root}/meta/episodes: expected episodes 0..{total - 1} in order"
            )
        return rows

    def _check_files(self) -> int:
        """Total bytes of data. Raises unless each file has a row group per episode of it."""
        by_file: dict[Path, list[int]] = {}
        for row in self.rows:
            path = self.root / DATA_PATH.format(**_where(row))
            row["_row_group"] = len(by_file.setdefault(path, []))
            by_file[path].append(row["length"])
        for path, lengths in by_file.items():
            meta = open_parquet(path).metadata
            got = [meta.row_group(group).num_rows for group in range(meta.num_row_groups)]
            if got != lengths:
                raise ValueError(f"{path}: expected row groups of {lengths} timesteps, got {got}")
        return sum(path.stat().st_size for path in by_file)

    def _load(self, i: int) -> _Stored:
        """Reads an episode's row group and keeps it if there is room."""
        row = self.rows[i]
        path = self.root / DATA_PATH.format(**_where(row))
        try:
            table = open_parquet(path).read_row_group(row["_row_group"])
        except (pa.ArrowException, OSError) as error:
            raise ValueError(f"{path}: damaged at episode {i}: {error}") from error
        stored = _Stored({}, {}, {}, np.zeros(len(table), bool))
        for name, feature in self.info["features"].items():
            column = table.column(name).combine_chunks()
            if column.type == IMAGE_TYPE:
                stored.png[name] = column.field("bytes")
            else:
                stored.arrays[name] = features.to_numpy(column, feature["shape"])
        features.check_finite(stored.arrays, self.info["features"], f"{path}: episode {i}")
        frames_bytes = sum(
            len(table) * int(np.prod(self.info["features"][name]["shape"])) for name in stored.png
        )
        if table.nbytes <= self._encoded_room:
            self._encoded_room -= table.nbytes
            self._stored[i] = stored
            if frames_bytes <= self._decoded_room:
                self._decoded_room -= frames_bytes
                for name in stored.png:
                    shape = (len(table), *self.info["features"][name]["shape"])
                    stored.frames[name] = np.empty(shape, np.uint8)
        return stored

    def _frames(self, i: int, stored: _Stored, name: str, start: int, stop: int) -> np.ndarray:
        """uint8 (stop - start, height, width, 3)"""
        shape = tuple(self.info["features"][name]["shape"])
        frames = stored.frames.get(name)
        result = np.empty((stop - start, *shape), np.uint8)
        for t in range(start, stop):
            if frames is None or not stored.decoded[t]:
                where = f"{self.root}: episode {i}, timestep {t}, {name}"
                image = features.decode_png(stored.png[name][t].as_buffer(), shape, where)
                result[t - start] = image
                if frames is not None:
                    frames[t] = image
            else:
                result[t - start] = frames[t]
        return result

    def _to_episode(self, row: Mapping, arrays: Mapping[str, np.ndarray]) -> Episode:
        observation = {
            key: arrays[STATE][:, self._slices[key]] if key in self._slices else arrays[name]
            for key, name in self._columns.items()
        }
        return Episode(
            observation=observation,
            action=arrays[ACTION],
            reward=arrays["next.reward"][:, 0],
            task=row["gato/task"],
            source=row["gato/source"],
            seed=row["gato/seed"],
            success=row["gato/success"],
            privileged={
                name.removeprefix(PRIVILEGED): value
                for name, value in arrays.items()
                if name.startswith(PRIVILEGED)
            },
            info=json.loads(row["gato/info"]),
        )


def _frames_per_second(control_timestep: float) -> int:
    """LeRobot knows whole frames per second only."""
    rate = round(1 / control_timestep)
    if abs(rate * control_timestep - 1) > 1e-6:
        raise ValueError(
            f"control_timestep: expected 1 / a whole number of hertz, got {control_timestep} s"
        )
    return rate


def _located(where: Mapping[str, int]) -> dict[str, int]:
    return {f"{kind}/{key}": v for kind in ("data", "meta/episodes") for key, v in where.items()}


def _where(row: Mapping) -> dict[str, int]:
    return {key: row[f"data/{key}"] for key in ("chunk_index", "file_index")}


def _file_number(row: Mapping) -> int:
    return row["data/chunk_index"] * FILES_PER_CHUNK + row["data/file_index"]


def _tasks(rows: list[dict]) -> list[str]:
    """Task texts in the order of their first episode."""
    return list(dict.fromkeys(row["tasks"][0] for row in rows))
