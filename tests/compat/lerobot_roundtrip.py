"""LeRobot loads what we write, and we load what LeRobot writes, as images and as video.

    python3.11 -m venv /tmp/lerobot         # nothing of it enters our environment
    /tmp/lerobot/bin/pip install torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu
    /tmp/lerobot/bin/pip install --no-deps lerobot==0.4.4 torchvision==0.28.0 torchcodec==0.13.0
    /tmp/lerobot/bin/pip install 'datasets<5' 'huggingface-hub<0.36' 'av<16' 'packaging<26' \
        'opencv-python-headless<4.13' 'accelerate<2' draccus==0.10.0 einops jsonlines termcolor \
        deepdiff imageio pillow
    .venv/bin/python tests/compat/lerobot_roundtrip.py --lerobot /tmp/lerobot/bin/python

0.4.4 is the newest LeRobot for Python 3.11. It wants an older torch, of which PyPI has CUDA builds
only (gigabytes), hence --no-deps. torchcodec needs the shared libraries of FFmpeg 4 to 8.
Prints a table; exits with 1 if a check fails. The last line is JSON. Takes a CPU-minute.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from gato_core.data.folder import EpisodeFiles
from gato_core.dataset import Dataset, DatasetWriter
from gato_core.episode import Episode
from gato_core.importers import lerobot as lerobot_import
from gato_core.spec import Continuous, Discrete, Image, Spec

CLIENT = Path(__file__).with_name("lerobot_client.py")
OURS = Spec(
    {
        "left/pixels": Image(16, 32),
        "right/pixels": Image(32, 32),
        "arm/joints": Continuous((-3.0,) * 2, (3.0,) * 2, "rad", ("j0", "j1")),
        "mode": Discrete(4, ("phase",)),
    },
    Continuous((-1.0,) * 3, (1.0,) * 3, "1", ("x", "yaw", "grip")),
    0.05,
)
BACKWARDS = Continuous((-1.0,) * 3, (1.0,) * 3, "rad", ("wrist", "elbow", "shoulder"))
THEIRS = Spec({"top/pixels": Image(64, 96), "arm": BACKWARDS}, BACKWARDS, 0.05)
CODEC_LOSS = 3.0  # of 255, mean over all pixels, of AV1 as LeRobot encodes it
DECODERS_DIFFER = 4  # of 255: two ways from YUV to RGB


def client(python: Path, folder: Path, *arguments: str) -> dict[str, np.ndarray]:
    result = folder / f"{arguments[0]}-{Path(arguments[1]).name}.npz"
    command = [str(python), str(CLIENT), arguments[0], arguments[1], str(result), *arguments[2:]]
    quiet = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder), "SVT_LOG": "1"}
    subprocess.run(command, check=True, env=os.environ | quiet, stderr=subprocess.DEVNULL)
    return dict(np.load(result))


def our_episodes() -> list[Episode]:
    rng = np.random.default_rng(0)
    return [
        Episode(
            {
                "left/pixels": rng.integers(0, 256, (length, 16, 32, 3), np.uint8),
                "right/pixels": rng.integers(0, 256, (length, 32, 32, 3), np.uint8),
                "arm/joints": rng.normal(size=(length, 2)).astype(np.float32),
                "mode": rng.integers(0, 4, (length, 1)),
            },
            rng.uniform(-1, 1, (length, 3)).astype(np.float32),
            rng.random(length, np.float32),
            task=f"task {number % 2}",
            source="expert",
            seed=number,
            success=number != 1,
            privileged={"red": rng.normal(size=(length, 3)).astype(np.float32)},
        )
        for number, length in enumerate((23, 31, 17))
    ]


def check_ours(python: Path, folder: Path) -> dict[str, bool]:
    """What LeRobot says of a dataset that we wrote."""
    episodes = our_episodes()
    with DatasetWriter(folder / "ours", OURS, episodes_per_file=2) as writer:
        for episode in episodes:
            writer.add(episode)
    got = client(python, folder, "read", str(folder / "ours"))
    lengths = [len(episode) for episode in episodes]
    frame = np.concatenate([np.arange(length) for length in lengths])

    def joined(key: str) -> np.ndarray:
        return np.concatenate([episode.observation[key] for episode in episodes])

    action = np.concatenate([episode.action for episode in episodes])
    tasks = [episode.task for episode in episodes for _ in range(len(episode))]
    last = np.append(np.diff(got["episode_index"]) > 0, True)
    success = np.repeat([episode.success for episode in episodes], lengths)
    stats = {key: got[f"stats/action/{key}"] for key in ("mean", "std", "min", "max")}
    pixels = joined("left/pixels") / 255
    return {
        "episodes, frames, rate": (int(got["episodes"]), len(frame), int(got["fps"]))
        == (3, len(got["index"]), 20),
        "every left frame": np.array_equal(got["observation.images.left"], joined("left/pixels")),
        "every right frame": np.array_equal(
            got["observation.images.right"], joined("right/pixels")
        ),
        "every state": np.array_equal(got["observation.state"], joined("arm/joints")),
        "every action": np.array_equal(got["action"], action),
        "integers": np.array_equal(got["observation.mode"], joined("mode")[:, 0]),
        "privileged values": np.array_equal(
            got["privileged.red"], np.concatenate([e.privileged["red"] for e in episodes])
        ),
        "rewards, ends, successes": np.array_equal(got["next.done"], last)
        and np.array_equal(got["next.success"], last & success)
        and np.array_equal(got["next.reward"], np.concatenate([e.reward for e in episodes])),
        "timestamps": np.allclose(got["timestamp"], frame / 20, atol=1e-6),
        "indices": np.array_equal(got["index"], np.arange(len(frame)))
        and np.array_equal(got["frame_index"], frame),
        "tasks": got["task"].tolist() == tasks,
        "statistics of actions": all(
            np.allclose(stats[key], getattr(action, key)(0), atol=1e-5) for key in stats
        ),
        "statistics of images": np.allclose(
            got["stats/observation.images.left/mean"][:, 0, 0], pixels.mean((0, 1, 2)), atol=0.02
        ),
    }


def check_theirs(python: Path, folder: Path, mode: str) -> dict[str, bool | float]:
    """What we read of a dataset that LeRobot wrote."""
    root = folder / f"theirs-{mode}"
    truth = client(python, folder, "write", str(root), mode)
    episodes = list(lerobot_import.episodes(EpisodeFiles(root), THEIRS))
    frames = np.concatenate([episode.observation["top/pixels"] for episode in episodes])
    state = np.concatenate([episode.observation["arm"] for episode in episodes])
    action = np.concatenate([episode.action for episode in episodes])
    found = {
        "lengths": [len(episode) for episode in episodes] == truth["lengths"].tolist(),
        "every state, by name": np.array_equal(state, truth["state"][:, ::-1]),
        "every action, by name": np.array_equal(action, truth["action"][:, ::-1]),
        "tasks": [episode.task for episode in episodes] == ["task 0", "task 1", "task 0"],
        "the draft of a Spec": set(lerobot_import.draft_spec(EpisodeFiles(root), 32)[0].observation)
        == {"state", "top/pixels"},
    }
    loss = float(np.abs(frames.astype(int) - truth["frames"]).mean())
    apart = int(np.abs(frames.astype(int) - truth["read_back"]).max())
    found |= {
        "every frame the right one": _places(frames) == _places(truth["frames"]),
        "mean loss of a pixel": _at_most(loss, CODEC_LOSS if mode == "video" else 0),
        "largest difference to LeRobot's decoder": _at_most(
            apart, DECODERS_DIFFER if mode == "video" else 0
        ),
    }
    return found | {"windows of the opened dataset": _windows_agree(root, frames)}


def _at_most(value: float, limit: float) -> float | bool:
    """The value, or False if it is too large."""
    return round(value, 2) if value <= limit else False


def _places(frames: np.ndarray) -> list[int]:
    """Where the bright square's left edge is in each frame."""
    bright = frames[:, 26, :, 1].astype(int) > 115
    return bright.argmax(axis=1).tolist()


