"""What LeRobot makes of a dataset; runs in LeRobot's own environment, see lerobot_roundtrip.py.

lerobot_client.py read FOLDER RESULT.npz          every frame as LeRobot gives it
lerobot_client.py write FOLDER RESULT.npz image   episodes written by LeRobot, and what they are
lerobot_client.py write FOLDER RESULT.npz video
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

try:
    import torchvision  # noqa: F401
except RuntimeError:
    # PyPI's torchvision is built for CUDA; without it two operators, unused here, are not declared
    _library = torch.library.Library("torchvision", "DEF")
    for _name in ("nms", "qnms"):
        _library.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from lerobot.datasets.lerobot_dataset import LeRobotDataset

FPS, HEIGHT, WIDTH, SIDE = 20, 64, 96, 12
JOINTS = ["shoulder", "elbow", "wrist"]
LENGTHS = (40, 25, 33)
CAMERA = "observation.images.top"


def scene(frame: int) -> np.ndarray:
    """uint8 (HEIGHT, WIDTH, 3): a bright square, two pixels further right in each frame."""
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    picture[..., 0] = np.linspace(20, 80, WIDTH)
    picture[..., 2] = np.linspace(80, 20, HEIGHT)[:, None]
    picture[20 : 20 + SIDE, 2 * frame : 2 * frame + SIDE] = 230
    return picture


def episodes() -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    return [
        {
            "state": rng.uniform(-1, 1, (length, 3)).astype(np.float32),
            "action": rng.uniform(-1, 1, (length, 3)).astype(np.float32),
            "frames": np.stack([scene(t) for t in range(length)]),
        }
        for length in LENGTHS
    ]


def read(root: Path) -> dict[str, np.ndarray]:
    """All features of all frames; pictures as uint8 (T, height, width, 3)."""
    dataset = LeRobotDataset("local/dataset", root=root)
    items = [dataset[i] for i in range(len(dataset))]
    found: dict[str, np.ndarray] = {}
    for name in items[0]:
        if name in dataset.meta.camera_keys:
            pictures = torch.stack([item[name] for item in items]).permute(0, 2, 3, 1)
            found[name] = (pictures * 255).round().to(torch.uint8).numpy()
        elif name != "task":
            found[name] = np.stack([np.asarray(item[name]) for item in items])
    found["task"] = np.array([item["task"] for item in items])
    found["fps"], found["episodes"] = np.array(dataset.fps), np.array(dataset.num_episodes)
    for name, statistics in dataset.meta.stats.items():
        for key, value in statistics.items():
            found[f"stats/{name}/{key}"] = np.asarray(value)
    return found


def write(root: Path, mode: str) -> dict[str, np.ndarray]:
    """Writes the episodes; returns them, and what LeRobot itself reads back."""
    vector = {"dtype": "float32", "shape": (3,), "names": JOINTS}
    picture = {"dtype": mode, "shape": (HEIGHT, WIDTH, 3), "names": ["height", "width", "channels"]}
    features = {"observation.state": vector, "action": vector, CAMERA: picture}
    dataset = LeRobotDataset.create(
        "local/theirs", FPS, features, root=root, robot_type="arm", use_videos=mode == "video"
    )
    truth = episodes()
    for number, episode in enumerate(truth):
        for t in range(len(episode["action"])):
            dataset.add_frame(
                {
                    "observation.state": episode["state"][t],
                    "action": episode["action"][t],
                    CAMERA: episode["frames"][t],
                    "task": f"task {number % 2}",
                }
            )
        dataset.save_episode()
    dataset.finalize()
    joined = {key: np.concatenate([episode[key] for episode in truth]) for key in truth[0]}
    return joined | {"read_back": read(root)[CAMERA], "lengths": np.array(LENGTHS)}


if __name__ == "__main__":
    verb, folder, result, *mode = sys.argv[1:]
    found = read(Path(folder)) if verb == "read" else write(Path(folder), *mode)
    np.savez(result, **found)
