"""Videos: as many frames as were written, playable pixels, and nothing half-written."""

import cv2
import numpy as np
import pytest

from gato_sim.results.video import compose, mp4_writer


def decode(path) -> np.ndarray:
    """All frames of an MP4, uint8 (T, height, width, 3)."""
    capture = cv2.VideoCapture(str(path))
    assert capture.get(cv2.CAP_PROP_FPS) == 20
    frames = []
    while (read := capture.read())[0]:
        frames.append(read[1][..., ::-1])
    capture.release()
    return np.stack(frames)


def test_video_decodes_to_the_frames_written(tmp_path):
    shades = [np.full((48, 64, 3), 20 * i, np.uint8) for i in range(11)]
    path = tmp_path / "deep" / "a.mp4"
    with mp4_writer(path, fps=20) as add:
        for shade in shades:
            add(shade)
    frames = decode(path)
    assert len(frames) == len(shades)
    assert np.abs(frames.astype(int) - np.stack(shades)).max() <= 6
    assert [p.name for p in path.parent.iterdir()] == ["a.mp4"]


def test_interrupted_video_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), mp4_writer(tmp_path / "a.mp4", fps=20) as add:
        add(np.zeros((16, 16, 3), np.uint8))
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_frames_of_two_shapes_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"expected frames \(16, 16, 3\), got \(16, 18, 3\)"):
        with mp4_writer(tmp_path / "a.mp4", fps=20) as add:
            add(np.zeros((16, 16, 3), np.uint8))
            add(np.zeros((16, 18, 3), np.uint8))


def test_composed_frame_keeps_the_main_picture_and_has_even_sides():
    main = np.random.default_rng(0).integers(0, 255, (361, 481, 3), np.uint8)
    policy_view = np.full((64, 64, 3), 200, np.uint8)
    frame = compose(main, [policy_view, policy_view], ["step 3", "stage reach"])
    assert frame.shape[0] % 2 == frame.shape[1] % 2 == 0
    assert (frame[:, : main.shape[1]] == main[: frame.shape[0]]).all()
    assert (frame == 200).all(-1).sum() > 2 * 64 * 64
