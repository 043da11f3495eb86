"""Policies to evaluate: a checkpoint, the scripted expert, random actions; with step times."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np

from gato_core.embodiment import Embodiment, choose, fitting
from gato_core.episode import Episode
from gato_core.spec import Spec
from gato_core.vocab import Vocabulary
from gato_sim.domains.rgb_stacking.tasks import instruction_tokens, robot_spec, views_of
from gato_sim.evaluate_config import EvaluateConfig
from gato_sim.suites import stable_seed


class RandomPolicy:
    """Actions drawn uniformly within the Spec's limits, one every control step."""

    def __init__(self, spec: Spec, *, seed: int) -> None:
        self._action = spec.action
        self._rng = np.random.default_rng(seed)

    def reset(self, prompt: Episode | None = None) -> None:
        """Goes on drawing: there is nothing to forget."""

    def step(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        """The action float32 (A,); the observation is not looked at."""
        return self._rng.uniform(self._action.low, self._action.high).astype(np.float32)


class Timed:
    """A policy that remembers what each of its steps took: `milliseconds`, wall time."""

    def __init__(self, policy) -> None:
        self._policy = policy
        self.milliseconds: list[float] = []

    def reset(self, prompt: Episode | None = None) -> None:
        """Resets the policy; the times stay."""
        self._policy.reset(prompt)

    def step(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        """The policy's action."""
        started = time.perf_counter()
        action = self._policy.step(observation)
        self.milliseconds.append(1000 * (time.perf_counter() - started))
        return action


def checkpoint_spec(checkpoint: Path, threads: int = 1, embodiment: str | None = None) -> Spec:
    """The Spec of a checkpoint, which is loaded and checked for it.

    embodiment: whose, in a checkpoint of several; by default of the one that fits.

    Raises ValueError or FileNotFoundError for a damaged or missing one, and ValueError where the
    simulated robot differs from what it was trained for.
    """
    spec = _load(checkpoint, threads, embodiment=embodiment).spec
    if differences := _differences(spec):
        raise ValueError(
            f"{checkpoint}: its Spec differs from the simulated robot's:\n  "
            + "\n  ".join(differences)
        )
    return spec


def _differences(spec: Spec) -> list[str]:
    """How the simulated robot is unlike a Spec; its cameras, sizes and words are the Spec's."""
    try:
        return spec.differences(robot_spec(*views_of(spec), instruction_tokens(spec)))
    except ValueError as error:  # pictures that it cannot give
        return [str(error)]


def spec_of(config: EvaluateConfig) -> Spec:
    """What the policy to be evaluated sees: a checkpoint's own Spec; the others need no images."""
    if config.checkpoint is None:
        return robot_spec(())
    return checkpoint_spec(config.checkpoint, config.threads, config.embodiment)


def vocabulary(config: EvaluateConfig) -> Vocabulary:
    """By which the checkpoint reads words. Errors as of `checkpoint_spec`."""
    loaded = _load(config.checkpoint, config.threads, embodiment=config.embodiment)
    return loaded.tokenizer.vocabulary


def context_timesteps(config: EvaluateConfig) -> int:
    """How many the checkpoint's context has. Errors as of `checkpoint_spec`."""
    loaded = _load(config.checkpoint, config.threads, embodiment=config.embodiment)
    if not hasattr(loaded, "embodiment"):
        raise ValueError(
            f"{config.checkpoint}: expected a Gato, which reads prompts, got a baseline"
        )
    return loaded.embodiment.context_timesteps


def open_policy(
    name: str,
    checkpoint: Path | None,
    env,
    spec: Spec,
    *,
    seed: int,
    temperature: float,
    threads: int,
    specialists: Path | None = None,
    keep_prompt: bool = False,
    embodiment: str | None = None,
):
    """The policy for one episode: `expert`, `specialist`, `random`, or the checkpoint's, which is
    the same object for all episodes of a process.
    """
    if checkpoint is not None:
        policy = _load(checkpoint, threads, temperature, keep_prompt, embodiment)
        policy.reset()
        policy.seed(seed)
        return policy
    if name == "expert":
        from gato_sim.domains.rgb_stacking.expert.expert import ScriptedExpert

        return ScriptedExpert(env, seed=seed)
    if specialists is not None:
        from gato_sim.domains.rgb_stacking.specialist import Specialist

        return Specialist(env, specialists, seed=seed)
    return RandomPolicy(spec, seed=seed)


def temperature_of(checkpoint: Path, embodiment: str | None = None) -> float:
    """At which its actions are drawn, unless another is asked for. Errors as of `policy.load`."""
    body = _embodiment(checkpoint, embodiment)
    return 0.0 if body is None else body.temperature


def _embodiment(path: Path, name: str | None) -> Embodiment | None:
    """A checkpoint's of this name, its only one, or the simulated robot's; None if it is no Gato.

    Raises ValueError, naming what there is, for another name, and where none or several fit.
    """
    from gato_core import checkpoint

    if checkpoint.kind(path) != checkpoint.KIND:
        if name is not None:
            raise ValueError(f"embodiment: expected none for {path}, a baseline, got {name!r}")
        return None
    bodies = checkpoint.embodiments(path)
    if name is None and len(bodies) > 1:
        name = fitting(bodies, _differences)
    return choose(bodies, name)


@cache
def _load(
    path: Path,
    threads: int,
    temperature: float | None = None,
    keep_prompt: bool = False,
    embodiment: str | None = None,
):
    """The checkpoint's policy of the simulated robot, loaded once a process."""
    import torch

    from gato_core.policy import load

    torch.set_num_threads(threads)
    body = _embodiment(path, embodiment)
    name = None if body is None else body.name
    return load(path, embodiment=name, temperature=temperature, keep_prompt=keep_prompt)


def episode_seed(seed: int, trial_seed: int) -> int:
    """Seed of a policy's own draws in one episode."""
    return stable_seed("policy", seed, trial_seed)
