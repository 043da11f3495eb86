"""What an edited copy of a dataset of ours has lost: the Spec, and what only our columns tell.

LeRobot's tools keep the features of the data and renumber episodes, but copy neither gato.json nor
the `gato/` columns of meta/episodes. Episodes are found in the originals by what was seen and done.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gato_core.data import features
from gato_core.data.features import ACTION
from gato_core.data.folder import EpisodeFiles
from gato_core.data.identity import digest
from gato_core.data.metadata import EPISODES_PATH, GATO_VERSION, numbered, read_history
from gato_core.data.storage import lock, open_parquet, read_table, replacing, write_json
from gato_core.dataset import Dataset

COLUMNS = ("task", "seed", "success", "terminated", "source", "info")


def restore(copy: Path, originals: Sequence[Path], *, dry_run: bool = False) -> dict:
    """Gives the copy its gato.json and `gato/` columns back; says which episode is which.

    Raises ValueError where it needs nothing, or naming what none of the originals holds.
    """
    if (copy / "gato.json").exists():
        raise ValueError(f"{copy}: expected a copy without gato.json, got one that has it")
    if not originals:
        raise ValueError(f"{copy}: expected --original, the dataset it was made of, got none")
    files, datasets = EpisodeFiles(copy), [Dataset(one, memory_gb=0.0) for one in originals]
    spec = datasets[0].spec
    for dataset in datasets[1:]:
        if differences := spec.differences(dataset.spec):
            raise ValueError(f"{dataset.root}: another Spec:\n  " + "\n  ".join(differences))
    names = _numbers(spec)
    expected = features.features(spec, {})
    if unlike := features.differences(expected, files.info["features"], names):
        raise ValueError(f"{copy}: unlike {originals[0]}:\n  " + "\n  ".join(unlike))
    rows = _matched(files, datasets, names)
    found = {f"gato/{name}": [row[f"gato/{name}"] for row in rows] for name in COLUMNS}
    if not dry_run:
        with lock(copy):
            _write_columns(files, found)
            history = {
                "command": "gato dataset restore",
                "sources": [
                    {"path": str(one.resolve()), "history": read_history(one)} for one in originals
                ],
            }
            gato = {"version": GATO_VERSION, "spec": spec.to_dict(), "history": [history]}
            write_json(copy / "gato.json", gato)
        Dataset(copy, memory_gb=0.0)  # it is one now
    return {
        "out": str(copy),
        "episodes": len(rows),
        "from": [row["episode_index"] for row in rows],
        "successes": sum(found["gato/success"]),
    }


def _numbers(spec) -> list[str]:
    """The features that tell an episode from others without its pictures."""
    table = features.features(spec, {})
    own = {*features.feature_names(spec).values(), ACTION}
    return sorted(name for name in own if table[name]["dtype"] != "image")


def _matched(files: EpisodeFiles, datasets: Sequence[Dataset], names: list[str]) -> list[dict]:
    """The original's row of each episode; equal ones in their order."""
    held: dict[str, list[dict]] = {}
    for dataset in datasets:
        for i, row in enumerate(dataset.rows):
            numbers = dataset.numbers(i)
            held.setdefault(digest({n: numbers[n] for n in names}), []).append(row)
    rows, unknown = [], []
    for i, row in enumerate(files.rows):
        numbers = {n: np.asarray(v) for n, v in files.read(i, names).items()}
        alike = held.get(digest(numbers), [])
        if alike:
            rows.append(alike.pop(0) if len(alike) > 1 else alike[0])
        else:
            unknown.append(row["episode_index"])
    if unknown:
        roots = ", ".join(str(dataset.root) for dataset in datasets)
        raise ValueError(
            f"{files.root}: expected every episode in {roots}, got others, or changed ones: "
            f"{unknown[:9]}; `gato convert` with `--spec {datasets[0].root}` takes them as they are"
        )
    return rows


def _write_columns(files: EpisodeFiles, found: dict[str, list]) -> None:
    """Adds the columns to the files of meta/episodes, each replaced whole."""
    place = {row["episode_index"]: i for i, row in enumerate(files.rows)}
    number, done = 0, 0
    while done < len(files.rows):
        path = files.root / EPISODES_PATH.format(**numbered(number, files.info["chunks_size"]))
        table = read_table(path, open_parquet(path).schema_arrow.names)
        order = [place[index] for index in table["episode_index"].to_pylist()]
        for name, values in found.items():
            if name in table.column_names:
                table = table.drop_columns([name])
            table = table.append_column(name, pa.array([values[i] for i in order]))
        with replacing(path) as temporary:
            pq.write_table(table, temporary)
        number, done = number + 1, done + len(table)
