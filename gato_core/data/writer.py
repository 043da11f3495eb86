"""Writes datasets: LeRobot v3 folders in image mode with the Spec beside them in gato.json.

    data/chunk-000/file-000.parquet ...            one row per timestep, one row group per episode
    meta/episodes/chunk-000/file-000.parquet ...   one row per episode, one file per data file
    meta/stats.json  meta/tasks.parquet
    gato.json                                      the Spec and which feature holds which key
    meta/info.json                                 written last: what it counts is what exists

A killed writer loses at most the episodes it had not flushed; opening the folder again resumes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gato_core.data import features, metadata
from gato_core.data import statistics as feature_statistics
from gato_core.data.features import PRIVILEGED
from gato_core.data.metadata import DATA_PATH, EPISODES_PATH, FILES_PER_CHUNK
from gato_core.data.storage import lock, replacing, tasks_table, write_json, write_row_groups
from gato_core.episode import Episode
from gato_core.spec import Spec

FLUSH_BYTES = 50_000_000  # LeRobot wants data files below 100 MB


@dataclass
class _Pending:
    """An encoded episode that waits for the next flush."""

    row: dict
    table: pa.Table
    statistics: dict[str, dict[str, list]]


class DatasetWriter:
    """Appends episodes to a new dataset folder, or to one with an equal Spec.

    Every `episodes_per_file` episodes become durable together. history: the edits that make a new
    one, for gato.json; see edits.py. Raises ValueError listing the
    differences when the Spec differs, RuntimeError when another process is writing there.
    """

    def __init__(
        self,
        root: str | Path,
        spec: Spec,
        *,
        robot_type: str = "sawyer_rgb_stacking",
        episodes_per_file: int = 16,
        history: Sequence[dict] = (),
    ) -> None:
        self.root, self.spec = Path(root), spec
        self._robot_type = robot_type
        self._episodes_per_file, self._history = episodes_per_file, list(history)
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
        return len(self.rows)

    @property
    def rows(self) -> list[dict]:
        """One dict per episode held, in order of arrival; see Dataset."""
        return self._rows + [pending.row for pending in self._pending]

    @property
    def seeds(self) -> list[int]:
        """Seeds of the episodes held, in order of arrival."""
        return [row["gato/seed"] for row in self.rows]

    def add(self, episode: Episode) -> None:
        """Checks, encodes and queues an episode. Raises ValueError or KeyError if it is unsound."""
        episode.check(self.spec)
        sizes = {key: int(np.prod(v.shape[1:])) for key, v in episode.privileged.items()}
        executed = episode.executed is not None
        table = features.features(self.spec, sizes, executed=executed)
        if self._features is None:
            self._features = table
        elif self._features != table:
            expected = {
                key.removeprefix(PRIVILEGED): value["shape"][0]
                for key, value in self._features.items()
                if key.startswith(PRIVILEGED)
            }
            if expected != sizes:
                raise ValueError(f"privileged: expected {expected} as in {self.root}, got {sizes}")
            there = "executed" in self._features
            raise ValueError(
                f"executed: expected {'actions' if there else 'none'} as in {self.root}, "
                f"got {'actions' if executed else 'none'}"
            )
        arrays = features.columns(episode, self.spec)
        features.check_finite(arrays, self._features, "episode")
        row = self._episode_row(episode)
        arrays |= features.index_columns(row, self._frames_per_second)
        encoded = features.to_table(arrays, features.schema(self._features))
        self._pending.append(_Pending(row, encoded, feature_statistics.of_arrays(arrays)))
        size = sum(pending.table.nbytes for pending in self._pending)
        if len(self._pending) >= self._episodes_per_file or size >= FLUSH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Makes every episode added so far durable, as one more data file."""
        if not self._pending:
            return
        file = _file_number(self._rows[-1]) + 1 if self._rows else 0
        where = metadata.numbered(file)
        rows = [pending.row | _located(where) for pending in self._pending]
        stored = [
            row | feature_statistics.flat(p.statistics) for row, p in zip(rows, self._pending)
        ]
        with replacing(self.root / DATA_PATH.format(**where)) as path:
            write_row_groups(path, [pending.table for pending in self._pending])
        with replacing(self.root / EPISODES_PATH.format(**where)) as path:
            pq.write_table(pa.Table.from_pylist(stored), path)
        parts = [self._statistics] if self._statistics else []
        self._statistics = feature_statistics.merged(
            parts + [pending.statistics for pending in self._pending]
        )
        self._rows, self._pending = self._rows + rows, []
        self._write_meta()

    def close(self) -> None:
        """Flushes and releases the folder, even when the flush fails."""
        try:
            self.flush()
        finally:
            self._lock.close()

    def __enter__(self) -> DatasetWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _resume(self) -> None:
        """Takes up an existing folder and removes files that no info.json ever counted."""
        if differences := metadata.read_spec(self.root).differences(self.spec):
            raise ValueError(f"{self.root}: the Spec differs:\n  " + "\n  ".join(differences))
        info, self._history = metadata.read_info(self.root), metadata.read_history(self.root)
        self._features, self._robot_type = info["features"], info["robot_type"]
        rows = metadata.read_rows(self.root, info, statistics=True)
        # stats.json may be one flush ahead of info.json; the episodes' own statistics are not
        self._statistics = feature_statistics.merged([feature_statistics.of_row(r) for r in rows])
        self._rows = [{key: row[key] for key in row if key[:6] != "stats/"} for row in rows]
        kept = {
            self.root / pattern.format(**metadata.located(row))
            for row in self._rows
            for pattern in (DATA_PATH, EPISODES_PATH)
        }
        for folder in ("data", "meta/episodes"):
            for path in set((self.root / folder).glob("*/*")) - kept:
                path.unlink()

    def _episode_row(self, episode: Episode) -> dict:
        rows = self.rows
        start = rows[-1]["dataset_to_index"] if rows else 0
        tasks, task = _tasks(rows), episode.task
        return {
            "episode_index": len(rows),
            "tasks": [task],
            "task_index": tasks.index(task) if task in tasks else len(tasks),
            "length": len(episode),
            "dataset_from_index": start,
            "dataset_to_index": start + len(episode),
            "gato/task": task,
            "gato/seed": int(episode.seed),
            "gato/success": bool(episode.success),
            "gato/terminated": bool(episode.terminated),
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
        gato = {"version": metadata.GATO_VERSION, "spec": self.spec.to_dict(), "features": layout}
        gato |= {"history": self._history} if self._history else {}
        write_json(self.root / "gato.json", gato)
        info = {
            "codebase_version": metadata.CODEBASE_VERSION,
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


def _file_number(row: Mapping) -> int:
    return row["data/chunk_index"] * FILES_PER_CHUNK + row["data/file_index"]


def _tasks(rows: list[dict]) -> list[str]:
    """Task texts in the order of their first episode."""
    return list(dict.fromkeys(row["gato/task"] for row in rows))
