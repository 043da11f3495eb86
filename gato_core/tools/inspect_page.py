"""The page of `gato inspect --html`: one dataset in pictures, in a single file without scripts."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np

from gato_core.data import motion
from gato_core.data.features import ACTION
from gato_core.data.identity import repeated
from gato_core.data.storage import replacing
from gato_core.dataset import Dataset
from gato_core.spec import Image
from gato_core.tools.inspect_dataset import MOST, vectors

NUM_EPISODES = 24  # of which frames are shown, evenly spread
THUMBNAIL = 128  # pixels of the longer side
BINS = 48
WIDTH, HEIGHT = 240, 44  # of a histogram, in its own units
STYLE = """
:root { --ink: #1c2733; --soft: #66727f; --line: #d8dee4; --mark: #2f6fb0; --bad: #b3261e;
        --good: #2e7d32; --ground: #fff; }
body { font: 14px/1.5 system-ui, "DejaVu Sans", sans-serif; color: var(--ink); max-width: 1180px;
       margin: 2rem auto; padding: 0 1.5rem; background: var(--ground); }
h1 { font-size: 1.5rem; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 2.2rem 0 .6rem; border-bottom: 1px solid var(--line); }
p.note, .soft { color: var(--soft); }
table { border-collapse: collapse; }
td, th { padding: .15rem .8rem .15rem 0; text-align: left; vertical-align: middle; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
.badge { color: #fff; border-radius: 3px; padding: .1rem .5rem; font-size: .85rem; }
.facts { display: flex; flex-wrap: wrap; gap: .4rem 2.2rem; margin: 1rem 0; }
.facts b { display: block; font-size: 1.15rem; font-weight: 600; }
ul { margin: .3rem 0; padding-left: 1.2rem; } li.bad { color: var(--bad); }
.frames { display: flex; flex-wrap: wrap; gap: .7rem; }
figure { margin: 0; } figure div { display: flex; gap: 2px; }
figure img { display: block; height: 84px; image-rendering: pixelated; }
figcaption { font-size: .78rem; color: var(--soft); }
figcaption span { color: var(--bad); }
svg { display: block; } .scroll { overflow-x: auto; }
"""


def write_page(path: Path, found: dict, out: Path) -> None:
    """Writes the findings of `inspect` with pictures. Raises ValueError for other than datasets."""
    if found["kind"] != "dataset" or "dimensions" not in found:
        reason = f": {found['problems'][0]}" if found["problems"] else ""
        raise ValueError(f"html: expected a dataset that opens, got a {found['kind']}{reason}")
    dataset = Dataset(path, memory_gb=0.0)
    with replacing(out) as temporary:
        temporary.write_text("\n".join(page(dataset, found)), encoding="utf-8")


def page(dataset: Dataset, found: dict) -> Iterable[str]:
    """The page's parts, in order."""
    name = html.escape(str(dataset.root.resolve().name))
    yield f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{name}</title>'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<style>{STYLE}</style><body>"
    word, colour = ("sound", "good") if found["sound"] else ("UNSOUND", "bad")
    yield f'<h1>{name} <span class="badge" style="background:var(--{colour})">{word}</span></h1>'
    yield f'<div class="soft">{html.escape(str(dataset.root.resolve()))}</div>'
    yield _facts(found)
    yield _remarks(found)
    yield from _frames(dataset)
    yield from _dimensions(dataset, found)
    yield from _episodes(dataset, found)
    yield _list("Spec", map(html.escape, found["spec"]))
    if found["history"]:
        yield _list("Edits", (html.escape(str(one)) for one in found["history"]))
    yield "</body></html>"


def _facts(found: dict) -> str:
    successes = f"{found['successes']} of {found['episodes']}"
    facts = {
        "episodes": found["episodes"],
        "succeeded": successes,
        "timesteps": f"{found['timesteps']:,}",
        "hours": found["hours"],
        "Hz": found["frames_per_second"],
        "MB": found["megabytes"],
        "robot": found["robot_type"],
        "standing still": f"{100 * found.get('still', 0):.0f} %",
        "idle beginnings, timesteps": found.get("idle_timesteps", 0),
        "jumps": found.get("jumps", 0),
        "repeated episodes": found["repeated"],
    }
    cells = [f"<div><b>{html.escape(str(v))}</b>{k}</div>" for k, v in facts.items()]
    tables = [_counts(name, found[name]) for name in ("tasks", "sources")]
    return f'<div class="facts">{"".join(cells)}</div>{"".join(tables)}'


def _counts(title: str, counts: dict) -> str:
    order = sorted(counts.items(), key=lambda pair: -pair[1])
    rows = "".join(
        f'<tr><td>{html.escape(str(name)) or "<i>none said</i>"}<td class="n">{count}'
        for name, count in order[:MOST]
    )
    more = f"<tr><td>and {len(order) - MOST} more" if len(order) > MOST else ""
    return f"<details open><summary>{title}</summary><table>{rows}{more}</table></details>"


def _remarks(found: dict) -> str:
    lines = [f'<li class="bad">{html.escape(text)}' for text in found["problems"][:MOST]]
    if len(found["problems"]) > MOST:
        lines.append(f'<li class="bad">and {len(found["problems"]) - MOST} more problems')
    lines += [f"<li>{html.escape(text)}" for text in found["warnings"]]
    return f"<h2>Problems and warnings</h2><ul>{''.join(lines) or '<li>none'}</ul>"


def _frames(dataset: Dataset) -> Iterable[str]:
    """First and last frame of some episodes, for each camera."""
    cameras = [key for key, m in dataset.spec.observation.items() if isinstance(m, Image)]
    count = min(NUM_EPISODES, dataset.num_episodes)
    shown = np.unique(np.linspace(0, dataset.num_episodes - 1, count).round().astype(int)).tolist()
    pictures: dict[str, list[str]] = {key: [] for key in cameras}
    for i in shown if cameras else ():
        last = int(dataset.lengths[i]) - 1
        try:
            ends = [dataset.read(i, t, t + 1).observation for t in (0, last)]
        except ValueError as error:
            for key in cameras:
                pictures[key].append(f"<figure>{html.escape(str(error))}</figure>")
            continue
        mark = "succeeded" if dataset.rows[i]["gato/success"] else "<span>failed</span>"
        for key in cameras:
            images = "".join(f'<img alt="" src="{_data(one[key][0])}">' for one in ends)
            caption = f"<figcaption>{i}: {mark}, {last + 1} steps</figcaption>"
            pictures[key].append(f"<figure><div>{images}</div>{caption}</figure>")
    for key, figures in pictures.items():
        yield f"<h2>{html.escape(key)}: first and last frame</h2>"
        yield f'<div class="frames">{"".join(figures)}</div>'


def _dimensions(dataset: Dataset, found: dict) -> Iterable[str]:
    """A histogram of each number, with the Spec's limits, and what share of these it covers."""
    yield "<h2>What was seen and done, within the Spec's limits</h2>"
    yield (
        '<p class="note">Dashed lines are the limits; red is beyond them. Covered: from the 1st to '
        "the 99th percentile, as a share of the limits.</p>"
    )
    yield '<div class="scroll"><table><tr><th>dimension<th>values<th class="n">covered'
    yield '<th class="n">beyond<th class="n">min<th class="n">mean<th class="n">max<th>unit'
    for key, modality, values in vectors(dataset):
        for name, low, high, column in zip(modality.names, modality.low, modality.high, values.T):
            told = found["dimensions"][f"{key}/{name}"]
            finite = column[np.isfinite(column)]
            inner = np.quantile(finite, (0.01, 0.99)) if len(finite) else (low, low)
            covered = np.ptp(np.clip(inner, low, high)) / (high - low)
            numbers = "".join(f'<td class="n">{told[k]:.4g}' for k in ("min", "mean", "max"))
            yield f"<tr><td>{html.escape(f'{key}/{name}')}<td>{_histogram(finite, (low, high))}"
            yield f'<td class="n">{covered:.0%}<td class="n">{told["clipped"]:.2%}{numbers}'
            yield f"<td>{html.escape(modality.unit)}"
    yield "</table></div>"


def _episodes(dataset: Dataset, found: dict) -> Iterable[str]:
    """Lengths, standing still, jumps and repetitions."""
    ends, every = np.cumsum(dataset.lengths), vectors(dataset)
    observed = [one for one in every if one[0] != ACTION] or every
    yield "<h2>Episodes</h2><table>"
    yield f"<tr><td>length, timesteps<td>{_histogram(dataset.lengths)}<td>{_ends(dataset.lengths)}"
    if observed:
        shares = motion.standing(observed, ends)
        yield f"<tr><td>share standing still<td>{_histogram(shares)}<td>{_ends(shares)}"
    yield "</table>"
    jumps = motion.jumps(observed, ends)
    if jumps:
        yield f"<h3>Jumps: {len(jumps)}, the largest first</h3><table>"
        yield '<tr><th class="n">episode<th class="n">timestep<th>dimension<th class="n">from'
        yield '<th class="n">to'
        for jump in jumps[:MOST]:
            yield f'<tr><td class="n">{jump.episode}<td class="n">{jump.timestep}'
            yield f'<td>{html.escape(jump.dimension)}<td class="n">{jump.before:.4g}'
            yield f'<td class="n">{jump.after:.4g}'
        yield "</table>"
    if found["repeated"]:
        doubles = repeated(dataset)
        pairs = [f"episode {late} repeats {early}" for late, early in doubles.items()]
        more = [f"and {len(pairs) - MOST} more"] if len(pairs) > MOST else []
        yield _list("Repeated episodes", pairs[:MOST] + more)


def _histogram(values: np.ndarray, limits: tuple[float, float] | None = None) -> str:
    """An SVG of counts; between limits, and somewhat beyond if values are."""
    if not len(values):
        return "no finite value"
    values = values.astype(np.float64)
    least, most = float(values.min()), float(values.max())
    first, last = least, most
    low, high = limits or (least, most)
    if limits:
        first, last = min(low, max(least, 2 * low - high)), max(high, min(most, 2 * high - low))
    if not first < last:
        first, last = first - 0.5, last + 0.5
    counts, edges = np.histogram(np.clip(values, first, last), BINS, (first, last))
    bars = []
    for count, left in zip(counts, edges):
        if count:
            tall = max(
                1.0, (HEIGHT - 2) * np.sqrt(count / counts.max())
            )  # few are seen beside many
            middle = left + (edges[1] - edges[0]) / 2
            beyond = limits is not None and not low <= middle <= high
            x = WIDTH * (left - first) / (last - first)
            bars.append(
                f'<rect x="{x:.1f}" y="{HEIGHT - tall:.1f}" width="{WIDTH / BINS - 0.6:.1f}" '
                f'height="{tall:.1f}" fill="var(--{"bad" if beyond else "mark"})"/>'
            )
    for limit in limits or ():
        x = min(max(WIDTH * (limit - first) / (last - first), 0.5), WIDTH - 0.5)
        bars.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{HEIGHT}" stroke="var(--soft)" '
            'stroke-dasharray="3 2"/>'
        )
    label = f"histogram of {len(values)} values from {least:.4g} to {most:.4g}"
    return (
        f'<svg role="img" aria-label="{label}" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}">{"".join(bars)}</svg>'
    )


def _ends(values: np.ndarray) -> str:
    return f"{values.min():.4g} to {values.max():.4g}, median {np.median(values):.4g}"


def _list(title: str, lines: Iterable[str] | Sequence[str]) -> str:
    return f"<h2>{title}</h2><ul>{''.join(f'<li>{line}' for line in lines)}</ul>"


def _data(image: np.ndarray) -> str:
    """A picture as a URL of its own bytes: PNG, or JPEG where it is made smaller."""
    longest, kind = max(image.shape[:2]), "png"
    picture = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    if longest > THUMBNAIL:
        scale, kind = THUMBNAIL / longest, "jpeg"
        size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    data = cv2.imencode(f".{kind}", picture)[1].tobytes()
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
