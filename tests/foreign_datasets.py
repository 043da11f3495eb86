"""Small datasets as other tools write them: a LeRobot v3 folder, a robomimic file."""

import json
from pathlib import Path

import av
import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

FPS, HEIGHT, WIDTH, SIDE = 10, 64, 96, 16
LENGTHS = (20, 13, 9)
NAMES = ["shoulder", "elbow"]
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


def robomimic(path, *, rate=20, nan=False, keys=("agentview_image", "robot0_eef_pos")):
    """Twelve demonstrations of 4 to 15 timesteps; every third one fails."""
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["env_args"] = json.dumps(
            {"env_name": "Lift", "env_kwargs": {"control_freq": rate}}
        )
        for i in range(12):
            length, demo = 4 + i, data.create_group(f"demo_{i}")
            values = {
                "agentview_image": rng.integers(0, 256, (length, 32, 32, 3), np.uint8),
                "robot0_eef_pos": rng.uniform(-1, 1, (length, 3)),
            }
            for key in keys:
                demo[f"obs/{key}"] = values[key]
            demo["actions"] = rng.uniform(-1, 1, (length, 2))
            if nan and i == 3:
                demo["actions"][1, 1] = np.nan
            demo["rewards"] = np.zeros(length)
            demo["rewards"][-1] = i % 3 > 0
    return path
