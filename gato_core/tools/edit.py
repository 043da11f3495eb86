"""Merges, splits, trims, relabels and otherwise edits datasets: `gato dataset`."""

from __future__ import annotations

import json
import sys
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from gato_core.cli import told
from gato_core.data import edits, edits_restore, edits_statistics
from gato_core.data.edits import Edit
from gato_core.data.edits_select import Selection
from gato_core.dataset import Dataset

Dry = Annotated[bool, tyro.conf.arg(help="Say what would change and write nothing.")]
Out = Annotated[
    Path,
    tyro.conf.arg(help="A new folder, or the dataset itself, which is then replaced in one step."),
]
Chosen = tyro.conf.OmitArgPrefixes[Selection]


@dataclass(frozen=True)
class Merge:
    """All episodes of several datasets in one; their Specs must agree but for the rate.

    example: gato dataset merge datasets/mine datasets/yours --out datasets/both
    """

    datasets: Annotated[tuple[Path, ...], tyro.conf.Positional]
    out: Out
    rate: float | None = None
    """Hz; the slowest of theirs without it. Faster datasets keep every n-th timestep."""
    actions: Literal["mean", "last", "sum"] | None = None
    """How the actions between those become one: mean for velocities, last for targets, sum for
    differences. Velocities need no word."""
    widen_limits: bool = False
    """Take the widest of the limits where these differ, as drafts of a Spec do."""
    dry_run: Dry = False


@dataclass(frozen=True)
class Split:
    """Datasets of parts of the episodes, at random by share, or by number.

    example: gato dataset split datasets/mine --out datasets/parts --parts train=0.9 test=0.1
    """

    dataset: Annotated[Path, tyro.conf.Positional]
    out: Annotated[Path, tyro.conf.arg(help="A new folder of the datasets.")]
    parts: tuple[str, ...]
    """NAME=SHARE of each, or NAME=FIRST:STOP of each."""
    seed: int = 0
    dry_run: Dry = False


@dataclass(frozen=True)
class Keep:
    """Only the episodes that meet all conditions.

    example: gato dataset keep datasets/mine --out datasets/good --with-success yes
    """

    dataset: Annotated[Path, tyro.conf.Positional]
    out: Out
    chosen: Chosen = field(default_factory=Selection)
    dry_run: Dry = False


@dataclass(frozen=True)
class Delete:
    """All but the episodes that meet all conditions.

    example: gato dataset delete datasets/mine --out datasets/mine --episodes 3 7:9
    """

    dataset: Annotated[Path, tyro.conf.Positional]
    out: Out
    chosen: Chosen = field(default_factory=Selection)
    dry_run: Dry = False


@dataclass(frozen=True)
class Trim:
    """Without the beginning of each episode in which nothing moves.

    example: gato dataset trim datasets/mine --out datasets/brisk
    """

    dataset: Annotated[Path, tyro.conf.Positional]
    out: Out
    still: float = 0.01
    """Share of a dimension's limits that state and action may change by and count as still."""
    lead: int = 1
    """Timesteps that stay before the first movement."""
    dry_run: Dry = False


@dataclass(frozen=True)
class Relabel:
    """Another task or success for the episodes that meet all conditions.

    example: gato dataset relabel datasets/mine --out datasets/mine --episodes 4 --success yes
    """

    dataset: Annotated[Path, tyro.conf.Positional]
    out: Out
    task: str | None = None
    success: Literal["yes", "no"] | None = None
    """Rewards of 0 and 1 follow it."""
    chosen: Chosen = field(default_factory=Selection)
    dry_run: Dry = False


@dataclass(frozen=True)
class Statistics:
    """Recomputes meta/stats.json and the episodes' statistics, where they lie.

    example: gato dataset statistics datasets/mine
    """

    dataset: Annotated[Path, tyro.conf.Positional]
    dry_run: Dry = False


@dataclass(frozen=True)
class Restore:
    """Brings back, into a copy that another tool edited, gato.json and what our columns told.

    example: gato dataset restore edited_copy --original datasets/mine
    """

    dataset: Annotated[Path, tyro.conf.Positional]
    original: tuple[Path, ...]
    """The dataset or datasets that the copy was made of."""
    dry_run: Dry = False


Verb = Merge | Split | Keep | Delete | Trim | Relabel | Statistics | Restore
VERBS: dict[str, Callable[..., Verb]] = {one.__name__.lower(): one for one in typing.get_args(Verb)}


def run(config: Verb) -> dict:
    """Carries out a verb, or says what it would do. Raises ValueError, OSError or RuntimeError."""
    match config:
        case Statistics():
            dataset = Dataset(config.dataset, memory_gb=0.0)
            return edits_statistics.recompute(dataset, dry_run=config.dry_run)
        case Restore():
            return edits_restore.restore(config.dataset, config.original, dry_run=config.dry_run)
    edit = planned(config)
    for line in edit.lines:
        print(line)
    if config.dry_run:
        return {"dry_run": True, "episodes": {k: len(v) for k, v in edit.outputs.items()}}
    return {"out": edits.carry_out(edit, config.out)}


def planned(config: Verb) -> Edit:
    """What a verb will write. Raises ValueError naming what does not fit."""
    if isinstance(config, Merge):
        datasets = [Dataset(path, memory_gb=0.0) for path in config.datasets]
        return edits.merge(datasets, config.rate, config.actions, config.widen_limits)
    dataset = Dataset(config.dataset, memory_gb=0.0)
    match config:
        case Split():
            return edits.split(dataset, dict(_pair(text) for text in config.parts), config.seed)
        case Keep() | Delete():
            return edits.keep(dataset, config.chosen, others=isinstance(config, Delete))
        case Trim():
            return edits.trim(dataset, config.still, config.lead)
        case Relabel():
            success = {"yes": True, "no": False, None: None}[config.success]
            return edits.relabel(dataset, config.chosen, config.task, success)
    raise AssertionError(config)


def main() -> int:
    """What changes, then a line of JSON; 1 with a message for what does not fit."""
    config = tyro.extras.subcommand_cli_from_dict(VERBS, prog="gato dataset")
    try:
        print(json.dumps(run(config)))
    except (ValueError, KeyError, RuntimeError, OSError) as error:
        print(f"gato dataset: {told(error)}", file=sys.stderr)
        return 1
    return 0


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value) or "/" in name or name in (".", ".."):
        raise ValueError(f"parts: expected NAME=SHARE or NAME=FIRST:STOP, got {text!r}")
    return name, value
