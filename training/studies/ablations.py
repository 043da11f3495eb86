"""Ablations: networks that differ in one choice, trained alike: `gato ablations`.

Every run has the same seed, number of updates, timesteps in an update and held-out episodes, and
all are evaluated from the same initial states; McNemar's test says which differences are more than
chance.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import tyro
from safetensors import safe_open

from gato_core.data.storage import read_json, write_json
from gato_training.config import PRESETS, TrainConfig
from gato_training.studies import baseline, measure
from gato_training.studies.baseline import BaselineTrainConfig
from gato_training.studies.few_shot import MATTERS_NOT, check_available, check_same
from gato_training.train import take_preset, train

Evaluate = Callable[[Path, str, list], dict]
GROUPS = ("size", "demonstrations", "context", "prompt", "actions", "method")
GROUPED = ("only", "models", "demonstrations", "contexts", "methods")  # options that may grow
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
    suite: str = "selection"
    """Of `gato evaluate`; never the test triplets, where results choose something."""
    episodes: int = 40
    """Evaluated of each task of the suite."""
    physics: str = "stable"
    max_steps: int = 400
    """Control steps of an episode."""
    workers: int = 1
    """Processes of an evaluation."""
    name: str = "ablations"
    output: Path = Path("outputs/ablations")

    def __post_init__(self) -> None:
        if not self.train.data or self.train.init_from or not self.train.model:
            raise ValueError("train: expected data and a model, and no init-from, which fixes it")
        if unknown := set(self.only) - set(GROUPS):
            raise ValueError(f"only: expected some of {GROUPS}, got {sorted(unknown)}")
        for name in GROUPED[1:]:
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise ValueError(f"{name}: expected different values, got {values}")
        if self.prompt_context < 2:
            raise ValueError(f"prompt_context: expected 2 or more, got {self.prompt_context}")

    @property
    def folder(self) -> Path:
        return self.output / self.name

    @property
    def measured_on(self) -> measure.Suite:
        return measure.Suite(self.suite, self.episodes, self.physics, self.max_steps, self.workers)


@dataclass(frozen=True)
class Variant:
    """One run. groups: what it is called in the groups that it belongs to."""

    name: str
    options: TrainConfig | BaselineTrainConfig
    groups: dict[str, str]
    evaluate: tuple[str, ...] = ()


def variants(config: AblationsConfig) -> list[Variant]:
    """The base and, by choice, what differs from it; runs that several choices share come once."""
    base, found = config.train, {}

    def add(group: str, label: str, name: str, options, evaluate: tuple[str, ...] = ()) -> None:
        name = BASE if options == base else name
        groups = found[name].groups if name in found else {}
        found[name] = Variant(name, options, groups | {group: label}, evaluate)

    def with_context(length: int) -> TrainConfig:
        sequences = max(1, base.batch_size * (base.context_timesteps or 1) // length)
        return replace(base, context_timesteps=length, batch_size=sequences)

    for model in config.models:
        add("size", model.removeprefix("control-"), model, replace(base, model=model))
    for count in config.demonstrations:
        add("demonstrations", str(count), f"few-{count}", replace(base, few_shot=count))
    add("demonstrations", "all", BASE, base)
    for length in config.contexts:
        add("context", str(length), f"context-{length}", with_context(length))
    long, half = with_context(config.prompt_context), config.prompt_context // 2
    asked = ("--prompt", base.data[0], "--prompt-timesteps", str(half), "--keep-prompt")
    add("prompt", "without", f"context-{config.prompt_context}", long)
    long = replace(long, prompt_fraction=0.25, prompt_timesteps=half)
    add("prompt", "with", "prompt", long, asked)
    for label, mode in (("at once", "parallel"), ("one by one", "autoregressive")):
        add("actions", label, mode, replace(base, action_mode=mode))
    add("method", "Gato", BASE, base)
    for method in config.methods:
        add("method", method.upper(), method, _baseline(base, method))
    chosen = [v for v in found.values() if v.name == BASE or set(v.groups) & set(config.only)]
    return sorted(chosen, key=lambda variant: variant.name != BASE)


def _baseline(base: TrainConfig, method: str) -> BaselineTrainConfig:
    names = ("data", "held_out", "batch_size", "steps", "seed", "memory_gb", "save_every")
    same = {name: getattr(base, name) for name in names}
    return BaselineTrainConfig(method=method, augment=None, threads=base.threads or 1, **same)


def ablations(config: AblationsConfig, evaluate: Evaluate | None = None) -> dict:
    """Runs what is missing; returns the points. Raises KeyboardInterrupt if stopped.

    evaluate: from a checkpoint, a name for its results and further options to their summary;
    `gato evaluate`'s. Raises ValueError for a folder that was made with other options, or more
    demonstrations than there are.
    """
    evaluate = evaluate or partial(_by_gato, config)
    _check_options(config)
    if "demonstrations" in config.only:
        check_available("demonstrations", config.demonstrations, config.train)
    for variant in variants(config):
        point = _point(config, variant, evaluate)
        write_json(config.folder / "points" / f"{variant.name}.json", point)
        points = _write(config)
        print(_line(point), flush=True)
    return points


def _by_gato(config: AblationsConfig, checkpoint: Path, name: str, extra: list) -> dict:
    return measure.by_gato(config.measured_on, checkpoint, config.folder / "evaluate", name, extra)


def _point(config: AblationsConfig, variant: Variant, evaluate: Evaluate) -> dict:
    """Trains and evaluates one network, or finds that done."""
    options = replace(
        variant.options, name=variant.name, output=str(config.folder / "train"), resume=True
    )
    trained = (train if isinstance(options, TrainConfig) else baseline.train)(options)
    if not trained["finished"]:
        raise KeyboardInterrupt
    checkpoint, extra = Path(trained["checkpoint"]), list(variant.evaluate)
    if variant.name != BASE:
        extra += ["--compare", str(config.folder / "evaluate" / BASE)]
    found = evaluate(checkpoint, variant.name, extra)
    point = {name: found["all"][f"success_{name}"] for name in ("end", "ever")}
    made = found["checkpoint_provenance"]
    point |= {"name": variant.name, "groups": variant.groups, "measured": made["measured"]}
    point |= {"parameters": num_parameters(checkpoint), "seconds": round(made["seconds"])}
    point |= {"updates": made["step"], "milliseconds": found["latency_ms"]["p50"]}
    if variant.name != BASE:
        tests = found["comparison"]["tests"]
        point["against_base"] = tests.get("all") or next(iter(tests.values()))
    return point


def num_parameters(checkpoint: Path) -> int:
    """Numbers in the policy's weights."""
    with safe_open(checkpoint / "model.safetensors", "numpy") as weights:
        return sum(weights.get_tensor(key).size for key in weights.keys())


