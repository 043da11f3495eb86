"""Damage for files: any bytes, any value in JSON, any column of parquet, any item of HDF5."""

import contextlib
import io
import json
import shutil
import sys
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

from gato_core import cli

ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.sampled_from([-1, 0, 1, 7, 1e-9, 1e300, float("nan"), float("inf"), -0.0]),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(["", "action", "\0", "../..", "{0}", "{chunk_index.x}", "é", "NaN", "v3.0"]),
    st.just([]),
    st.just({}),
)
JSON = st.recursive(
    ODD,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=5,
)
REMOVED = object()


def places(data: object, prefix: tuple = ()) -> list[tuple]:
    """The path of every value within nested dicts and lists."""
    found = [prefix] if prefix else []
    items = (
        data.items()
        if isinstance(data, dict)
        else enumerate(data)
        if isinstance(data, list)
        else ()
    )
    for key, value in items:
        found += places(value, (*prefix, key))
    return found


@st.composite
def json_changes(draw, path: Path):
    """(place, value) of one change of a JSON file; REMOVED takes it away."""
    place = draw(st.sampled_from(places(json.loads(path.read_text()))))
    return place, draw(st.one_of(st.just(REMOVED), JSON))


def change_json(path: Path, place: tuple, value: object) -> None:
    data = inner = json.loads(path.read_text())
    for key in place[:-1]:
        inner = inner[key]
    if value is REMOVED:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    path.write_text(json.dumps(data))


COLUMNS = {
    "nothing": lambda n: pa.nulls(n),
    "texts": lambda n: pa.array(["x"] * n),
    "bytes": lambda n: pa.array([b"\xff\xfe"] * n),
    "nan": lambda n: pa.array([float("nan")] * n),
    "big": lambda n: pa.array([2**62] * n),
    "negative": lambda n: pa.array([-1] * n),
    "zero": lambda n: pa.array([0] * n),
    "halves": lambda n: pa.array([0.5] * n),
    "bools": lambda n: pa.array([True] * n),
    "lists": lambda n: pa.array([[1.0]] * n),
    "empty lists": lambda n: pa.array([[]] * n, pa.list_(pa.float32())),
    "ragged": lambda n: pa.array([[1.0] * (i % 3) for i in range(n)]),
    "nested": lambda n: pa.array([[[1.0, 2.0]]] * n),
    "holes": lambda n: pa.array([[1.0, None]] * n),
    "structs": lambda n: pa.array([{"bytes": None, "path": "x.png"}] * n),
    "other structs": lambda n: pa.array([{"y": 1}] * n),
    "times": lambda n: pa.array([2**62] * n, pa.timestamp("ns")),
    "decimals": lambda n: pa.array([1] * n).cast(pa.decimal128(20, 0)),
    "words of json": lambda n: pa.array(["[1]"] * n),
    "dictionary": lambda n: pa.array(["x"] * n).dictionary_encode(),
}


@st.composite
def column_changes(draw, path: Path):
    """(column, kind) of one change of a parquet file; None takes the column away."""
    names = pq.read_schema(path).names
    kinds = [None, "twice", "fewer rows", "more rows", "backwards", *COLUMNS]
    return draw(st.sampled_from(names)), draw(st.sampled_from(kinds))


def change_column(path: Path, name: str, kind: str | None) -> None:
    table = pq.read_table(path)
    place, count = table.column_names.index(name), len(table)
    if kind is None:
        table = table.remove_column(place)
    elif kind == "twice":
        table = table.append_column(name, table.column(place))
    elif kind == "fewer rows":
        table = table.slice(0, count - 1)
    elif kind == "more rows":
        table = pa.concat_tables([table, table.slice(0, 1)])
    elif kind == "backwards":
        table = table.set_column(
            place, name, table.column(place).take(pa.array(range(count))[::-1])
        )
    else:
        table = table.set_column(place, name, COLUMNS[kind](count))
    pq.write_table(table.replace_schema_metadata(None), path)


ITEMS = [
    np.zeros(0), np.zeros((0, 3)), np.full((4, 3), np.nan), np.zeros((4, 3), complex), 3.0,
    np.array([b"x"] * 4), "text", np.zeros((4, 2, 2, 2, 2)), np.zeros((9, 3)), np.zeros(4, bool),
    np.full((4, 3), 1e308), np.zeros((4, 0)), np.zeros((4, 3), [("x", "f4")]), h5py.Empty("f4"),
    np.zeros((4, 8, 8, 3), np.uint8), h5py.SoftLink("/nowhere"), h5py.SoftLink("/data"),
    h5py.ExternalLink("other.hdf5", "/x"), -(2**40), b"\xff\xfe", np.zeros((4, 3), np.float16),
]  # fmt: skip


@st.composite
def item_changes(draw, path: Path):
    """(place, attribute or "", value) of one change of an HDF5 file; None takes it away."""
    found: list[tuple[str, str]] = []
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.append((name, "")))
        for name in ["/", *[place for place, _ in found]]:
            found += [(name, attribute) for attribute in file[name].attrs]
    place, attribute = draw(st.sampled_from(found))
    values = [None, *ITEMS] if not attribute else [None, *ITEMS[:13], -1, b"\xff", "{", "[]"]
    return place, attribute, draw(st.sampled_from(values))


def change_item(path: Path, place: str, attribute: str, value: object) -> None:
    with h5py.File(path, "a") as file:
        if attribute:
            del file[place].attrs[attribute]
            if value is not None:
                file[place].attrs[attribute] = value
        else:
            del file[place]
            if value is not None:
                file[place] = value


@st.composite
def byte_changes(draw, path: Path):
    """(kind, place, bytes) of one damage to any file."""
    size = path.stat().st_size
    kind = draw(st.sampled_from(["over", "cut", "insert"]))
    return kind, draw(st.integers(0, max(0, size - 1))), draw(st.binary(min_size=1, max_size=16))


def change_bytes(path: Path, kind: str, place: int, data: bytes) -> None:
    content = path.read_bytes()
    rest = {"over": content[place + len(data) :], "cut": b"", "insert": content[place:]}[kind]
    path.write_bytes(content[:place] + (b"" if kind == "cut" else data) + rest)


@contextlib.contextmanager
def copy_of(source: Path, folder: Path):
    """A fresh copy to damage, away afterwards."""
    target = folder / f"copy{source.suffix}"
    for old in (target, folder / "out"):
        shutil.rmtree(old, ignore_errors=True)
        if old.is_file():
            old.unlink()
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copy(source, target)
    yield target


def gato(*arguments: object) -> tuple[int, str]:
    """Status and what was printed on stderr of a command; raises what a user would see."""
    before, sys.argv = sys.argv, ["gato", *map(str, arguments)]
    errors = io.StringIO()
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
            status = cli.main()
    finally:
        sys.argv = before
    return status, errors.getvalue()
