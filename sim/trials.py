"""One episode of an evaluation, for its result or, run again, for its video."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

import gato_sim
from gato_core.spec import Spec
from gato_sim import policies, prompts
from gato_sim.constants import CONTROL_TIMESTEP, NUM_STEPS
from gato_sim.domains.rgb_stacking import objects
from gato_sim.domains.rgb_stacking.environment import Environment
from gato_sim.domains.rgb_stacking.reward import STAGES
from gato_sim.domains.rgb_stacking.tasks import views_of
from gato_sim.prompts import Prompts
from gato_sim.results import video
from gato_sim.rollout import Step, play, record, trajectory_hash
from gato_sim.suites import Trial

FILM_SIZE = 480  # pixels, of the main picture
FILM_CAMERA = "overview"
POLICY_VIEWS = ("basket_front_left", "basket_front_right")


@dataclass(frozen=True)
class Setup:
    """Who acts, and under which conditions.

    policy: "expert", "specialist", "random", or the name of `checkpoint`. seed: of the policy's
    own draws.
    """

    policy: str
    checkpoint: Path | None
    spec: Spec
    physics: str
    max_steps: int = NUM_STEPS
    temperature: float = 0.0
    seed: int = 0
    threads: int = 1
    specialists: Path | None = None
    delay_ms: float | Literal["measured"] | None = None
    prompts: Prompts | None = None


@dataclass(frozen=True)
class Film:
    """A trial to be run again for its video; `result` is what it came to the first time."""

    trial: Trial
    result: dict
    path: Path


def run_trial(setup: Setup, trial: Trial) -> dict:
    """Runs one episode to its end and returns its result (see summary.py)."""
    with contextlib.closing(_load_env(setup, trial)) as env:
        return _play(setup, trial, env)


def run_film(setup: Setup, film: Film) -> dict:
    """Runs a trial again with the camera on; says whether it went exactly as the first time."""
    with contextlib.closing(_load_env(setup, film.trial)) as env:
        with video.mp4_writer(film.path, fps=1 / CONTROL_TIMESTEP) as add:

            def filmed(steps: Iterator[Step]) -> Iterator[Step]:
                for number, step in enumerate(steps):
                    views = [_view(env, step.observation, camera) for camera in POLICY_VIEWS]
                    main = env.simulation.render(FILM_CAMERA, FILM_SIZE)
                    add(video.compose(main, views, _caption(film, number, step.reward)))
                    yield step

            again = _play(setup, film.trial, env, filmed)
    return {
        "file": film.path.name,
        "task": film.trial.task,
        "index": film.trial.index,
        "objects": film.trial.objects,
        "success": again["success_end"],
        "failure": again["failure"],
        "identical": again["trajectory"] == film.result["trajectory"],
    }


def _view(env: Environment, observation: Mapping[str, np.ndarray], camera: str) -> np.ndarray:
    """What the policy saw, or would see if it looked: uint8 (size, size, 3)."""
    seen = observation.get(f"{camera}/pixels")
    return env.simulation.render(camera, 64) if seen is None else seen


def _caption(film: Film, step: int, reward: float) -> list[str]:
    firsts = film.result["stages"]
    reached = [s for s in STAGES if firsts[s] is not None and firsts[s] <= step + 1]
    ids, stack = objects.split_task(film.trial.objects)
    named = dict(zip(objects.COLORS, ids.split(",")))
    top, base = objects.colors_of(stack)
    (third,) = set(objects.COLORS) - {top, base}
    return [
        f"{top} {named[top]} on {base} {named[base]}",
        f"{third} {named[third]} beside",
        f"{(step + 1) * CONTROL_TIMESTEP:.1f} s, step {step + 1}",
        f"stage {reached[-1] if reached else '-'}",
        "STACKED" if reward else "",
    ]


def _load_env(setup: Setup, trial: Trial) -> Environment:
    cameras, image_size, view = views_of(setup.spec)
    return gato_sim.load(
        trial.objects,
        seed=trial.seed,
        physics=setup.physics,
        cameras=cameras,
        image_size=image_size,
        view=view,
    )


def _play(
    setup: Setup,
    trial: Trial,
    env: Environment,
    watch: Callable[[Iterator[Step]], Iterator[Step]] = iter,
) -> dict:
    """Runs the trial; `watch` sees its steps go by."""
    policy, number = _policy(setup, trial, env)
    policy = policies.Timed(policy)
    steps = play(
        env,
        policy,
        setup.spec,
        seed=trial.seed,
        max_steps=setup.max_steps,
        latency=_latency(setup, policy),
    )
    about = dict(task=trial.instruction, source=setup.policy, seed=trial.seed)
    episode = record(env, watch(steps), **about)
    return {
        "task": trial.task,
        "index": trial.index,
        "seed": trial.seed,
        "objects": trial.objects,
        **episode.info,
        "prompt": number,
        "num_steps": len(episode),
        "trajectory": trajectory_hash(episode),
        "latency_ms": [round(value, 2) for value in policy.milliseconds],
    }


def _latency(setup: Setup, policy: policies.Timed) -> Callable[[], float] | None:
    """Seconds that the policy's last step is taken to have needed."""
    if setup.delay_ms is None:
        return None
    if setup.delay_ms == "measured":
        return lambda: policy.milliseconds[-1] / 1000
    return lambda: setup.delay_ms / 1000


def _policy(setup: Setup, trial: Trial, env: Environment):
    """A fresh policy, and the number of the demonstration that it begins with, if any."""
    policy = policies.open_policy(
        setup.policy,
        setup.checkpoint,
        env,
        setup.spec,
        seed=policies.episode_seed(setup.seed, trial.seed),
        temperature=setup.temperature,
        threads=setup.threads,
        specialists=setup.specialists,
        keep_prompt=setup.prompts is not None and setup.prompts.keep,
    )
    if setup.prompts is None:
        return policy, None
    number = prompts.choose(setup.prompts, trial.instruction, trial.objects, trial.seed)
    return prompts.Prompted(policy, prompts.read(setup.prompts, number)), number
