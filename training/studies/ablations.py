"""Ablations: networks that differ in one choice, trained alike: `gato ablations`.

Every run has the same seed, number of updates, timesteps in an update and held-out episodes, and
all are evaluated from the same initial states; McNemar's test says which differences are more than
chance.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from gato_core.embodiment import Embodiment
from gato_training.config import Flat, TrainConfig, changed, flat, take_preset
from gato_training.studies import sweep
from gato_training.studies.baseline import BaselineTrainConfig
from gato_training.studies.measure import Suite
from gato_training.studies.sweep import Evaluate, Point, Sweep

GROUPS = ("size", "demonstrations", "context", "prompt", "actions", "method")
GROWING = ("models", "demonstrations", "contexts", "methods")
BASE = "base"
LONG_CONTEXT = 6  # timesteps


@dataclass(frozen=True)
class AblationsConfig:
    """Trains and evaluates one network for each choice, and draws what came of them.

    --preset chooses the training options of the base, which all stand after `--train.`. The same
    command continues where it was stopped, and --only may grow.

    example: gato ablations --train.data datasets/train --train.steps 1200
    """

    train: TrainConfig
    """Of the base; every other run differs in one choice."""
    on: Annotated[Suite, Flat] = Suite("selection", episodes=40)
    only: tuple[str, ...] = GROUPS
    """Which choices: size, demonstrations, context, prompt, actions, method."""
    models: tuple[str, ...] = ("control-2m", "control-5m", "control-12m")
    demonstrations: tuple[int, ...] = (100, 300, 1000)
    """Beside all there are."""
    contexts: tuple[int, ...] = (1, 2, LONG_CONTEXT)
    """Timesteps; a batch has fewer sequences of more timesteps."""
    prompt_context: int = LONG_CONTEXT
    """Timesteps of context with a prompt, which takes half of them, and without."""
    methods: tuple[Literal["bc", "crr"], ...] = ("bc", "crr")
    """Baselines, on as many updates of as many timesteps."""
    name: str = "ablations"
    output: Path = Path("outputs/ablations")

    def __post_init__(self) -> None:
        network = self.train.network
        if not self.train.data.folders or network.init_from or not network.model:
            raise ValueError("train: expected data and a model, and no init-from, which fixes it")
        if unknown := set(self.only) - set(GROUPS):
            raise ValueError(f"only: expected some of {GROUPS}, got {sorted(unknown)}")
        for name in GROWING:
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise ValueError(f"{name}: expected different values, got {values}")
        if self.prompt_context < 2:
            raise ValueError(f"prompt_context: expected 2 or more, got {self.prompt_context}")

    @property
    def folder(self) -> Path:
        return self.output / self.name


def variants(config: AblationsConfig) -> list[Point]:
    """The base and, by choice, what differs from it; runs that several choices share come once.

    about: `groups`, what a run is called in the groups that it belongs to.
    """
    base, found = config.train, {}

    def add(group: str, label: str, name: str, options, evaluate: tuple[str, ...] = ()) -> None:
        name = BASE if options == base else name
        groups = found[name].about["groups"] if name in found else {}
        found[name] = Point(name, options, {"groups": groups | {group: label}}, evaluate)

    context = base.network.context_timesteps or Embodiment.context_timesteps

    def with_context(length: int) -> TrainConfig:
        if length == context:
            return base
        sequences = max(1, base.data.batch_size * context // length)
        return changed(base, context_timesteps=length, batch_size=sequences)

    for model in config.models:
        add("size", model.removeprefix("control-"), model, changed(base, model=model))
    for count in config.demonstrations:
        add("demonstrations", str(count), f"few-{count}", changed(base, few_shot=count))
    add("demonstrations", "all", BASE, base)
    for length in config.contexts:
        add("context", str(length), f"context-{length}", with_context(length))
    long, half = with_context(config.prompt_context), config.prompt_context // 2
    asked = ("--prompt", base.data.folders[0], "--prompt-timesteps", str(half), "--keep-prompt")
    add("prompt", "without", f"context-{config.prompt_context}", long)
    long = changed(long, prompt_fraction=0.25, prompt_timesteps=half)
    add("prompt", "with", "prompt", long, asked)
    for label, mode in (("at once", "parallel"), ("one by one", "autoregressive")):
        add("actions", label, mode, changed(base, action_mode=mode))
    add("method", "Gato", BASE, base)
    for method in config.methods:
        add("method", method.upper(), method, _baseline(base, method))
    chosen = [p for p in found.values() if p.name == BASE or {*p.about["groups"]} & {*config.only}]
    return sorted(chosen, key=lambda point: point.name != BASE)


def _baseline(base: TrainConfig, method: Literal["bc", "crr"]) -> BaselineTrainConfig:
    """Its own network and learning rate on the base's data; no side task, no prompts."""
    own, optimizer = BaselineTrainConfig(method), base.optimizer
    return replace(
        own,
        data=replace(base.data, auxiliary=0.0, prompt_fraction=0.0),
        optimizer=replace(
            own.optimizer, steps=optimizer.steps, hours=optimizer.hours, seed=optimizer.seed
        ),
        machine=replace(base.machine, threads=base.machine.threads or 1),
    )


