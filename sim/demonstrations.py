"""Single demonstrations of the scripted expert, and many of them in the order of their index."""

from __future__ import annotations

import atexit
import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import TYPE_CHECKING, TypeVar

from gato_core.episode import Episode
from gato_sim.collect_config import CollectConfig, spec_of, trial
from gato_sim.domains.rgb_stacking import perturb
from gato_sim.domains.rgb_stacking.handover import Handover
from gato_sim.policies import open_policy
from gato_sim.run import cluster, workers
from gato_sim.suites import Trial, stable_seed

if TYPE_CHECKING:
    from gato_sim.domains.rgb_stacking.environment import Environment
    from gato_sim.domains.rgb_stacking.expert.expert import ScriptedExpert
    from gato_sim.rollout import Step

Result = TypeVar("Result")


@cache
def environment(
    physics: str, randomise: str, cameras: tuple[str, ...], size: int, view: str
) -> Environment:
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
    env = environment(*scene)
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


def in_order(
    config: CollectConfig, work: Callable[[Trial], Result], start: int
) -> Iterator[Result]:
    """work(trial) of trial `start`, `start` + 1, ..., each held back until its turn."""
    trials = (trial(config, index) for index in itertools.count(start))
    options = {"niceness": config.niceness, "num_workers": config.workers}
    if config.cluster is None:
        results = workers.run(work, trials, **options)
    else:
        results = cluster.run(work, trials, address=config.cluster, **options)
    waiting: dict[int, Result] = {}
    with contextlib.closing(results):
        for done, result in results:
            waiting[done.index] = result
            while start in waiting:
                yield waiting.pop(start)
                start += 1
