"""Demonstrations that evaluated episodes begin with: the paper's prompts. Section 2.4."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

from gato_core.dataset import Dataset
from gato_core.episode import Episode
from gato_core.spec import Spec
from gato_sim.domains.rgb_stacking import instructions
from gato_sim.suites import stable_seed


class Prompted:
    """A policy whose every episode begins with the same prompt."""

    def __init__(self, policy, prompt: Episode) -> None:
        self._policy, self._prompt = policy, prompt

    def reset(self, prompt: Episode | None = None) -> None:
        """Resets the policy, which reads the prompt."""
        self._policy.reset(self._prompt if prompt is None else prompt)

    def step(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        """The policy's action."""
        return self._policy.step(observation)


def check(
    dataset: Path,
    timesteps: int | None,
    spec: Spec,
    context_timesteps: int,
    tasks: Iterable[str],
) -> int:
    """How many timesteps prompts of `tasks` have: all that leave room for the present, if None.

    Raises FileNotFoundError or ValueError for a missing, damaged or another robot's dataset, for
    one without a success of each task, and for prompts that do not fit the context.
    """
    if context_timesteps < 2:
        raise ValueError(
            "prompt: expected a checkpoint whose context has room for one, of 2 timesteps or more, "
            f"got {context_timesteps}"
        )
    if timesteps is None:
        timesteps = context_timesteps - 1
    if not 1 <= timesteps < context_timesteps:
        raise ValueError(
            f"prompt_timesteps: expected 1..{context_timesteps - 1} within a context of "
            f"{context_timesteps}, got {timesteps}"
        )
    if differences := spec.differences(_open(dataset).spec):
        raise ValueError(
            f"prompt: the Spec of {dataset} differs from the checkpoint's:\n  "
            + "\n  ".join(differences)
        )
    shown = {task for task, _ in _shown(dataset).values()}
    if missing := sorted(set(map(instructions.plain, tasks)) - shown):
        raise ValueError(
            f"prompt: expected successful episodes of {missing} in {dataset}, got successes of "
            f"{sorted(shown) or 'nothing'}"
        )
    return timesteps


def choose(dataset: Path, task: str, objects: str, seed: int) -> int:
    """The number of an episode: a success of the same task, with the same objects if there is any.

    Tasks are those that `check` was asked about.
    """
    shown, task = _shown(dataset), instructions.plain(task)
    candidates = [i for i, about in shown.items() if about == (task, objects)]
    candidates = candidates or [i for i, about in shown.items() if about[0] == task]
    return int(np.random.default_rng(stable_seed("prompt", seed)).choice(candidates))


def read(dataset: Path, number: int, timesteps: int) -> Episode:
    """The beginning of an episode of the dataset."""
    opened = _open(dataset)
    stop = min(timesteps, int(opened.lengths[number]))
    return replace(opened.read(number, 0, stop), privileged={})


@cache
def _shown(dataset: Path) -> dict[int, tuple[str, str | None]]:
    """{number of each success: (its task in plain words, its objects if it says which)}"""
    opened = _open(dataset)
    infos = [json.loads(row["gato/info"]) for row in opened.rows]
    return {
        int(i): (instructions.plain(opened.rows[i]["gato/task"]), infos[i].get("objects"))
        for i in np.flatnonzero(opened.successes)
    }


@cache
def _open(dataset: Path) -> Dataset:
    """Opened once a process."""
    return Dataset(dataset)
