"""What is measured, and how: the options of `gato evaluate`, which its results keep."""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gato_sim.domains.rgb_stacking.benchmark import NUM_STEPS

# Who measures, where, and how much of it: a single episode's result does not depend on them.
NOT_IN_RESULT = {
    *("checkpoint", "specialists", "episodes", "workers", "videos", "shard", "threads"),
    *("name", "out", "compare"),
}
MAX_WORDS = 12  # of an instruction, in the name of a folder


@dataclass(frozen=True)
class EvaluateConfig:
    """Measures success at the end of episodes, with intervals, stages, latency and videos.

    example: gato evaluate --checkpoint checkpoints/control --suite skill-generalization
    """

    checkpoint: Path | None = None
    """Checkpoint folder to evaluate."""
    embodiment: str | None = None
    """Whose policy, in a checkpoint of several; by default the one that fits the robot here."""
    policy: Literal["expert", "specialist", "random"] | None = None
    """The scripted expert, DeepMind's state policies or random actions instead of a checkpoint."""
    specialists: Path | None = None
    """Folder of DeepMind's policies, mpo_state_rgb_test_triplet1.onnx and so on."""
    suite: tuple[str, ...] = ("skill-generalization",)
    """skill-generalization, skill-mastery, blue-on-green, selection, train; or tasks, e.g.
    rgb_test_triplet3 or selection:green_on_red."""
    episodes: int = 20
    """Episodes of each task of the suite."""
    physics: Literal["benchmark", "stable"] = "benchmark"
    """Published settings, or three times faster ones whose stacks do not creep."""
    workers: int = 2
    """Processes; one a core. 0 runs in this one."""
    videos: int = 3
    """Videos to make, failures first."""
    max_steps: int = NUM_STEPS
    """Control steps of an episode; fewer than the benchmark's 400 only to try things out."""
    instruction: str | None = None
    """What the policy is told, such as "put the green object on the blue one"; it says what is to
    be stacked, too. By default the task's own sentence."""
    prompt: Path | None = None
    """Dataset: each episode begins with a demonstration of the same task, with the same objects if
    there is one."""
    prompt_timesteps: int | None = None
    """How much of it, from its start; what leaves room for the present, if not given."""
    keep_prompt: bool = False
    """It stays in context for the whole episode, where it would slide out."""
    temperature: float | None = None
    """Of action sampling; 0 takes the likeliest. The checkpoint's own, if not given."""
    seed: int = 0
    """Of action sampling, and of the random policy."""
    delay_ms: float | Literal["measured"] | None = None
    """Every action takes effect so late, or by what the policy's step took; by default at once."""
    shard: str | None = None
    """"2/4" runs the second quarter of the trials alone, into a results file of its own: folders
    of several machines are merged by copying these files together."""
    threads: int = 1
    """Threads a worker may use for the network."""
    name: str | None = None
    """Folder below `out`; by default policy, suite and physics."""
    out: Path = Path("outputs/evaluate")
    """Where results folders are."""
    compare: Path | None = None
    """Another results folder: tests the difference over equal initial states."""

    def __post_init__(self) -> None:
        if (self.checkpoint is None) == (self.policy is None):
            raise ValueError("expected either --checkpoint or --policy, got both or neither")
        if (self.policy == "specialist") != (self.specialists is not None):
            raise ValueError("expected --policy specialist with --specialists FOLDER, got one")
        if self.embodiment is not None and self.checkpoint is None:
            raise ValueError(f"embodiment: expected a --checkpoint that has it, got {self.policy}")
        if self.prompt is not None and self.checkpoint is None:
            raise ValueError(f"prompt: expected a --checkpoint to read it, got {self.policy}")
        if self.prompt is None and (self.keep_prompt or self.prompt_timesteps is not None):
            raise ValueError("expected --prompt DATASET with --prompt-timesteps and --keep-prompt")
        for name in ("episodes", "max_steps", "threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")
        for name in ("workers", "videos"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: expected 0 or more, got {getattr(self, name)}")
        parse_shard(self.shard)
        if self.max_steps > NUM_STEPS:
            raise ValueError(f"max_steps: expected 1..{NUM_STEPS}, got {self.max_steps}")
        if self.temperature is not None and not 0 <= self.temperature < math.inf:
            raise ValueError(f"temperature: expected 0 or more, got {self.temperature}")
        if self.delay_ms not in (None, "measured") and not 0 <= self.delay_ms < math.inf:
            raise ValueError(f"delay_ms: expected 0 or more, or measured, got {self.delay_ms}")

    @property
    def policy_name(self) -> str:
        """The policy's, or the checkpoint folder's, with its run's name in a training run."""
        if self.policy:
            return self.policy
        path = self.checkpoint.resolve()
        run = path.parent.parent.name if path.name.isdigit() else ""
        return f"{run}-{path.name}" if run else path.name

    @property
    def folder(self) -> Path:
        words = (self.policy_name, *self.suite, self.physics, *(["prompted"] * bool(self.prompt)))
        if self.instruction:
            words += tuple(re.findall(r"\w+", self.instruction.lower())[:MAX_WORDS])
        return self.out / (self.name or "-".join(words).replace(",", "-").replace(":", "-"))

    def settings(self) -> dict:
        """What of this a result depends on, JSON-ready; the policy by name."""
        fields = dataclasses.asdict(self) | {"policy": self.policy_name}
        return {
            name: list(value) if isinstance(value, tuple) else str(value) if isinstance(value, Path)
            else value
            for name, value in fields.items()
            if name not in NOT_IN_RESULT
        }  # fmt: skip


def defaults() -> dict:
    """By the name of an option that results depend on: what counts where a folder has no word."""
    return {field.name: field.default for field in dataclasses.fields(EvaluateConfig)}


def parse_shard(shard: str | None) -> tuple[int, int]:
    """Number and count of "2/4"; (1, 1) of None. Raises ValueError for anything else."""
    if shard is None:
        return 1, 1
    number, slash, count = shard.partition("/")
    if not (slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise ValueError(f"shard: expected NUMBER/COUNT such as 2/4, got {shard!r}")
    return int(number), int(count)
