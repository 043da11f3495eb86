"""Brings recordings and datasets of others into a dataset, and back: `gato convert`."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from gato_core.cli import told
from gato_core.data import identity
from gato_core.data.folder import EpisodeFiles
from gato_core.data.metadata import read_info
from gato_core.data.storage import write_json
from gato_core.dataset import Dataset, DatasetWriter
from gato_core.episode import Episode
from gato_core.importers import bags, draft_spec, lerobot
from gato_core.importers import robomimic as hdf5
from gato_core.importers.admission import Doubts, Present, check_limits, place
from gato_core.spec import PATCH_SIZE, Spec
from gato_ros.bags import alignment, reader
from gato_sim.run.progress import Progress


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
    with --to spec a new JSON file."""
    to: Literal["dataset", "bag", "spec"] = "dataset"
    """spec drafts what --spec wants from foreign data: fill in units, check limits and names."""
    spec: Path | None = None
    """The Spec as a JSON file, or a dataset or checkpoint that has it; our recorder's files bring
    their own."""
    topics: tuple[str, ...] = ()
    """Of a foreign recording: ROLE=TOPIC, the roles being joint_states, action and each camera."""
    task: str = ""
    """What was to be done, in words, for episodes of which the source says nothing."""
    unknown_is_success: bool = False
    """Take episodes whose source leaves open how they ended for successes."""
    robot_type: str | None = None
    """Of a new dataset; "robot" without it."""
    image_size: int | None = None
    """Of a draft: pixels square, a multiple of 16; 64 without it."""


OPTIONS = {  # that mean something, by what is written and what is read
    ("dataset", "bag"): {"spec", "topics", "task", "unknown_is_success", "robot_type"},
    ("dataset", "lerobot"): {"spec", "task", "unknown_is_success", "robot_type"},
    ("dataset", "hdf5"): {"spec", "task", "unknown_is_success", "robot_type"},
    ("spec", "lerobot"): {"image_size"},
    ("spec", "hdf5"): {"image_size"},
    ("bag", "dataset"): set(),
}
NAMES = {
    "bag": "a recording",
    "lerobot": "a LeRobot folder",
    "hdf5": "an HDF5 file",
    "dataset": "a dataset of this project",
    "spec": "a Spec",
}


def convert(config: ConvertConfig) -> dict:
    """Converts and returns a summary; converting again adds only what is not there yet.

    Raises ValueError, FileNotFoundError or OSError naming what does not fit, expected and got.
    """
    kind = _kind(config.source)
    _check_options(config, kind)
    if config.to == "spec":
        return _draft(config, kind)
    if config.to == "bag":
        return _to_recordings(config)
    spec = _spec(config, kind)
    _check_robot_type(config)
    reports: list[dict] = []
    with _opened(config, kind) as source:
        total, episodes = _episodes(config, source, spec, reports)
        first = list(itertools.islice(episodes, 1))  # what is refused at once leaves no folder
        if not first and not (config.out / "meta/info.json").exists():
            raise ValueError(
                f"{config.source}: expected episodes, got none\n  {json.dumps(reports)}"
            )
        with DatasetWriter(config.out, spec, robot_type=config.robot_type or "robot") as writer:
            there, doubts = Present(config.out, writer.rows), Doubts(spec)
            progress, num_added = Progress(total), 0
            for done, episode in itertools.chain(first, episodes):
                progress.done = done
                episode.task = episode.task or config.task
                episode.info |= {identity.CONTENT: identity.content(episode)}
                if not there.has(episode):
                    doubts.look_at(episode)
                    _add(writer, episode, spec)
                    num_added += 1
                progress.show(f"{num_added} episodes added", last=done == total)
            num_episodes = writer.num_episodes
    _warn([*there.told(config.out), *doubts.told()])
    summary = {"out": str(config.out), "added": num_added, "already_there": there.num_met}
    summary |= {"episodes": num_episodes}
    return summary | ({"recordings": reports} if reports else {})


def _add(writer: DatasetWriter, episode: Episode, spec: Spec) -> None:
    """Raises ValueError naming the episode that is unsound."""
    try:
        check_limits(episode, spec)
        writer.add(episode)
    except (ValueError, KeyError) as error:
        where = json.dumps(place(episode))
        raise ValueError(
            f"{where}: {told(error)}; what came before it is in the dataset"
        ) from error


def _check_options(config: ConvertConfig, kind: str) -> None:
    """Raises ValueError for what cannot be written from this, or an option without effect on it."""
    allowed = OPTIONS.get((config.to, kind))
    if allowed is None:
        fit = [NAMES[read] for written, read in OPTIONS if written == config.to]
        raise ValueError(
            f"{config.source}: expected {' or '.join(fit)} for --to {config.to}, got {NAMES[kind]}"
        )
    for field in dataclasses.fields(config):
        if field.name in ("source", "out", "to") or field.name in allowed:
            continue
        if (value := getattr(config, field.name)) != field.default:
            raise ValueError(
                f"{field.name}: expected nothing, for it has no effect on {NAMES[kind]} and --to "
                f"{config.to}, got {value}"
            )
    size = config.image_size
    if size is not None and (size <= 0 or size % PATCH_SIZE):
        raise ValueError(f"image_size: expected a multiple of {PATCH_SIZE}, got {size}")


