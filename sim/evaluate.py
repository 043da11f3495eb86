"""Measures success rates of a policy over a suite: `gato evaluate`.

Each episode becomes one line of results.jsonl as soon as it ends, so the same command continues
where it was stopped. Seeds depend on suite, task and index only: all policies meet the same
initial states, and two folders can be compared pair by pair.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import tyro

from gato_core.data.storage import read_json, replacing, write_json
from gato_sim import policies, prompts
from gato_sim.arm.sawyer import CONTROL_TIMESTEP
from gato_sim.domains.rgb_stacking import seen, specialist, suites
from gato_sim.domains.rgb_stacking.scene import assets
from gato_sim.domains.rgb_stacking.tasks import INSTRUCTION, instruction_tokens, views_of
from gato_sim.evaluate_config import EvaluateConfig, defaults, parse_shard
from gato_sim.results import report, summary
from gato_sim.run import gl, locks, provenance, workers
from gato_sim.run.progress import Progress
from gato_sim.suites import Trial
from gato_sim.trials import Film, run_film, run_trial


def evaluate(config: EvaluateConfig) -> dict:
    """Runs what is missing of the suite, writes the report, and returns the summary.

    Raises ValueError or FileNotFoundError, before anything is written, for an unknown suite, a
    checkpoint that is damaged or of another robot, or a folder of other settings, and RuntimeError
    where images are needed and OpenGL is missing, or another evaluation writes to the folder.
    """
    assets.path()
    workers.set_threads(config.threads)
    number, num_shards = parse_shard(config.shard)
    trials = list(suites.trials(config.suite, config.episodes))
    if config.instruction is not None:
        trials = suites.told(trials, config.instruction)
    trials = trials[number - 1 :: num_shards]
    if not trials:
        raise ValueError(f"shard: expected no more shards than trials, got {config.shard}")
    config = _resolved(config, trials)
    _check_training_data(config)
    settings = _settings(config, trials)
    others = _comparable(config.compare, settings, trials) if config.compare else None
    _check_settings(config.folder, settings)
    if config.videos or views_of(policies.spec_of(config))[0]:
        gl.check_drawing()
    with locks.held(config.folder, config.shard):
        with locks.alone(config.folder):
            _check_settings(config.folder, settings)
            write_json(config.folder / "settings.json", settings)
        results = _run_missing(config, trials)
        with locks.alone(config.folder):
            content = _content(config, settings, results)
            if others is not None:
                content["comparison"] = _comparison(config, settings, results, others)
            content["videos"] = _film(config, trials, results)
            _write_report(config.folder, content)
    return content


def _resolved(config: EvaluateConfig, trials: Sequence[Trial]) -> EvaluateConfig:
    """With temperature and length of the prompt as they are where the user left them open."""
    if config.temperature is None:
        own = 0.0
        if config.checkpoint is not None:
            own = policies.temperature_of(config.checkpoint, config.embodiment)
        config = replace(config, temperature=own)
    _check_words(config, trials)
    if config.prompt is None:
        return config
    timesteps = prompts.check(
        config.prompt,
        config.prompt_timesteps,
        policies.spec_of(config),
        policies.context_timesteps(config),
        {trial.instruction for trial in trials},
    )
    return replace(config, prompt_timesteps=timesteps)


def _check_words(config: EvaluateConfig, trials: Sequence[Trial]) -> None:
    """Raises ValueError for a network that cannot be told anything; warns of words that are cut."""
    num_tokens = instruction_tokens(policies.spec_of(config))
    if num_tokens:
        from gato_core.text import pieces  # the extra `text`

        vocabulary = policies.vocabulary(config)
        for sentence in sorted({trial.instruction for trial in trials}):
            pieces.fit(sentence, num_tokens, vocabulary)
    elif config.instruction is not None and config.checkpoint:
        raise ValueError(
            f"instruction: expected a checkpoint that observes Text as {INSTRUCTION!r}, "
            f"got {config.checkpoint}, which does not"
        )


def _settings(config: EvaluateConfig, trials: Sequence[Trial]) -> dict:
    """What a result depends on, besides its trial."""
    return config.settings() | {
        "weights_sha256": _weights_digest(config, trials),
        "versions": assets.versions(),
    }


def _content(config: EvaluateConfig, settings: Mapping, results: Sequence[Mapping]) -> dict:
    """All that the report tells of single policies."""
    return (
        dict(settings)
        | {
            "episodes_per_task": config.episodes,
            "control_timestep": CONTROL_TIMESTEP,
            "commit": provenance.commit(),
            "machine": provenance.machine(),
            "checkpoint_provenance": _checkpoint_config(config).get("provenance"),
        }
        | summary.summarize(results)
    )


def _write_report(folder: Path, content: Mapping) -> None:
    write_json(folder / "summary.json", content)
    for name, text in (
        ("report.md", report.markdown(content)),
        ("report.html", report.html(content, folder / "videos")),
    ):
        with replacing(folder / name) as path:
            path.write_text(text)


def _weights_digest(config: EvaluateConfig, trials: Sequence[Trial]) -> str | None:
    if config.specialists is None:
        return _checkpoint_config(config).get("weights_sha256")
    triplets = sorted({tuple(trial.objects.split(",")) for trial in trials})
    return specialist.digest([specialist.file(config.specialists, ids) for ids in triplets])


def _checkpoint_config(config: EvaluateConfig) -> dict:
    return read_json(config.checkpoint / "config.json") if config.checkpoint else {}


def _check_training_data(config: EvaluateConfig) -> None:
    """Skill Generalization is about objects never trained on.

    Raises ValueError for a checkpoint that has seen test objects, or does not say what it has seen.
    """
    if "skill-generalization" not in config.suite:
        return
    if config.specialists:
        raise ValueError(
            "suite: expected skill-mastery for the specialists, which were trained on the test "
            "triplets, got skill-generalization"
        )
    if config.checkpoint:
        provenance = _checkpoint_config(config).get("provenance", {})
        seen.check_unseen(provenance, config.checkpoint)


def _check_settings(folder: Path, settings: Mapping) -> None:
    """Raises ValueError if the folder has results of other settings."""
    path = folder / "settings.json"
    if not path.exists():
        return
    stored = defaults() | read_json(path)
    for name, value in settings.items():
        if stored.get(name) != value:
            raise ValueError(
                f"{folder} holds results with {name} {stored.get(name)!r}, got {value!r}; "
                "choose another --name"
            )


@dataclass(frozen=True)
class _Other:
    """Whom to compare with: a policy's name and its results."""

    name: str
    results: list[dict]


