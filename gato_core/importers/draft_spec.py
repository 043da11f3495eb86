"""Draft Specs for foreign data: the user fills in units and limits.

Data of others tell neither units nor limits. A draft has the unit "?", which conversion refuses,
and limits a tenth wider than the data, which should become the robot's.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gato_core.data.metadata import parse_spec
from gato_core.data.storage import read_json
from gato_core.importers.fit_images import centred_square
from gato_core.spec import PATCH_SIZE, Continuous, Image, Spec

UNKNOWN = "?"


def continuous(
    values: np.ndarray, names: Sequence[str], where: str
) -> tuple[Continuous, list[str]]:
    """A vector like these (T, n), finite limits around all of them, and what is not finite.

    What never is a number gets limits of -1 and 1; it has to leave the Spec.
    """
    values = values.astype(np.float64)
    bad = ~np.isfinite(values)
    warnings = [
        f"{where}: {name}: NaN or infinite in {count} of {len(values)} timesteps: leave it out of "
        "the Spec, or conversion will refuse it"
        for name, count in zip(names, bad.sum(0))
        if count
    ]
    limits = [_limits(column[~wrong]) for column, wrong in zip(values.T, bad.T)]
    low, high = zip(*limits)
    return Continuous(low, high, UNKNOWN, tuple(names)), warnings


def image(height: int, width: int, size: int) -> Image:
    """`size` pixels square, or as many as there are, from the middle of a camera's pictures."""
    size = min(size, min(height, width) // PATCH_SIZE * PATCH_SIZE)
    if size <= 0:
        raise ValueError(f"expected pictures of at least 16x16 pixels, got {width}x{height}")
    return Image(size, size, centred_square(height, width))


def load(path: Path) -> Spec:
    """A Spec from a JSON file, or that of a dataset or checkpoint folder.

    Raises FileNotFoundError, or ValueError naming what a draft still leaves open.
    """
    for name in ("gato.json", "config.json"):
        if (path / name).exists():
            return parse_spec(read_json(path / name).get("spec"), path / name)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a JSON file, a dataset or a checkpoint")
    spec = parse_spec(read_json(path), path)
    vectors = {"action": spec.action, **spec.observation}
    open_units = [key for key, m in vectors.items() if getattr(m, "unit", None) == UNKNOWN]
    if open_units:
        raise ValueError(
            f"{path}: expected units such as rad, m/s or 1, got {UNKNOWN!r} for {open_units}; "
            "check limits too"
        )
    return spec


def _limits(values: np.ndarray) -> tuple[float, float]:
    """A tenth beyond the values, outwards to few digits, however close or large they are."""
    if not len(values):
        return -1.0, 1.0
    low, high = float(values.min()), float(values.max())
    margin = max(0.1 * (high / 2 - low / 2) * 2, 1e-6 * max(abs(low), abs(high)))
    margin = margin if high > low else max(1.0, 0.1 * abs(low))
    step = 10.0 ** np.floor(np.log10(margin) - 1)
    low, high = np.floor((low - margin) / step) * step, np.ceil((high + margin) / step) * step
    low, high = (float(f"{x:.15g}") for x in np.clip((low, high), -1e300, 1e300))
    return low, high
