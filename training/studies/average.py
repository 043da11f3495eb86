"""Averages the weights of checkpoints fine-tuned from the same ones: `gato average`.

A "model soup" (Wortsman et al. 2022, arXiv 2203.05482): fine-tuned from common weights, networks
lie in one basin, and their mean often generalizes better than each. It costs nothing to act with.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import tyro

from gato_core import checkpoint
from gato_core.embodiment import Embodiment
from gato_core.tools.bench import commit
from gato_training.run_log import card, origin


@dataclass(frozen=True)
class AverageConfig:
    """Averages the weights of checkpoints that were trained from the same ones.

    example: gato average --checkpoints outputs/train/{a,b}/checkpoints/last --out outputs/mean
    """

    checkpoints: tuple[Path, ...]
    """Checkpoint folders of one size, one action mode and one robot."""
    out: Path
    """Folder of the new checkpoint."""
    shares: tuple[float, ...] = ()
    """Of each checkpoint; equal ones, if not given."""
    temperature: float = 0.0
    """At which `gato evaluate` and the robot draw its actions by default; 0: the likeliest."""

    def __post_init__(self) -> None:
        if len(self.checkpoints) < 2:
            raise ValueError(f"checkpoints: expected two or more, got {len(self.checkpoints)}")
        if self.shares and len(self.shares) != len(self.checkpoints):
            raise ValueError(f"shares: expected {len(self.checkpoints)}, got {len(self.shares)}")
        if self.shares and not (min(self.shares) >= 0 and 0 < sum(self.shares) < math.inf):
            raise ValueError(f"shares: expected none below 0 and one above, got {self.shares}")
        if not 0 <= self.temperature < math.inf:
            raise ValueError(f"temperature: expected 0 or more, got {self.temperature}")


def average(config: AverageConfig) -> dict:
    """Writes the checkpoint and returns a summary.

    Raises ValueError for checkpoints of other sizes or another robot, naming what differs, and
    what `checkpoint.load` raises for a damaged one.
    """
    loaded = [checkpoint.load(path) for path in config.checkpoints]
    _check_alike(config.checkpoints, loaded)
    wanted = config.shares or (1.0,) * len(loaded)
    shares = [share / sum(wanted) for share in wanted]
    states = [one.model.state_dict() for one in loaded]
    first = loaded[0]
    first.model.load_state_dict(
        {
            name: sum(share * state[name] for share, state in zip(shares, states, strict=True))
            for name in states[0]
        }
    )
    provenance = {
        "command": origin.command(),
        "averaged": [
            {
                "path": str(path),
                "share": share,
                "weights_sha256": checkpoint.read(path)["weights_sha256"],
                "provenance": one.provenance,
            }
            for path, share, one in zip(config.checkpoints, shares, loaded, strict=True)
        ],
        "data": _data([one.provenance for one in loaded]),
        "commit": commit(),
    }
    checkpoint.save(
        config.out,
        first.model,
        [replace(each, temperature=config.temperature) for each in first.embodiments.values()],
        provenance,
        beside=lambda folder: (folder / card.FILE).write_text(_card(config.out, provenance)),
    )
    return {"out": str(config.out), "shares": shares}


def _check_alike(paths: Sequence[Path], loaded: Sequence[checkpoint.Checkpoint]) -> None:
    first = loaded[0]
    for path, other in zip(paths[1:], loaded[1:], strict=True):
        differences = _body_differences(first.embodiments, other.embodiments)
        if first.model.config != other.model.config:
            differences = [f"sizes {other.model.config}, not {first.model.config}", *differences]
        if differences:
            raise ValueError(f"{path} is unlike {paths[0]}:\n  " + "\n  ".join(differences))


def _body_differences(
    ours: Mapping[str, Embodiment], theirs: Mapping[str, Embodiment]
) -> list[str]:
    if ours.keys() != theirs.keys():
        return [f"embodiments: expected {sorted(ours)}, got {sorted(theirs)}"]
    lines = []
    for name, body in ours.items():
        lines += body.spec.differences(theirs[name].spec)
        same = replace(theirs[name], spec=body.spec, temperature=body.temperature)
        if same != body:
            lines.append(f"{name}: expected {body}, got {theirs[name]}")
    return lines


def _data(provenances: Sequence[dict]) -> list[dict]:
    """What any of them was trained on, each dataset once and at its longest."""
    longest: dict[tuple, dict] = {}
    for provenance in provenances:
        for part in provenance.get("data", []):
            key = part["path"], *part.get("triplets", [])  # folders of one name differ by them
            if key not in longest or part["timesteps"] > longest[key]["timesteps"]:
                longest[key] = part
    return list(longest.values())


def _card(path: Path, provenance: dict) -> str:
    rows = [
        (f"`{part['path']}`", f"{part['share']:.3g}", part["weights_sha256"][:12])
        for part in provenance["averaged"]
    ]
    sections = [
        f"# {path.name}",
        "The mean of the weights of checkpoints that grew from the same ones. This page was "
        "written by `gato average`; how each was made is kept in `config.json` beside it.",
        card.table(("checkpoint", "share", "weights (SHA-256)"), rows),
        f"```\n{provenance['command']}\n```",
        "## Success rate",
        "Not measured yet. To measure it:",
        f"```\ngato evaluate --checkpoint {path}\n```",
    ]
    return "\n\n".join(sections) + "\n"


def main() -> int:
    try:
        print(json.dumps(average(tyro.cli(AverageConfig))))
    except (ValueError, OSError) as error:
        print(f"gato average: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
