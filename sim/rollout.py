"""One episode of a policy in the environment: `play` acts, `record` keeps what happened.

    steps = play(env, policy, spec, seed=7)
    episode = record(env, steps, task="stack the red object on the blue object", ...)

Whoever wants to see an episode go by, or to end it early, puts a generator between the two.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import dm_env
import numpy as np

from gato_core.episode import Episode
from gato_core.spec import Spec
from gato_sim.domains.rgb_stacking import stages
from gato_sim.domains.rgb_stacking.benchmark import NUM_STEPS
from gato_sim.domains.rgb_stacking.environment import Environment
from gato_sim.domains.rgb_stacking.tasks import policy_observation
from gato_sim.run.pace import Pace

PRIVILEGED = ("red", "green", "blue", "pinch")


class Step(NamedTuple):
    """One control step: what was seen before it, what was done, what it came to.

    action: float32 (A,), the policy's. executed: float32 (A,), what the robot did. privileged:
    {name: float32 (7,)}, true poses before the action. before, after: the stages that hold.
    """

    observation: dict[str, np.ndarray | str]
    privileged: dict[str, np.ndarray]
    action: np.ndarray
    executed: np.ndarray
    reward: float
    terminated: bool
    before: dict[str, bool]
    after: dict[str, bool]


def play(
    env: Environment,
    policy,
    spec: Spec,
    *,
    seed: int,
    objects: str | None = None,
    max_steps: int = NUM_STEPS,
    perturb: Callable[[np.ndarray], np.ndarray] | None = None,
    latency: Callable[[], float] | None = None,
    instruction: str | None = None,
) -> Iterator[Step]:
    """Resets `env` to the episode `seed`, then yields each step once it is done.

    objects: the environment's task from now on, if it is another. policy: any Policy; it sees what
    `spec` names. perturb: turns the policy's clean action (A,) into the executed one; the clean one
    stays the label. latency: the seconds after which each action takes effect (see pace.py).
    instruction: what a policy that observes words is told.
    """
    timestep = env.reset(seed=seed, task=objects)
    policy.reset()
    pace = Pace(env, policy, latency=latency, perturb=perturb)
    after = env.stages()
    for _ in range(max_steps):
        observation = policy_observation(timestep.observation, spec, instruction)
        privileged, before = _poses(env, timestep), after
        action, executed, timestep = pace.step(observation)
        after = env.stages()
        terminated = timestep.last() and timestep.discount == 0  # 1 where only time ran out
        reward = float(timestep.reward)
        yield Step(observation, privileged, action, executed, reward, terminated, before, after)


def record(
    env: Environment, steps: Iterable[Step], *, task: str, source: str, seed: int
) -> Episode:
    """The steps as an Episode; `info` tells success at the end, ever, strict, and stages.

    env: what the steps were played in, as the last one left it. Raises ValueError without a step.
    """
    taken = list(steps)
    if not taken:
        raise ValueError("record: expected at least one step, got none")
    rewards = np.array([step.reward for step in taken], np.float32)
    return Episode(
        observation=_stacked([step.observation for step in taken]),
        action=np.stack([step.action for step in taken]),
        executed=np.stack([step.executed for step in taken]),
        reward=rewards,
        task=task,
        source=source,
        seed=seed,
        success=bool(rewards[-1]),
        terminated=taken[-1].terminated,
        privileged=_stacked([step.privileged for step in taken]),
        info=_outcome(env, rewards, [taken[0].before, *(step.after for step in taken)]),
    )


def trajectory_hash(episode: Episode) -> str:
    """A fingerprint of actions, poses and rewards: equal exactly when two runs were the same."""
    digest = hashlib.blake2b(digest_size=8)
    for array in (episode.action, episode.reward, *(episode.privileged[k] for k in PRIVILEGED)):
        digest.update(np.ascontiguousarray(array, np.float32).tobytes())
    return digest.hexdigest()


def _outcome(env: Environment, rewards: np.ndarray, moments: Sequence[Mapping[str, bool]]) -> dict:
    success_end, success_ever = bool(rewards[-1]), bool(np.any(rewards))
    variation = {} if env.variation is None else {"variation": env.variation.provenance()}
    return variation | {
        "success_end": success_end,
        "success_ever": success_ever,
        "success_strict": env.success_strict(),
        "stages": stages.stage_curve(moments),
        "failure": stages.failure(moments, success_end=success_end, success_ever=success_ever),
    }


def _poses(env: Environment, timestep: dm_env.TimeStep) -> dict[str, np.ndarray]:
    """float32 (7,) of the objects and the pinch point, as they are before the action."""
    poses = env.simulation.object_poses() | {"pinch": timestep.observation["sawyer/pinch/pose"][0]}
    return {key: np.asarray(poses[key], np.float32) for key in PRIVILEGED}


def _stacked(parts: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Each key's arrays, one a timestep, as one array (T, ...)."""
    return {key: np.stack([part[key] for part in parts]) for key in parts[0]}
