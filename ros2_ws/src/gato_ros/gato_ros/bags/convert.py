"""Brings recordings and datasets of others into a dataset, and back: `gato convert`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro

from gato_core.data.features import state_slices
from gato_core.data.storage import write_json
from gato_core.dataset import Dataset, DatasetWriter
from gato_core.episode import Episode
from gato_core.importers import bags, draft_spec, lerobot
from gato_core.importers import robomimic as hdf5
from gato_core.spec import Continuous, Spec
from gato_ros.bags import alignment, reader
from gato_ros.bags import topics as bag_topics
from gato_sim.run.progress import Progress

BEYOND = 0.5  # of one dimension's values in an episode: the limits are in another unit


@dataclass(frozen=True)
class ConvertConfig:
    """Brings ROS 2 recordings, LeRobot datasets or robomimic's HDF5 into a dataset, or back.

    example: gato convert recordings/ datasets/mine
    """

    source: Annotated[Path, tyro.conf.Positional]
    """A recording or a folder of recordings, a LeRobot folder, an HDF5 file, or one of our
    datasets."""
    out: Annotated[Path, tyro.conf.Positional]
    """The dataset's folder, which may hold episodes already; with --to bag a folder of recordings;
    with --to spec a JSON file."""
    to: Literal["dataset", "bag", "spec"] = "dataset"
    """spec drafts what --spec wants from foreign data: fill in units, check limits and names."""
    spec: Path | None = None
    """The Spec as a JSON file, or a dataset or checkpoint that has it; our recorder's files bring
    their own."""
    topics: tuple[str, ...] = ()
    """Of a foreign recording: ROLE=TOPIC, the roles being joint_states, action and each camera."""
    task: str = ""
    """What was to be done, in words, where the source says nothing."""
    unknown_is_success: bool = False
    """Take recordings that do not say how they ended for successes."""
    robot_type: str = "robot"
    image_size: int = 64
    """Of a draft: pixels square."""


def convert(config: ConvertConfig) -> dict:
    """Converts and returns a summary; converting again adds only what is not there yet.

    Raises ValueError, FileNotFoundError or OSError naming what does not fit, expected and got.
    """
    kind = _kind(config.source)
    if config.to == "spec":
        return _draft(config, kind)
    if config.to == "bag":
        return _to_recordings(config, kind)
    if kind == "dataset":
        raise ValueError(f"{config.source}: expected foreign data, got a dataset of this project")
    spec = _spec(config, kind)
    reports: list[dict] = []
    with DatasetWriter(config.out, spec, robot_type=config.robot_type) as writer:
        there = {row["gato/info"] for row in writer.rows}
        total, episodes = _episodes(config, kind, spec, reports)
        progress, num_added = Progress(total), 0
        for done, episode in episodes:
            progress.done = done
            if json.dumps(episode.info) not in there:
                _add(writer, episode, spec)
                num_added += 1
            progress.show(f"{num_added} episodes added", last=done == total)
        num_episodes = writer.num_episodes
    if not num_episodes:
        raise ValueError(f"{config.source}: expected episodes, got none\n  {json.dumps(reports)}")
    summary = {"out": str(config.out), "added": num_added, "episodes": num_episodes}
    return summary | ({"recordings": reports} if reports else {})


def _add(writer: DatasetWriter, episode: Episode, spec: Spec) -> None:
    """Raises ValueError naming the episode that is unsound."""
    try:
        check_limits(episode, spec)
        writer.add(episode)
    except (ValueError, KeyError) as error:
        where = json.dumps(episode.info)
        raise ValueError(f"{where}: {error}; what came before it is in the dataset") from error


def check_limits(episode: Episode, spec: Spec) -> None:
    """Raises ValueError listing dimensions that are mostly beyond the Spec's limits."""
    problems = []
    keys = state_slices(spec)
    vectors = {key: (spec.observation[key], episode.observation[key]) for key in keys}
    if isinstance(spec.action, Continuous):
        vectors["action"] = (spec.action, episode.action)
    for key, (modality, values) in vectors.items():
        for name, low, high, value in zip(modality.names, modality.low, modality.high, values.T):
            beyond = np.mean((value < low) | (value > high))
            if beyond > BEYOND and not modality.mu_law:
                problems.append(
                    f"{key}/{name}: expected {low:g} to {high:g} {modality.unit}, got "
                    f"{value.min():g} to {value.max():g}, {beyond:.0%} beyond: another unit?"
                )
    if problems:
        raise ValueError(
            f"{json.dumps(episode.info)}: unlike the Spec:\n  " + "\n  ".join(problems)
        )


