"""Pictures of any file, size and mode to the images of documents."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import PIL.Image
import PIL.ImageOps

from gato_core.spec import PATCH_SIZE

NUM_PATCHES = 64  # the most of one picture: 128 x 128 pixels, or as many in another shape
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # some others run programs


@dataclass(frozen=True)
class Picture:
    """Where a picture's file is to be had, and its name for errors."""

    name: str
    data: Callable[[], bytes]

    def read(self, num_patches: int = NUM_PATCHES) -> np.ndarray:
        """As of `read` and `fit`."""
        return fit(read(self.data(), self.name), num_patches)


def read(data: bytes, name: str) -> np.ndarray:
    """uint8 (height, width, 3) of a picture's file, upright; of a film the first picture.

    Grey of 16 bits keeps its upper ones; what is transparent is white. Raises ValueError with the
    name for what is no picture, is cut short, or has pixels that are no colours.
    """
    try:
        with PIL.Image.open(io.BytesIO(data), formats=FORMATS) as file:
            file.load()
            return _colours(PIL.ImageOps.exif_transpose(file))
    except Exception as error:  # a damaged file makes a decoder raise nearly anything
        raise ValueError(f"{name}: expected a picture, got {_first_line(error)}") from error


def fit(pixels: np.ndarray, num_patches: int = NUM_PATCHES) -> np.ndarray:
    """uint8 (height, width, 3) in whole patches of 16 x 16, at most so many, in about its shape.

    Pictures that are so already stay as they are; none is enlarged by more than half a patch, or
    to one.
    """
    height, width = pixels.shape[:2]
    rows, columns = _grid(height / PATCH_SIZE, width / PATCH_SIZE, num_patches)
    if (rows * PATCH_SIZE, columns * PATCH_SIZE) == (height, width):
        return pixels
    size = (columns * PATCH_SIZE, rows * PATCH_SIZE)
    resized = PIL.Image.fromarray(pixels).resize(size, PIL.Image.Resampling.BICUBIC)
    return np.asarray(resized)


def _grid(height: float, width: float, num_patches: int) -> tuple[int, int]:
    """Rows and columns for sides in patches: nearest to the size and the shape that fit."""
    most_rows, most_columns = max(1, round(height)), max(1, round(width))
    if most_rows * most_columns <= num_patches:
        return most_rows, most_columns
    scale = min(1.0, (num_patches / (height * width)) ** 0.5)

    def loss(grid: tuple[int, int]) -> float:
        rows, columns = grid
        stretch = math.log(rows / height) - math.log(columns / width)
        return abs(stretch) + math.log(num_patches / (rows * columns))

    def around(side: float, most: int) -> set[int]:
        return {min(max(1, whole), most) for whole in (math.floor(side), math.ceil(side))}

    choices = [
        (rows, columns)
        for rows in around(height * scale, min(most_rows, num_patches))
        for columns in around(width * scale, min(most_columns, num_patches // rows))
    ]
    return min(choices, key=loss)


def _colours(picture: PIL.Image.Image) -> np.ndarray:
    """uint8 (height, width, 3) of a picture in any mode."""
    if picture.mode == "F":
        raise ValueError("floating point pixels")
    if picture.mode.startswith("I"):
        grey = np.asarray(picture)
        if grey.min() < 0 or grey.max() > 0xFFFF:
            raise ValueError(f"pixels from {grey.min()} to {grey.max()}, beyond 16 bits")
        return np.repeat((grey >> 8).astype(np.uint8)[..., None], 3, axis=2)
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        page = PIL.Image.new("RGBA", picture.size, "white")
        picture = PIL.Image.alpha_composite(page, picture)
    return np.asarray(picture.convert("RGB"))


def _first_line(error: Exception) -> str:
    line = (str(error).splitlines() or [""])[0].split(" <_io.BytesIO")[0]
    return line or type(error).__name__
