"""How often DeepMind's released specialist succeeds in dm_robotics' own environment of today.

    /tmp/original/bin/pip install onnxruntime      # compare.py says how to make the environment
    /tmp/original/bin/python tests/compat/original_specialist.py --code /tmp/rgb_stacking \\
        --specialists FOLDER --task rgb_test_triplet2 --out t2.jsonl --episodes 100

A line an episode, on disk as soon as it ends; the same command goes on where it was stopped. The
original cannot be seeded, so no two runs have the same episodes. 8 CPU-seconds each.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime
from original import without_cameras

NUM_STEPS = 400
SCALE = np.array([0.07, 0.07, 0.07, 1.0])  # m/s, rad/s
GRIPPER = 255.0
TYPES = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8}


class Specialist:
    """Samples actions as released: a normal twist, two classes for the gripper."""

    def __init__(self, file: Path, rng: np.random.Generator) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            file, options, providers=["CPUExecutionProvider"]
        )
        self._types = {i.name: TYPES[i.type] for i in self._session.get_inputs()}
        self._rng = rng

    def step(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        """float32 (5,)."""
        named = {f"timestep_observation_{k.replace('/', '_')}:0": v for k, v in observation.items()}
        feed = {name: np.asarray(named[name], dtype)[None] for name, dtype in self._types.items()}
        mean, scale, _, _, logits = self._session.run(None, feed)
        odds = np.exp(logits[0, 0] - logits[0, 0].max())
        grip = GRIPPER if self._rng.random() < odds[1] / odds.sum() else -GRIPPER
        return np.append(self._rng.normal(mean[0], scale[0]) * SCALE, grip).astype(np.float32)


def episode(env, policy: Specialist) -> dict:
    """Whether it ended in success, and whether there was any."""
    timestep = env.reset()
    rewards = []
    for _ in range(NUM_STEPS):
        timestep = env.step(policy.step(timestep.observation))
        rewards.append(float(np.ravel(timestep.reward)[0]))
    return {"success_end": rewards[-1] == 1.0, "success_ever": max(rewards) == 1.0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--code", type=Path, required=True, help="checkout of rgb_stacking")
    parser.add_argument("--specialists", type=Path, required=True, help="folder of ONNX files")
    parser.add_argument("--task", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--episodes", type=int, default=100)
    arguments = parser.parse_args()
    file = arguments.specialists / f"mpo_state_{arguments.task}.onnx"
    policy = Specialist(file, np.random.default_rng())
    env = without_cameras(arguments.code.resolve(), arguments.task)
    done = arguments.out.read_text().splitlines() if arguments.out.exists() else []
    results = [json.loads(line) for line in done]
    while len(results) < arguments.episodes:
        results.append(episode(env, policy))
        with arguments.out.open("a") as out:
            out.write(json.dumps(results[-1]) + "\n")
        print(f"{len(results)} of {arguments.episodes}: {results[-1]}", flush=True)
    sums = {key: sum(result[key] for result in results) for key in results[0]}
    print(json.dumps({"task": arguments.task, "episodes": len(results), **sums}), flush=True)
    # dm_control's renderer cannot be freed after Python's thread pools have ended
    os._exit(0)


if __name__ == "__main__":
    main()
