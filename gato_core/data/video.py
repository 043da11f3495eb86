"""Frames of a video file by their timestamps: the way LeRobot stores cameras in video mode."""

from __future__ import annotations

from pathlib import Path

import numpy as np

TOLERANCE = 0.1  # of a frame's duration: farther away it is another frame, or one is missing


class VideoFile:
    """An open video. One thread decodes, so that training keeps the cores.

    Raises ValueError naming the file when it is damaged, ModuleNotFoundError without PyAV.
    """

    def __init__(self, path: Path) -> None:
        import av  # only datasets in video mode need it

        self.path, self._errors = path, av.error.FFmpegError
        if not path.exists():
            raise FileNotFoundError(f"{path}: missing, but the dataset's metadata counts it")
        try:
            self._container = av.open(str(path))
            self._stream = self._container.streams.video[0]
        except (self._errors, IndexError) as error:
            raise ValueError(f"{path}: expected a video, got {error}") from error
        self._stream.codec_context.thread_count = 1

    def frames(self, first: float, count: int, frames_per_second: float) -> np.ndarray:
        """uint8 (count, height, width, 3) RGB: the frames at first, first + 1 / fps, ... seconds.

        Raises ValueError naming the time at which the file has no frame.
        """
        duration = 1 / frames_per_second
        wanted = first + duration * np.arange(count)
        found: list[np.ndarray] = []
        try:
            for time, frame in self._decoded_from(first - TOLERANCE * duration):
                if time > wanted[len(found)] + TOLERANCE * duration:
                    break
                if time >= wanted[len(found)] - TOLERANCE * duration:
                    found.append(frame.to_ndarray(format="rgb24"))
                if len(found) == count:
                    return np.stack(found)
        except self._errors as error:
            raise ValueError(f"{self.path}: damaged: {error}") from error
        raise ValueError(
            f"{self.path}: expected a frame at {wanted[len(found)]:.4f} s, got none within "
            f"{TOLERANCE * duration:.4f} s"
        )

    def close(self) -> None:
        self._container.close()

    def _decoded_from(self, start: float):
        """(time in s, frame) from the last key frame before `start` on."""
        unit = self._stream.time_base
        if unit is None:
            raise ValueError(f"{self.path}: expected a stream with a time base, got none")
        self._container.seek(max(0, int(start / unit)), stream=self._stream, backward=True)
        for frame in self._container.decode(self._stream):
            if frame.pts is not None:
                yield float(frame.pts * unit), frame
