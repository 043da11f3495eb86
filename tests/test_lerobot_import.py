"""LeRobot folders that others wrote: names of their own, any layout of rows, cameras as video."""

import json
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gato_core.dataset import Dataset, DatasetWriter
from gato_core.importers.lerobot import draft_spec, episodes
from gato_core.spec import Continuous, Image, Spec
from gato_core.tools.inspect import inspect
from gato_ros.bags.convert import ConvertConfig, convert

FPS, HEIGHT, WIDTH, SIDE = 10, 64, 96, 16
LENGTHS = (20, 13, 9)
NAMES = ["shoulder", "elbow"]
JOINTS = Continuous((-9.0,) * 2, (9.0,) * 2, "rad", ("elbow", "shoulder"))
SPEC = Spec({"top/pixels": Image(HEIGHT, WIDTH), "arm": JOINTS}, JOINTS, 0.1)
TOP = "observation.images.top"


def scene(frame: int) -> np.ndarray:
    """uint8 (HEIGHT, WIDTH, 3): a bright square four pixels further right in each frame."""
    picture = np.full((HEIGHT, WIDTH, 3), 40, np.uint8)
    picture[16 : 16 + SIDE, 4 * frame : 4 * frame + SIDE] = (230, 180, 200)
    return picture


def truth() -> tuple[np.ndarray, np.ndarray]:
    """State and action (42, 2) of all frames, shoulder first."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(2, sum(LENGTHS), 2)).astype(np.float32)


def foreign(root: Path, *, keyframes: int = 5, fps: int = FPS, drop: int | None = None) -> Path:
    """Three episodes in one parquet file of one row group, and in one video file.

    drop: number of a frame that the video lacks.
    """
    state, action = truth()
    frame = np.concatenate([np.arange(n) for n in LENGTHS])
    episode = np.repeat(np.arange(3), LENGTHS)
    (root / "data/chunk-000").mkdir(parents=True)
    table = pa.table(
        {
            "observation.state": pa.array(list(state)),  # lists of no fixed size, as pandas has it
            "action": pa.array(list(action)),
            "timestamp": (frame / fps).astype(np.float32),
            "frame_index": frame,
            "episode_index": episode,
            "index": np.arange(len(frame)),
            "task_index": np.zeros(len(frame), np.int64),
        }
    )
    pq.write_table(table, root / "data/chunk-000/file-000.parquet")
    begins = np.cumsum([0, *LENGTHS])
    rows = [
        {
            "episode_index": i, "tasks": ["fold"], "length": length,
            "dataset_from_index": int(begins[i]), "dataset_to_index": int(begins[i + 1]),
            "data/chunk_index": 0, "data/file_index": 0,
            f"videos/{TOP}/chunk_index": 0, f"videos/{TOP}/file_index": 0,
            f"videos/{TOP}/from_timestamp": begins[i] / fps,
            f"videos/{TOP}/to_timestamp": begins[i + 1] / fps,
        }
        for i, length in enumerate(LENGTHS)
    ]  # fmt: skip
    (root / "meta/episodes/chunk-000").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), root / "meta/episodes/chunk-000/file-000.parquet")
    vector = {"dtype": "float32", "shape": [2], "names": {"motors": NAMES}}
    features = {"observation.state": vector, "action": vector}
    for name in ("frame_index", "episode_index", "index", "task_index"):
        features[name] = {"dtype": "int64", "shape": [1], "names": None}
    features["timestamp"] = {"dtype": "float32", "shape": [1], "names": None}
    features[TOP] = {"dtype": "video", "shape": [HEIGHT, WIDTH, 3], "names": ["h", "w", "c"]}
    info = {
        "codebase_version": "v3.0", "robot_type": "arm", "fps": fps, "chunks_size": 1000,
        "total_episodes": 3, "total_frames": len(frame), "features": features,
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
    }  # fmt: skip
    (root / "meta/info.json").write_text(json.dumps(info))
    encode(root / f"videos/{TOP}/chunk-000/file-000.mp4", frame, fps, keyframes, drop)
    return root


def encode(path: Path, frames: np.ndarray, fps: int, keyframes: int, drop: int | None) -> None:
    path.parent.mkdir(parents=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"g": str(keyframes)})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number, frame in enumerate(frames.tolist()):
            if number != drop:
                picture = av.VideoFrame.from_ndarray(scene(frame), format="rgb24")
                picture.pts = number
                container.mux(stream.encode(picture))
        container.mux(stream.encode())


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
    for episode, length in zip(episodes(foreign(tmp_path), SPEC), LENGTHS, strict=True):
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
    assert draft_spec(source, 32).control_timestep == pytest.approx(0.1)


def test_what_differs_from_the_spec_is_listed(tmp_path):
    other = Continuous((-1.0,) * 2, (1.0,) * 2, "rad", ("elbow", "hip"))
    spec = Spec({"side/pixels": Image(32, 32), "arm": other}, JOINTS, 0.05)
    with pytest.raises(ValueError) as refused:
        next(episodes(foreign(tmp_path), spec))
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
