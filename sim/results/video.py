"""Evaluation videos: a large scene view, the policy's images beside it, and a caption.

MP4 is H.264 in yuv420p, which browsers play; the encoder comes with imageio-ffmpeg.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path

import cv2
import imageio_ffmpeg
import numpy as np

BACKGROUND = (24, 26, 30)
TEXT = (235, 235, 235)
MARGIN = 8


@contextlib.contextmanager
def mp4_writer(path: Path, *, fps: float) -> Iterator[Callable[[np.ndarray], None]]:
    """Gives a function that appends uint8 (height, width, 3) RGB frames of one even-sided shape.

    The file appears under its name when the block ends well; without a frame there is none.
    Raises ValueError for odd sides or a frame of another shape.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial.mp4")
    shape: tuple[int, ...] = ()
    encoder = None

    def add(frame: np.ndarray) -> None:
        nonlocal shape, encoder
        if encoder is None:
            shape = frame.shape
            encoder = _encoder(partial, shape, fps)
        if frame.shape != shape:
            raise ValueError(f"{path}: expected frames {shape}, got {frame.shape}")
        encoder.send(np.ascontiguousarray(frame))

    try:
        yield add
    except BaseException:
        if encoder is not None:
            encoder.close()
        partial.unlink(missing_ok=True)
        raise
    if encoder is not None:
        encoder.close()
        partial.replace(path)


def _encoder(path: Path, shape: tuple[int, ...], fps: float) -> Generator:
    height, width = shape[:2]
    if height % 2 or width % 2:
        raise ValueError(f"{path}: expected even sides for yuv420p, got {width}x{height}")
    encoder = imageio_ffmpeg.write_frames(
        str(path),
        (width, height),
        fps=fps,
        codec="libx264",
        pix_fmt_out="yuv420p",
        macro_block_size=2,
        output_params=["-crf", "26", "-preset", "veryfast", "-movflags", "+faststart"],
        ffmpeg_log_level="error",
    )
    encoder.send(None)
    return encoder


def compose(main: np.ndarray, cameras: Sequence[np.ndarray], lines: Sequence[str]) -> np.ndarray:
    """One frame: `main` at the left, the policy's cameras stacked at the right, text below them.

    main: uint8 (height, width, 3). cameras: uint8 (any, any, 3), enlarged without smoothing so
    that one sees the pixels the policy gets. Returns uint8 (height', width', 3), sides even.
    """
    height, width = main.shape[:2]
    side = height // 3
    column = side + 2 * MARGIN
    canvas = np.full((height - height % 2, width + column, 3), BACKGROUND, np.uint8)
    canvas = canvas[:, : canvas.shape[1] - canvas.shape[1] % 2]
    canvas[:, :width] = main[: canvas.shape[0]]
    top = MARGIN
    for image in cameras[:2]:
        enlarged = cv2.resize(
            image, (side - MARGIN, side - MARGIN), interpolation=cv2.INTER_NEAREST
        )
        canvas[top : top + side - MARGIN, width + MARGIN : width + side] = enlarged
        top += side
    put_lines(canvas, lines, left=width + MARGIN, top=top + MARGIN)
    return canvas


def put_lines(image: np.ndarray, lines: Sequence[str], *, left: int, top: int) -> None:
    """Writes text lines into `image`, in place."""
    scale = image.shape[0] / 1000
    for i, line in enumerate(lines):
        origin = (left, top + int((i + 1) * 38 * scale))
        cv2.putText(
            image, line, origin, cv2.FONT_HERSHEY_SIMPLEX, 1.05 * scale, TEXT, 1, cv2.LINE_AA
        )
