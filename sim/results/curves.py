"""Inline SVG curves for a report: share of episodes that reached each stage, over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

WIDTH, HEIGHT = 900, 260
LEFT, RIGHT, TOP, BOTTOM = 50, 110, 10, 30  # margins for ticks and names
LEAST_GAP = 14  # between two names
COLORS = ("#9ca3af", "#60a5fa", "#3b82f6", "#10b981", "#f59e0b", "#ef4444")


def stage_curves(curves: Mapping[str, Sequence[float]], seconds_per_point: float) -> str:
    """An <svg> of the shares (0..1) of each stage over time, named at their ends."""
    number = max(len(values) for values in curves.values())
    seconds = (number - 1) * seconds_per_point

    def x(i: float) -> float:
        return LEFT + i / max(1, number - 1) * (WIDTH - LEFT - RIGHT)

    def y(share: float) -> float:
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    parts = []
    for share in (0, 0.25, 0.5, 0.75, 1):
        parts.append(f"<path d='M{LEFT} {y(share):.0f}H{WIDTH - RIGHT}' class=grid />")
        parts.append(_text(LEFT - 8, y(share) + 4, f"{100 * share:.0f} %", "end"))
    for tick in range(0, int(seconds) + 1, 5):
        i = tick / seconds_per_point
        parts.append(_text(x(i), HEIGHT - 8, f"{tick} s", "middle"))
    names = _apart({stage: y(values[-1]) for stage, values in curves.items()})
    for color, (stage, values) in zip(COLORS, curves.items()):
        points = " ".join(f"{x(i):.1f},{y(value):.1f}" for i, value in enumerate(values))
        parts.append(f"<polyline points='{points}' fill=none stroke='{color}' stroke-width=2 />")
        parts.append(_text(WIDTH - RIGHT + 8, names[stage] + 4, stage, "start", color))
    return f"<svg viewBox='0 0 {WIDTH} {HEIGHT}' role=img>{''.join(parts)}</svg>"


def _apart(heights: Mapping[str, float]) -> dict[str, float]:
    """The same heights, from the lowest on the page upwards, no two closer than a line of text."""
    placed, last = {}, HEIGHT + LEAST_GAP
    for name, height in sorted(reversed(heights.items()), key=lambda item: -item[1]):
        last = placed[name] = min(height, last - LEAST_GAP)
    return placed


def _text(x: float, y: float, text: str, anchor: str, color: str = "currentColor") -> str:
    return f"<text x={x:.0f} y={y:.0f} text-anchor={anchor} fill='{color}'>{text}</text>"
