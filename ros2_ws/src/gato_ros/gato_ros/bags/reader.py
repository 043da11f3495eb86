"""Recordings to episodes: the same observations that a live node makes of the same messages.

Two passes, so that memory holds one episode however long the recording: one for the stamps, one
for the messages that timesteps use.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from gato_core.episode import Episode
from gato_core.importers.bags import NO_STAMP, Bag
from gato_core.spec import Spec
from gato_ros.bags import alignment
from gato_ros.bags import topics as bag_topics
from gato_ros.bags.alignment import Stretch
from gato_ros.bags.topics import ACTION, EPISODE_START, Sources
from gato_ros.common import ingest
from gato_sim.arm.controller import Controller


@dataclass(frozen=True)
class Plan:
    """The timesteps of a recording and what they are made of.

    times: int64 (T,) ns. picks, ages: by stream, and the actions' under "action"; see alignment.
    """

    bag: Bag
    spec: Spec
    sources: Sources
    times: np.ndarray
    picks: dict[str, np.ndarray]
    ages: dict[str, np.ndarray]
    stretches: list[Stretch]

    @property
    def used(self) -> np.ndarray:
        """Indices of the timesteps that belong to an episode."""
        none = np.zeros(0, np.int64)
        return np.concatenate([none, *(stretch.indices for stretch in self.stretches)])

    @property
    def report(self) -> dict:
        """What came of the recording; JSON-ready."""
        used = self.used
        return {
            "recording": self.bag.path.name,
            "episodes": len(self.stretches),
            "timesteps": len(used),
            "left_out": len(self.times) - len(used),
            "cut_by_gaps": sum(not stretch.is_end for stretch in self.stretches),
            "lost": int(self.bag.info.get("num_lost", 0)),
            "skew": alignment.skew({name: age[used] for name, age in self.ages.items()}),
        }


def plan(bag: Bag, spec: Spec, topics: Mapping[str, str]) -> Plan:
    """Finds the topics and the timesteps; see `bag_topics.find`, whose errors it raises.

    Our recorder's actions bear the stamp of the state they answer and make the timesteps. With
    another's commands the timesteps are `control_timestep` apart, and the action is the command
    that was newest before the next timestep.
    """
    sources = bag_topics.find(bag, spec, topics)
    stamps = _stamps(bag, sources.topics)
    starts = stamps.pop(EPISODE_START, np.zeros(0, np.int64))
    actions = stamps.pop(ACTION)
    period = round(spec.control_timestep * 1e9)
    if bag_topics.is_ours(bag):
        times, answers = alignment.action_times(actions, period)
        acting = answers, (times - actions[answers]) / 1e9
    else:
        times = alignment.grid(stamps | {ACTION: actions}, period)
        number, age = alignment.newest(actions, times + period - 1)
        acting = number, np.maximum(age - spec.control_timestep, 0)
    aligned = {name: alignment.newest(value, times) for name, value in stamps.items()}
    aligned[ACTION] = acting
    ages = {name: age for name, (_, age) in aligned.items()}
    limits = dict.fromkeys(stamps, alignment.MAX_AGE)
    limits[ACTION] = (alignment.MAX_HOLD + 0.5) * spec.control_timestep
    stretches = alignment.stretches(times, ages, limits, period, starts)
    picks = {name: number for name, (number, _) in aligned.items()}
    return Plan(bag, spec, sources, times, picks, ages, stretches)


def episodes(plan: Plan, task: str, unknown_is_success: bool) -> Iterator[Episode]:
    """Episodes with what the recorder noted: task, objects, source and success.

    task: in words, where the recording says none. An episode that a gap cut short is no success.
    Raises ValueError naming the recording and the time of a message that does not fit.
    """
    info, name = plan.bag.info, plan.bag.path.name
    succeeded = {"true": True, "false": False}.get(info.get("success", ""), unknown_is_success)
    shown = {key: info[key] for key in bag_topics.OBJECTS if key in info}
    steps = timesteps(plan)
    for number, stretch in enumerate(plan.stretches):
        parts = [next(steps) for _ in stretch.indices]
        success = succeeded and stretch.is_end
        reward = np.zeros(len(parts), np.float32)
        reward[-1] = success
        yield Episode(
            {key: np.stack([part[0][key] for part in parts]) for key in plan.spec.observation},
            np.stack([part[1] for part in parts]),
            reward,
            task=info.get("task") or task,
            source=info.get("source") or "recording",
            seed=zlib.crc32(f"{name}/{number}".encode()),
            success=success,
            info={"recording": name, "part": number, **shown},
        )


def timesteps(plan: Plan) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray]]:
    """Observation and action of each used timestep; a message is dropped after its last use."""
    used, topics = plan.used, plan.sources.topics
    picks = {role: number[used].tolist() for role, number in plan.picks.items()}
    last = {role: dict(zip(numbers, range(len(used)))) for role, numbers in picks.items()}
    roles: dict[str, list[str]] = {}  # by topic
    for role in picks:
        roles.setdefault(topics[role], []).append(role)
    wanted = {topic: {n for role in those for n in last[role]} for topic, those in roles.items()}
    waiting: dict[str, dict[int, object]] = {role: {} for role in picks}
    controller, step = Controller(), 0
    for topic, number, message in plan.bag.messages(wanted):
        for role in roles[topic]:
            if number in last[role]:
                waiting[role][number] = message
        while step < len(used) and all(picks[role][step] in waiting[role] for role in picks):
            messages = {role: waiting[role][numbers[step]] for role, numbers in picks.items()}
            yield _timestep(plan, messages, controller, int(plan.times[used[step]]))
            for role, numbers in picks.items():
                if last[role][numbers[step]] == step:
                    del waiting[role][numbers[step]]
            step += 1
    assert step == len(used), (step, len(used))


def _timestep(
    plan: Plan, messages: Mapping[str, object], controller: Controller, time: int
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    sources = plan.sources
    try:
        observation, _ = ingest.observation(
            messages, plan.spec, controller, sources.gripper, sources.crops
        )
        return observation, bag_topics.action_values(messages[ACTION], plan.spec.action)
    except ValueError as error:
        raise ValueError(f"{plan.bag.path}: at {time / 1e9:.3f} s: {error}") from error


def _stamps(bag: Bag, topics: Mapping[str, str]) -> dict[str, np.ndarray]:
    """Times (n,) of each role's messages on the robot's clock. Raises ValueError without one."""
    times = bag.times(set(topics.values()))
    reference = times[topics[ingest.JOINT_STREAM]]
    if (reference.stamps == NO_STAMP).any():
        raise ValueError(f"{bag.path}: joint_states: expected a stamp in each header, got 0")
    return {role: alignment.on_robot_clock(times[t], reference) for role, t in topics.items()}
