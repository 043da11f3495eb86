"""The model card of a checkpoint: sizes, data, command, hardware, held-out figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from gato_core.embodiment import Embodiment
from gato_core.model import ModelConfig
from gato_core.spec import Spec

FILE = "README.md"


def card(path: Path, sizes: ModelConfig, bodies: Sequence[Embodiment], provenance: Mapping) -> str:
    """Markdown, from what config.json of the checkpoint at `path` keeps too."""
    train, name = provenance["train"], path.parent.parent.name
    begun = f"the weights of `{train['init_from']}`" if train["init_from"] else "fresh weights"
    sections = [
        f"# {name}, step {provenance['step']}",
        f"A Gato policy ({_size(sizes)}), trained from {begun}. This page was written by "
        "`gato train`; every figure in it is kept in `config.json` beside it.",
        "## What it sees and does",
        *(part for body in bodies for part in _body(body)),
        *_words(path, sizes, provenance["data"]),
        "## Data",
        table(
            ("dataset", "episodes", "successes", "timesteps", "objects", "physics"),
            [_data_row(part) for part in provenance["data"] if "documents" not in part],
        ),
        *_documents(provenance["data"]),
        f"{100 * train['held_out']:g} % of the episodes were held out"
        + (f"; {train['few_shot']} of the rest were used" if train.get("few_shot") else "")
        + ("." if train["successes_only"] else "; failures were trained on too."),
        "## How it was made",
        f"```\n{provenance['command']}\n```",
        table(("what", "value"), _making(provenance)),
        "## Held-out figures",
        held_out_table(provenance["measured"]),
        *(_success(path) if bodies else []),
        "## Limits",
        "Trained and measured on the data named above and on nothing else. Held-out "
        "figures say how well demonstrations are imitated, not how often the task succeeds.",
    ]
    return "\n\n".join(sections) + "\n"


def _body(body: Embodiment) -> list[str]:
    """What an embodiment sees and does."""
    spec, seen = body.spec, "seen" if body.sees_past_actions else "hidden"
    return [
        f"### {body.name}",
        table(("key", "modality", "unit", "dimensions"), _modalities(spec)),
        f"One action every {spec.control_timestep:g} s, {spec.tokens_per_timestep} tokens a "
        f"timestep, {body.context_timesteps} timesteps of context, action mode "
        f"`{body.action_mode}`, past actions {seen}.",
    ]


def _words(path: Path, sizes: ModelConfig, data: Sequence[Mapping]) -> list[str]:
    """What it says, if it learned from documents."""
    if not any("documents" in part for part in data):
        return []
    return [
        "### Words",
        f"Learned from text and images, in a vocabulary of {sizes.vocabulary}:",
        f"```\ngato caption PICTURE --checkpoint {path}\n```",
    ]


def _success(path: Path) -> list[str]:
    return [
        "## Success rate",
        "Not measured yet. To measure it:",
        f"```\ngato evaluate --checkpoint {path}\n```",
    ]


def table(head: tuple[str, ...], rows: list[tuple]) -> str:
    """A Markdown table."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def held_out_table(measured: Mapping[str, float]) -> str:
    """Figures of the held-out episodes, or a sentence that there are none."""
    if not measured:
        return "None: no episode was held out, or the run ended before the first measurement."
    rows = [(name.removeprefix("held_out/"), f"{value:.4g}") for name, value in measured.items()]
    return table(("figure", "value"), rows)


def _size(sizes: ModelConfig) -> str:
    return (
        f"{sizes.num_layers} layers, width {sizes.width}, {sizes.num_heads} heads, "
        f"{sizes.positions} positions"
    )


def _modalities(spec: Spec) -> list[tuple]:
    rows = []
    for key, modality in {**spec.observation, "action": spec.action}.items():
        names = ", ".join(getattr(modality, "names", ())) or "x".join(map(str, modality.shape))
        rows.append((f"`{key}`", type(modality).__name__, getattr(modality, "unit", ""), names))
    return rows


def _data_row(part: Mapping) -> tuple:
    names = [", ".join(part.get(name, [])) or "not said" for name in ("triplets", "physics")]
    return (f"`{part['path']}`", part["episodes"], part["successes"], part["timesteps"], *names)


def _documents(data: Sequence[Mapping]) -> list[str]:
    rows = [(f"`{part['path']}`", part["documents"]) for part in data if "documents" in part]
    return [table(("text and images", "documents"), rows)] if rows else []


def _making(provenance: Mapping) -> list[tuple]:
    train, versions = provenance["train"], provenance["versions"]
    return [
        ("updates", provenance["step"]),
        ("sequences an update", train["batch_size"] * train["accumulate"]),
        ("timesteps", provenance["num_timesteps"]),
        ("hours", f"{provenance['seconds'] / 3600:.3f}"),
        ("seed", train["seed"]),
        ("precision", train["precision"]),
        ("hardware", provenance["machine"]),
        ("versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
        ("commit", provenance.get("commit") or "not known"),
    ]
