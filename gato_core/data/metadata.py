"""What a LeRobot v3 folder says of itself: info.json, gato.json and the rows of its episodes.

Other tools write these files too. Every value that is used later is checked here, and a wrong one
is refused with file, key, expected and got.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from gato_core.data.storage import open_parquet, read_json, read_table
from gato_core.spec import Spec

T = TypeVar("T")

CODEBASE_VERSION = "v3.0"
GATO_VERSION = 1
FILES_PER_CHUNK = 1000
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
TASK_SEPARATOR = "; "  # between the tasks of an episode that has several

_OURS = {  # columns of ours in meta/episodes, and what an episode without them counts as
    "gato/success": (bool, None),  # the data tell
    "gato/terminated": (bool, False),
    "gato/source": (str, "lerobot"),
    "gato/info": (str, "{}"),
}


def read_info(root: Path) -> dict:
    """meta/info.json, its features with dtype, shape and names each.

    Raises FileNotFoundError, or ValueError for another version, no episode or a value of no sense.
    """
    path = root / "meta/info.json"
    info = read_json(path)
    if info.get("codebase_version") != CODEBASE_VERSION:
        raise ValueError(
            f"{root}: expected codebase_version {CODEBASE_VERSION}, "
            f"got {info.get('codebase_version')}"
        )
    if info.get("total_episodes") == 0:
        raise ValueError(f"{root}: expected at least one episode, got none")
    _whole(path, "total_episodes", info.get("total_episodes"), 1)
    fps = info.get("fps")
    if not (isinstance(fps, int | float) and not isinstance(fps, bool) and 0 < fps < math.inf):
        raise ValueError(f"{path}: fps: expected a number above 0, got {fps!r}")
    if not isinstance(info.get("features"), dict):
        raise ValueError(f"{path}: features: expected an object, got {info.get('features')!r}")
    table = {name: _feature(path, name, one) for name, one in info["features"].items()}
    usual: dict[str, object] = {
        "robot_type": None,
        "total_frames": None,
        "chunks_size": FILES_PER_CHUNK,
    }
    usual |= {"data_path": DATA_PATH, "video_path": None}
    info = usual | info | {"features": table}
    _whole(path, "chunks_size", info["chunks_size"], 1)
    for key in ("data_path", "video_path"):
        _check_template(path, key, info[key])
    return info


def read_spec(root: Path) -> Spec:
    """The Spec in gato.json. Raises FileNotFoundError saying what to do, ValueError if unknown."""
    path = root / "gato.json"
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: expected the Spec of the dataset, got none; `gato convert` brings another's "
            "LeRobot dataset in, `gato dataset restore` what an edited copy of ours has lost"
        )
    gato = read_json(path)
    if gato.get("version") != GATO_VERSION:
        raise ValueError(f"{path}: expected version {GATO_VERSION}, got {gato.get('version')}")
    return parse_spec(gato.get("spec"), path)


def read_history(root: Path) -> list[dict]:
    """The edits that made the dataset, the newest last; see edits.py. None for a collected one."""
    path = root / "gato.json"
    history = read_json(path).get("history", []) if path.exists() else []
    if not (isinstance(history, list) and all(isinstance(one, dict) for one in history)):
        raise ValueError(f"{path}: history: expected a list of objects, got {history!r}")
    return history


def parse_spec(data: object, path: Path) -> Spec:
    """A Spec of what stood in a file. Raises ValueError naming the file unless it is one."""
    try:
        return Spec.from_dict(data)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def read_rows(root: Path, info: Mapping, *, statistics: bool = False) -> list[dict]:
    """One dict per episode by `episode_index`: where it lies, its tasks, and what ours say.

    `gato/success` is None and `gato/task` "" where the row does not say. The task is LeRobot's:
    earlier collections have object ids in `gato/task`.
    Raises FileNotFoundError for a missing file, ValueError for a row of no sense.
    """
    rows: list[dict] = []
    file, total = 0, info["total_episodes"]
    per_chunk = info["chunks_size"]
    while len(rows) < total:
        path = root / EPISODES_PATH.format(**numbered(file, per_chunk))
        table = read_table(path, _wanted(open_parquet(path).schema_arrow.names, statistics))
        rows += [_row(path, row) for row in table.to_pylist()]
        file += 1
    numbers = [row["episode_index"] for row in rows]
    if len(rows) != total or len(set(numbers)) != total:
        raise ValueError(
            f"{root}/meta/episodes: expected {total} episodes of distinct episode_index, as "
            f"meta/info.json has total_episodes, got {len(rows)} of {len(set(numbers))} indices"
        )
    return sorted(rows, key=lambda row: row["episode_index"])


def read_tasks(root: Path) -> dict[int, str]:
    """{task_index: text} of meta/tasks.parquet; nothing where there is none."""
    path = root / "meta/tasks.parquet"
    if not path.exists():
        return {}
    names = open_parquet(path).schema_arrow.names
    text = next((name for name in ("task", "__index_level_0__") if name in names), None)
    if text is None or "task_index" not in names:
        raise ValueError(f"{path}: expected columns task_index and task, got {names}")
    rows = read_table(path, ["task_index", text]).to_pylist()
    return {
        _whole(path, "task_index", row["task_index"]): _typed(path, "task", row[text], str)
        for row in rows
    }


def numbered(file: int, files_per_chunk: int = FILES_PER_CHUNK) -> dict[str, int]:
    """The fields of a path for the file of this number."""
    return {"chunk_index": file // files_per_chunk, "file_index": file % files_per_chunk}


def located(row: Mapping, kind: str = "data") -> dict[str, int]:
    """The fields of a path for an episode's row; kind: data, meta/episodes or videos/<camera>.

    Raises ValueError where the row does not say.
    """
    where = f"meta/episodes: episode {row['episode_index']}"
    return {
        key: _whole(where, f"{kind}/{key}", row.get(f"{kind}/{key}"))
        for key in ("chunk_index", "file_index")
    }


def _feature(path: Path, name: str, feature: object) -> dict:
    """A feature with `names` and a shape that is not empty: LeRobot's scalars are [1] or []."""
    shape = feature.get("shape") if isinstance(feature, dict) else None
    if not (
        isinstance(feature, dict)
        and isinstance(shape, list)
        and isinstance(feature.get("dtype"), str)
        and all(type(side) is int and side > 0 for side in shape)
    ):
        raise ValueError(
            f"{path}: features: {name}: expected a dtype and a shape of whole numbers, "
            f"got {feature!r}"
        )
    return feature | {"shape": shape or [1], "names": feature.get("names")}