def _write(config: AblationsConfig) -> dict:
    """All points so far as JSON, as a table, and as a picture where matplotlib is installed."""
    points = [read_json(path) for path in sorted((config.folder / "points").glob("*.json"))]
    result = {"options": _options(config), "points": points}
    write_json(config.folder / "ablations.json", result)
    (config.folder / "ablations.md").write_text(table(points))
    try:
        from gato_training.run_log import pictures
    except ModuleNotFoundError as error:
        print(f"no picture: {error.name} is not installed", file=sys.stderr)
        return result
    title = f"{config.suite}, {config.physics} physics, {config.episodes} episodes a task"
    pictures.ablations(grouped(points), title, config.folder / "ablations.png")
    return result


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


def _cells(point: dict) -> str:
    end, measured = point["end"], point["measured"]
    low, high = (100 * bound for bound in end["wilson"])
    errors = [value for key, value in measured.items() if key.startswith("held_out/error/")]
    position = measured.get("held_out/position_error")
    test = point.get("against_base")
    return " | ".join(
        (
            f"{100 * end['rate']:.0f} ({low:.0f}-{high:.0f})",
            f"{100 * point['ever']['rate']:.0f}",
            f"{test['only_first']}, {test['only_second']} ({test['p_value']:.2g})" if test else "",
            "" if position is None else f"{1000 * position:.1f}",
            f"{100 * sum(errors) / len(errors):.1f}" if errors else "",
            f"{point['parameters'] / 1e6:.1f}",
            f"{point['seconds'] / 60:.0f}",
            f"{point['milliseconds']:.1f}",
        )
    )


def _options(config: AblationsConfig) -> dict:
    """What the points depend on."""
    kept = dataclasses.asdict(config)
    for name in ("name", "output", "workers", *GROUPED):
        del kept[name]
    for name in MATTERS_NOT:
        del kept["train"][name]
    return json.loads(json.dumps(kept))


def _check_options(config: AblationsConfig) -> None:
    path = config.folder / "options.json"
    if path.exists():
        check_same(config.folder, read_json(path), _options(config))
    write_json(path, _options(config))


def _line(point: dict) -> str:
    low, high = (100 * bound for bound in point["end"]["wilson"])
    called = ", ".join(f"{group} {label}" for group, label in point["groups"].items())
    return f"{called}: {100 * point['end']['rate']:.0f} % ({low:.0f}-{high:.0f})"


def main(arguments: list[str] | None = None) -> int:
    """Returns 0; 1 with a message for bad data or flags; 130 if stopped. The last line is JSON."""
    try:
        preset, rest = take_preset(sys.argv[1:] if arguments is None else arguments, "control")
        default = replace(
            PRESETS[preset],
            data=("datasets/train",),
            context_timesteps=1,
            action_mode="parallel",
            steps=1200,
        )
        config = tyro.cli(
            AblationsConfig, default=AblationsConfig(default), args=rest, prog="gato ablations"
        )
        result = ablations(config)
    except KeyboardInterrupt:
        print("stopped; the same command continues", file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        print(f"gato ablations: {error}", file=sys.stderr)
        return 1
    folder, rates = config.folder, {p["name"]: p["end"]["rate"] for p in result["points"]}
    print(json.dumps({"page": str(folder / "ablations.md"), "success": rates}))
    return 0