def _comparable(folder: Path, settings: Mapping, trials: Sequence[Trial]) -> _Other:
    """Another policy. Raises ValueError unless conditions were the same, and a trial at least."""
    if not (folder / "settings.json").exists():
        raise ValueError(f"compare: expected a results folder with settings.json, got {folder}")
    stored = defaults() | read_json(folder / "settings.json")
    for name in ("suite", "physics", "max_steps", "versions"):
        if stored.get(name) != settings[name]:
            raise ValueError(
                f"compare: expected {name} {settings[name]!r} in {folder}, got {stored.get(name)!r}"
            )
    results = summary.read_folder(folder)
    if not {summary.key(result) for result in results} & {trial.key for trial in trials}:
        raise ValueError(f"compare: expected results of the same trials in {folder}, got none")
    name = stored["policy"]
    return _Other(f"{name} of {folder.name}" if name == settings["policy"] else name, results)


def _comparison(
    config: EvaluateConfig, settings: Mapping, results: Sequence[Mapping], other: _Other
) -> dict:
    tests = summary.compare(results, other.results, (settings["policy"], other.name))
    return {"other": str(config.compare), "tests": tests}


def _run_missing(config: EvaluateConfig, trials: Sequence[Trial]) -> list[dict]:
    """Results of all trials, old and new; each new one is on disk before the next is awaited."""
    shard = f"-{config.shard.replace('/', '-of-')}" if config.shard else ""
    path = config.folder / f"results{shard}.jsonl"
    own = summary.read_results(path)
    with replacing(path) as temporary:  # without a line that a crash cut off
        temporary.write_text("".join(json.dumps(result) + "\n" for result in own))
    old = {summary.key(result): result for result in summary.read_folder(config.folder)}
    keys = {trial.key: trial for trial in trials}
    results = [old[key] for key in keys if key in old]
    missing = [trial for key, trial in keys.items() if key not in old]
    progress = Progress(len(trials), len(results))
    print(
        f"{config.folder}: {len(results)} of {len(trials)} episodes are there; "
        f"{config.physics} physics",
        file=sys.stderr,
    )
    done = workers.run(
        partial(run_trial, config), missing, num_workers=min(config.workers, len(missing))
    )
    with contextlib.closing(done):
        for _, result in done:
            with path.open("a") as file:  # anew: what replaced it meanwhile (git does) gets it too
                file.write(json.dumps(result) + "\n")
                file.flush()
                os.fsync(file.fileno())
            results.append(result)
            progress.done = len(results)
            success = sum(r["success_end"] for r in results) / len(results)
            progress.show(f"{success:.0%} successful", last=len(results) == len(trials))
    return results


