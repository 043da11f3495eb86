"""The report of an evaluation: Markdown, and one HTML file with its videos."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from html import escape
from pathlib import Path

from gato_sim.results.curves import stage_curves
from gato_sim.results.summary import CURVE_STEPS

CRITERION = (
    "Success is the benchmark's sparse reward at the last step: red's origin is within 5 cm of "
    "blue's sideways and more than 2 cm above it, red touches blue, and the robot does not touch "
    "red. Ever: at any step. Strict: at the end, and red touches neither basket nor green. "
    "Tasks that name other colours, such as blue_on_green, are counted by those."
)
_STYLE = """
:root { color-scheme: light dark; --line: #8884; --bar: #3b82f6; --bad: #d97706 }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 1000px; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2.2rem }
table { border-collapse: collapse; width: 100% } td, th { padding: .35rem .6rem; text-align: left;
border-bottom: 1px solid var(--line); font-variant-numeric: tabular-nums }
.bar { background: var(--bar); height: .8rem; border-radius: 2px }
.track { width: 100%; background: var(--line); border-radius: 2px }
.small { opacity: .75; font-size: .87rem } .scroll { overflow-x: auto }
.films { display: grid; grid-template-columns: repeat(auto-fit, minmax(420px, 1fr)); gap: 1.2rem }
figure { margin: 0 } video { width: 100%; border-radius: 4px; background: #000 }
svg text { font-size: 12px } .grid { stroke: var(--line) }
.failure { color: var(--bad); font-weight: 600 }
"""


def markdown(summary: Mapping) -> str:
    """The report as Markdown."""
    lines = [f"# {title(summary)}", "", conditions(summary), "", CRITERION, ""]
    lines += _markdown_table(*_rates(summary))
    lines += ["", f"## {_STAGES_TITLE}", "", *_markdown_table(*_stages(summary))]
    if summary["all"]["failures"]:
        lines += ["", "## Failures", "", *_markdown_table(*_failures(summary))]
    if "comparison" in summary:
        lines += ["", f"## Against {summary['comparison']['other']}", ""]
        lines += [f"- {line}" for line in _verdicts(summary)]
    lines += ["", f"Policy step: {latency(summary)}.", "", machine(summary)]
    return "\n".join(lines) + "\n"


def html(summary: Mapping, videos: Path) -> str:
    """The report as one HTML page; videos of the folder are embedded, so it opens anywhere."""
    parts = [
        f"<h1>{escape(title(summary))}</h1><p>{escape(conditions(summary))}</p>",
        _html_table(*_rates(summary)),
        f"<p class=small>{escape(CRITERION)}</p>",
        f"<h2>{_STAGES_TITLE}</h2>",
        stage_curves(summary["all"]["curves"], CURVE_STEPS * summary["control_timestep"]),
        *(_stage_bars(task, table) for task, table in _tables(summary).items()),
    ]
    if summary["all"]["failures"]:
        parts += ["<h2>Failures</h2>", _html_table(*_failures(summary))]
    if "comparison" in summary:
        parts.append(f"<h2>Against {escape(summary['comparison']['other'])}</h2>")
        parts += [f"<p>{escape(line)}</p>" for line in _verdicts(summary)]
    if summary["videos"]:
        films = "".join(_figure(entry, videos) for entry in summary["videos"])
        parts.append(f"<h2>Videos, failures first</h2><div class=films>{films}</div>")
    parts.append(f"<h2>Policy step</h2><p>{escape(latency(summary))}</p>")
    parts.append(f"<p class=small>{escape(machine(summary))}</p>")
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title(summary))}</title><style>{_STYLE}</style>"
        f"<body>{''.join(parts)}</body></html>"
    )


_STAGES_TITLE = "How far episodes came"


def title(summary: Mapping) -> str:
    """Who was measured on what."""
    return f"{summary['policy']} on {' '.join(summary['suite'])}"


def conditions(summary: Mapping) -> str:
    """One sentence: episodes, steps, physics, versions, sampling, weights."""
    versions = ", ".join(f"{name} {number}" for name, number in summary["versions"].items())
    text = (
        f"{summary['num_episodes']} episodes of {summary['max_steps']} steps in "
        f"{summary['physics']} physics ({versions})"
    )
    if summary["weights_sha256"]:
        released = summary["policy"] == "specialist"
        sampling = "sampled as released" if released else f"temperature {summary['temperature']:g}"
        text += f"; weights {summary['weights_sha256'][:12]}, {sampling}"
    if (delay := summary.get("delay_ms")) is not None:
        text += f"; actions late by {'what each took' if delay == 'measured' else f'{delay:g} ms'}"
    if words := summary.get("instruction"):
        text += f"; told: {words}"
    if prompt := summary.get("prompt"):
        text += (
            f"; episodes begin with {summary['prompt_timesteps']} timesteps of a demonstration of "
            f"{prompt}" + (", which stay in context" if summary["keep_prompt"] else "")
        )
    return text + f"; commit {summary['commit']}."


def latency(summary: Mapping) -> str:
    """Percentiles of the policy's step."""
    times = summary["latency_ms"]
    if not times:
        return "no step was timed"
    return (
        f"p50 {times['p50']} ms, p95 {times['p95']} ms, p99 {times['p99']} ms over "
        f"{times['num_steps']} steps, with the simulation beside it on the same machine"
    )


def machine(summary: Mapping) -> str:
    """The hardware in words."""
    parts = summary["machine"]
    return (
        f"{parts['processor']}, {parts['cores']} cores; Python {parts['python']}, "
        f"torch {parts['torch']}."
    )


def _tables(summary: Mapping) -> dict[str, Mapping]:
    """Tables by task, and over all episodes where there is more than one task."""
    tasks = dict(summary["tasks"])
    return tasks | {"all": summary["all"]} if len(tasks) > 1 else tasks


def _rates(summary: Mapping) -> tuple[list[str], list[list[str]]]:
    header = ["task", "episodes", "success (end)", "Wilson 95 %", "Clopper-Pearson 95 %"]
    header += ["ever", "strict"]
    rows = []
    for task, table in _tables(summary).items():
        end = table["success_end"]
        rows.append(
            [
                task,
                str(end["episodes"]),
                _percent(end["rate"]),
                _interval(end["wilson"]),
                _interval(end["clopper_pearson"]),
                f"{_percent(table['success_ever']['rate'])} "
                f"({_interval(table['success_ever']['wilson'])})",
                f"{_percent(table['success_strict']['rate'])} "
                f"({_interval(table['success_strict']['wilson'])})",
            ]
        )
    return header, rows


def _stages(summary: Mapping) -> tuple[list[str], list[list[str]]]:
    rows = [
        [task, *(_percent(stage["rate"]) for stage in table["stages"].values())]
        for task, table in _tables(summary).items()
    ]
    return ["task", *summary["all"]["stages"]], rows


def _failures(summary: Mapping) -> tuple[list[str], list[list[str]]]:
    """Episodes that failed, by reason and task."""
    tables = _tables(summary)
    rows = [
        [why, *(str(table["failures"].get(why, "")) for table in tables.values())]
        for why in summary["all"]["failures"]
    ]
    return ["why", *tables], rows


def _verdicts(summary: Mapping) -> list[str]:
    tests = summary["comparison"]["tests"]
    return [
        f"{name}: {test['successes'][0]} against {test['successes'][1]} of {test['episodes']}; "
        f"{test['verdict']}"
        for name, test in tests.items()
    ]


def _stage_bars(task: str, table: Mapping) -> str:
    rows = []
    for stage, entry in table["stages"].items():
        width = 100 * (entry["rate"] or 0)
        when = f"median step {entry['median_step']:g}" if entry["median_step"] is not None else ""
        rows.append(
            f"<tr><td width=90>{stage}<td width='55%'><div class=track>"
            f"<div class=bar style='width:{width:.1f}%'></div></div>"
            f"<td>{_percent(entry['rate'])}<td class=small>{when}"
        )
    return f"<p><b>{escape(task)}</b></p><table>{''.join(rows)}</table>"


def _figure(entry: Mapping, videos: Path) -> str:
    data = base64.b64encode((videos / entry["file"]).read_bytes()).decode()
    outcome = "success" if entry["success"] else f"<span class=failure>{entry['failure']}</span>"
    same = "" if entry["identical"] else " (went differently than the counted run)"
    return (
        f"<figure><video controls loop muted preload=metadata "
        f"src='data:video/mp4;base64,{data}'></video>"
        f"<figcaption>{escape(entry['task'])}, episode {entry['index']}: {outcome}{same}<br>"
        f"<span class=small>red, green, blue: {escape(entry['objects'])}</span></figcaption>"
        "</figure>"
    )


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.0f} %"


def _interval(bounds: list[float]) -> str:
    return f"{100 * bounds[0]:.0f}-{100 * bounds[1]:.0f}"


def _markdown_table(header: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows)]


def _html_table(header: list[str], rows: list[list[str]]) -> str:
    head = "".join(f"<th>{escape(cell)}" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(c)}" for c in row) for row in rows)
    return f"<div class=scroll><table><tr>{head}{body}</table></div>"
