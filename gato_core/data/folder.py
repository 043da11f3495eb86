"""The folder of a LeRobot v3 dataset, ours or another's: its files and the rows of its episodes.

meta/info.json                                 what there is: counts, rate, features
meta/episodes/chunk-000/file-000.parquet ...   one row per episode
data/chunk-000/file-000.parquet ...            one row per timestep, episodes in order
videos/<camera>/chunk-000/file-000.mp4 ...     video mode: many episodes in one file
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gato_core.data import features
from gato_core.data.storage import open_parquet, read_json
from gato_core.data.video import VideoFile
from gato_core.spec import Spec

CODEBASE_VERSION = "v3.0"
GATO_VERSION = 1
FILES_PER_CHUNK = 1000
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
MAX_OPEN_VIDEOS = 8


def read_info(root: Path) -> dict:
    """meta/info.json. Raises FileNotFoundError, or ValueError for another version or no episode."""
    info = read_json(root / "meta/info.json")
    if info.get("codebase_version") != CODEBASE_VERSION:
        raise ValueError(
            f"{root}: expected codebase_version {CODEBASE_VERSION}, "
            f"got {info.get('codebase_version')}"
        )
    if not info["total_episodes"]:
        raise ValueError(f"{root}: expected at least one episode, got none")
    return info


def read_spec(root: Path) -> Spec:
    """The Spec in gato.json. Raises FileNotFoundError saying what to do, ValueError if unknown."""
    path = root / "gato.json"
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: expected the Spec of the dataset, got none; `gato convert` brings another's "
            "LeRobot dataset in"
        )
    gato = read_json(path)
    if gato["version"] != GATO_VERSION:
        raise ValueError(f"{path}: expected version {GATO_VERSION}, got {gato['version']}")
    return Spec.from_dict(gato["spec"])


def read_rows(root: Path, info: Mapping, *, statistics: bool = False) -> list[dict]:
    """One dict per episode, the columns of meta/episodes and what ours say beyond LeRobot's.

    LeRobot keeps demonstrations: an episode without a word on success counts as one. The task is
    LeRobot's: earlier collections have object ids in `gato/task`.
    Raises ValueError unless the episodes are numbered through.
    """
    rows: list[dict] = []
    file, total = 0, info["total_episodes"]
    while len(rows) < total:
        parquet = open_parquet(root / EPISODES_PATH.format(**numbered(file, info["chunks_size"])))
        names = [n for n in parquet.schema_arrow.names if statistics or n[:6] != "stats/"]
        rows += parquet.read(columns=names).to_pylist()
        file += 1
    if [row["episode_index"] for row in rows] != list(range(total)):
        raise ValueError(f"{root}/meta/episodes: expected episodes 0..{total - 1} in order")
    foreign = {"gato/success": True, "gato/source": "lerobot", "gato/info": "{}"}
    foreign["gato/terminated"] = False
    return [
        foreign | {"gato/seed": row["episode_index"]} | row | {"gato/task": row["tasks"][0]}
        for row in rows
    ]


def numbered(file: int, files_per_chunk: int = FILES_PER_CHUNK) -> dict[str, int]:
    """The fields of a path for the file of this number."""
    return {"chunk_index": file // files_per_chunk, "file_index": file % files_per_chunk}


def located(row: Mapping, kind: str = "data") -> dict[str, int]:
    """The fields of a path for an episode's row; kind: data, meta/episodes or videos/<camera>."""
    return {key: row[f"{kind}/{key}"] for key in ("chunk_index", "file_index")}


class EpisodeFiles:
    """Numbers and pictures of single episodes, read from disk each time; holds open files only.

    Raises FileNotFoundError when a file is missing, ValueError when one is damaged, naming it.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.info = read_info(root)
        self.rows = read_rows(root, self.info)
        self._groups: dict[Path, np.ndarray] = {}  # where row groups begin, and the end
        self._check_data_files()
        self._videos: dict[Path, VideoFile] = {}  # the last ones used, in order of use

    @property
    def num_bytes(self) -> int:
        """Size of the parquet files with data."""
        return sum(path.stat().st_size for path in self._groups)

    def read(self, i: int, names: Sequence[str]) -> dict[str, np.ndarray | pa.Array]:
        """Features of the i-th episode: numbers as (T, n), images as their encoded bytes."""
        row = self.rows[i]
        path, start = self._data_path(row), row["_first_row"]
        stop, begins = start + row["length"], self._groups[path]
        first = int(np.searchsorted(begins, start, side="right")) - 1
        last = int(np.searchsorted(begins, stop, side="left"))
        try:
            file = open_parquet(path)
            table = file.read_row_groups(range(first, last), columns=list(names))
        except (pa.ArrowException, OSError) as error:
            raise ValueError(f"{path}: damaged at episode {i}: {error}") from error
        if len(table) != row["length"]:  # a copy, or all of the row group would be kept
            table = table.take(pa.array(np.arange(start, stop) - begins[first]))
        arrays: dict[str, np.ndarray | pa.Array] = {}
        for name in names:
            column = table.column(name).combine_chunks()
            if pa.types.is_struct(column.type):
                arrays[name] = column.field("bytes")
            else:
                arrays[name] = features.to_numpy(column, self.info["features"][name]["shape"])
        return arrays

    def video(self, i: int, name: str, start: int, stop: int) -> np.ndarray:
        """uint8 (stop - start, height, width, 3): a camera's frames of the i-th episode."""
        row, rate = self.rows[i], self.info["fps"]
        where = located(row, f"videos/{name}")
        path = self.root / self.info["video_path"].format(video_key=name, **where)
        video = self._videos.pop(path, None) or VideoFile(path)
        self._videos[path] = video
        if len(self._videos) > MAX_OPEN_VIDEOS:
            self._videos.pop(next(iter(self._videos))).close()
        first = row[f"videos/{name}/from_timestamp"] + start / rate
        try:
            return video.frames(first, stop - start, rate)
        except ValueError as error:
            raise ValueError(f"{self.root}: episode {i}: {name}: {error}") from error

    def column(self, name: str) -> np.ndarray:
        """One feature of numbers over all timesteps, (num_timesteps, n), as stored."""
        shape = self.info["features"][name]["shape"]
        parts = []
        for path in self._groups:
            try:
                column = open_parquet(path).read(columns=[name])[name].combine_chunks()
            except (pa.ArrowException, OSError) as error:
                raise ValueError(f"{path}: damaged: {error}") from error
            parts.append(features.to_numpy(column, shape))
        return np.concatenate(parts)

    def _data_path(self, row: Mapping) -> Path:
        return self.root / self.info["data_path"].format(**located(row))

    def _check_data_files(self) -> None:
        """Notes each episode's first row within its file; raises unless the rows add up."""
        totals: dict[Path, int] = {}
        for row in self.rows:
            path = self._data_path(row)
            row["_first_row"] = totals.setdefault(path, 0)
            totals[path] += row["length"]
        for path, expected in totals.items():
            meta: pq.FileMetaData = open_parquet(path).metadata
            sizes = [meta.row_group(group).num_rows for group in range(meta.num_row_groups)]
            self._groups[path] = np.cumsum([0, *sizes])
            if sum(sizes) != expected:
                raise ValueError(f"{path}: expected {expected} timesteps, got {sum(sizes)}")
