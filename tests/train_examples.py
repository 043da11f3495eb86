"""Small demonstrations and a short run with everything switched on, for tests of training.

As a program, `train_examples.py CONFIG.json ...`, it trains: what torchrun starts in the tests.
"""

import json
import sys
from pathlib import Path

import numpy as np
import PIL.Image

from gato_core.dataset import DatasetWriter
from gato_core.episode import Episode
from gato_core.spec import Continuous, Image, Spec
from gato_training.config import PRESETS, TrainConfig, changed, load
from gato_training.run_log.processes import joined
from gato_training.train import train_among

SPEC = Spec(
    {"camera/pixels": Image(16, 16), "joints": Continuous((-1.0,), (1.0,), "rad", ("j",))},
    Continuous((-0.07, -255.0), (0.07, 255.0), "mixed", ("x", "grip")),
    0.05,
)

COLORS = {"red": (200, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 200)}


def write(root, spec=SPEC, num_episodes=4, num_steps=8) -> str:
    """Episodes in which the action follows from the joints, which are all alike."""
    rng = np.random.default_rng(0)
    with DatasetWriter(root, spec) as writer:
        for i in range(num_episodes):
            joint = rng.uniform(-1, 1, (num_steps, 1)).astype(np.float32)
            pose = np.tile(rng.uniform(0, 0.1, 7).astype(np.float32), (num_steps, 1))
            writer.add(
                Episode(
                    {key: _sensed(modality, joint, rng) for key, modality in sorted(
                        spec.observation.items())},
                    np.concatenate([joint * 0.07, np.sign(joint) * 255], 1),
                    np.zeros(num_steps, np.float32),
                    task="stack",
                    source="expert",
                    seed=i,
                    success=True,
                    privileged={"red": pose, "blue": 2 * pose, "pinch": 3 * pose},
                )
            )  # fmt: skip
    return str(root)


def write_documents(root) -> str:
    """Pictures in mostly one colour with what it is called, and a sentence."""
    root = Path(root)
    root.mkdir(parents=True)
    lines, rng = [{"text": "gato sees and acts"}], np.random.default_rng(0)
    for name, color in COLORS.items():
        pixels = np.array(color, np.uint8) + rng.integers(0, 50, (16, 16, 3), np.uint8)
        PIL.Image.fromarray(pixels).save(root / f"{name}.png")
        lines.append({"image": f"{name}.png", "text": f"all {name}"})
    (root / "documents.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return str(root)


def _sensed(
    modality: Image | Continuous, joint: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    if isinstance(modality, Image):
        return rng.integers(0, 256, (len(joint), *modality.shape), np.uint8)
    return np.tile(joint, (1, len(modality.names)))


def config(folder: Path, data: str) -> TrainConfig:
    """Four steps with everything switched on."""
    return changed(
        PRESETS["debug"],
        data=(data,),
        output=str(folder),
        steps=4,
        save_every=2,
        evaluate_every=2,
        log_every=1,
        num_checkpoints=5,
        context_timesteps=2,
        stochastic_depth=0.1,
        auxiliary=0.5,
        augment="robot",
        threads=1,
    )


def losses(config: TrainConfig) -> list[float]:
    lines = (config.folder / "log.jsonl").read_text().splitlines()
    return [entry["loss"] for entry in map(json.loads, lines) if "loss" in entry]


if __name__ == "__main__":
    with joined() as processes:
        for path in sys.argv[1:]:
            print(json.dumps(train_among(processes, load(Path(path)))))
