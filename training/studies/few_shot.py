"""Few-shot curves, the paper's protocol: success over demonstrations, `gato few-shot`.

For each series and size, a run of `gato train` on that many episodes and an evaluation of its last
checkpoint by `gato evaluate`. Appendix E; unlike there, the last checkpoint counts and not the best
of many, which would be chosen by what it is measured on.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import tyro

from gato_core.data.storage import read_json, write_json
from gato_core.dataset import Dataset
from gato_training.config import PRESETS, TrainConfig
from gato_training.sequences import split
from gato_training.studies import measure
from gato_training.train import take_preset, train

Evaluate = Callable[[Path, str], dict]
MATTERS_NOT = ("threads", "prefetch", "memory_gb", "log_every", "keep", "tensorboard", "device")
PAPER_SIZES = (1, 3, 5, 10, 100, 1000)


@dataclass(frozen=True)
class FewShotConfig:
    """Fine-tunes on few and on more demonstrations, evaluates each, and draws the curve.

    The same command continues where it was stopped. --preset chooses the training options, which
    all stand after `--train.`; size 0 is the checkpoint as it is.

    example: gato few-shot --train.init-from checkpoints/control --train.data datasets/mine
        --train.steps 500 --sizes 0 1 10 100 --series 2 --suite blue-on-green --physics stable
    """

    train: TrainConfig
    """Of every run, but for name, output, episodes and seed."""
    sizes: tuple[int, ...] = (0, *PAPER_SIZES)
    """Numbers of demonstrations."""
    series: int = 3
    """Draws of nested subsets; each run's seed is its series' number."""
    suite: str = "skill-generalization"
    """Of `gato evaluate`."""
    episodes: int = 20
    """Evaluated of each task of the suite; the paper's points are 50."""
    physics: str = "stable"
    max_steps: int = 400
    """Control steps of an episode."""
    workers: int = 1
    """Processes of an evaluation."""
    beside: tuple[Path, ...] = ()
    """Folders of other evaluations, such as the expert's, drawn as lines."""
    name: str = "few-shot"
    output: Path = Path("outputs/few-shot")

    def __post_init__(self) -> None:
        if not self.train.init_from:
            raise ValueError("train.init-from: expected a checkpoint to fine-tune, got none")
        if not self.sizes or min(self.sizes) < 0 or len(set(self.sizes)) < len(self.sizes):
            raise ValueError(f"sizes: expected different numbers >= 0, got {self.sizes}")
        for name in ("series", "episodes", "max_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")

    @property
    def folder(self) -> Path:
        return self.output / self.name


def few_shot(config: FewShotConfig, evaluate: Evaluate | None = None) -> dict:
    """Runs what is missing; returns the points of the curve. Raises KeyboardInterrupt if stopped.

    evaluate: from a checkpoint and a name for its results to their summary; `gato evaluate`'s.
    Raises ValueError for a folder that was made with other options, or too few demonstrations.
    """
    evaluate = evaluate or partial(_by_gato, config)
    _check_options(config)
    _check_sizes(config)
    points: list[dict] = []
    for series in range(config.series):
        for size in sorted(config.sizes):
            if size or series == 0:
                points.append(_point(config, size, series, evaluate))
                _write(config, points)
                print(_line(points[-1]), flush=True)
    return read_json(config.folder / "few_shot.json")


def _point(config: FewShotConfig, size: int, series: int, evaluate: Evaluate) -> dict:
    """Trains on `size` episodes and evaluates, or finds it done."""
    name = f"{size}-{series}"
    checkpoint = Path(config.train.init_from)
    if size:
        options = replace(
            config.train,
            name=name,
            output=str(config.folder / "train"),
            few_shot=size,
            few_shot_series=series,
            seed=series,
            resume=True,
        )
        trained = train(options)
        if not trained["finished"]:
            raise KeyboardInterrupt
        checkpoint = Path(trained["checkpoint"])
    measured = evaluate(checkpoint, name)
    found, provenance = measured["all"]["success_end"], measured["checkpoint_provenance"]
    return {
        "size": size,
        "series": series,
        "rate": found["rate"],
        "interval": found["wilson"],
        "successes": found["successes"],
        "episodes": found["episodes"],
        "ever": measured["all"]["success_ever"]["rate"],
        "held_out_loss": provenance.get("measured", {}).get("held_out/loss") if size else None,
    }


