"""Recordings to episodes: the same observations that a live node makes of the same messages.

Two passes, so that memory holds one episode however long the recording: one for the stamps, one
for the messages that timesteps use.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gato_core.episode import Episode
from gato_core.importers.bags import FROM_ZERO, Bag
from gato_core.importers.clocks import Run
from gato_core.spec import Spec
from gato_ros.bags import alignment, streams
from gato_ros.bags import topics as bag_topics
from gato_ros.bags.alignment import Stretch
from gato_ros.bags.streams import Stream
from gato_ros.bags.topics import ACTION, EPISODE_START, Sources
from gato_ros.common import ingest
from gato_ros.common.reading import merged_joints
from gato_sim.arm.controller import Controller

SAME_START = 500_000_000  # ns between the begins of two runs of a clock that begins anew


@dataclass(frozen=True)
class Plan:
    """The timesteps of a recording and what they are made of.

    times: int64 (T,) ns. picks, ages: by role of the sources; see alignment. num_runs: of the
    robot's clock. warnings: what somebody should know who trains on it.
    """

    bag: Bag
    spec: Spec
    sources: Sources
    times: np.ndarray
    picks: dict[str, np.ndarray]
    ages: dict[str, np.ndarray]
    stretches: list[Stretch]
    num_runs: int
    warnings: list[str]

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
            "runs_of_the_clock": self.num_runs,
            "lost": self.bag.num_lost,
            "skew": alignment.skew({name: age[used] for name, age in self.ages.items()}),
        }


@dataclass(frozen=True)
class _Part:
    """The timesteps of one run of the clock, as in a Plan."""

    times: np.ndarray
    picks: dict[str, np.ndarray]
    ages: dict[str, np.ndarray]
    stretches: list[Stretch]


def plan(bag: Bag, spec: Spec, topics: Mapping[str, str]) -> Plan:
    """Finds the topics and the timesteps; see `bag_topics.find`, whose errors it raises.

    Our recorder's actions bear the stamp of the state they answer and make the timesteps. With
    another's commands the timesteps are `control_timestep` apart, and the action is the command
    that was newest before the next timestep. Each run of the robot's clock is aligned for itself.
    """
    sources = bag_topics.find(bag, spec, topics)
    found, clock, warnings = streams.find(bag, sources)
    parts = [_part(bag, spec, sources, found, number) for number in range(len(clock))]
    roles = [role for role in found if role != EPISODE_START]
    none = np.zeros(0, np.int64)
    first = np.cumsum([0, *(len(part.times) for part in parts)])
    return Plan(
        bag,
        spec,
        sources,
        np.concatenate([none, *(part.times for part in parts)]),
        {role: np.concatenate([none, *(part.picks[role] for part in parts)]) for role in roles},
        {role: np.concatenate([none, *(part.ages[role] for part in parts)]) for role in roles},
        [
            Stretch(one.indices + first[number], one.is_end and _is_over(clock, number, one, part))
            for number, part in enumerate(parts)
            for one in part.stretches
        ],
        len(clock),
        sources.warnings + warnings,
    )


def _is_over(clock: Sequence[Run], number: int, stretch: Stretch, part: _Part) -> bool:
    """Whether an episode had ended when the clock went back: the clock began anew at 0 or where it
    had begun before, as a simulator's does, and was not set back in the middle of it."""
    if stretch is not part.stretches[-1] or number + 1 == len(clock):
        return True
    begin, next_begin = int(clock[number].stamps.min()), int(clock[number + 1].stamps[0])
    return next_begin < FROM_ZERO * 1_000_000_000 or abs(next_begin - begin) < SAME_START


