"""Pictures of any file, size and mode become whole patches of the right colours."""

import io

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gato_core.text import pictures

HALVES = np.zeros((16, 32, 3), np.uint8)
HALVES[:, :16] = (200, 40, 80)
HALVES[:, 16:] = (20, 120, 240)
GREY = np.repeat(np.arange(0, 256, 8, np.uint8)[None], 16, axis=0)


def encoded(picture, kind="PNG", **options):
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def colours():
    return PIL.Image.fromarray(HALVES)


@pytest.mark.parametrize(
    ("kind", "mode", "tolerance"),
    [
        ("PNG", "RGB", 0), ("PNG", "RGBA", 0), ("PNG", "P", 0), ("BMP", "RGB", 0),
        ("PPM", "RGB", 0), ("TIFF", "RGB", 0), ("TIFF", "CMYK", 1), ("GIF", "P", 0),
        ("JPEG", "RGB", 12), ("JPEG", "CMYK", 12), ("WEBP", "RGB", 12), ("WEBP", "RGBA", 12),
    ],
)  # fmt: skip
def test_colours_of_every_mode_are_kept(kind, mode, tolerance):
    picture = colours().quantize(2) if mode == "P" else colours().convert(mode)
    got = pictures.read(encoded(picture, kind), "a").astype(int)
    middles = [got[8, 8], got[8, 24]]
    assert np.abs(np.subtract(middles, [HALVES[8, 8], HALVES[8, 24]])).max() <= tolerance


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_of_8_and_16_bits_is_the_same_grey(kind, dtype):
    """A conversion by Pillow alone would make all of a 16-bit picture white."""
    grey = GREY.astype(dtype) * (257 if dtype == np.uint16 else 1)
    got = pictures.read(encoded(PIL.Image.fromarray(grey), kind), "a")
    assert np.array_equal(got, np.repeat(GREY[..., None], 3, axis=2))


def test_one_bit_a_pixel_is_black_and_white():
    got = pictures.read(encoded(PIL.Image.fromarray(GREY > 127)), "a")
    assert np.array_equal(got[..., 0], np.where(GREY > 127, 255, 0))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_white(mode):
    alpha = np.zeros((16, 32), np.uint8)
    alpha[:, 16:] = 255
    picture = colours().convert("RGBA")
    picture.putalpha(PIL.Image.fromarray(alpha))
    got = pictures.read(encoded(picture.quantize() if mode == "P" else picture.convert(mode)), "a")
    assert (got[:, :16] == 255).all() and (got[:, 16:].mean(axis=(0, 1)) < 250).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_upright(orientation):
    """Each of the eight turns that a camera may note shows the same picture."""
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Pillow's turns that undo the camera's
    turned = colours()
    if orientation > 1:
        turned = turned.transpose(PIL.Image.Transpose(back[orientation]))
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    got = pictures.read(encoded(turned, "PNG", exif=exif), "a")
    assert np.array_equal(got, HALVES)


def test_of_a_film_the_first_picture_is_read():
    other = PIL.Image.new("RGB", (32, 16), "white")
    data = encoded(colours(), "GIF", save_all=True, append_images=[other])
    assert np.array_equal(pictures.read(data, "a"), HALVES)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "b.jpg: expected a picture, got cannot identify image file"),
        (b"hello", "b.jpg: expected a picture, got cannot identify image file"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n", "expected a picture, got cannot"),
        (encoded(colours())[:-40], "b.jpg: expected a picture, got "),
        (encoded(colours(), "JPEG")[:-40], "b.jpg: expected a picture, got "),
        (encoded(PIL.Image.new("F", (8, 8)), "TIFF"), "expected a picture, got floating point"),
        (encoded(PIL.Image.new("I", (8, 8), 70000), "TIFF"), "got pixels from 70000 to 70000"),
        (b"P6 30000 20000 255\n", "b.jpg: expected a picture, got Image size"),
    ],
)
def test_what_is_no_picture_is_named(data, message):
    with pytest.raises(ValueError, match=message) as error:
        pictures.read(data, "b.jpg")
    assert "\n" not in str(error.value) and "BytesIO" not in str(error.value)


@given(st.integers(1, 700), st.integers(1, 700), st.integers(1, 256))
@settings(max_examples=200, deadline=None)
def test_any_size_becomes_patches_in_about_its_shape(height, width, num_patches):
    got = pictures.fit(np.zeros((height, width, 3), np.uint8), num_patches)
    rows, columns = got.shape[0] / 16, got.shape[1] / 16
    assert got.dtype == np.uint8 and got.shape[2] == 3
    assert rows.is_integer() and columns.is_integer() and 1 <= rows * columns <= num_patches
    assert got.shape[0] <= max(16, height + 8) and got.shape[1] <= max(16, width + 8)
    if height % 16 == width % 16 == 0 and height * width <= num_patches * 256:
        assert got.shape[:2] == (height, width)
    smallest = min(height, width) / 16 * min(1.0, (num_patches * 256 / (height * width)) ** 0.5)
    if smallest >= 1:
        stretch = (rows / height) / (columns / width)
        assert 1 / (1 + 2.1 / smallest) <= stretch <= 1 + 2.1 / smallest


def test_fitting_keeps_pixels_that_fit_and_the_colours_of_others():
    assert np.array_equal(pictures.fit(HALVES), HALVES)
    large = np.kron(HALVES, np.ones((25, 25, 1), np.uint8))
    got = pictures.fit(large)
    assert got.shape == (80, 192, 3)
    assert np.array_equal(got[:, [0, -1]], np.repeat(HALVES[:1, [0, -1]], 80, axis=0))
