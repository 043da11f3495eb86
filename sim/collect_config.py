"""What is collected, and how: the options of `gato collect`, which its episodes keep."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from gato_core.data.storage import read_json
from gato_core.spec import Spec
from gato_sim.domains.rgb_stacking import instructions, suites
from gato_sim.domains.rgb_stacking.benchmark import NUM_STEPS
from gato_sim.domains.rgb_stacking.objects import RED_ON_BLUE, join_task, split_task
from gato_sim.domains.rgb_stacking.scene import assets
from gato_sim.domains.rgb_stacking.tasks import robot_spec
from gato_sim.suites import Trial, stable_seed


@dataclass(frozen=True)
class CollectConfig:
    """Records demonstrations of the scripted expert as a LeRobot v3 dataset.

    example: gato collect --triplets train --episodes 1000 --out datasets/train
    """

    out: Path
    """Dataset folder; an existing one of the same settings is continued."""
    triplets: str = "train"
    """train, selection, heldout, mastery (the test triplets), one of those by name, such as
    rgb_test_triplet1, or ids "r25,x37,y26"."""
    stack: str = RED_ON_BLUE
    """What is put on what, e.g. blue_on_green; any draws one of the six pairs for each episode, and
    a sentence that says which, which the policy is to observe."""
    episodes: int = 100
    """Episodes the dataset shall hold."""
    keep: Literal["success", "all"] = "success"
    """Store only episodes that end in success, or all."""
    physics: Literal["benchmark", "stable"] = "stable"
    """Published settings, or three times faster ones whose stacks do not creep."""
    perturb: Literal["none", "mild", "rough", "spin"] = "mild"
    """Disturb executed actions, so that demonstrations show recoveries; labels stay clean."""
    actor: Path | None = None
    """Checkpoint that takes turns at the arm while the expert labels every step: states a clone
    gets itself into, and the way back (DAgger). Goes with --perturb none."""
    randomise: Literal["none", "mild", "strong"] = "none"
    """Vary lights, colours, cameras, friction, masses and latency from episode to episode."""
    cameras: tuple[str, ...] = ("basket_front_left", "basket_front_right")
    """Cameras of the observation."""
    image_size: int = 64
    """Height of the camera images, pixels."""
    view: Literal["whole", "basket"] = "whole"
    """The cameras' square pictures, or their upper two thirds, where objects and gripper are."""
    max_steps: int = NUM_STEPS
    """Control steps after which an episode ends in any case."""
    stop_after: int = 20
    """Control steps of success, the gripper away, that end an episode: how long a demonstration
    shows that a finished stack is left alone."""
    seed: int = 0
    """Different seeds give different episodes."""
    workers: int = 2
    """Processes; one a core. 0 runs in this one."""
    cluster: str | None = None
    """Run on a Ray cluster instead: "auto", "host:port", or "local" with that many workers."""
    captions: bool = False
    """Writes pictures of the episodes with captions, questions and answers in place of a dataset:
    documents.jsonl in `out`, which `gato train` reads."""
    niceness: int = 0
    """Politeness of the workers to other processes, 0 to 19."""

    def __post_init__(self) -> None:
        if not 0 <= self.niceness <= 19:
            raise ValueError(f"niceness: expected 0..19, got {self.niceness}")
        for name in ("episodes", "max_steps", "stop_after"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")
        if self.max_steps > NUM_STEPS:
            raise ValueError(f"max_steps: expected 1..{NUM_STEPS}, got {self.max_steps}")
        if self.workers < 0:
            raise ValueError(f"workers: expected 0 or more, got {self.workers}")
        if self.captions and not self.cameras:
            raise ValueError("captions: expected --cameras to draw pictures, got none")
        if self.captions and self.actor:
            raise ValueError("captions: expected the expert's episodes, got --actor")
        if self.actor and self.perturb != "none":
            raise ValueError(f"actor: expected --perturb none beside it, got {self.perturb}")

    def identity(self) -> dict:
        """What makes an episode with a given index the episode it is."""
        return {
            "triplets": self.triplets,
            "stack": self.stack,
            "keep": self.keep,
            "physics": self.physics,
            "perturb": self.perturb,
            "randomise": None if self.randomise == "none" else self.randomise,
            "cameras": list(self.cameras),
            "image_size": self.image_size,
            "view": self.view,
            "max_steps": self.max_steps,
            "stop_after": self.stop_after,
            "seed": self.seed,
            "actor": read_json(self.actor / "config.json")["weights_sha256"]
            if self.actor
            else None,
            "versions": assets.versions(),
        }


def trial(config: CollectConfig, index: int) -> Trial:
    """The initial state and objects of episode `index`."""
    seed = stable_seed("collect", config.seed, index)
    drawn = suites.trial(join_task(config.triplets, config.stack), index, seed)
    if config.stack != suites.ANY:
        return drawn
    rng = np.random.default_rng(stable_seed("wording", seed))
    sentence = instructions.draw(split_task(drawn.objects)[1], rng)
    return replace(drawn, instruction=sentence)


def spec_of(config: CollectConfig) -> Spec:
    """What is recorded: the instruction too, where the task differs from episode to episode."""
    num_tokens = instructions.NUM_TOKENS if config.stack == suites.ANY else 0
    return robot_spec(config.cameras, config.image_size, config.view, num_tokens)
