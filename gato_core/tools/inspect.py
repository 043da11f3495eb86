"""Summarises a dataset, recording or checkpoint and lists its faults: `gato inspect`."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from gato_core.cli import told
from gato_core.importers.bags import recordings
from gato_core.importers.robomimic import SUFFIXES as HDF5_SUFFIXES
from gato_core.spec import summary
from gato_core.tools.inspect_bag import inspect_recordings
from gato_core.tools.inspect_dataset import inspect_dataset, megabytes
from gato_core.tools.inspect_foreign import inspect_demonstrations, inspect_lerobot
from gato_core.tools.inspect_page import write_page

if TYPE_CHECKING:
    from gato_core.baseline import Actor
    from gato_core.embodiment import Embodiment
    from gato_core.model import Gato


@dataclass(frozen=True)
class InspectConfig:
    """Says what is in a dataset, a recording or a checkpoint, and whether it is sound.

    Also in data of others, before `gato convert`: a LeRobot folder or robomimic's HDF5; and in
    documents: JSON lines, webdataset shards, captions of COCO, questions of VQAv2.

    example: gato inspect datasets/train
    """

    path: Annotated[Path, tyro.conf.Positional]
    """The folder of a dataset, of a checkpoint, of a recording or of several, of documents; or a
    file .mcap, .hdf5, .jsonl, .tar or .json."""
    html: Path | None = None
    """Also write this page with pictures: first and last frames, histograms, lengths, movement.
    Of datasets."""


def inspect(path: Path) -> dict:
    """What is there, with lists of `problems`, which make it unsound, and of `warnings`."""
    if not path.exists():
        return _unsound("nothing", f"{path}: expected a folder or a recording, got none")
    kind = "nothing"
    try:
        kind = _kind(path)
        if kind == "dataset":
            return inspect_dataset(path)
        if kind == "checkpoint":
            return inspect_checkpoint(path)
        if kind == "recording":
            return inspect_recordings(path)
        if kind == "lerobot":
            return inspect_lerobot(path)
        if kind == "hdf5":
            return inspect_demonstrations(path)
        if kind == "documents":
            from gato_core.tools.inspect_documents import inspect_documents  # the extra `text`

            return inspect_documents(path)
    except ModuleNotFoundError as error:
        extra = "text" if error.name in ("PIL", "sentencepiece") else "import"
        return _unsound(kind, f"{error.name} is not installed; the extra `{extra}` adds it")
    except (ValueError, KeyError, OSError) as error:
        return _unsound(kind, told(error))
    return _unsound(
        kind,
        f"{path}: expected meta/info.json, model.safetensors, metadata.yaml, .mcap, .hdf5, "
        ".jsonl, .tar or .json, got none",
    )


def _kind(path: Path) -> str:
    if (path / "meta").exists():
        return "dataset" if (path / "gato.json").exists() else "lerobot"
    if path.suffix in HDF5_SUFFIXES:
        return "hdf5"
    if (path / "model.safetensors").exists():
        return "checkpoint"
    if recordings(path):
        return "recording"
    from gato_core.text.sources import are_documents

    return "documents" if are_documents(path) else "nothing"


def inspect_checkpoint(path: Path) -> dict:
    """Sizes, embodiments, provenance; loading replays the golden samples, raises on a mismatch."""
    from gato_core import baseline, checkpoint  # torch: only where there is a network to look at

    network: Gato | Actor
    names: tuple[str, ...]
    about: dict
    if checkpoint.kind(path) == checkpoint.KIND:
        network, embodiments, provenance = checkpoint.load(path)
        names = ("num_layers", "width")
        about = {"embodiments": {name: described(each) for name, each in embodiments.items()}}
        vocabulary = network.config.vocabulary
        about["text"] = str(vocabulary) if vocabulary.num_text else "none"
    else:
        network, provenance = actor, _ = baseline.load(path)
        names, about = ("channels", "width", "num_components"), {"spec": summary(actor.spec)}
    return {
        "kind": "checkpoint",
        "sound": True,
        "problems": [],
        "warnings": [],
        "network": checkpoint.kind(path),
        "parameters": sum(p.numel() for p in network.parameters()),
        **{name.removeprefix("num_"): getattr(network.config, name) for name in names},
        "megabytes": megabytes(path),
        **about,
        "resumable": (path / "training_state").is_dir(),
        "provenance": provenance,
    }


def described(embodiment: Embodiment) -> dict:
    """What an embodiment is, JSON-ready, its Spec as lines for people."""
    return embodiment.to_dict() | {"spec": summary(embodiment.spec)}


def main() -> int:
    """Prints the findings and a last line of JSON; 1 if unsound."""
    config = tyro.cli(InspectConfig, prog="gato inspect")
    found = inspect(config.path)
    if config.html is not None:
        try:
            write_page(config.path, found, config.html)
        except (ValueError, OSError) as error:
            print(f"gato inspect: {error}", file=sys.stderr)
            return 1
    for line in report(found):
        print(line)
    print(json.dumps(found))
    return 0 if found["sound"] else 1


def report(found: dict) -> list[str]:
    """The findings as lines for people."""
    lines = []
    for key, value in found.items():
        if key == "spec":
            lines += ["spec:", *(f"  {line}" for line in value)]
        elif key == "embodiments":
            for name, each in value.items():
                lines.append(f"embodiment {name}:")
                lines += [f"  {field}: {x}" for field, x in each.items() if field != "spec"]
                lines += [f"  {line}" for line in each["spec"]]
        elif key == "topics":
            lines.append(f"  {'topic':<36} {'messages':>8} {'Hz':>7} {'silent s':>8}  type")
            lines += [_topic_row(name, topic) for name, topic in value.items()]
        elif key == "dimensions":
            lines.append(_row("dimension", ("low", "min", "mean", "std", "max", "high", "clipped")))
            lines += [_row(name, values.values()) for name, values in value.items()]
        elif key not in ("problems", "warnings", "sound"):
            lines.append(
                f"{key}: {value if isinstance(value, str | int | float) else json.dumps(value)}"
            )
    lines += [f"warning: {text}" for text in found["warnings"]]
    lines += [f"PROBLEM: {text}" for text in found["problems"]]
    return [*lines, "sound" if found["sound"] else "UNSOUND"]


def _unsound(kind: str, problem: str) -> dict:
    return {"kind": kind, "sound": False, "problems": [problem], "warnings": []}


def _topic_row(name: str, topic: dict) -> str:
    numbers = f"{topic['messages']:>8} {topic['hz']:>7} {topic['longest_silence_s']:>8}"
    return f"  {name:<36} {numbers}  {topic['type']}"


def _row(name: str, values) -> str:
    cells = [f"{v:>9}" if isinstance(v, str) else f"{v:>9.4g}" for v in values]
    return f"  {name:<28}" + " ".join(cells)
