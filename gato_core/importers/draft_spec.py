"""Draft Specs for foreign data: the user fills in units and limits.

Data of others tell neither units nor limits. A draft has the unit "?", which conversion refuses,
and limits a tenth wider than the data, which should become the robot's.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gato_core.importers.fit_images import centred_square
from gato_core.spec import PATCH_SIZE, Continuous, Image, Spec

UNKNOWN = "?"


def continuous(values: np.ndarray, names: Sequence[str]) -> Continuous:
    """A vector like these (T, n), finite limits around all of them."""
    low, high = values.min(0).astype(np.float64), values.max(0).astype(np.float64)
    margin = np.where(high > low, 0.1 * (high - low), 1.0)
    rounded = [tuple(float(f"{x:.4g}") for x in side) for side in (low - margin, high + margin)]
    return Continuous(*rounded, UNKNOWN, tuple(names))


def image(height: int, width: int, size: int) -> Image:
    """`size` pixels square, or as many as there are, from the middle of a camera's pictures."""
    size = min(size, min(height, width) // PATCH_SIZE * PATCH_SIZE)
    return Image(size, size, centred_square(height, width))


def load(path: Path) -> Spec:
    """A Spec from a JSON file, or that of a dataset or checkpoint folder.

    Raises FileNotFoundError, or ValueError naming what a draft still leaves open.
    """
    if (path / "gato.json").exists():
        return Spec.from_dict(json.loads((path / "gato.json").read_text())["spec"])
    if (path / "config.json").exists():
        return Spec.from_dict(json.loads((path / "config.json").read_text())["spec"])
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a JSON file, a dataset or a checkpoint")
    try:
        spec = Spec.from_dict(json.loads(path.read_text()))
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: expected a Spec as JSON, got {error!r}") from error
    vectors = {"action": spec.action, **spec.observation}
    open_units = [key for key, m in vectors.items() if getattr(m, "unit", None) == UNKNOWN]
    if open_units:
        raise ValueError(
            f"{path}: expected units such as rad, m/s or 1, got {UNKNOWN!r} for {open_units}; "
            "check limits too"
        )
    return spec
