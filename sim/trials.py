"""One episode of an evaluation, for its result or, run again, for its video."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import gato_sim
from gato_sim import policies, prompts
from gato_sim.arm.sawyer import CONTROL_TIMESTEP
from gato_sim.domains.rgb_stacking import objects
from gato_sim.domains.rgb_stacking.environment import Environment
from gato_sim.domains.rgb_stacking.reward import STAGES
from gato_sim.domains.rgb_stacking.tasks import views_of
from gato_sim.evaluate_config import EvaluateConfig
from gato_sim.results import video
from gato_sim.rollout import Step, play, record, trajectory_hash
from gato_sim.suites import Trial

FILM_SIZE = 480  # pixels, of the main picture
FILM_CAMERA = "overview"
POLICY_VIEWS = ("basket_front_left", "basket_front_right")


@dataclass(frozen=True)
class Film:
    """A trial to be run again for its video; `result` is what it came to the first time."""

    trial: Trial
    result: dict
    path: Path


def run_trial(config: EvaluateConfig, trial: Trial) -> dict:
    """Runs one episode to its end and returns its result (see summary.py)."""
    with contextlib.closing(_load_env(config, trial)) as env:
        return _play(config, trial, env)


def run_film(config: EvaluateConfig, film: Film) -> dict:
    """Runs a trial again with the camera on; says whether it went exactly as the first time."""
    with contextlib.closing(_load_env(config, film.trial)) as env:
        with video.mp4_writer(film.path, fps=1 / CONTROL_TIMESTEP) as add:

            def filmed(steps: Iterator[Step]) -> Iterator[Step]:
                for number, step in enumerate(steps):
                    views = [_view(env, step.observation, camera) for camera in POLICY_VIEWS]
                    main = env.simulation.render(FILM_CAMERA, FILM_SIZE)
                    add(video.compose(main, views, _caption(film, number, step.reward)))
                    yield step

            again = _play(config, film.trial, env, filmed)
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


def _load_env(config: EvaluateConfig, trial: Trial) -> Environment:
    cameras, image_size, view = views_of(policies.spec_of(config))
    return gato_sim.load(
        trial.objects,
        seed=trial.seed,
        physics=config.physics,
        cameras=cameras,
        image_size=image_size,
        view=view,
    )


def _play(
    config: EvaluateConfig,
    trial: Trial,
    env: Environment,
    watch: Callable[[Iterator[Step]], Iterator[Step]] = iter,
) -> dict:
    """Runs the trial; `watch` sees its steps go by."""
    policy, number = _policy(config, trial, env)
    policy = policies.Timed(policy)
    steps = play(
        env,
        policy,
        policies.spec_of(config),
        seed=trial.seed,
        max_steps=config.max_steps,
        latency=_latency(config, policy),
        instruction=trial.instruction,
    )
    about = dict(task=trial.instruction, source=config.policy_name, seed=trial.seed)
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


def _latency(config: EvaluateConfig, policy: policies.Timed) -> Callable[[], float] | None:
    """Seconds that the policy's last step is taken to have needed."""
    if config.delay_ms is None:
        return None
    if config.delay_ms == "measured":
        return lambda: policy.milliseconds[-1] / 1000
    return lambda: config.delay_ms / 1000


def _policy(config: EvaluateConfig, trial: Trial, env: Environment):
    """A fresh policy, and the number of the demonstration that it begins with, if any."""
    policy = policies.open_policy(
        config.policy_name,
        config.checkpoint,
        env,
        policies.spec_of(config),
        seed=policies.episode_seed(config.seed, trial.seed),
        temperature=config.temperature,
        threads=config.threads,
        specialists=config.specialists,
        keep_prompt=config.keep_prompt,
        embodiment=config.embodiment,
    )
    if config.prompt is None:
        return policy, None
    number = prompts.choose(config.prompt, trial.instruction, trial.objects, trial.seed)
    prompt = prompts.read(config.prompt, number, config.prompt_timesteps)
    return prompts.Prompted(policy, prompt), number
