"""Edits of datasets: a new one made of stretches of the episodes of others.

An edit is planned first, as pieces and lines that say what will differ, and carried out then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from gato_core.data import edits_resample as resample
from gato_core.data import motion
from gato_core.data.atomic import replacing_folder
from gato_core.data.edits_select import Selection, listed
from gato_core.data.features import ACTION, STATE, state_slices
from gato_core.data.metadata import read_history
from gato_core.data.storage import lock
from gato_core.dataset import Dataset, DatasetWriter
from gato_core.episode import Episode
from gato_core.spec import Continuous, Spec

ORIGIN = "origin"  # in an episode's info: the dataset and episode it was copied from first


@dataclass(frozen=True)
class Piece:
    """Timesteps [start, stop) of an episode of the n-th source, and what is said of it anew."""

    source: int
    episode: int
    start: int
    stop: int
    task: str | None = None
    success: bool | None = None


@dataclass(frozen=True)
class Edit:
    """What will be written, nothing of it yet.

    outputs: {folder below `out`, "" for `out` itself: pieces}. joining: how the actions of one
    timestep become one where a source is faster than `spec`. lines: what changes, for people.
    """

    command: str
    options: Mapping
    sources: tuple[Dataset, ...]
    spec: Spec
    outputs: Mapping[str, Sequence[Piece]]
    lines: Sequence[str]
    joining: str | None = None


def keep(dataset: Dataset, selection: Selection, *, others: bool = False) -> Edit:
    """The chosen episodes, or with `others` all but them. Raises ValueError if none would stay."""
    chosen = set(selection.of(dataset))
    stay = [i for i in range(dataset.num_episodes) if (i in chosen) != others]
    go = sorted(set(range(dataset.num_episodes)) - set(stay))
    if not stay:
        raise ValueError(f"{dataset.root}: expected episodes that stay, got none")
    lines = [f"{len(stay)} of {dataset.num_episodes} episodes stay", f"go: {listed(go)}"]
    return _edit(
        "delete" if others else "keep", selection.told(), dataset, _whole(dataset, stay), lines
    )


def split(dataset: Dataset, parts: Mapping[str, str], seed: int) -> Edit:
    """A dataset for each part. Shares are drawn at random, ranges `first:stop` as they stand."""
    chosen = _parts(dataset, parts, seed)
    outputs = {name: _whole(dataset, numbers) for name, numbers in chosen.items()}
    lines = [f"{name}: {len(n)} episodes: {listed(n)}" for name, n in chosen.items()]
    left = sorted(set(range(dataset.num_episodes)) - {i for n in chosen.values() for i in n})
    lines += [f"in no part: {listed(left)}"] if left else []
    options = {"parts": dict(parts), "seed": seed}
    return Edit("split", options, (dataset,), dataset.spec, outputs, lines)


def trim(dataset: Dataset, still: float, lead: int) -> Edit:
    """Without the timesteps before anything moves; `lead` of them stay.

    still: share of a dimension's limits that counts as no movement, of state and action alike.
    """
    if not 0 <= still < 1 or lead < 0:
        raise ValueError(f"still, lead: expected 0 <= still < 1 and lead >= 0, got {still}, {lead}")
    pieces, idle = [], []
    cut: dict[int, int] = {}
    for i, length in enumerate(dataset.lengths.tolist()):
        start = motion.first_motion(_vectors(dataset, i), still)
        if start == length:
            idle.append(i)
            start = 0
        start = max(0, start - lead)
        cut |= {i: start} if start else {}
        pieces.append(Piece(0, i, start, length))
    total = sum(cut.values())
    lines = [f"{total} of {dataset.num_timesteps} timesteps go, from {len(cut)} episodes"]
    lines += [f"episode {i}: the first {n} timesteps go" for i, n in cut.items()]
    lines += [f"nothing moves in, and they stay whole: {listed(idle)}"] if idle else []
    return _edit("trim", {"still": still, "lead": lead}, dataset, pieces, lines)


def relabel(dataset: Dataset, selection: Selection, task: str | None, success: bool | None) -> Edit:
    """Another task or success for the chosen episodes; rewards of 0 and 1 follow the success."""
    if task is None and success is None:
        raise ValueError("task, success: expected one of them to set, got neither")
    chosen, lines = set(selection.of(dataset)), []
    pieces = _whole(dataset, range(dataset.num_episodes))
    for i in sorted(chosen):
        row, asked = dataset.rows[i], {"task": task, "success": success}
        said: dict = {k: v for k, v in asked.items() if v not in (None, row[f"gato/{k}"])}
        pieces[i] = replace(pieces[i], **said)
        lines += [f"episode {i}: {k}: {row[f'gato/{k}']!r} becomes {v!r}" for k, v in said.items()]
    if not lines:
        raise ValueError(f"{dataset.root}: expected something to change, got labels that it has")
    options = selection.told() | {"set_task": task, "set_success": success}
    return _edit("relabel", options, dataset, pieces, lines)


def merge(
    datasets: Sequence[Dataset], rate: float | None, joining: str | None, widen_limits: bool
) -> Edit:
    """All episodes of all datasets, one after the other, at one rate.

    rate: Hz, the slowest of theirs without it. joining: see resample.joined. widen_limits: takes
    the widest of their limits where these differ.
    Raises ValueError listing every other difference of their Specs.
    """
    if len(datasets) < 2:
        raise ValueError(f"merge: expected at least two datasets, got {len(datasets)}")
    if rate is not None and not 0 < rate < np.inf:
        raise ValueError(f"rate: expected above 0 Hz, got {rate}")
    slowest = max(dataset.spec.control_timestep for dataset in datasets)
    timestep = slowest if rate is None else 1 / rate
    if timestep < slowest * (1 - 1e-6):
        raise ValueError(f"rate: expected at most {1 / slowest:g} Hz, which all have, got {rate:g}")
    specs = [replace(dataset.spec, control_timestep=timestep) for dataset in datasets]
    spec = _widest(specs) if widen_limits else specs[0]
    for dataset, one in zip(datasets, [_widest([s, spec]) if widen_limits else s for s in specs]):
        if differences := spec.differences(one):
            raise ValueError(
                f"{dataset.root}: unlike {datasets[0].root}:\n  " + "\n  ".join(differences)
            )
    lines, pieces = [], []
    for n, dataset in enumerate(datasets):
        pieces += [replace(p, source=n) for p in _whole(dataset, range(dataset.num_episodes))]
        lines.append(f"{dataset.root}: {dataset.num_episodes} episodes")
        if dataset.spec.control_timestep < timestep * (1 - 1e-6):
            how = resample.joining(spec.action, joining)
            own = 1 / dataset.spec.control_timestep
            lines.append(f"  from {own:g} to {1 / timestep:g} Hz, actions joined by {how}")
    lines += _shared(datasets)
    if joining is not None and not any(
        d.spec.control_timestep < timestep * (1 - 1e-6) for d in datasets
    ):
        raise ValueError(f"actions: expected nothing, for the rate of none changes, got {joining}")
    options = {"rate": rate, "actions": joining, "widen_limits": widen_limits}
    return Edit("merge", options, tuple(datasets), spec, {"": pieces}, lines, joining)


def carry_out(edit: Edit, out: Path) -> dict[str, int]:
    """Writes the datasets, whole or not at all; {folder: episodes}.

    `out` is new, or one of the sources, which is then replaced in one step.
    Raises ValueError for another folder that is there, RuntimeError while another writes to it.
    """
    replaced = [d.root for d in edit.sources if out.exists() and d.root.samefile(out)]
    if out.exists() and (not replaced or set(edit.outputs) != {""}):
        raise ValueError(f"{out}: expected a new folder, or a source to replace, got another")
    locks = [lock(root) for root in replaced[:1]]
    try:
        with replacing_folder(out) as folder:
            for name, pieces in edit.outputs.items():
                _write(edit, pieces, folder / name)
    finally:
        for one in locks:
            one.close()
    return {str(out / name): len(pieces) for name, pieces in edit.outputs.items()}


def _vectors(dataset: Dataset, i: int) -> list[motion.Vector]:
    """(key, modality, values (T, n)) of an episode's state and action."""
    spec, numbers = dataset.spec, dataset.numbers(i)
    found: list[motion.Vector] = [(ACTION, spec.action, numbers[ACTION])]
    for key, part in state_slices(spec).items():
        modality = spec.observation[key]
        assert isinstance(modality, Continuous)
        found.append((key, modality, numbers[STATE][:, part]))
    return found