def _check_template(path: Path, key: str, template: object) -> None:
    """Raises ValueError unless `template` takes the numbers of a file; None is no template."""
    if template is None:
        return
    try:
        if not isinstance(template, str):
            raise TypeError(template)
        template.format(video_key="camera", **numbered(0))
    except (KeyError, IndexError, ValueError, AttributeError, TypeError) as error:
        raise ValueError(
            f"{path}: {key}: expected a path with chunk_index and file_index, got {template!r}"
        ) from error


def _wanted(names: list[str], statistics: bool) -> list[str]:
    """Columns of meta/episodes that are read; another tool's further ones may hold anything."""
    kinds = ["data/", "meta/episodes/", "videos/", "gato/"] + ["stats/"] * statistics
    known = {"episode_index", "tasks", "task_index", "length"}
    known |= {"dataset_from_index", "dataset_to_index"}
    return [name for name in names if name in known or name.startswith(tuple(kinds))]


def _row(path: Path, row: dict) -> dict:
    """The row with its tasks as a list and all of ours."""
    index = _whole(path, "episode_index", row.get("episode_index"))
    where = f"{path}: episode {index}"
    _whole(where, "length", row.get("length"), 1)
    tasks = row.get("tasks")
    tasks = tasks if isinstance(tasks, list) else [tasks]
    tasks = [task for task in tasks if task is not None]
    if not all(isinstance(task, str) for task in tasks):
        raise ValueError(f"{where}: tasks: expected a list of texts, got {row['tasks']!r}")
    row = row | {"tasks": tasks, "gato/task": TASK_SEPARATOR.join(filter(None, tasks))}
    for key, (kind, usual) in _OURS.items():
        row[key] = usual if row.get(key) is None else _typed(where, key, row[key], kind)
    seed = row.get("gato/seed")
    row["gato/seed"] = index if seed is None else _typed(where, "gato/seed", seed, int)
    try:
        is_object = isinstance(json.loads(row["gato/info"]), dict)
    except (ValueError, RecursionError):
        is_object = False
    if not is_object:
        raise ValueError(f"{where}: gato/info: expected a JSON object, got {row['gato/info']!r}")
    return row


def _whole(where: object, key: str, value: object, least: int = 0) -> int:
    if type(value) is not int or value < least:
        raise ValueError(f"{where}: {key}: expected a whole number from {least} on, got {value!r}")
    return value


def _typed(where: object, key: str, value: object, kind: type[T]) -> T:
    if not (isinstance(value, kind) and type(value) is kind):
        raise ValueError(f"{where}: {key}: expected {kind.__name__}, got {value!r}")
    return value