def _windows_agree(root: Path, frames: np.ndarray) -> bool:
    """Whether short windows in random order equal the same part of whole episodes.

    The folder gets the gato.json that makes it a dataset of ours as it is, without conversion.
    """
    joints = Continuous((-1.0,) * 3, (1.0,) * 3, "rad", ("shoulder", "elbow", "wrist"))
    spec = Spec({"top/pixels": Image(64, 96), "arm": joints}, joints, 0.05)
    (root / "gato.json").write_text(json.dumps({"version": 1, "spec": spec.to_dict()}))
    dataset = Dataset(root, memory_gb=0.0)
    begins = np.cumsum([0, *dataset.lengths])
    rng = np.random.default_rng(0)
    for _ in range(30):
        i = int(rng.integers(dataset.num_episodes))
        start = int(rng.integers(dataset.lengths[i] - 2))
        got = dataset.read(i, start, start + 2).observation["top/pixels"]
        if not np.array_equal(got, frames[begins[i] + start : begins[i] + start + 2]):
            return False
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lerobot", type=Path, required=True, help="python of its environment")
    python = parser.parse_args().lerobot
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        results = {"ours, read by LeRobot": check_ours(python, folder)}
        for mode in ("image", "video"):
            results[f"LeRobot's, {mode} mode"] = check_theirs(python, folder, mode)
    for title, checks in results.items():
        for what, outcome in checks.items():
            told = {True: "ok", False: "FAILED"}.get(outcome, str(outcome))
            print(f"{title:<24} {what:<42} {told if isinstance(outcome, bool) else outcome}")
    failed = [f"{t}: {w}" for t, c in results.items() for w, o in c.items() if o is False]
    print(json.dumps({"failed": failed, "checks": sum(len(c) for c in results.values())}))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