def _by_gato(config: FewShotConfig, checkpoint: Path, name: str) -> dict:
    suite = measure.Suite(
        config.suite, config.episodes, config.physics, config.max_steps, config.workers
    )
    return measure.by_gato(suite, checkpoint, config.folder / "evaluate", name)


def _write(config: FewShotConfig, points: list[dict]) -> None:
    """The points as JSON, and as a picture where matplotlib is installed."""
    write_json(config.folder / "few_shot.json", {"options": _options(config), "points": points})
    summaries = [read_json(folder / "summary.json") for folder in config.beside]
    lines = {s["policy"]: s["all"]["success_end"]["rate"] for s in summaries}
    try:
        from gato_training.run_log import pictures
    except ModuleNotFoundError as error:
        print(f"no picture: {error.name} is not installed", file=sys.stderr)
        return
    title = f"{config.suite}, {config.physics} physics, {config.episodes} episodes a task"
    pictures.few_shot(points, lines, title, config.folder / "few_shot.png")


def _options(config: FewShotConfig) -> dict:
    """What the points depend on."""
    kept = dataclasses.asdict(config)
    for name in ("name", "output", "beside", "workers", "sizes", "series"):
        del kept[name]
    for name in MATTERS_NOT:
        del kept["train"][name]
    return json.loads(json.dumps(kept))


def _check_options(config: FewShotConfig) -> None:
    path = config.folder / "few_shot.json"
    if path.exists():
        check_same(config.folder, read_json(path)["options"], _options(config))


def check_same(folder: Path, stored: dict, options: dict) -> None:
    """Raises ValueError where a folder's results were made with other options."""
    for name, value in options.items():
        if stored.get(name) != value:
            raise ValueError(
                f"{folder}: expected {name} {stored.get(name)!r} as before, got {value!r}; "
                "choose another --name"
            )


def _check_sizes(config: FewShotConfig) -> None:
    """Before hours of work on the smaller ones."""
    check_available("sizes", config.sizes, config.train)


def check_available(name: str, sizes: Sequence[int], train: TrainConfig) -> None:
    """Raises ValueError for more demonstrations than can be drawn from the data."""
    datasets = [Dataset(path, memory_gb=0.0) for path in train.data]
    there = sum(map(len, split(datasets, train.held_out, train.successes_only)[0]))
    if max(sizes) > there:
        raise ValueError(
            f"{name}: expected at most the {there} episodes that are not held out, got {max(sizes)}"
        )


def _line(point: dict) -> str:
    low, high = point["interval"]
    return (
        f"{point['size']} demonstrations, series {point['series']}: {100 * point['rate']:.0f} % "
        f"({100 * low:.0f}-{100 * high:.0f}) of {point['episodes']}"
    )


def main(arguments: list[str] | None = None) -> int:
    """Returns 0; 1 with a message for bad data or flags; 130 if stopped. The last line is JSON."""
    try:
        preset, rest = take_preset(sys.argv[1:] if arguments is None else arguments, "finetune")
        default = FewShotConfig(replace(PRESETS[preset], init_from="checkpoints/control"))
        config = tyro.cli(FewShotConfig, default=default, args=rest, prog="gato few-shot")
        result = few_shot(config)
    except KeyboardInterrupt:
        print("stopped; the same command continues", file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        print(f"gato few-shot: {error}", file=sys.stderr)
        return 1
    print(json.dumps({"curve": str(config.folder / "few_shot.json"), "points": result["points"]}))
    return 0