def _edit(command: str, options: Mapping, dataset: Dataset, pieces, lines: list[str]) -> Edit:
    return Edit(command, options, (dataset,), dataset.spec, {"": pieces}, lines)


def _whole(dataset: Dataset, numbers: Sequence[int]) -> list[Piece]:
    return [Piece(0, i, 0, int(dataset.lengths[i])) for i in numbers]


def _parts(dataset: Dataset, parts: Mapping[str, str], seed: int) -> dict[str, list[int]]:
    """{name: episodes}. Raises ValueError for shares above 1 in all, or ranges that overlap."""
    total = dataset.num_episodes
    if not parts:
        raise ValueError("parts: expected NAME=SHARE or NAME=FIRST:STOP, got none")
    if all(":" in text for text in parts.values()):
        if seed:
            raise ValueError(f"seed: expected 0, for ranges are not drawn, got {seed}")
        chosen = {name: Selection((text,)).of(dataset) for name, text in parts.items()}
        every = [i for numbers in chosen.values() for i in numbers]
        if len(set(every)) != len(every):
            raise ValueError(f"parts: expected ranges that do not overlap, got {dict(parts)}")
        return chosen
    try:
        shares = np.array([float(text) for text in parts.values()])
    except ValueError as error:
        raise ValueError(f"parts: expected all shares or all ranges, got {dict(parts)}") from error
    if not ((shares > 0).all() and shares.sum() <= 1 + 1e-9):
        raise ValueError(f"parts: expected shares above 0, 1 in all at most, got {dict(parts)}")
    order = np.random.default_rng(seed).permutation(total)
    ends = np.rint(np.cumsum([0, *shares]) * total).astype(int)
    chosen = {
        name: sorted(order[first:stop].tolist()) for name, first, stop in zip(parts, ends, ends[1:])
    }
    if empty := [name for name, numbers in chosen.items() if not numbers]:
        raise ValueError(f"parts: expected an episode in each, of {total}, got none in {empty}")
    return chosen


