"""Image augmentation for robots: small shifts and colour changes, the same through a sequence."""

from __future__ import annotations

import numpy as np


def augment(
    images: np.ndarray, rng: np.random.Generator, *, shift: int, color: float
) -> np.ndarray:
    """uint8 (T, height, width, 3) of one camera to the same, moved and tinted alike throughout."""
    if shift:
        rows, columns = rng.integers(-shift, shift + 1, 2)
        images = _moved(images, int(rows), int(columns))
    if color:
        images = _tinted(images, rng, color)
    return images


def _moved(images: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Pixels move down and to the right; the border repeats where nothing came from."""
    _, height, width, _ = images.shape
    row = np.clip(np.arange(height) - rows, 0, height - 1)
    column = np.clip(np.arange(width) - columns, 0, width - 1)
    return images[:, row[:, None], column]


def _tinted(images: np.ndarray, rng: np.random.Generator, color: float) -> np.ndarray:
    """Contrast about mid-grey, brightness and the balance of channels, by one table a channel."""
    contrast = 1.0 + rng.uniform(-color, color)
    brightness = rng.uniform(-color, color) / 2.0
    balance = 1.0 + rng.uniform(-color, color, (3, 1)) / 2.0
    level = np.arange(256) / 255.0
    table = ((level - 0.5) * contrast + 0.5 + brightness) * balance
    table = (np.clip(table, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
    return np.stack([table[channel][images[..., channel]] for channel in range(3)], axis=-1)
