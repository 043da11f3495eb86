"""LeRobot folders that others wrote: names of their own, any layout of rows, cameras as video."""

import json
from pathlib import Path

import numpy as np
import pytest
from foreign_datasets import HEIGHT, LENGTHS, NAMES, WIDTH, foreign, truth

from gato_core.data.folder import EpisodeFiles
from gato_core.dataset import Dataset, DatasetWriter
from gato_core.importers.lerobot import draft_spec, episodes
from gato_core.spec import Continuous, Image, Spec
from gato_core.tools.inspect import inspect
from gato_ros.bags.convert import ConvertConfig, convert

JOINTS = Continuous((-9.0,) * 2, (9.0,) * 2, "rad", ("elbow", "shoulder"))
SPEC = Spec({"top/pixels": Image(HEIGHT, WIDTH), "arm": JOINTS}, JOINTS, 0.1)


def place(pictures: np.ndarray) -> list[int]:
    """Which frame of an episode each picture shows."""
    left = (pictures[:, 24, :, 0] > 135).argmax(axis=1)
    return ((left + 2) // 4).tolist()


def as_dataset(root: Path) -> Path:
    """Makes the folder a dataset of ours by the Spec alone; the state in its order of columns."""
    joints = Continuous(JOINTS.low, JOINTS.high, "rad", tuple(NAMES))
    spec = Spec({"top/pixels": Image(HEIGHT, WIDTH), "arm": joints}, joints, 0.1)
    (root / "gato.json").write_text(json.dumps({"version": 1, "spec": spec.to_dict()}))
    return root


def test_every_video_frame_is_the_one_of_its_timestamp(tmp_path):
    state, action = truth()
    begin = 0
    for episode, length in zip(
        episodes(EpisodeFiles(foreign(tmp_path)), SPEC), LENGTHS, strict=True
    ):
        assert place(episode.observation["top/pixels"]) == list(range(length))
        part = slice(begin, begin + length)
        np.testing.assert_array_equal(episode.observation["arm"], state[part, ::-1])  # by name
        np.testing.assert_array_equal(episode.action, action[part, ::-1])
        assert (episode.task, episode.success) == ("fold", True)
        begin += length


@pytest.mark.parametrize("memory_gb", [0.0, 1.0])
@pytest.mark.parametrize("keyframes", [1, 7, 1000])
def test_windows_of_a_video_are_parts_of_the_whole(tmp_path, keyframes, memory_gb):
    """Wherever the key frames are, and whether or not decoded frames are kept."""
    dataset = Dataset(as_dataset(foreign(tmp_path, keyframes=keyframes)), memory_gb=memory_gb)
    rng = np.random.default_rng(0)
    for _ in range(12):
        i = int(rng.integers(3))
        start = int(rng.integers(LENGTHS[i] - 3))
        window = dataset.read(i, start, start + 3).observation["top/pixels"]
        assert place(window) == [start, start + 1, start + 2]


def test_a_video_dataset_is_inspected(tmp_path):
    root = as_dataset(foreign(tmp_path / "sound"))
    found = inspect(root)
    assert found["sound"], found["problems"]
    assert (found["episodes"], found["timesteps"], found["tasks"]) == (3, 42, {"fold": 3})
    lacking = inspect(as_dataset(foreign(tmp_path / "lacking", drop=26)))
    assert any("episode 1: " in text and "2.6000 s" in text for text in lacking["problems"])


def test_a_missing_video_frame_is_named(tmp_path):
    dataset = Dataset(as_dataset(foreign(tmp_path, drop=25)))
    dataset.episode(0)
    with pytest.raises(ValueError, match="episode 1: .*file-000.mp4: expected a frame at 2.5000 s"):
        dataset.episode(1)


@pytest.mark.parametrize("keep", [0, 700])
def test_a_truncated_video_is_named(tmp_path, keep):
    root = as_dataset(foreign(tmp_path))
    path = next(root.glob("videos/*/*/*.mp4"))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match="file-000.mp4: (expected a video|damaged)"):
        Dataset(root).episode(0)


def test_conversion_resizes_and_keeps_every_number(tmp_path):
    small = Spec(
        {"top/pixels": Image(32, 32, (1 / 6, 0.0, 2 / 3, 1.0)), "arm": JOINTS}, JOINTS, 0.1
    )
    (tmp_path / "spec.json").write_text(json.dumps(small.to_dict()))
    source, out = foreign(tmp_path / "theirs"), tmp_path / "ours"
    config = ConvertConfig(source, out, spec=tmp_path / "spec.json")
    assert convert(config)["added"] == 3
    assert convert(config)["added"] == 0
    dataset, (state, _) = Dataset(out), truth()
    got = np.concatenate([dataset.episode(i).observation["arm"] for i in range(3)])
    np.testing.assert_array_equal(got, state[:, ::-1])
    first = dataset.read(0, 7, 8).observation["top/pixels"][0]
    # the crop begins at column 16; the square is at 28 to 44 of 96, so at 6 to 14 of 32
    assert first[12, 7:13, 0].min() > 200 > 100 > first[12, [4, 16], 0].max()


def test_a_draft_of_the_spec_is_refused_until_units_are_filled_in(tmp_path):
    source, draft = foreign(tmp_path / "theirs"), tmp_path / "spec.json"
    convert(ConvertConfig(source, draft, to="spec", image_size=32))
    drafted = Spec.from_dict(json.loads(draft.read_text()))
    assert drafted.observation["state"].names == drafted.action.names == tuple(NAMES)
    with pytest.raises(ValueError, match=r"expected units such as rad.*\['action', 'state'\]"):
        convert(ConvertConfig(source, tmp_path / "ours", spec=draft))
    draft.write_text(draft.read_text().replace('"?"', '"rad"'))
    assert convert(ConvertConfig(source, tmp_path / "ours", spec=draft))["episodes"] == 3
    assert draft_spec(EpisodeFiles(source), 32)[0].control_timestep == pytest.approx(0.1)


def test_what_differs_from_the_spec_is_listed(tmp_path):
    other = Continuous((-1.0,) * 2, (1.0,) * 2, "rad", ("elbow", "hip"))
    spec = Spec({"side/pixels": Image(32, 32), "arm": other}, JOINTS, 0.05)
    with pytest.raises(ValueError) as refused:
        next(episodes(EpisodeFiles(foreign(tmp_path)), spec))
    for words in (
        "side/pixels: expected a camera observation.images.side",
        "arm: expected ['hip'] in observation.state, got ['shoulder', 'elbow']",
        "fps: expected 20 by the Spec, got 10",
    ):
        assert words in str(refused.value)


def test_a_foreign_folder_is_no_dataset_until_converted(tmp_path):
    with pytest.raises(FileNotFoundError, match="gato.json: expected the Spec.*gato convert"):
        Dataset(foreign(tmp_path))
    with pytest.raises(FileNotFoundError, match="gato convert"):
        DatasetWriter(tmp_path, SPEC)
