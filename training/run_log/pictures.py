"""Plots: losses of a run, success over the number of demonstrations.

Needs matplotlib (`pip install .[plot]`); whoever calls decides what to do without it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure


def losses(log: Path, picture: Path) -> None:
    """Training and held-out loss over updates, from a run's log.jsonl."""
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="updates", ylabel="loss")
    for name, label, style in (("loss", "training", "-"), ("held_out/loss", "held out", "o-")):
        points = [(entry["step"], entry[name]) for entry in entries if name in entry]
        if points:
            axes.plot(*np.array(points).T, style, label=label, markersize=3, linewidth=1)
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(picture, dpi=120)


def few_shot(points: Sequence[Mapping], lines: Mapping[str, float], title: str, path: Path) -> None:
    """Success over demonstrations, as figures 9 and 10 of the paper.

    points: dicts of `size`, `series` and `end` (rate and wilson). Each is drawn with its
    interval, the mean over series as a line. lines: rates of others by name, drawn across.
    """
    sizes = sorted({point["size"] for point in points})
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot(xlabel="demonstrations", ylabel="success rate, %", title=title)
    all_series = sorted({point["series"] for point in points})
    for series in all_series:
        own = [point for point in points if point["series"] == series]
        aside = 0.07 * (series - all_series[-1] / 2)  # side by side, around the size's tick
        place = [sizes.index(point["size"]) + aside for point in own]
        rate = np.array([100 * point["end"]["rate"] for point in own])
        low, high = 100 * np.array([point["end"]["wilson"] for point in own]).T
        axes.errorbar(
            place, rate, [rate - low, high - rate], fmt="o", capsize=3, label=f"series {series}"
        )
    means = [
        100 * np.mean([p["end"]["rate"] for p in points if p["size"] == size]) for size in sizes
    ]
    axes.plot(range(len(sizes)), means, color="black", zorder=1, label="mean of series")
    for number, (name, rate) in enumerate(lines.items()):
        axes.axhline(100 * rate, linestyle="--", color=f"C{5 + number}", label=name)
    axes.set_xticks(range(len(sizes)), [str(size) for size in sizes])
    axes.set_ylim(-3, 103)
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


def ablations(groups: Mapping[str, Sequence[Mapping]], title: str, path: Path) -> None:
    """Success by choice, a panel for each group of choices.

    groups: points, dicts of `groups` (the point's label by group), `end` (rate and wilson) and
    `name`. The base stands in every group it belongs to, in black.
    """
    if not groups:
        return
    rows, columns = -(-len(groups) // 3), min(3, len(groups))
    figure = Figure(figsize=(3.4 * columns, 3.2 * rows), layout="constrained")
    for number, (group, points) in enumerate(groups.items()):
        axes = figure.add_subplot(rows, columns, number + 1, title=group)
        for place, point in enumerate(points):
            rate = 100 * point["end"]["rate"]
            low, high = (100 * bound for bound in point["end"]["wilson"])
            color = "black" if point["name"] == "base" else "C0"
            spread = [[rate - low], [high - rate]]
            axes.errorbar(place, rate, spread, fmt="o", capsize=4, color=color)
        axes.set_xticks(range(len(points)), [point["groups"][group] for point in points])
        axes.set_xlim(-0.5, len(points) - 0.5)
        axes.set_ylim(-3, 103)
        axes.set_ylabel("success at the end, %" if number % columns == 0 else "")
        axes.grid(alpha=0.3)
    figure.suptitle(title)
    figure.savefig(path, dpi=120, bbox_inches="tight")
