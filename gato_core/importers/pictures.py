"""Image messages of ROS to RGB arrays, with expected and got where one is no picture.

The same for messages of rclpy and those read from a bag, which have the same fields. Encodings are
those of sensor_msgs/image_encodings.hpp; `format` of a CompressedImage is read as image_transport's
own subscriber does (compressed_image_transport/src/compressed_subscriber.cpp).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from gato_core.importers import encoded

if TYPE_CHECKING:
    from sensor_msgs.msg import CompressedImage, Image

# what a message may be at most: whoever sends more means no good
MAX_IMAGE_BYTES = 64 * 2**20
MAX_PIXELS = 2**25
MAX_HEADER_BYTES = 2**20  # within which a JPEG tells its size
MAX_NAME = 40  # characters of a string that an error repeats

_RGB, _BGR, _GREY = (0, 1, 2), (2, 1, 0), (0, 0, 0)
_CHANNELS = {"rgb": (3, _RGB), "bgr": (3, _BGR), "rgba": (4, _RGB), "bgra": (4, _BGR),
             "mono": (1, _GREY)}  # fmt: skip
# encoding: (channels, how they become RGB), without the bits of a channel, 8 or 16
_ENCODINGS = {f"{name}{bits}": found for name, found in _CHANNELS.items() for bits in (8, 16)}
_MOSAICS = {
    f"bayer_{order}{bits}": getattr(cv2, f"COLOR_Bayer{order.upper()}2RGB")
    for order in ("rggb", "bggr", "gbrg", "grbg")
    for bits in (8, 16)
}
_COLORS = tuple(name for name in _ENCODINGS if not name.startswith("mono"))
_KNOWN = (*_ENCODINGS, *_MOSAICS)


def image_to_array(message: Image | CompressedImage) -> np.ndarray:
    """uint8 (height, width, 3) RGB of a raw or compressed image; rgb8 is a view, not a copy.

    16 bits a channel keep the high byte; Bayer mosaics are interpolated. Raises ValueError with
    expected and got on an unknown encoding, depth among them, a `step` shorter than a row, or
    `data` of another size than height * step.
    """
    if len(message.data) > MAX_IMAGE_BYTES:
        raise ValueError(
            f"image data: expected at most {MAX_IMAGE_BYTES} bytes, got {len(message.data)}"
        )
    if not hasattr(message, "encoding"):  # compressed images have a `format`
        return _decompress(message)
    encoding = message.encoding
    if encoding not in _KNOWN:
        raise ValueError(
            f"image encoding: expected one of {sorted(_KNOWN)}, got {encoding[:MAX_NAME]!r}"
        )
    channels, order = _ENCODINGS.get(encoding, (1, _GREY))
    depth = 2 if encoding.endswith("16") else 1
    pixels = _rows(message, channels * depth)
    if encoding == "rgb8":
        return pixels
    if depth == 2:
        pixels = pixels[:, :, 0 if message.is_bigendian else 1 :: 2]
    if encoding in _MOSAICS:
        return cv2.cvtColor(np.ascontiguousarray(pixels[:, :, 0]), _MOSAICS[encoding])
    return np.ascontiguousarray(pixels[:, :, order])


def _rows(message: Image, num_bytes: int) -> np.ndarray:
    """uint8 (height, width, num_bytes), without the padding at the end of rows."""
    height, width, step = message.height, message.width, message.step
    row = width * num_bytes
    if height == 0 or width == 0:
        raise ValueError(f"image size: expected at least 1x1 pixels, got {width}x{height}")
    if step < row:
        raise ValueError(
            f"image step: expected at least {row} bytes ({width} pixels of {message.encoding}), "
            f"got {step}"
        )
    if len(message.data) != height * step:
        raise ValueError(
            f"image data: expected {height * step} bytes (height {height} x step {step}), "
            f"got {len(message.data)}"
        )
    rows = np.frombuffer(message.data, np.uint8).reshape(height, step)[:, :row]
    return rows.reshape(height, width, num_bytes)


def _decompress(message: CompressedImage) -> np.ndarray:
    words = message.format.lower()
    encoding, is_transport = words.split(";")[0].strip(), ";" in words
    if "compresseddepth" in words:
        raise ValueError(
            f"compressed image: expected a picture, got depth ({message.format[:MAX_NAME]!r})"
        )
    pixels = _decoded(message)
    channels = pixels.shape[2]
    if channels == 1:
        return _of_one_channel(pixels[:, :, 0], encoding, is_transport, message.format)
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    # a decoder gives blue first; without that word the colours went in unswapped
    is_swapped = is_transport and encoding in _COLORS and "compressed bgr" not in words
    return np.ascontiguousarray(pixels[:, :, _RGB if is_swapped else _BGR])


def _decoded(message: CompressedImage) -> np.ndarray:
    """(height, width, channels) uint8 or uint16 as stored: not turned by what EXIF says."""
    data = np.frombuffer(message.data, np.uint8)
    size = encoded.size(data[:MAX_HEADER_BYTES].tobytes())
    if size is not None and size[0] * size[1] > MAX_PIXELS:
        raise ValueError(
            f"compressed image: expected at most {MAX_PIXELS} pixels, got {size[1]}x{size[0]}"
        )
    pixels = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if size else None
    if pixels is None or pixels.dtype not in (np.uint8, np.uint16):
        raise ValueError(
            f"compressed image: expected JPEG or PNG data, got {data.size} bytes that decode to "
            f"nothing (format {message.format[:MAX_NAME]!r})"
        )
    return pixels.reshape(*pixels.shape[:2], -1)


def _of_one_channel(
    grey: np.ndarray, encoding: str, is_transport: bool, described: str
) -> np.ndarray:
    """RGB of a grey picture or a Bayer mosaic; 16 bits that nobody calls a picture are depth."""
    is_picture = encoding in _KNOWN or (not is_transport and grey.dtype == np.uint8)
    if not is_picture:
        raise ValueError(
            f"compressed image: expected colour or grey of 8 bits, got one channel of "
            f"{8 * grey.itemsize} bits (format {described[:MAX_NAME]!r}): depth?"
        )
    if grey.dtype == np.uint16:
        grey = (grey >> 8).astype(np.uint8)
    if encoding in _MOSAICS:
        return cv2.cvtColor(grey, _MOSAICS[encoding])
    return np.repeat(grey[:, :, None], 3, axis=2)
