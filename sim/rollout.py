"""One episode of a policy in the environment, recorded as an Episode with success and stages."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence

import dm_env
import numpy as np

from gato_core.episode import Episode
from gato_core.spec import Spec
from gato_sim.constants import NUM_STEPS
from gato_sim.domains.rgb_stacking import stages
from gato_sim.domains.rgb_stacking.environment import Environment
from gato_sim.domains.rgb_stacking.tasks import policy_observation
from gato_sim.run.pace import Pace

PRIVILEGED = ("red", "green", "blue", "pinch")


def rollout(
    env: Environment,
    policy,
    spec: Spec,
    *,
    task: str,
    source: str,
    seed: int,
    objects: str | None = None,
    max_steps: int = NUM_STEPS,
    perturb: Callable[[np.ndarray], np.ndarray] | None = None,
    latency: Callable[[], float] | None = None,
    stop_after: int | None = None,
    give_up: Callable[[], bool] | None = None,
    on_step: Callable[[int, Mapping[str, np.ndarray], float], None] | None = None,
) -> Episode:
    """Runs the episode `seed` of `env`; `info` tells success at the end, ever, strict, and stages.

    objects: the environment's task from now on, if it is another. policy: any Policy; it sees what
    `spec` names. perturb: turns the policy's clean action (5,) into the executed one; the clean one
    stays the label. latency: the seconds after which each action takes effect (see pace.py).
    stop_after: ends the episode after that many steps of success with the gripper away, which keeps
    demonstrations short. give_up: asked after each step whether to end the episode as it is.
    Evaluation uses neither. on_step(step, observation, reward) is called after each step.
    """
    timestep = env.reset(seed=seed, task=objects)
    policy.reset()
    pace = Pace(env, policy, latency=latency, perturb=perturb)
    observations, actions, rewards = [], [], []
    poses, moments = [], [env.stages()]
    held = 0
    for step in range(max_steps):
        observation = policy_observation(timestep.observation, spec)
        observations.append(observation)
        poses.append(_poses(env, timestep))
        action, timestep = pace.step(observation)
        actions.append(action)
        rewards.append(np.float32(timestep.reward))
        moments.append(env.stages())
        if on_step is not None:
            on_step(step, observation, float(timestep.reward))
        held = held + 1 if timestep.reward and not moments[-1]["reached"] else 0
        if stop_after is not None and held >= stop_after:
            break
        if give_up is not None and give_up():
            break
    return Episode(
        observation={key: np.stack([o[key] for o in observations]) for key in spec.observation},
        action=np.stack(actions),
        reward=np.stack(rewards),
        task=task,
        source=source,
        seed=seed,
        success=bool(rewards[-1]),
        privileged={key: np.stack([p[key] for p in poses]) for key in PRIVILEGED},
        info=_outcome(env, rewards, moments),
    )


def _outcome(
    env: Environment, rewards: Sequence[np.float32], moments: Sequence[Mapping[str, bool]]
) -> dict:
    success_end, success_ever = bool(rewards[-1]), bool(np.any(rewards))
    variation = {} if env.variation is None else {"variation": env.variation.provenance()}
    return variation | {
        "success_end": success_end,
        "success_ever": success_ever,
        "success_strict": env.success_strict(),
        "stages": stages.stage_curve(moments),
        "failure": stages.failure(moments, success_end=success_end, success_ever=success_ever),
    }


def trajectory_hash(episode: Episode) -> str:
    """A fingerprint of actions, poses and rewards: equal exactly when two runs were the same."""
    digest = hashlib.blake2b(digest_size=8)
    for array in (episode.action, episode.reward, *(episode.privileged[k] for k in PRIVILEGED)):
        digest.update(np.ascontiguousarray(array, np.float32).tobytes())
    return digest.hexdigest()


def _poses(env: Environment, timestep: dm_env.TimeStep) -> dict[str, np.ndarray]:
    """float32 (7,) of the objects and the pinch point, as they are before the action."""
    poses = env.simulation.object_poses() | {"pinch": timestep.observation["sawyer/pinch/pose"][0]}
    return {key: np.asarray(pose, np.float32) for key, pose in poses.items()}
