"""Trains and evaluates one network after another, each once: few-shot curves and ablations."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open

from gato_core.data.storage import read_json, write_json
from gato_core.dataset import Dataset
from gato_training.config import LOCAL, TrainConfig, changed, differences
from gato_training.sequences import split
from gato_training.studies import baseline
from gato_training.studies.measure import Suite, by_gato
from gato_training.train import train

Evaluate = Callable[[Path, str, list], dict]


@dataclass(frozen=True)
class Point:
    """One network. options: how it is trained; a checkpoint's path, if it is there already.

    about: what is said of it in the results. evaluate: further flags of `gato evaluate`.
    """

    name: str
    options: Any
    about: Mapping = dataclasses.field(default_factory=dict)
    evaluate: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sweep:
    """Points and what they depend on, in a folder that keeps all of it.

    compare: the name of the point that the others are compared with, if any.
    """

    folder: Path
    options: Mapping
    points: Sequence[Point]
    suite: Suite
    compare: str | None = None

    def run(self, show: Callable[[dict], str], evaluate: Evaluate | None = None) -> dict:
        """Runs what is missing; returns {"options": ..., "points": [...]}, as results.json has it.

        show: from the results so far, after each point, to a line about the last one.
        evaluate: from a checkpoint, a name for its results and further flags to their summary;
        `gato evaluate`'s.
        Raises KeyboardInterrupt if stopped, ValueError for a folder made with other options.
        """
        self._begin()
        results: dict = {"options": self.options, "points": []}
        for point in self.points:
            path = self.folder / "points" / f"{point.name}.json"
            if not path.exists():
                write_json(path, self._measure(point, evaluate or self._by_gato))
            results["points"].append({"name": point.name, **point.about, **read_json(path)})
            write_json(self.folder / "results.json", results)
            print(show(results), flush=True)
        return results

    def _begin(self) -> None:
        """Notes the options before anything runs. Raises ValueError where they were others."""
        path = self.folder / "options.json"
        options = json.loads(json.dumps(self.options))
        if path.exists() and (lines := differences(read_json(path)["options"], options)):
            raise ValueError(
                f"{self.folder}: made with other options; choose another --name:\n  "
                + "\n  ".join(lines)
            )
        names = [point.name for point in self.points]
        write_json(path, {"options": options, "points": names})

    def _measure(self, point: Point, evaluate: Evaluate) -> dict:
        """Trains and evaluates one network, or goes on with it."""
        checkpoint = point.options
        if not isinstance(checkpoint, Path):
            options = changed(
                point.options, name=point.name, output=str(self.folder / "train"), resume=True
            )
            trained = (train if isinstance(options, TrainConfig) else baseline.train)(options)
            if not trained["finished"]:
                raise KeyboardInterrupt
            checkpoint = Path(trained["checkpoint"])
        flags = list(point.evaluate)
        is_compared = self.compare not in (None, point.name)
        if is_compared:
            flags += ["--compare", str(self.folder / "evaluate" / self.compare)]
        found = evaluate(checkpoint, point.name, flags)
        made = found["checkpoint_provenance"]
        result = {name: found["all"][f"success_{name}"] for name in ("end", "ever")}
        result |= {name: made.get(name) for name in ("measured", "step", "seconds")}
        result |= {"parameters": num_parameters(checkpoint)}
        result |= {"milliseconds": found["latency_ms"]["p50"]}
        if is_compared:
            tests = found["comparison"]["tests"]
            result["against"] = tests.get("all") or next(iter(tests.values()))
        return result

    def _by_gato(self, checkpoint: Path, name: str, flags: list) -> dict:
        return by_gato(self.suite, checkpoint, self.folder / "evaluate", name, flags)


def num_parameters(checkpoint: Path) -> int:
    """Numbers in the policy's weights."""
    with safe_open(checkpoint / "model.safetensors", "numpy") as weights:
        return sum(weights.get_tensor(key).size for key in weights.keys())


def kept(options: Mapping, *growing: str) -> dict:
    """The flat options that results depend on; `growing` ones may differ from call to call."""
    free = {*LOCAL, *growing, "workers"}
    return {name: value for name, value in options.items() if name not in free}


def check_available(name: str, sizes: Sequence[int], train: TrainConfig) -> None:
    """Raises ValueError for more demonstrations than can be drawn from the data."""
    datasets = [Dataset(path, memory_gb=0.0) for path in train.data.folders]
    there = sum(map(len, split(datasets, train.data.held_out, train.data.successes_only)[0]))
    if max(sizes) > there:
        raise ValueError(
            f"{name}: expected at most the {there} episodes that are not held out, got {max(sizes)}"
        )


def percent(result: Mapping) -> str:
    """A rate with its interval."""
    low, high = (100 * bound for bound in result["wilson"])
    return f"{100 * result['rate']:.0f} ({low:.0f}-{high:.0f})"


def picture(name: str, *arguments: object) -> None:
    """Draws by a function of pictures.py, where matplotlib is installed."""
    try:
        from gato_training.run_log import pictures
    except ModuleNotFoundError as error:
        print(f"no picture: {error.name} is not installed", file=sys.stderr)
        return
    getattr(pictures, name)(*arguments)


def program(name: str, work: Callable[[], dict]) -> int:
    """Returns 0; 1 with a message for bad data or flags; 130 if stopped. The last line is JSON."""
    try:
        said = work()
    except KeyboardInterrupt:
        print("stopped; the same command continues", file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        print(f"gato {name}: {error}", file=sys.stderr)
        return 1
    print(json.dumps(said))
    return 0
