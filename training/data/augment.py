"""Image augmentation: shifts, crops, colours and blur, the same for all images of a sequence."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class Augmentation:
    """How far images may change; see TrainConfig for the meaning of each."""

    shift: int = 0
    crop: float = 0.0
    color: float = 0.0
    blur: float = 0.0


# robot: what a camera that was moved, another lamp and a lens out of focus would do
AUGMENTATIONS = {"none": Augmentation(), "robot": Augmentation(2, 0.1, 0.2, 0.7)}


def named(name: str | None) -> Augmentation | None:
    """A named augmentation, None for None. Raises ValueError listing the names."""
    if name is None:
        return None
    if name not in AUGMENTATIONS:
        raise ValueError(f"augment: expected one of {sorted(AUGMENTATIONS)}, got {name!r}")
    return AUGMENTATIONS[name]


def augment(images: np.ndarray, rng: np.random.Generator, limits: Augmentation) -> np.ndarray:
    """uint8 (T, height, width, 3) of one camera to the same, changed alike throughout."""
    if limits.shift:
        rows, columns = rng.integers(-limits.shift, limits.shift + 1, 2).tolist()
        images = _moved(images, rows, columns, limits.shift)
    if limits.crop:
        images = _cropped(images, rng, limits.crop)
    if limits.color:
        images = _tinted(images, rng, limits.color)
    if limits.blur:
        images = _blurred(images, rng.uniform(0.0, limits.blur))
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


def _cropped(images: np.ndarray, rng: np.random.Generator, crop: float) -> np.ndarray:
    """Somewhere within each image, all but a share of its sides, scaled to the full size."""
    _, height, width, _ = images.shape
    kept = 1.0 - rng.uniform(0.0, crop)
    rows, columns = round(kept * height), round(kept * width)
    row = int(rng.integers(height - rows + 1))
    column = int(rng.integers(width - columns + 1))
    parts = images[:, row : row + rows, column : column + columns]
    return np.stack([cv2.resize(part, (width, height)) for part in parts])


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


def _blurred(images: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur of a standard deviation in pixels; the border is mirrored."""
    if sigma < 0.1:  # less than a grey level, and an empty kernel to OpenCV
        return images
    return np.stack([cv2.GaussianBlur(image, (0, 0), sigma) for image in images])
