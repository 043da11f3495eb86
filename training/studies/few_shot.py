"""Few-shot curves, the paper's protocol: success over demonstrations, `gato few-shot`.

For each series and size, a run of `gato train` on that many episodes and an evaluation of its last
checkpoint by `gato evaluate`. Appendix E; unlike there, the last checkpoint counts and not the best
of many, which would be chosen by what it is measured on.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import tyro

from gato_core.data.storage import read_json
from gato_training.config import Flat, TrainConfig, changed, check, flat, take_preset
from gato_training.studies import sweep
from gato_training.studies.measure import Suite
from gato_training.studies.sweep import Evaluate, Point, Sweep

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
    on: Annotated[Suite, Flat] = Suite("skill-generalization", episodes=20)
    sizes: tuple[int, ...] = (0, *PAPER_SIZES)
    """Numbers of demonstrations."""
    series: int = 3
    """Draws of nested subsets; each run's seed is its series' number."""
    beside: tuple[Path, ...] = ()
    """Folders of other evaluations, such as the expert's, drawn as lines."""
    name: str = "few-shot"
    output: Path = Path("outputs/few-shot")

    def __post_init__(self) -> None:
        if not self.train.network.init_from:
            raise ValueError("train.init-from: expected a checkpoint to fine-tune, got none")
        if not self.sizes or min(self.sizes) < 0 or len(set(self.sizes)) < len(self.sizes):
            raise ValueError(f"sizes: expected different numbers >= 0, got {self.sizes}")
        check(self, "> 0", "series")

    @property
    def folder(self) -> Path:
        return self.output / self.name


def few_shot(config: FewShotConfig, evaluate: Evaluate | None = None) -> dict:
    """Runs what is missing; returns the points of the curve. Raises as `Sweep.run` does.

    Raises ValueError for too few demonstrations, before any is trained on.
    """
    sweep.check_available("sizes", config.sizes, config.train)
    own = ("few_shot", "few_shot_series", "seed")  # of each run
    options = sweep.kept(flat(config.train) | asdict(config.on), *own)
    found = Sweep(config.folder, options, points(config), config.on)

    def show(results: dict) -> str:
        summaries = [read_json(folder / "summary.json") for folder in config.beside]
        lines = {s["policy"]: s["all"]["success_end"]["rate"] for s in summaries}
        path = config.folder / "few_shot.png"
        sweep.picture("few_shot", results["points"], lines, config.on.title, path)
        last = results["points"][-1]
        return (
            f"{last['size']} demonstrations, series {last['series']}: "
            f"{sweep.percent(last['end'])} % of {last['end']['episodes']}"
        )

    return found.run(show, evaluate)


def points(config: FewShotConfig) -> list[Point]:
    """Series by series, each from few to many; the checkpoint as it is comes once."""
    result = []
    for series in range(config.series):
        for size in sorted(config.sizes):
            options = Path(config.train.network.init_from)
            if size:
                options = changed(config.train, few_shot=size, few_shot_series=series, seed=series)
            if size or series == 0:
                about = {"size": size, "series": series}
                result.append(Point(f"{size}-{series}", options, about))
    return result


def main(arguments: list[str] | None = None) -> int:
    """As `sweep.program`."""

    def work() -> dict:
        preset, rest = take_preset(sys.argv[1:] if arguments is None else arguments, "finetune")
        default = FewShotConfig(changed(preset, init_from="checkpoints/control"))
        config = tyro.cli(FewShotConfig, default=default, args=rest, prog="gato few-shot")
        found = few_shot(config)["points"]
        return {"curve": str(config.folder / "results.json"), "points": found}

    return sweep.program("few-shot", work)