def _widest(specs: Sequence[Spec]) -> Spec:
    """The first, with the widest limits that any has for the same vector."""

    def widest(key: str | None, first: Continuous) -> Continuous:
        theirs = [one.action if key is None else one.observation.get(key) for one in specs]
        same = [m for m in theirs if isinstance(m, Continuous) and m.names == first.names]
        if len(same) < len(specs):
            return first
        low = tuple(map(min, *(m.low for m in same)))
        return replace(first, low=low, high=tuple(map(max, *(m.high for m in same))))

    observation = {
        key: widest(key, m) if isinstance(m, Continuous) else m
        for key, m in specs[0].observation.items()
    }
    action = specs[0].action
    action = widest(None, action) if isinstance(action, Continuous) else action
    return replace(specs[0], observation=observation, action=action)


def _shared(datasets: Sequence[Dataset]) -> list[str]:
    """What only some have, and what becomes of it."""
    lines = []
    kinds = [dataset.info["robot_type"] for dataset in datasets]
    if len(set(kinds)) > 1:
        lines.append(f"robot_type: {kinds}: the first stays")
    names: list[set[str]] = [set(dataset.privileged) for dataset in datasets]
    every, common = set.union(*names), set.intersection(*names)
    if lost := sorted(every - common):
        lines.append(f"privileged, not in all and left out: {', '.join(lost)}")
    has = [dataset.has_executed for dataset in datasets]
    if any(has) and not all(has):
        lines.append("executed: where nobody says, it is the action")
    return lines


def _write(edit: Edit, pieces: Sequence[Piece], root: Path) -> None:
    shared = set.intersection(*(set(d.privileged) for d in edit.sources))
    executed = any(dataset.has_executed for dataset in edit.sources)
    history = {
        "command": f"gato dataset {edit.command}",
        "options": dict(edit.options),
        "sources": [
            {
                "path": str(d.root.resolve()),
                "episodes": d.num_episodes,
                "history": read_history(d.root),
            }
            for d in edit.sources
        ],
    }
    kind = edit.sources[0].info["robot_type"]
    with DatasetWriter(root, edit.spec, robot_type=kind, history=[history]) as writer:
        for piece in pieces:
            episode = _episode(edit, piece)
            episode.privileged = {k: v for k, v in episode.privileged.items() if k in shared}
            if executed and episode.executed is None:
                episode.executed = episode.action
            writer.add(episode)


def _episode(edit: Edit, piece: Piece) -> Episode:
    dataset = edit.sources[piece.source]
    episode = dataset.read(piece.episode, piece.start, piece.stop)
    number = dataset.rows[piece.episode]["episode_index"]
    origin = {"dataset": str(dataset.root.resolve()), "episode": number}
    episode.info = {ORIGIN: origin} | episode.info
    if piece.start:
        episode.info["trimmed"] = episode.info.get("trimmed", 0) + piece.start
    for name in ("task", "success"):
        if (said := getattr(piece, name)) is not None:
            before = episode.info.get("relabelled", {})
            episode.info["relabelled"] = {name: getattr(episode, name)} | before
            setattr(episode, name, said)
    if piece.success is not None:
        episode.reward = _rewards(episode.reward, piece.success)
    if dataset.spec.control_timestep < edit.spec.control_timestep * (1 - 1e-6):
        how = resample.joining(edit.spec.action, edit.joining)
        ratio = edit.spec.control_timestep / dataset.spec.control_timestep
        episode = resample.resampled(episode, ratio, how)
    return episode


def _rewards(reward: np.ndarray, success: bool) -> np.ndarray:
    """Rewards of 0 and 1 as they are with this outcome; others stay."""
    if not np.isin(reward, (0, 1)).all():
        return reward
    if not success:
        return np.zeros_like(reward)
    last = np.zeros_like(reward)
    last[-1] = 1
    return reward if reward.any() else last
