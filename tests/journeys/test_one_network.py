"""The paper's one idea: the same weights act in two bodies and speak, each from its context."""

import io
import json
import sys

import numpy as np
import pytest
from dataset_examples import JOINTS
from train_examples import write, write_documents

from gato_core import cli
from gato_core.dataset import Dataset, DatasetWriter
from gato_core.episode import Episode
from gato_core.policy import load
from gato_core.spec import Spec

# another body, with other keys, numbers and actions: it does the opposite of what it feels
MIRRORED = Spec({"arm/joints": JOINTS}, JOINTS, 0.1)


def write_mirrored(root) -> str:
    rng = np.random.default_rng(1)
    with DatasetWriter(root, MIRRORED, robot_type="mirrored") as writer:
        for seed in range(4):
            joints = rng.uniform(-3, 3, (12, 2)).astype(np.float32)
            observation = {"arm/joints": joints}
            writer.add(
                Episode(
                    observation, -joints, np.zeros(12, np.float32), "mirror", "a test", seed, True
                )
            )
    return str(root)


@pytest.fixture
def gato(tmp_path, monkeypatch, capfd):
    """Runs `gato ...` in a folder of two robots' demonstrations and documents."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "gripping")
    write_mirrored(tmp_path / "mirrored")
    write_documents(tmp_path / "captions")

    def run(*arguments) -> str:
        monkeypatch.setattr(sys, "argv", ["gato", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.StringIO())
        status = cli.main()
        output = capfd.readouterr()
        assert status == 0, (arguments, output.out, output.err)
        return output.out.strip()

    return run


def acted(policy, dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """What the policy does and what the demonstrations do, (num_timesteps, A) each."""
    did, label = [], []
    for number in range(dataset.num_episodes):
        episode = dataset.episode(number)
        policy.reset()
        for t in range(len(episode)):
            did.append(policy.step({key: x[t] for key, x in episode.observation.items()}))
            label.append(episode.action[t])
    return np.array(did), np.array(label)


def test_one_network_acts_in_two_bodies_and_captions(gato, tmp_path):
    told = gato(
        "train", "--preset", "debug", "--data", "gripping", "mirrored", "captions",
        "--weights", 1, 2, 1, "--steps", 700, "--learning-rate", 5e-3, "--held-out", 0,
        "--evaluate-every", 1000, "--save-every", 1000, "--name", "all", "--threads", 1,
    )  # fmt: skip
    last = json.loads(told.splitlines()[-1])["checkpoint"]
    did, label = acted(load(last, embodiment="sawyer_rgb_stacking"), Dataset(tmp_path / "gripping"))
    assert np.mean(np.sign(did[:, 1]) == np.sign(label[:, 1])) > 0.9
    did, label = acted(load(last, embodiment="mirrored"), Dataset(tmp_path / "mirrored"))
    assert np.mean(np.sign(did) == np.sign(label)) > 0.9
    lines = (tmp_path / "captions/documents.jsonl").read_text().splitlines()
    captions = [item for item in map(json.loads, lines) if "image" in item and "text" in item]
    assert len({item["text"] for item in captions}) > 1
    for item in captions:
        said = gato("caption", f"captions/{item['image']}", "--checkpoint", last)
        assert said == item["text"]
