"""The data of a LeRobot v3 folder, ours or another's: numbers and pictures of single episodes.

meta/info.json                                 what there is: counts, rate, features
meta/episodes/chunk-000/file-000.parquet ...   one row per episode
data/chunk-000/file-000.parquet ...            one row per timestep
videos/<camera>/chunk-000/file-000.mp4 ...     video mode: many episodes in one file

The columns say which row is which (`episode_index`, `frame_index`) and which frame of a video a
row shows (`timestamp`, counted from the episode's `from_timestamp`); their places in the files do
not: other tools merge, sort and trim.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gato_core.data import features
from gato_core.data.metadata import located, read_info, read_rows, read_tasks
from gato_core.data.outcomes import outcomes
from gato_core.data.storage import open_parquet, read_table
from gato_core.data.video import TOLERANCE, VideoFile

MAX_OPEN_VIDEOS = 8
INDICES = ("episode_index", "frame_index", "timestamp")


@dataclass(frozen=True)
class _Place:
    """Where an episode's timesteps lie.

    rows: int64 (T,) within the file, in order of time. start: s, the timestamp of the first.
    """

    path: Path
    rows: np.ndarray
    start: float


class EpisodeFiles:
    """Numbers and pictures of single episodes, read from disk each time; holds open files only.

    rows: see read_rows; their tasks and successes are known now. unknown_is_success: what to take
    episodes for whose success the folder leaves open. warnings: what somebody should know of it.
    Raises FileNotFoundError when a file is missing, ValueError when one is damaged, naming it, or
    when columns contradict each other.
    """

    def __init__(self, root: Path, *, unknown_is_success: bool = False) -> None:
        self.root = root
        self.info = read_info(root)
        self.rows = read_rows(root, self.info)
        self.warnings: list[str] = []
        self._groups: dict[Path, np.ndarray] = {}  # where row groups begin, and the end
        self._trimmed: list[int] = []
        self._places = self._find_places()
        self._videos: dict[Path, VideoFile] = {}  # the last ones used, in order of use
        self._check_counts()
        self._find_tasks()
        self._find_outcomes(unknown_is_success)

    @property
    def num_bytes(self) -> int:
        """Size of the parquet files with data."""
        return sum(path.stat().st_size for path in self._groups)

    def read(self, i: int, names: Sequence[str]) -> dict[str, np.ndarray | pa.Array]:
        """Features of the i-th episode: numbers (T, n), strings (T,), images' encoded bytes."""
        place = self._places[i]
        path, begins = place.path, self._groups[place.path]
        first = int(np.searchsorted(begins, place.rows.min(), side="right")) - 1
        last = int(np.searchsorted(begins, place.rows.max(), side="right"))
        where = f"{self.root}: episode {i}"
        try:
            table = read_table(path, names, range(first, last))
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
        rows = place.rows - begins[first]
        if not np.array_equal(rows, np.arange(len(table))):
            table = table.take(pa.array(rows))  # a copy, or all of the row group would be kept
        return {name: self._values(table, name, f"{where}: {name}") for name in names}

    def picture(self, encoded: pa.Array, t: int, where: str) -> pa.Buffer | bytes:
        """The bytes of an image at a timestep: `encoded` holds them, or the path of their file."""
        data = path = encoded[t]
        if isinstance(data, pa.StructScalar):
            fields = dict(data.items()) if data.is_valid else {}
            data, path = fields.get("bytes"), fields.get("path")
        if isinstance(data, pa.BinaryScalar | pa.LargeBinaryScalar) and data.is_valid:
            return data.as_buffer()
        return self._picture_file(path.as_py() if path is not None else None, where)

    def video(self, i: int, name: str, start: int, stop: int) -> np.ndarray:
        """uint8 (stop - start, height, width, 3): a camera's frames of the i-th episode."""
        row, rate, place = self.rows[i], self.info["fps"], self._places[i]
        where = located(row, f"videos/{name}")
        path = self.root / self.info["video_path"].format(video_key=name, **where)
        video = self._videos.pop(path, None) or VideoFile(path)
        self._videos[path] = video
        if len(self._videos) > MAX_OPEN_VIDEOS:
            self._videos.pop(next(iter(self._videos))).close()
        first = row[f"videos/{name}/from_timestamp"] + place.start + start / rate
        try:
            return video.frames(first, stop - start, rate)
        except ValueError as error:
            raise ValueError(f"{self.root}: episode {i}: {name}: {error}") from error

    def column(self, name: str) -> np.ndarray:
        """One feature of numbers over all timesteps, episode by episode, (num_timesteps, n)."""
        whole: dict[Path, np.ndarray] = {}
        for path in self._groups:
            table = read_table(path, [name])
            whole[path] = self._values(table, name, f"{path}: {name}")
        return np.concatenate([whole[place.path][place.rows] for place in self._places])

    def check_cameras(self, names: Iterable[str]) -> None:
        """Raises ValueError unless each episode says which frames of a video are its own."""
        for name in names:
            if self.info["features"][name]["dtype"] != "video":
                continue
            if self.info["video_path"] is None:
                raise ValueError(f"{self.root}/meta/info.json: video_path: expected a path for "
                                 f"the video {name}, got none")  # fmt: skip
            for i, row in enumerate(self.rows):
                located(row, f"videos/{name}")
                self._check_span(i, row, name)

    def _check_span(self, i: int, row: Mapping, name: str) -> None:
        """The episode's frames lie within what the row says is its own of the file."""
        begin, end = (row.get(f"videos/{name}/{side}_timestamp") for side in ("from", "to"))
        where = f"{self.root}: episode {i}: {name}"
        if not isinstance(begin, int | float) or not np.isfinite(begin):
            raise ValueError(f"{where}: from_timestamp: expected seconds, got {begin!r}")
        place, frame = self._places[i], 1 / self.info["fps"]
        last = place.start + (len(place.rows) - 1) * frame
        if isinstance(end, int | float) and begin + last > end - frame / 2:
            raise ValueError(
                f"{where}: expected timestamps within its {end - begin:.4f} s of the video, "
                f"got {place.start:.4f} to {last:.4f} s"
            )

    def _picture_file(self, name: object, where: str) -> bytes:
        """A picture beside the table, at its path within the folder."""
        file = (self.root / str(name)).resolve()
        if not isinstance(name, str) or self.root.resolve() not in file.parents:
            raise ValueError(f"{where}: expected bytes, or a path within {self.root}, got {name!r}")
        if not file.is_file():
            raise ValueError(f"{where}: expected a picture {file}, got none")
        return file.read_bytes()

    def _values(self, table: pa.Table, name: str, where: str) -> np.ndarray | pa.Array:
        column = table.column(name).combine_chunks()
        feature = self.info["features"].get(name, {"dtype": "", "shape": [1]})
        if feature["dtype"] == "string":
            return features.to_strings(column, where)
        if feature["dtype"] != "image":
            return features.to_numpy(column, feature["shape"], where)
        kinds = (pa.types.is_struct, pa.types.is_binary, pa.types.is_large_binary)
        if not any(is_kind(column.type) for is_kind in (*kinds, pa.types.is_string)):
            raise ValueError(f"{where}: expected images as bytes or paths, got {column.type}")
        return column

    def _find_places(self) -> list[_Place]:
        """Each episode's rows, by the columns that say it; raises where they do not add up."""
        template = self.info["data_path"]
        paths = [self.root / template.format(**located(row)) for row in self.rows]
        found: dict[int, _Place] = {}
        for path in dict.fromkeys(paths):
            meta: pq.FileMetaData = open_parquet(path).metadata
            sizes = [meta.row_group(group).num_rows for group in range(meta.num_row_groups)]
            self._groups[path] = np.cumsum([0, *sizes])
            here = [row for row, other in zip(self.rows, paths) if other == path]
            found |= self._places_in(path, here)
        return [found[row["episode_index"]] for row in self.rows]

    def _places_in(self, path: Path, rows: list[dict]) -> dict[int, _Place]:
        """{episode_index: place} of the episodes that meta/episodes says are in this file."""
        table = read_table(path, INDICES)
        columns = {n: self._values(table, n, f"{path}: {n}")[:, 0] for n in INDICES}
        episode, frame, time = (columns[name] for name in INDICES)
        order = np.lexsort((frame, episode))
        numbers, begins = np.unique(episode[order], return_index=True)
        parts = dict(zip(numbers.tolist(), np.split(order, begins[1:])))
        expected = {row["episode_index"]: row["length"] for row in rows}
        got = {number: len(part) for number, part in parts.items()}
        if expected != got:
            unlike = [n for n in sorted(expected | got) if expected.get(n) != got.get(n)]
            raise ValueError(
                f"{path}: expected {_some(expected, unlike)} timesteps of episodes "
                f"{_listed(unlike)}, as meta/episodes has them, got {_some(got, unlike)}"
            )
        if not np.array_equal(order, np.arange(len(order))):
            self.warnings.append(f"{path}: rows are not in the order of episodes and time")
        places = {}
        for number, part in parts.items():
            if self._check_times(f"{path}: episode {number}", frame[part], time[part]):
                self._trimmed.append(number)
            places[number] = _Place(path, part, float(time[part[0]]))
        return places

    def _check_times(self, where: str, frame: np.ndarray, time: np.ndarray) -> bool:
        """Frames follow each other, at the rate of info.json; whether the first are cut away."""
        if (np.diff(frame) != 1).any():
            step = int((np.diff(frame) != 1).argmax())
            raise ValueError(
                f"{where}: frame_index: expected whole numbers that follow each other, got "
                f"{frame[step]} and then {frame[step + 1]}"
            )
        fps = self.info["fps"]
        # float32 is coarse far from 0, where nothing may tell frames apart any more
        coarse = 2 * float(np.spacing(np.abs(time.astype(np.result_type(time, np.float32))).max()))
        time, slack = time.astype(np.float64), TOLERANCE / fps + min(coarse, 0.3 / fps)
        expected = time[0] + np.arange(len(time)) / fps
        if not (np.abs(time - expected) <= slack).all():  # also for NaN
            spacing = float(np.median(np.diff(time))) if len(time) > 1 else float("nan")
            raise ValueError(
                f"{where}: timestamp: expected {1 / fps:.4g} s from one timestep to the next, by "
                f"fps {fps} of meta/info.json, got {spacing:.4g} s (median), {time[0]:.4f} to "
                f"{time[-1]:.4f} s for {len(time)} timesteps"
            )
        return frame[0] != 0 or abs(time[0]) > slack

    def _check_counts(self) -> None:
        """What LeRobot's own reader counts by."""
        if self._trimmed:
            self.warnings.append(
                f"{self.root}: {len(self._trimmed)} episodes begin after frame 0 or 0 s, as if "
                f"trimmed: {_listed(self._trimmed)}"
            )
        total, told = sum(row["length"] for row in self.rows), self.info["total_frames"]
        if told != total:
            self.warnings.append(
                f"{self.root}/meta/info.json: total_frames: expected {total}, got {told}"
            )
        begins = np.cumsum([0, *(row["length"] for row in self.rows)]).tolist()
        pairs = list(zip(begins, begins[1:]))
        told = [(row.get("dataset_from_index"), row.get("dataset_to_index")) for row in self.rows]
        if told != pairs:
            i = next(i for i, pair in enumerate(pairs) if told[i] != pair)
            self.warnings.append(
                f"{self.root}/meta/episodes: episode {i}: dataset_from_index, dataset_to_index: "
                f"expected {pairs[i]}, got {told[i]}"
            )
        numbers = [row["episode_index"] for row in self.rows]
        if numbers != list(range(len(numbers))):
            self.warnings.append(
                f"{self.root}/meta/episodes: episode_index: expected numbers without gaps, got "
                f"{_listed(numbers)}"
            )

    def _find_tasks(self) -> None:
        """Tasks that only the data name: `task_index`, which meta/tasks.parquet explains."""
        silent = [i for i, row in enumerate(self.rows) if not row["gato/task"]]
        texts = read_tasks(self.root) if silent else {}
        for i in silent if texts else []:
            if "task_index" in open_parquet(self._places[i].path).schema_arrow.names:
                index = self.read(i, ["task_index"])["task_index"]
                named = [texts.get(one, "") for one in dict.fromkeys(index.ravel().tolist())]
                self.rows[i]["gato/task"] = "; ".join(filter(None, named))

    def _find_outcomes(self, unknown_is_success: bool) -> None:
        """Successes that only the data tell, in LeRobot's columns; ours say it in each row."""
        if all(row["gato/success"] is not None for row in self.rows):
            return
        columns, ends = {}, np.cumsum([row["length"] for row in self.rows])[:-1]
        for name in (features.SUCCESS, features.REWARD):
            is_there = name in self.info["features"]
            column = np.split(self.column(name), ends) if is_there else [None] * len(self.rows)
            columns[name] = column
        flags = [None if one is None else bool(one.any()) for one in columns[features.SUCCESS]]
        found = outcomes(flags, columns[features.REWARD], unknown_is_success, is_explicit=False)
        for row, success in zip(self.rows, found.successes):
            row["gato/success"] = success if row["gato/success"] is None else row["gato/success"]
        self.warnings += [f"{self.root}: {found.warning}"] if found.warning else []


def _some(counts: Mapping[int, int], numbers: Sequence[int]) -> str:
    return _listed([counts.get(number, 0) for number in numbers])


def _listed(numbers: Sequence[int], most: int = 5) -> str:
    """The first of them, for a message."""
    more = ", ..." if len(numbers) > most else ""
    return ", ".join(str(number) for number in numbers[:most]) + more