def _part(
    bag: Bag, spec: Spec, sources: Sources, found: Mapping[str, Stream], number: int
) -> _Part:
    """The timesteps of one run; none where a stream has no message."""
    chosen = {role: np.flatnonzero(stream.runs == number) for role, stream in found.items()}
    if not all(len(chosen[role]) for role in found if role != EPISODE_START):
        nothing = {role: np.zeros(0, np.int64) for role in found if role != EPISODE_START}
        return _Part(np.zeros(0, np.int64), nothing, nothing, [])
    stamps = {role: found[role].stamps[those] for role, those in chosen.items()}
    starts = stamps.pop(EPISODE_START, np.zeros(0, np.int64))
    actions = stamps.pop(ACTION)
    period = round(spec.control_timestep * 1e9)
    if bag_topics.is_ours(bag):
        times, answers = alignment.action_times(actions, period)
        acting = answers, (times - actions[answers]) / 1e9
    else:
        joints = stamps[next(iter(sources.joints))]
        times = alignment.grid(stamps | {ACTION: actions}, joints, period)
        place, age = alignment.newest(actions, times + period - 1)
        acting = place, np.maximum(age - spec.control_timestep, 0)
    aligned = {role: alignment.newest(value, times) for role, value in stamps.items()}
    aligned[ACTION] = acting
    ages = {role: age for role, (_, age) in aligned.items()}
    limits = dict.fromkeys(stamps, alignment.MAX_AGE)
    limits[ACTION] = (alignment.MAX_HOLD + 0.5) * spec.control_timestep
    stretches = alignment.stretches(times, ages, limits, period, starts)
    picks = {
        role: np.where(place < 0, -1, found[role].numbers[chosen[role][place]])
        for role, (place, _) in aligned.items()
    }
    return _Part(times, picks, ages, stretches)


def episodes(plan: Plan, task: str, unknown_is_success: bool) -> Iterator[Episode]:
    """Episodes with what the recorder noted: task, objects, source and success.

    task: in words, where the recording says none. An episode that a gap cut short is no success.
    Raises ValueError naming the recording and the time of a message that does not fit.
    """
    info, name = plan.bag.info, plan.bag.path.name
    succeeded = {"true": True, "false": False}.get(info.get("success", ""), unknown_is_success)
    shown = {key: info[key] for key in bag_topics.OBJECTS if key in info}
    task = info.get("task") or task
    steps = timesteps(plan, task)
    for number, stretch in enumerate(plan.stretches):
        parts = [next(steps) for _ in stretch.indices]
        success = succeeded and stretch.is_end
        reward = np.zeros(len(parts), np.float32)
        reward[-1] = success
        yield Episode(
            {key: np.stack([part[0][key] for part in parts]) for key in plan.spec.observation},
            np.stack([part[1] for part in parts]),
            reward,
            task=task,
            source=info.get("source") or "recording",
            seed=zlib.crc32(f"{name}/{number}".encode()),
            success=success,
            info={"recording": name, "part": number, **shown},
        )


def timesteps(plan: Plan, task: str = "") -> Iterator[tuple[dict[str, np.ndarray], np.ndarray]]:
    """Observation and action of each used timestep; a message is dropped after its last use.

    task: in words, which a policy may observe.
    """
    used, topics = plan.used, plan.sources.topics
    picks = {role: number[used].tolist() for role, number in plan.picks.items()}
    last = {role: dict(zip(numbers, range(len(used)))) for role, numbers in picks.items()}
    roles: dict[str, list[str]] = {}  # by topic
    for role in picks:
        roles.setdefault(topics[role], []).append(role)
    wanted = {topic: {n for role in those for n in last[role]} for topic, those in roles.items()}
    waiting: dict[str, dict[int, object]] = {role: {} for role in picks}
    controller, step = Controller(), 0
    latest = list(reversed(picks))  # the action, which mostly comes last, is asked for first
    for topic, number, message in plan.bag.messages(wanted):
        for role in roles[topic]:
            if number in last[role]:
                waiting[role][number] = message
        while step < len(used) and all(picks[role][step] in waiting[role] for role in latest):
            messages = {role: waiting[role][numbers[step]] for role, numbers in picks.items()}
            yield _timestep(plan, messages, controller, int(plan.times[used[step]]), task)
            for role, numbers in picks.items():
                if last[role][numbers[step]] == step:
                    del waiting[role][numbers[step]]
            step += 1
    assert step == len(used), (step, len(used))


def _timestep(
    plan: Plan, messages: Mapping[str, object], controller: Controller, time: int, task: str
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    sources = plan.sources
    if len(sources.joints) > 1:
        parts = [(group.joints, messages[role]) for role, group in sources.joints.items()]
        messages = {**messages, ingest.JOINT_STREAM: merged_joints(parts)}
    try:
        observation, _ = ingest.observation(
            messages, plan.spec, controller, sources.gripper, sources.crops, task
        )
        return observation, bag_topics.action_values(messages[ACTION], plan.spec.action)
    except ValueError as error:
        raise ValueError(f"{plan.bag.path}: at {time / 1e9:.3f} s: {error}") from error