def ablations(config: AblationsConfig, evaluate: Evaluate | None = None) -> dict:
    """Runs what is missing; returns the points. Raises as `Sweep.run` does.

    Raises ValueError for more demonstrations than there are, before any is trained on.
    """
    if "demonstrations" in config.only:
        sweep.check_available("demonstrations", config.demonstrations, config.train)
    own = {"prompt_context": config.prompt_context}
    options = sweep.kept(flat(config.train) | asdict(config.on) | own)
    found = Sweep(config.folder, options, variants(config), config.on, BASE)

    def show(results: dict) -> str:
        points, last = results["points"], results["points"][-1]
        (config.folder / "ablations.md").write_text(table(points))
        path = config.folder / "ablations.png"
        sweep.picture("ablations", grouped(points), config.on.title, path)
        called = ", ".join(f"{group} {label}" for group, label in last["groups"].items())
        return f"{called}: {sweep.percent(last['end'])} %"

    return found.run(show, evaluate)


def grouped(points: list[dict]) -> dict[str, list[dict]]:
    """Points by choice, where there is something to compare; by the number in their label."""
    groups = {group: [p for p in points if group in p["groups"]] for group in GROUPS}

    def place(label: str) -> tuple[float, str]:
        number = re.match(r"\d+", label)
        return float(number[0]) if number else math.inf, label

    return {
        group: sorted(row, key=lambda p: place(p["groups"][group]))
        for group, row in groups.items()
        if len(row) > 1
    }


def table(points: list[dict]) -> str:
    """Markdown: a row for each choice; errors are of held-out episodes."""
    lines = [
        "| choice | | success at the end, % | ever | won, lost against the base (p) "
        "| position error, mm | action error, % | M parameters | minutes | step, ms |",
        "|" + "---|" * 10,
    ]
    for group, row in grouped(points).items():
        lines += [f"| {group} | {point['groups'][group]} | {_cells(point)} |" for point in row]
    return "\n".join(lines) + "\n"


def _cells(point: Mapping) -> str:
    measured, test = point["measured"], point.get("against")
    errors = [value for key, value in measured.items() if key.startswith("held_out/error/")]
    position = measured.get("held_out/position_error")
    return " | ".join(
        (
            sweep.percent(point["end"]),
            f"{100 * point['ever']['rate']:.0f}",
            f"{test['only_first']}, {test['only_second']} ({test['p_value']:.2g})" if test else "",
            "" if position is None else f"{1000 * position:.1f}",
            f"{100 * sum(errors) / len(errors):.1f}" if errors else "",
            f"{point['parameters'] / 1e6:.1f}",
            f"{point['seconds'] / 60:.0f}",
            f"{point['milliseconds']:.1f}",
        )
    )


def main(arguments: list[str] | None = None) -> int:
    """As `sweep.program`."""

    def work() -> dict:
        preset, rest = take_preset(sys.argv[1:] if arguments is None else arguments, "control")
        options = {"context_timesteps": 1, "action_mode": "parallel", "steps": 1200}
        default = AblationsConfig(changed(preset, data=("datasets/train",), **options))
        config = tyro.cli(AblationsConfig, default=default, args=rest, prog="gato ablations")
        rates = {p["name"]: p["end"]["rate"] for p in ablations(config)["points"]}
        return {"page": str(config.folder / "ablations.md"), "success": rates}

    return sweep.program("ablations", work)
