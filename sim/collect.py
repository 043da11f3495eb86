"""Records demonstrations of the scripted expert in simulation: `gato collect`.

Episode i follows from (seed, i) alone and episodes are stored in the order of i, so a dataset
does not depend on the number of workers, and the same command continues where it was stopped.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import json
import shutil
import signal
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import tyro

from gato_core.data.storage import read_json
from gato_core.dataset import Dataset, DatasetWriter
from gato_core.episode import Episode
from gato_core.spec import Spec
from gato_sim.domains.rgb_stacking import instructions, perturb, suites
from gato_sim.domains.rgb_stacking.benchmark import NUM_STEPS
from gato_sim.domains.rgb_stacking.handover import Handover
from gato_sim.domains.rgb_stacking.objects import RED_ON_BLUE, join_task, split_task
from gato_sim.domains.rgb_stacking.scene import assets
from gato_sim.domains.rgb_stacking.tasks import robot_spec, view_image
from gato_sim.policies import checkpoint_spec, open_policy
from gato_sim.run import cluster, gl, workers
from gato_sim.run.attempts import Attempts
from gato_sim.run.progress import Progress, cpu_seconds
from gato_sim.suites import Trial, stable_seed

if TYPE_CHECKING:
    from gato_sim.domains.rgb_stacking.expert.expert import ScriptedExpert
    from gato_sim.rollout import Step

_TYPICAL_STEPS = 220
_EARLIER = {"stack": RED_ON_BLUE, "view": "whole", "stop_after": 20}  # of datasets that do not say
_SPARE_BYTES = 200_000_000


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


@cache
def _environment(physics: str, randomise: str, cameras: tuple[str, ...], size: int, view: str):
    """This process's environment, made once: a tenth of an episode's time goes into a fresh one."""
    import gato_sim

    env = gato_sim.load(
        "s0,s0,s0",
        seed=0,
        physics=physics,
        randomise=randomise,
        cameras=cameras,
        image_size=size,
        view=view,
    )
    env.reset()  # draws: what OpenGL registers to be done at the exit is done after ours
    atexit.register(env.close)
    return env


def demonstrate(config: CollectConfig, trial: Trial) -> Episode:
    """Runs the expert once; `info` says all that made the episode."""
    from gato_sim.domains.rgb_stacking.expert.expert import ScriptedExpert
    from gato_sim.rollout import play, record

    scene = config.physics, config.randomise, config.cameras, config.image_size, config.view
    env = _environment(*scene)
    spec = spec_of(config)
    expert = ScriptedExpert(env, seed=trial.seed)
    policy, perturbation = expert, None
    draws = stable_seed("perturb", trial.seed)
    if config.perturb != "none":
        perturbation = perturb.load(config.perturb, draws)
    if config.actor:
        actor = open_policy("", config.actor, env, spec, seed=draws, temperature=0.0, threads=1)
        policy = Handover(policy, actor, seed=draws)
        perturbation = policy.executed
    steps = play(
        env,
        policy,
        spec,
        seed=trial.seed,
        objects=trial.objects,
        max_steps=config.max_steps,
        perturb=perturbation,
        instruction=trial.instruction,
    )
    steps = until_decided(steps, expert, config.stop_after)
    episode = record(env, steps, task=trial.instruction, source="expert", seed=trial.seed)
    episode.info |= config.identity() | {"index": trial.index, "objects": trial.objects}
    return episode


def until_decided(steps: Iterable[Step], expert: ScriptedExpert, patience: int) -> Iterator[Step]:
    """Ends after `patience` steps of success with the gripper away, or when the expert gives up."""
    held = 0
    for step in steps:
        yield step
        held = held + 1 if step.reward and not step.after["reached"] else 0
        if held >= patience or expert.hopeless:
            return


def collect(config: CollectConfig) -> dict:
    """Fills the dataset at `config.out` and returns a summary.

    Raises ValueError for unknown triplets, settings unlike the folder's, or too little disk, and
    FileNotFoundError without model files, all before an episode starts.
    """
    assets.path()
    if config.cameras:
        gl.check_drawing()
    suites.check_collectable(config.triplets, config.stack)
    stored = _stored_info(config.out)
    _check_settings(config, stored)
    spec = spec_of(config)
    if config.actor and (differences := spec.differences(checkpoint_spec(config.actor))):
        raise ValueError(f"{config.actor}: it acts on another Spec:\n  " + "\n  ".join(differences))
    workers.set_threads(1)
    started = cpu_seconds()
    with DatasetWriter(config.out, spec) as writer:
        _check_disk(config, config.episodes - writer.num_episodes)
        start = stored["index"] + 1 if stored else 0
        attempts = Attempts(config.out / "attempts.jsonl", start)
        progress = Progress(config.episodes, writer.num_episodes)
        print(_opening(config, writer.num_episodes), file=sys.stderr)
        if writer.num_episodes < config.episodes:
            _fill(config, writer, attempts, progress, start)
        num_episodes = writer.num_episodes
    summary = {
        "out": str(config.out),
        "episodes": num_episodes,
        "attempts": attempts.num_attempts,
        "success_rate": round(attempts.success_rate, 4),
        "episodes_per_hour": round(progress.rate),
    }
    if config.cluster is None:  # whose processors' time is not known here
        hours = (cpu_seconds() - started) / 3600
        summary["episodes_per_core_hour"] = round(progress.num_new / hours)
    return summary


def _fill(
    config: CollectConfig,
    writer: DatasetWriter,
    attempts: Attempts,
    progress: Progress,
    start: int,
) -> None:
    """Runs attempts from index `start` on until the dataset is as long as it shall be."""
    trials = (trial(config, index) for index in itertools.count(start))
    work, options = partial(demonstrate, config), {"niceness": config.niceness}
    options["num_workers"] = config.workers
    if config.cluster is None:
        results = workers.run(work, trials, **options)
    else:
        results = cluster.run(work, trials, address=config.cluster, **options)
    with contextlib.closing(results):
        for episode in _in_order(results, start):
            with _uninterrupted():
                if episode.success or config.keep == "all":
                    writer.add(episode)
                attempts.add(episode)
            progress.done = writer.num_episodes
            complete = progress.done >= config.episodes
            progress.show(f"{attempts.success_rate:.0%} successful", last=complete)
            if complete:
                return
            attempts.check(config.keep)


def _stored_info(root: Path) -> dict | None:
    """`info` of the last episode stored in a dataset folder, None if there is none."""
    if not (root / "meta/info.json").exists():
        return None
    rows = Dataset(root).rows
    return json.loads(rows[-1]["gato/info"])


def _check_settings(config: CollectConfig, stored: dict | None) -> None:
    if stored is None:
        return
    for name, expected in config.identity().items():
        if stored.get(name, _EARLIER.get(name)) != expected:
            raise ValueError(
                f"{config.out} was collected with {name} {stored.get(name)!r}, got {expected!r}; "
                "choose another --out or the same settings"
            )


def _check_disk(config: CollectConfig, num_missing: int) -> None:
    folder = next(p for p in (config.out, *config.out.absolute().parents) if p.exists())
    image = view_image(config.view, config.image_size)
    pixels = len(config.cameras) * image.height * image.width
    needed = num_missing * _TYPICAL_STEPS * pixels + _SPARE_BYTES  # a byte a pixel as PNG
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ValueError(
            f"{config.out}: expected about {needed / 1e9:.1f} GB of free disk for {num_missing} "
            f"episodes, got {free / 1e9:.1f} GB"
        )


def _in_order(results: Iterable[tuple[Trial, Episode]], start: int) -> Iterator[Episode]:
    """Episodes in the order of their index, held back until their turn."""
    waiting: dict[int, Episode] = {}
    for done, episode in results:
        waiting[done.index] = episode
        while start in waiting:
            yield waiting.pop(start)
            start += 1


def _opening(config: CollectConfig, num_episodes: int) -> str:
    return (
        f"{config.out}: {num_episodes} of {config.episodes} episodes are there; objects "
        f"{config.triplets}, {config.stack.replace('_', ' ')}, {config.physics} physics, "
        f"perturbation {config.perturb}"
    )


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Holds Ctrl-C back until the block is done: an episode is stored and noted, or neither."""
    pressed: list[int] = []
    previous = signal.signal(signal.SIGINT, lambda number, _: pressed.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
    if pressed:
        raise KeyboardInterrupt


def main() -> int:
    try:
        config = tyro.cli(CollectConfig)
        print(json.dumps(collect(config)))
    except KeyboardInterrupt:
        print("stopped; the same command continues", file=sys.stderr)
        return 130
    except (ValueError, RuntimeError, OSError) as error:
        print(f"gato collect: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
