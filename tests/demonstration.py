"""A demonstration of the scripted expert in the simulator: real observations for tests.

    gato collect --triplets train --perturb none --episodes 1 --out datasets/one
    python tests/demonstration.py datasets/one

Pixels are stored as differences from frame to frame, which a zip file makes small.
"""

import json
import sys
from pathlib import Path

import numpy as np

from gato_core.dataset import Dataset
from gato_core.episode import Episode
from gato_core.spec import Image, Spec

FILE = Path(__file__).parent / "data/demonstration.npz"


def load() -> tuple[Spec, Episode]:
    with np.load(FILE) as stored:
        about = json.loads(str(stored["about"]))
        spec = Spec.from_dict(about["spec"])
        observation = {key: stored[key] for key in spec.observation}
        action = stored["action"]
    for key in images(spec):
        observation[key] = np.cumsum(observation[key], axis=0, dtype=np.uint8)  # wraps around
    zeros = np.zeros(len(action), np.float32)
    return spec, Episode(observation, action, zeros, about["task"], "expert", about["seed"], True)


def images(spec: Spec) -> list[str]:
    return [key for key, modality in spec.observation.items() if isinstance(modality, Image)]


def timesteps(episode: Episode, start: int, stop: int) -> Episode:
    """A part of an episode."""
    observation = {key: value[start:stop] for key, value in episode.observation.items()}
    reward = episode.reward[start:stop]
    return Episode(observation, episode.action[start:stop], reward, "a part", "expert", 0, True)


def observations(episode: Episode, num: int) -> list[dict[str, np.ndarray]]:
    """The first ones, one by one."""
    return [{key: value[t] for key, value in episode.observation.items()} for t in range(num)]


def record(dataset: Dataset, number: int = 0) -> None:
    """Writes FILE. Raises ValueError for an episode that is too short for the tests."""
    episode = dataset.episode(number)
    if len(episode) < 200:
        raise ValueError(
            f"{dataset.root}: expected an episode of 200 timesteps, got {len(episode)}"
        )
    arrays = dict(episode.observation)
    for key in images(dataset.spec):
        arrays[key] = np.diff(arrays[key], axis=0, prepend=np.zeros_like(arrays[key][:1]))
    about = {"spec": dataset.spec.to_dict(), "task": episode.task, "seed": int(episode.seed)}
    about["info"] = episode.info
    FILE.parent.mkdir(exist_ok=True)
    np.savez_compressed(FILE, about=json.dumps(about), action=episode.action, **arrays)


if __name__ == "__main__":
    record(Dataset(sys.argv[1]), *map(int, sys.argv[2:]))
