"""Statistics of a dataset as they are now, in place of those that another tool left behind."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gato_core.data import features, metadata
from gato_core.data import statistics as feature_statistics
from gato_core.data.metadata import EPISODES_PATH, numbered
from gato_core.data.storage import (
    lock,
    open_parquet,
    read_json,
    read_table,
    replacing,
    write_json,
)
from gato_core.dataset import Dataset

TOLERANCE = 1e-4  # of the larger of a value and its spread: float32 sums in another order


def recompute(dataset: Dataset, *, dry_run: bool = False) -> dict:
    """Writes meta/stats.json and each episode's statistics anew; says which were otherwise.

    Raises RuntimeError while another process writes there.
    """
    parts = [_of_episode(dataset, i) for i in range(dataset.num_episodes)]
    fresh = feature_statistics.merged(parts)
    path = dataset.root / "meta/stats.json"
    stored = read_json(path) if path.exists() else {}
    lines = [line for name in fresh for line in _differences(name, stored.get(name), fresh[name])]
    if not dry_run:
        with lock(dataset.root):
            _write_rows(dataset, parts)
            write_json(path, stored | fresh)
    return {"out": str(dataset.root), "changed": lines, "features": len(fresh)}


def _of_episode(dataset: Dataset, i: int) -> dict[str, dict[str, list]]:
    """All that a writer measures but the numbers of rows, which tell nothing."""
    arrays = features.columns(dataset.episode(i), dataset.spec)
    arrays = {name: array for name, array in arrays.items() if name in dataset.info["features"]}
    return feature_statistics.of_arrays(arrays)


def _differences(name: str, stored: object, fresh: dict[str, list]) -> list[str]:
    if not isinstance(stored, dict):
        return [f"{name}: no statistics were there"]
    lines = []
    scale = np.maximum(np.abs(fresh["mean"]), np.asarray(fresh["std"])) + 1e-6
    for key in ("min", "max", "mean", "std", "count"):
        old, new = np.asarray(stored.get(key, np.nan), float), np.asarray(fresh[key], float)
        slack = TOLERANCE * scale if key != "count" else 0
        if old.shape != new.shape or not (np.abs(old - new) <= slack).all():
            lines.append(f"{name}: {key}: {_few(old)} becomes {_few(new)}")
    return lines


def _few(values: np.ndarray) -> str:
    return ", ".join(f"{value:.5g}" for value in values.ravel()[:4])


def _write_rows(dataset: Dataset, parts: list[dict]) -> None:
    """Each file of meta/episodes with the statistics of its episodes, replaced whole."""
    place = {row["episode_index"]: i for i, row in enumerate(dataset.rows)}
    per_chunk = dataset.info.get("chunks_size", metadata.FILES_PER_CHUNK)
    number, done = 0, 0
    while done < dataset.num_episodes:
        path = dataset.root / EPISODES_PATH.format(**numbered(number, per_chunk))
        table = read_table(path, open_parquet(path).schema_arrow.names)
        flat = [
            feature_statistics.flat(parts[place[index]])
            for index in table["episode_index"].to_pylist()
        ]
        for name in flat[0]:
            if name in table.column_names:
                table = table.drop_columns([name])
            table = table.append_column(name, pa.array([row[name] for row in flat]))
        with replacing(path) as temporary:
            pq.write_table(table, temporary)
        number, done = number + 1, done + len(table)