def _kind(source: Path) -> Literal["dataset", "lerobot", "hdf5", "bag"]:
    if (source / "meta/info.json").exists():
        return "dataset" if (source / "gato.json").exists() else "lerobot"
    if source.suffix in (".hdf5", ".h5"):
        return "hdf5"
    if source.exists() and bags.recordings(source):
        return "bag"
    raise FileNotFoundError(
        f"{source}: expected recordings (metadata.yaml or .mcap), a LeRobot v3 folder "
        "(meta/info.json) or a file .hdf5, got none of them"
    )


def _spec(config: ConvertConfig, kind: str) -> Spec:
    """As given, or as the first recording has it."""
    if config.spec is not None:
        return draft_spec.load(config.spec)
    if kind == "bag":
        with bags.Bag(bags.recordings(config.source)[0]) as bag:
            if (spec := bag_topics.recorded_spec(bag)) is not None:
                return spec
    raise ValueError(
        f"{config.source}: expected --spec, for the source does not say units and limits; "
        f"`gato convert {config.source} spec.json --to spec` writes a draft"
    )


def _episodes(
    config: ConvertConfig, kind: str, spec: Spec, reports: list[dict]
) -> tuple[int, Iterator[tuple[int, Episode]]]:
    """How many sources there are, and (sources begun, episode) of each in turn."""
    if kind == "bag":
        paths = bags.recordings(config.source)
        return len(paths), _recorded(config, paths, spec, reports)
    if kind == "hdf5":
        return hdf5.count(config.source), enumerate(hdf5.episodes(config.source, spec), 1)
    total = lerobot.count(config.source)
    return total, enumerate(lerobot.episodes(config.source, spec), 1)


def _recorded(
    config: ConvertConfig, paths: list[Path], spec: Spec, reports: list[dict]
) -> Iterator[tuple[int, Episode]]:
    topics = dict(_pair(text) for text in config.topics)
    for done, path in enumerate(paths, 1):
        with bags.Bag(path) as bag:
            plan = reader.plan(bag, spec, topics)
            reports.append(plan.report)
            for line in _warnings(bag, plan.report, config.unknown_is_success):
                print(f"warning: {path.name}: {line}", file=sys.stderr)
            for episode in reader.episodes(plan, config.task, config.unknown_is_success):
                yield done, episode


def _warnings(bag: bags.Bag, report: dict, unknown_is_success: bool) -> list[str]:
    """What somebody should know who takes this recording for a demonstration."""
    lines = []
    if not report["episodes"]:
        lines.append(f"no stretch of {alignment.MIN_TIMESTEPS} timesteps without a gap")
    if report["cut_by_gaps"]:
        lines.append(f"{report['cut_by_gaps']} episodes are cut short by silent streams")
    if report["lost"]:
        lines.append(f"{report['lost']} messages were lost while recording")
    if bag.info.get("success") not in ("true", "false") and not unknown_is_success:
        lines.append("it does not say whether it succeeded: a failure (--unknown-is-success)")
    return lines


def _pair(text: str) -> tuple[str, str]:
    role, equals, topic = text.partition("=")
    if not (role and equals and topic):
        raise ValueError(f"topics: expected ROLE=TOPIC, got {text!r}")
    return role, topic


def _draft(config: ConvertConfig, kind: str) -> dict:
    if kind == "lerobot":
        spec = lerobot.draft_spec(config.source, config.image_size)
    elif kind == "hdf5":
        spec = hdf5.draft_spec(config.source, config.image_size)
    else:
        raise ValueError(f"{config.source}: expected LeRobot or HDF5 to draft a Spec, got a {kind}")
    write_json(config.out, spec.to_dict())
    return {"out": str(config.out), "fill_in": f"units instead of {draft_spec.UNKNOWN!r}, limits"}


def _to_recordings(config: ConvertConfig, kind: str) -> dict:
    from gato_ros.bags import export

    if kind != "dataset":
        raise ValueError(f"{config.source}: expected a dataset of this project, got a {kind}")
    dataset = Dataset(config.source, memory_gb=0.0)
    progress = Progress(dataset.num_episodes)
    for i in range(dataset.num_episodes):
        folder = config.out / f"episode_{i:06d}"
        if not bags.is_bag(folder):
            export.write(folder, dataset.spec, dataset.episode(i))
        progress.done = i + 1
        progress.show("recordings written", last=i + 1 == dataset.num_episodes)
    return {"out": str(config.out), "recordings": dataset.num_episodes}


def main() -> int:
    """Prints a summary as JSON; 1 with a message for data that do not fit."""
    config = tyro.cli(ConvertConfig, prog="gato convert")
    try:
        print(json.dumps(convert(config)))
    except KeyboardInterrupt:
        print("stopped; the same command continues", file=sys.stderr)
        return 130
    except ModuleNotFoundError as error:
        print(
            f"gato convert: {error.name} is not installed; the extra `import` adds it",
            file=sys.stderr,
        )
        return 1
    except (ValueError, KeyError, RuntimeError, OSError) as error:
        print(f"gato convert: {error}", file=sys.stderr)
        return 1
    return 0