def _film(
    config: EvaluateConfig, trials: Sequence[Trial], results: Sequence[Mapping]
) -> list[dict]:
    """Videos of a few trials, failures first; those that exist are not made again."""
    trial_of = {trial.key: trial for trial in trials}
    known = {}
    if (config.folder / "summary.json").exists():
        earlier = read_json(config.folder / "summary.json")["videos"]
        known = {entry["file"]: entry for entry in earlier}
    films, entries = [], {}
    for result in choose_films(results, config.videos):
        trial = trial_of[summary.key(result)]
        path = config.folder / "videos" / _video_name(trial)
        entries[path.name] = known.get(path.name)
        if entries[path.name] is None or not path.exists():
            films.append(Film(trial, result, path))
    num_workers = min(config.workers, len(films))
    for film, entry in workers.run(partial(run_film, config), films, num_workers=num_workers):
        entries[entry["file"]] = entry
        print(f"video: {film.path}", file=sys.stderr)
        if not entry["identical"]:
            print(f"warning: {film.trial} went differently the second time", file=sys.stderr)
    return list(entries.values())


def _video_name(trial: Trial) -> str:
    return f"{trial.task.replace(',', '-').replace(':', '-')}-{trial.index:03d}.mp4"


def choose_films(results: Sequence[Mapping], num: int) -> list[Mapping]:
    """At most `num` results worth seeing: one failure of each kind, further ones, a success last.

    With room for two, one place is kept for a success, if there is any.
    """
    ordered = sorted(results, key=lambda r: (r["index"], r["task"]))
    successes = [r for r in ordered if r["success_end"]]
    failures = [r for r in ordered if not r["success_end"]]
    kinds = list(dict.fromkeys(r["failure"] for r in failures))
    first = [next(r for r in failures if r["failure"] == kind) for kind in kinds]
    rest = [r for r in failures if not any(r is other for other in first)]
    room = num - 1 if successes and num > 1 else num
    chosen = (first + rest)[:room]
    return chosen + successes[: num - len(chosen)]


def main() -> int:
    try:
        config = tyro.cli(EvaluateConfig)
        content = evaluate(config)
    except KeyboardInterrupt:
        print("stopped; the same command continues", file=sys.stderr)
        return 130
    except (ValueError, RuntimeError, OSError) as error:
        print(f"gato evaluate: {error}", file=sys.stderr)
        return 1
    print((config.folder / "report.md").read_text())
    last = {"report": str(config.folder / "report.html"), "policy": content["policy"]}
    last |= {"episodes": content["num_episodes"], "mean_of_tasks": content["mean_of_tasks"]}
    last |= {metric: content["all"][metric] for metric in summary.METRICS}
    print(json.dumps(last | {"latency_ms": content["latency_ms"]}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
