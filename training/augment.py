"""Image augmentation for robots: small shifts and colour changes, the same through a sequence."""

from __future__ import annotations

import cv2
import numpy as np


def augment(
    images: np.ndarray, rng: np.random.Generator, *, shift: int, color: float
) -> np.ndarray:
    """uint8 (T, height, width, 3) of one camera to the same, moved and tinted alike throughout."""
    if shift:
        rows, columns = rng.integers(-shift, shift + 1, 2).tolist()
        images = _moved(images, rows, columns, shift)
    if color:
        images = _tinted(images, rng, color)
    return images


def _moved(images: np.ndarray, rows: int, columns: int, border: int) -> np.ndarray:
    """Pixels move down and to the right; the border repeats where nothing came from."""
    _, height, width, _ = images.shape
    row, column = border - rows, border - columns
    moved = np.empty_like(images)
    for t, image in enumerate(images):
        padded = cv2.copyMakeBorder(image, *[border] * 4, cv2.BORDER_REPLICATE)
        moved[t] = padded[row : row + height, column : column + width]
    return moved


def _tinted(images: np.ndarray, rng: np.random.Generator, color: float) -> np.ndarray:
    """Contrast about mid-grey, brightness and the balance of channels, by one table a channel."""
    contrast = 1.0 + rng.uniform(-color, color)
    brightness = rng.uniform(-color, color) / 2.0
    balance = 1.0 + rng.uniform(-color, color, 3) / 2.0
    level = np.arange(256)[:, None] / 255.0
    table = ((level - 0.5) * contrast + 0.5 + brightness) * balance
    table = (table.clip(0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
    # the table works on rows of pixels, whichever image they are from
    rows = images.reshape(-1, images.shape[2], 3)
    return cv2.LUT(rows, table[None]).reshape(images.shape)
