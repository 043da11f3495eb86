"""DeepMind's released state policies for the five test triplets, as ONNX files.

They come from google-deepmind/rgb_stacking (assets/saved_models, Creative Commons Attribution
4.0), converted to ONNX; this project does not carry them. They were trained on the test triplets:
rows of Skill Mastery, and a check that a simulator is the one they were trained in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from gato_core.episode import Episode
from gato_sim.arm.sawyer import GRIPPER_LIMIT, MAX_ANGULAR_VELOCITY, MAX_LINEAR_VELOCITY
from gato_sim.domains.rgb_stacking.objects import TEST_TRIPLETS

_SCALE = np.array([MAX_LINEAR_VELOCITY] * 3 + [MAX_ANGULAR_VELOCITY])


class Specialist:
    """Policy protocol over a live environment: it reads the stacked states of its triplet.

    Actions are sampled as released: a normal distribution for the twist, two classes for the
    gripper. Raises ValueError for other objects, FileNotFoundError without the triplet's file.
    """

    def __init__(self, env, folder: Path, *, seed: int) -> None:
        self._env = env
        self._session = _session(file(folder, env.triplet))
        self._rng = np.random.default_rng(seed)

    def reset(self, prompt: Episode | None = None) -> None:
        """Goes on drawing: the network is stateless."""

    def step(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        """Action float32 (5,). `observation` is not looked at: it lacks most of the states."""
        states = self._env.state_observation()
        feed = {_input_name(key): value[None] for key, value in states.items()}
        mean, scale, _, _, logits = self._session.run(None, feed)
        twist = self._rng.normal(mean[0], scale[0]) * _SCALE
        odds = np.exp(logits[0, 0] - logits[0, 0].max())
        closes = self._rng.random() < odds[1] / odds.sum()
        return np.append(twist, GRIPPER_LIMIT if closes else -GRIPPER_LIMIT).astype(np.float32)


def file(folder: Path, triplet: Sequence[str]) -> Path:
    """The specialist's file for (red, green, blue) ids.

    Raises ValueError unless they are a test triplet, FileNotFoundError if the file is absent.
    """
    tasks = [task for task, ids in TEST_TRIPLETS.items() if ids == tuple(triplet)]
    if not tasks:
        raise ValueError(
            f"specialist: expected a test triplet ({', '.join(TEST_TRIPLETS)}), "
            f"got {','.join(triplet)}"
        )
    path = folder / f"mpo_state_{tasks[0]}.onnx"
    if not path.is_file():
        raise FileNotFoundError(
            f"specialist: expected {path}; the policies are converted from the SavedModels "
            "in assets/saved_models of google-deepmind/rgb_stacking"
        )
    return path


def digest(paths: Sequence[Path]) -> str:
    """SHA-256 of the files' contents, one after the other."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()


@cache
def _session(path: Path):
    """The network on one thread, loaded once a process."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _input_name(key: str) -> str:
    return f"timestep_observation_{key.replace('/', '_')}:0"
