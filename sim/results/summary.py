"""Summarises episodes' results: rates, intervals, stages and comparisons.

A result is one JSON object (a line of results.jsonl):
    task, index, seed, objects                    which trial it was
    success_end, success_ever, success_strict     bool
    stages {stage: first step or null}, failure (text or null), num_steps
    trajectory                                    hash of actions, poses and rewards
    latency_ms [float]                            what each step of the policy took
"""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from gato_sim.results.statistics import clopper_pearson, mcnemar, wilson

CURVE_STEPS = 10  # control steps between two points of a curve
METRICS = ("success_end", "success_ever", "success_strict")


def read_results(path: Path) -> list[dict]:
    """Results of complete lines; a line cut off by a crash is left out, so it is run again."""
    if not path.exists():
        return []
    lines = path.read_text().split("\n")
    return [json.loads(line) for line in lines[:-1] if line]


def read_folder(folder: Path) -> list[dict]:
    """Results of all shards (results*.jsonl) in a folder, each trial once."""
    files = sorted(folder.glob("results*.jsonl"))
    results = {key(result): result for file in files for result in read_results(file)}
    return list(results.values())


def rate(successes: Iterable[bool]) -> dict:
    """Count, rate and 95 % intervals of a list of outcomes."""
    outcomes = [bool(success) for success in successes]
    k, n = sum(outcomes), len(outcomes)
    return {
        "successes": k,
        "episodes": n,
        "rate": round(k / n, 4) if n else None,
        "wilson": [round(x, 4) for x in wilson(k, n)],
        "clopper_pearson": [round(x, 4) for x in clopper_pearson(k, n)],
    }


def summarize(results: Sequence[Mapping]) -> dict:
    """Rates by task and over all, stage curves, failures, latency. Results in any order."""
    tasks = list(dict.fromkeys(result["task"] for result in _sorted(results)))
    by_task = {task: _table([r for r in results if r["task"] == task]) for task in tasks}
    means = {
        metric: round(statistics.fmean(row[metric]["rate"] for row in by_task.values()), 4)
        for metric in METRICS
        if by_task
    }
    return {
        "num_episodes": len(results),
        "tasks": by_task,
        "all": _table(results),
        "mean_of_tasks": means,
        "latency_ms": _latency(results),
    }


def compare(first: Sequence[Mapping], second: Sequence[Mapping], names: tuple[str, str]) -> dict:
    """McNemar's test of success at the end over the trials that both have, by task and over all.

    names: what to call the two policies. Raises ValueError when they share no trial.
    """
    ours, theirs = ({key(r): r["success_end"] for r in side} for side in (first, second))
    common = sorted(ours.keys() & theirs.keys())
    if not common:
        raise ValueError("compare: expected common trials (task, index, seed), got none")
    tasks = sorted({task for task, *_ in common})
    groups = {task: [key for key in common if key[0] == task] for task in tasks}
    if len(tasks) > 1:
        groups["all"] = common
    return {
        name: _comparison([ours[k] for k in keys], [theirs[k] for k in keys], names)
        for name, keys in groups.items()
    }


def _comparison(ours: Sequence[bool], theirs: Sequence[bool], names: tuple[str, str]) -> dict:
    test = mcnemar(ours, theirs)
    return {
        "episodes": len(ours),
        "successes": [sum(ours), sum(theirs)],
        "only_first": test.only_first,
        "only_second": test.only_second,
        "p_value": test.p_value,
        "verdict": test.verdict(*names),
    }


def _table(results: Sequence[Mapping]) -> dict:
    stages, names = {}, list(results[0]["stages"]) if results else []
    for stage in names:
        steps = [r["stages"][stage] for r in results if r["stages"][stage] is not None]
        stages[stage] = {
            "episodes": len(steps),
            "rate": round(len(steps) / len(results), 4),
            "median_step": statistics.median(steps) if steps else None,
        }
    length = max((r["num_steps"] for r in results), default=0)
    curves = {
        stage: [
            round(sum(_reached(r, stage, step) for r in results) / len(results), 4)
            for step in range(0, length + 1, CURVE_STEPS)
        ]
        for stage in names
    }
    failures = Counter(r["failure"] for r in results if r["failure"] is not None)
    return {metric: rate(r[metric] for r in results) for metric in METRICS} | {
        "stages": stages,
        "curves": curves,
        "failures": dict(failures.most_common()),
    }


def _reached(result: Mapping, stage: str, step: int) -> bool:
    first = result["stages"][stage]
    return first is not None and first <= step


def _latency(results: Sequence[Mapping]) -> dict:
    """Percentiles of the policy's step over all steps of all episodes, ms."""
    values = [value for result in results for value in result["latency_ms"]]
    if not values:
        return {}
    p50, p95, p99 = np.percentile(values, [50, 95, 99])
    return {
        "p50": round(float(p50), 2),
        "p95": round(float(p95), 2),
        "p99": round(float(p99), 2),
        "max": round(max(values), 2),
        "num_steps": len(values),
    }


def key(result: Mapping) -> tuple[str, int, int]:
    """Which trial it is of."""
    return result["task"], result["index"], result["seed"]


def _sorted(results: Sequence[Mapping]) -> list[Mapping]:
    return sorted(results, key=key)
