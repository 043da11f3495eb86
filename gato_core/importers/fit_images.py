"""Camera pictures of any size to the images of a Spec."""

from __future__ import annotations

import cv2
import numpy as np

from gato_core.spec import Image, check_crop

MAX_STRETCH = 1.02  # of a crop's pixels, one way against the other

Crop = tuple[float, float, float, float]  # left, top, width, height as fractions of the picture


def crop_and_resize(pixels: np.ndarray, crop: Crop, image: Image) -> np.ndarray:
    """The crop of uint8 (height, width, 3) at an Image's size, each pixel the mean of its area.

    The crop's edges are rounded to whole pixels. Raises ValueError where it would be enlarged, or
    stretched more one way than the other.
    """
    check_crop(crop)
    height, width = pixels.shape[:2]
    left, top = round(crop[0] * width), round(crop[1] * height)
    right, bottom = round((crop[0] + crop[2]) * width), round((crop[1] + crop[3]) * height)
    part = pixels[top:bottom, left:right]
    down, across = part.shape[0] / image.height, part.shape[1] / image.width
    if min(down, across) < 1 or not 1 / MAX_STRETCH <= down / across <= MAX_STRETCH:
        raise ValueError(
            f"crop {crop} of {width}x{height} pixels: expected at least {image.width}x"
            f"{image.height} pixels and their aspect, got {part.shape[1]}x{part.shape[0]}"
        )
    return cv2.resize(part, (image.width, image.height), interpolation=cv2.INTER_AREA)


def fitted(pictures: np.ndarray, image: Image, name: str) -> np.ndarray:
    """uint8 (T, *image.shape) of pictures (T, height, width, 3); as they are if of that size.

    Raises ValueError naming the camera where the crop of the Spec does not fit.
    """
    if pictures.shape[1:] == image.shape:
        return pictures
    try:
        return np.stack([crop_and_resize(picture, image.crop, image) for picture in pictures])
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def centred_square(height: int, width: int) -> Crop:
    """The crop that takes the largest square in the middle of a picture."""
    side = min(height, width)
    across, down = side / width, side / height
    return ((1 - across) / 2, (1 - down) / 2, across, down)
