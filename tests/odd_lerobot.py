"""A LeRobot v3 folder as some tool or other leaves it: any column, row or line may be changed."""

import json
from pathlib import Path

import av
import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gato_core.spec import Continuous, Image, Spec

FPS, LENGTHS, SIDE = 10, (12, 10), 64
TOP = "observation.images.top"
DATA, EPISODES = ("data/chunk-000/file-000.parquet", "meta/episodes/chunk-000/file-000.parquet")
VECTOR = Continuous((-1e4,) * 2, (1e4,) * 2, "rad", ("a", "b"))
SPEC = Spec({"top/pixels": Image(SIDE, SIDE), "state": VECTOR}, VECTOR, 0.1)


def odd_lerobot(
    root: Path,
    *,
    lengths: tuple[int, ...] = LENGTHS,
    camera: str | None = "image",
    key: str = TOP,
    columns: dict | None = None,
    keep: list[int] | None = None,
    rows: list[dict] | None = None,
    without: tuple[str, ...] = (),
    features: dict | None = None,
    info: dict | None = None,
) -> Path:
    """Row i has state (i, 100 + i) and action (i + 0.5, 100.5 + i); frame f has the grey 4 * f.

    columns: of the data, in place of the usual ones. keep: rows of the data, in this order. rows:
    changes of meta/episodes, an episode each. without: columns that meta/episodes lacks. features,
    info: changes of info.json.
    """
    frame = np.concatenate([np.arange(n) for n in lengths])
    total, begins = len(frame), np.cumsum([0, *lengths]).tolist()
    state = (np.arange(total)[:, None] + [0, 100]).astype(np.float32)
    table = {
        "observation.state": pa.array(list(state)),
        "action": pa.array(list(state + 0.5)),
        "timestamp": (frame / FPS).astype(np.float32),
        "frame_index": frame,
        "episode_index": np.repeat(np.arange(len(lengths)), lengths),
        "index": np.arange(total),
        "task_index": np.zeros(total, np.int64),
    }
    if camera == "image":
        table[key] = pa.array([{"bytes": png(4 * int(f)), "path": None} for f in frame])
    elif camera:
        encode(root / f"videos/{key}/chunk-000/file-000.mp4", frame)
    data = pa.table({n: c for n, c in (table | (columns or {})).items() if c is not None})
    write(root / DATA, data if keep is None else data.take(pa.array(keep)))
    meta = [
        {
            "episode_index": i, "tasks": ["fold"], "length": length,
            "dataset_from_index": begins[i], "dataset_to_index": begins[i + 1],
            "data/chunk_index": 0, "data/file_index": 0,
        }
        | video_columns(key, begins[i], begins[i + 1], camera)
        | ((rows or [{}] * len(lengths))[i])
        for i, length in enumerate(lengths)
    ]  # fmt: skip
    meta = [{n: v for n, v in row.items() if n not in without} for row in meta]
    write(root / EPISODES, pa.Table.from_pylist(meta))
    vector = {"dtype": "float32", "shape": [2], "names": ["a", "b"]}
    described = {"observation.state": vector, "action": vector}
    for name in ("frame_index", "episode_index", "index", "task_index", "timestamp"):
        kind = "float32" if name == "timestamp" else "int64"
        described[name] = {"dtype": kind, "shape": [1], "names": None}
    if camera:
        described[key] = {"dtype": camera, "shape": [SIDE, SIDE, 3], "names": None}
    content = {
        "codebase_version": "v3.0", "robot_type": "arm", "fps": FPS, "chunks_size": 1000,
        "total_episodes": len(meta), "total_frames": total,
        "features": described | (features or {}),
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
    }  # fmt: skip
    (root / "meta/info.json").write_text(json.dumps(content | (info or {})))
    return root


def video_columns(key: str, begin: int, end: int, camera: str | None) -> dict:
    if camera != "video":
        return {}
    where = {f"videos/{key}/chunk_index": 0, f"videos/{key}/file_index": 0}
    times = {"from_timestamp": begin / FPS, "to_timestamp": end / FPS}
    return where | {f"videos/{key}/{name}": value for name, value in times.items()}


def png(level: int, kind: type = np.uint8) -> bytes:
    return cv2.imencode(".png", picture(level).astype(kind))[1].tobytes()


def picture(level: int) -> np.ndarray:
    """uint8 (SIDE, SIDE, 3) of this mean; a flat one would count as blank."""
    stripes = np.where(np.arange(SIDE) // 8 % 2, 8, -8) + level + 8
    return np.broadcast_to(stripes[:, None], (SIDE, SIDE, 3)).transpose(1, 0, 2).astype(np.uint8)


def encode(path: Path, frames: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"g": "5", "crf": "5"})
        stream.width = stream.height = SIDE
        stream.pix_fmt = "yuv420p"
        for number, level in enumerate(frames.tolist()):
            pixels = np.ascontiguousarray(picture(4 * level))
            one = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            one.pts = number
            container.mux(stream.encode(one))
        container.mux(stream.encode())


def write(path: Path, table: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def as_ours(root: Path, spec: Spec = SPEC) -> Path:
    """Makes the folder a dataset that is read in place."""
    (root / "gato.json").write_text(json.dumps({"version": 1, "spec": spec.to_dict()}))
    return root


def frames_shown(pictures: np.ndarray) -> list[int]:
    """Which frame of its episode each picture (T, height, width, 3) is."""
    return [round((float(picture.mean()) - 8) / 4) for picture in pictures]
