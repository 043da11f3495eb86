"""Atomic JSON and parquet files, and a lock that allows one writer per folder."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from gato_core.data.features import IMAGE_TYPE


def read_json(path: Path) -> dict:
    """Raises FileNotFoundError, or ValueError naming the file when it is no object of JSON."""
    try:
        data = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:  # also what is no UTF-8
        raise ValueError(f"{path}: expected JSON: {error}") from error
    if not isinstance(data, dict):
        raise ValueError(f"{path}: expected an object of JSON, got {type(data).__name__}")
    return data


def write_json(path: Path, data: Mapping) -> None:
    """Replaces the file atomically."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(data, indent=1) + "\n")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to that becomes `path`, durably, when the block ends without an error.

    After an error, such as a full disk, `path` is what it was and nothing is left beside it.
    Raises OSError naming the file and the room there is.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        free = shutil.disk_usage(path.parent).free / 1e6
        told = f"{path}: expected to write the file, got {error} ({free:.0f} MB free)"
        raise OSError(error.errno, told) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)  # the rename itself
    os.close(folder)


def lock(root: Path) -> IO:
    """An open file that keeps other writers out of the folder until it is closed."""
    root.mkdir(parents=True, exist_ok=True)
    file = open(root / ".lock", "w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise RuntimeError(f"{root}: another process is writing to this dataset") from error
    return file


def open_parquet(path: Path) -> pq.ParquetFile:
    """Raises FileNotFoundError, or ValueError naming the file when it is damaged."""
    if not path.exists():
        raise FileNotFoundError(f"{path}: missing, but the dataset's metadata counts it")
    with named_damage(path, "expected a parquet file, damaged or truncated"):
        return pq.ParquetFile(path, page_checksum_verification=True)


def read_table(path: Path, names: Sequence[str], groups: Sequence[int] | None = None) -> pa.Table:
    """These columns of a parquet file, or of some of its row groups.

    Raises FileNotFoundError, or ValueError naming the file and what it lacks or the damage.
    """
    file = open_parquet(path)
    there = file.schema_arrow.names
    if unlike := [name for name in names if there.count(name) != 1]:
        raise ValueError(f"{path}: expected columns {unlike}, once each, got {there}")
    with named_damage(path):
        chosen = range(file.num_row_groups) if groups is None else groups
        return file.read_row_groups(chosen, columns=list(names))


@contextlib.contextmanager
def named_damage(path: Path, what: str = "damaged") -> Iterator[None]:
    """Turns Arrow's errors into a ValueError that begins with the file's name."""
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError, OverflowError, MemoryError) as error:
        raise ValueError(f"{path}: {what}: {error}") from error


def write_row_groups(path: Path, tables: list[pa.Table]) -> None:
    """One row group per episode, so that an episode can be read alone; PNG is not compressed."""
    plain = [field.name for field in tables[0].schema if field.type != IMAGE_TYPE]
    codecs = {field.name: "snappy" for field in tables[0].schema if field.name in plain}
    images = [field.name for field in tables[0].schema if field.type == IMAGE_TYPE]
    codecs |= {f"{name}.{part}": "none" for name in images for part in ("bytes", "path")}
    options = {"compression": codecs, "use_dictionary": False, "write_page_checksum": True}
    options["write_statistics"] = plain
    with pq.ParquetWriter(path, tables[0].schema, **options) as file:
        for table in tables:
            file.write_table(table, row_group_size=len(table))


def tasks_table(tasks: list[str]) -> pa.Table:
    """tasks.parquet as pandas would write a frame indexed by the task text."""
    kinds = {"task_index": ("int64", "int64"), "task": ("unicode", "object")}
    described = [
        {"name": n, "field_name": n, "pandas_type": p, "numpy_type": k, "metadata": None}
        for n, (p, k) in kinds.items()
    ]
    pandas = {"index_columns": ["task"], "column_indexes": [], "columns": described}
    table = pa.table({"task_index": pa.array(range(len(tasks)), pa.int64()), "task": tasks})
    return table.replace_schema_metadata({"pandas": json.dumps(pandas)})
