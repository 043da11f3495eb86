"""Statistics of features over time, per episode and over many, as LeRobot's stats.json has them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
NUM_IMAGES_FOR_STATISTICS = 16


def of_arrays(arrays: Mapping[str, np.ndarray]) -> dict[str, dict[str, list]]:
    """min, max, mean, std, count and quantiles of each feature over time, but of words.

    Images: per channel in [0, 1], shape (3, 1, 1), from a sample of frames and pixels, as LeRobot.
    """
    result = {}
    for name, array in arrays.items():
        if array.dtype.kind in "OU":
            continue
        if array.ndim == 4:
            frames = np.linspace(0, len(array) - 1, NUM_IMAGES_FOR_STATISTICS).round().astype(int)
            pixels = array[np.unique(frames), ::4, ::4].reshape(-1, 3) / 255.0
            result[name] = _statistics(pixels, len(array), (3, 1, 1))
        else:
            values = array.reshape(len(array), -1).astype(np.float64)
            result[name] = _statistics(values, len(array), (values.shape[1],))
    return result


def merged(parts: list[dict[str, dict[str, list]]]) -> dict[str, dict[str, list]]:
    """Statistics of many episodes as one; see `of_arrays`."""
    return {name: _merge([part[name] for part in parts]) for name in parts[0]}


def flat(statistics: Mapping[str, Mapping[str, list]]) -> dict[str, list]:
    """The columns of meta/episodes, `stats/<feature>/<statistic>`."""
    return {
        f"stats/{name}/{key}": value
        for name, values in statistics.items()
        for key, value in values.items()
    }


def of_row(row: Mapping) -> dict[str, dict[str, list]]:
    """Inverts `flat`: {feature: {statistic: values}} of a row of meta/episodes."""
    part: dict[str, dict[str, list]] = {}
    for key, value in row.items():
        if key.startswith("stats/"):
            name, statistic = key.removeprefix("stats/").rsplit("/", 1)
            part.setdefault(name, {})[statistic] = value
    return part


def _merge(parts: list[dict[str, list]]) -> dict[str, list]:
    """One feature's statistics over many episodes; quantiles are averaged, weighted by length."""
    stack = {key: np.array([part[key] for part in parts], np.float64) for key in parts[0]}
    count = stack["count"].reshape(-1, *[1] * (stack["mean"].ndim - 1))
    weight = count / count.sum()
    mean = (weight * stack["mean"]).sum(0)
    variance = (weight * (stack["std"] ** 2 + (stack["mean"] - mean) ** 2)).sum(0)
    merged = {
        "min": stack["min"].min(0),
        "max": stack["max"].max(0),
        "mean": mean,
        "std": np.sqrt(variance),
        "count": stack["count"].sum(0).astype(np.int64),
    }
    merged |= {name: (weight * stack[name]).sum(0) for name in QUANTILES}
    return {key: value.tolist() for key, value in merged.items()}


def _statistics(values: np.ndarray, count: int, shape: tuple[int, ...]) -> dict[str, list]:
    result = {
        "min": values.min(0),
        "max": values.max(0),
        "mean": values.mean(0),
        "std": values.std(0),
    }
    quantiles = np.quantile(values, list(QUANTILES.values()), axis=0)
    result |= dict(zip(QUANTILES, quantiles))
    listed = {key: np.reshape(value, shape).tolist() for key, value in result.items()}
    return listed | {"count": [count]}