def _check_robot_type(config: ConvertConfig) -> None:
    if config.robot_type is None or not (config.out / "meta/info.json").exists():
        return
    there = read_info(config.out)["robot_type"]
    if there != config.robot_type:
        raise ValueError(f"robot_type: expected {there!r} as {config.out} has, "
                         f"got {config.robot_type!r}")  # fmt: skip


def _check_task(config: ConvertConfig, said: list[str]) -> None:
    """Raises ValueError where every episode has a task of its own."""
    if config.task and all(said):
        raise ValueError(
            f"task: expected none, for {config.source} says it: {said[0]!r}; `gato dataset "
            f"relabel` changes it later, got {config.task!r}"
        )


def _kind(source: Path) -> Literal["dataset", "lerobot", "hdf5", "bag"]:
    if (source / "meta/info.json").exists():
        return "dataset" if (source / "gato.json").exists() else "lerobot"
    if source.suffix in hdf5.SUFFIXES:
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
            if (spec := bag.spec()) is not None:
                return spec
    raise ValueError(
        f"{config.source}: expected --spec, for the source does not say units and limits; "
        f"`gato convert {config.source} spec.json --to spec` writes a draft"
    )


@contextlib.contextmanager
def _opened(config: ConvertConfig, kind: str) -> Iterator[object]:
    """The source: paths of recordings, or an open folder or file, of which warnings are printed."""
    unknown = config.unknown_is_success
    if kind == "bag":
        yield bags.recordings(config.source)
    elif kind == "lerobot":
        files = EpisodeFiles(config.source, unknown_is_success=unknown)
        _warn(files.warnings)
        yield files
    else:
        with hdf5.DemonstrationFile(config.source, unknown_is_success=unknown) as file:
            _warn(file.warnings)
            yield file


def _episodes(
    config: ConvertConfig, source: object, spec: Spec, reports: list[dict]
) -> tuple[int, Iterator[tuple[int, Episode]]]:
    """How many sources there are, and (sources begun, episode) of each in turn.

    Raises ValueError where the source is unlike the Spec, as far as its heads tell.
    """
    if isinstance(source, EpisodeFiles):
        _check_task(config, [row["gato/task"] for row in source.rows])
        lerobot.sources(source, spec)
        return len(source.rows), enumerate(lerobot.episodes(source, spec), 1)
    if isinstance(source, hdf5.DemonstrationFile):
        hdf5.check(source, spec)
        source.task = config.task or source.task  # a name of a class is no instruction
        return len(source.demos), enumerate(hdf5.episodes(source, spec), 1)
    if config.task:
        tasks = []
        for path in source:
            with bags.Bag(path) as bag:
                tasks.append(bag.info.get("task", ""))
        _check_task(config, tasks)
    return len(source), _recorded(config, source, spec, reports)


def _recorded(
    config: ConvertConfig, paths: list[Path], spec: Spec, reports: list[dict]
) -> Iterator[tuple[int, Episode]]:
    topics = dict(_pair(text) for text in config.topics)
    for done, path in enumerate(paths, 1):
        with bags.Bag(path) as bag:
            plan = reader.plan(bag, spec, topics)
            reports.append(plan.report)
            lines = plan.warnings + _warnings(bag, plan.report, config.unknown_is_success)
            _warn(f"{path.name}: {line}" for line in lines)
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
    if config.out.exists():
        raise ValueError(f"{config.out}: expected a new file, got one that is there already")
    room = lerobot if kind == "lerobot" else hdf5
    with _opened(config, kind) as source:
        spec, warnings = room.draft_spec(source, config.image_size or 64)
    _warn(f"{config.source}: {line}" for line in warnings)
    write_json(config.out, spec.to_dict())
    summary = {
        "out": str(config.out),
        "fill_in": f"units instead of {draft_spec.UNKNOWN!r}, limits",
    }
    return summary | {"warnings": warnings}


def _to_recordings(config: ConvertConfig) -> dict:
    from gato_ros.bags import export

    dataset = Dataset(config.source, memory_gb=0.0)
    progress, there = Progress(dataset.num_episodes), []
    for i in range(dataset.num_episodes):
        folder = config.out / f"episode_{i:06d}"
        if bags.is_bag(folder):
            there.append(folder.name)
        else:
            export.write(folder, dataset.spec, dataset.episode(i))
        progress.done = i + 1
        progress.show("recordings written", last=i + 1 == dataset.num_episodes)
    if there:
        _warn([f"{len(there)} recordings were there already and stay: {there[0]}, ..."])
    written = dataset.num_episodes - len(there)
    return {"out": str(config.out), "written": written, "recordings": dataset.num_episodes}


def _warn(lines: Iterable[str]) -> None:
    for line in lines:
        print(f"warning: {line}", file=sys.stderr)


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
        print(f"gato convert: {told(error)}", file=sys.stderr)
        return 1
    return 0
