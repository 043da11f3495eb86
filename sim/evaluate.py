"""Measures success rates of a policy over a suite: `gato evaluate`.

Each episode becomes one line of results.jsonl as soon as it ends, so the same command continues
where it was stopped. Seeds depend on suite, task and index only: all policies meet the same
initial states, and two folders can be compared pair by pair.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import tyro

from gato_core import checkpoint
from gato_core.data.storage import read_json, replacing, write_json
from gato_sim import policies, suites
from gato_sim.constants import NUM_STEPS
from gato_sim.domains.rgb_stacking import seen, specialist
from gato_sim.domains.rgb_stacking.scene import assets
from gato_sim.domains.rgb_stacking.tasks import robot_spec, views_of
from gato_sim.prompts import Prompts, prompts_from
from gato_sim.results import report, summary
from gato_sim.run import gl, provenance, workers
from gato_sim.run.progress import Progress
from gato_sim.suites import Trial
from gato_sim.trials import Film, Setup, run_film, run_trial


@dataclass(frozen=True)
class EvaluateConfig:
    """Measures success at the end of episodes, with intervals, stages, latency and videos.

    example: gato evaluate --checkpoint checkpoints/control --suite skill-generalization
    """

    checkpoint: Path | None = None
    """Checkpoint folder to evaluate."""
    policy: Literal["expert", "specialist", "random"] | None = None
    """The scripted expert, DeepMind's state policies or random actions instead of a checkpoint."""
    specialists: Path | None = None
    """Folder of DeepMind's policies, mpo_state_rgb_test_triplet1.onnx and so on."""
    suite: tuple[str, ...] = ("skill-generalization",)
    """skill-generalization, skill-mastery, blue-on-green, selection, train; or tasks, e.g.
    rgb_test_triplet3 or selection:green_on_red."""
    episodes: int = 20
    """Episodes of each task of the suite."""
    physics: Literal["benchmark", "stable"] = "benchmark"
    """Published settings, or three times faster ones whose stacks do not creep."""
    workers: int = 2
    """Processes; one a core. 0 runs in this one."""
    videos: int = 3
    """Videos to make, failures first."""
    max_steps: int = NUM_STEPS
    """Control steps of an episode; fewer than the benchmark's 400 only to try things out."""
    prompt: Path | None = None
    """Dataset: each episode begins with a demonstration of the same task, with the same objects if
    there is one."""
    prompt_timesteps: int | None = None
    """How much of it, from its start; what leaves room for the present, if not given."""
    keep_prompt: bool = False
    """It stays in context for the whole episode, where it would slide out."""
    temperature: float | None = None
    """Of action sampling; 0 takes the likeliest. The checkpoint's own, if not given."""
    seed: int = 0
    """Of action sampling, and of the random policy."""
    delay_ms: float | Literal["measured"] | None = None
    """Every action takes effect so late, or by what the policy's step took; by default at once."""
    shard: str | None = None
    """"2/4" runs the second quarter of the trials alone, into a results file of its own: folders
    of several machines are merged by copying these files together."""
    threads: int = 1
    """Threads a worker may use for the network."""
    name: str | None = None
    """Folder below `out`; by default policy, suite and physics."""
    out: Path = Path("outputs/evaluate")
    """Where results folders are."""
    compare: Path | None = None
    """Another results folder: tests the difference over equal initial states."""

    def __post_init__(self) -> None:
        if (self.checkpoint is None) == (self.policy is None):
            raise ValueError("expected either --checkpoint or --policy, got both or neither")
        if (self.policy == "specialist") != (self.specialists is not None):
            raise ValueError("expected --policy specialist with --specialists FOLDER, got one")
        if self.prompt is not None and self.checkpoint is None:
            raise ValueError(f"prompt: expected a --checkpoint to read it, got {self.policy}")
        if self.prompt is None and (self.keep_prompt or self.prompt_timesteps is not None):
            raise ValueError("expected --prompt DATASET with --prompt-timesteps and --keep-prompt")
        for name in ("episodes", "max_steps", "threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")
        parse_shard(self.shard)
        if not 1 <= self.max_steps <= NUM_STEPS:
            raise ValueError(f"max_steps: expected 1..{NUM_STEPS}, got {self.max_steps}")
        if self.delay_ms not in (None, "measured") and not 0 <= self.delay_ms < math.inf:
            raise ValueError(f"delay_ms: expected 0 or more, or measured, got {self.delay_ms}")

    @property
    def policy_name(self) -> str:
        """The policy's, or the checkpoint folder's, with its run's name in a training run."""
        if self.policy:
            return self.policy
        path = self.checkpoint.resolve()
        run = path.parent.parent.name if path.name.isdigit() else ""
        return f"{run}-{path.name}" if run else path.name

    @property
    def folder(self) -> Path:
        words = (self.policy_name, *self.suite, self.physics, *(["prompted"] * bool(self.prompt)))
        return self.out / (self.name or "-".join(words).replace(",", "-").replace(":", "-"))


def evaluate(config: EvaluateConfig) -> dict:
    """Runs what is missing of the suite, writes the report, and returns the summary.

    Raises ValueError or FileNotFoundError, before an episode starts, for an unknown suite, a
    checkpoint that is damaged or of another robot, or a folder of other settings, and RuntimeError
    where images are needed and OpenGL is missing.
    """
    assets.path()
    workers.set_threads(config.threads)
    number, num_shards = parse_shard(config.shard)
    trials = list(suites.trials(config.suite, config.episodes))[number - 1 :: num_shards]
    setup = _setup(config, trials)
    if config.videos or views_of(setup.spec)[0]:
        gl.check_drawing()
    _check_training_data(config)
    settings = _settings(config, setup, trials)
    _check_settings(config.folder, settings)
    if config.compare is not None:
        other_name, others = _comparable(config.compare, settings)
    results = _run_missing(config, setup, trials)
    content = settings | {
        "episodes_per_task": config.episodes,
        "commit": provenance.commit(),
        "machine": provenance.machine(),
        "checkpoint_provenance": _checkpoint_config(config).get("provenance"),
    }
    content |= summary.summarize(results)
    if config.compare is not None:
        content["comparison"] = {
            "other": str(config.compare),
            "tests": summary.compare(results, others, (settings["policy"], other_name)),
        }
    content["videos"] = _film(config, setup, trials, results)
    write_json(config.folder / "summary.json", content)
    for name, text in (
        ("report.md", report.markdown(content)),
        ("report.html", report.html(content, config.folder / "videos")),
    ):
        with replacing(config.folder / name) as path:
            path.write_text(text)
    return content


def _setup(config: EvaluateConfig, trials: Sequence[Trial]) -> Setup:
    return Setup(
        policy=config.policy_name,
        checkpoint=config.checkpoint,
        spec=robot_spec(()) if config.policy else policies.checkpoint_spec(config.checkpoint),
        physics=config.physics,
        max_steps=config.max_steps,
        temperature=_temperature(config),
        seed=config.seed,
        threads=config.threads,
        specialists=config.specialists,
        delay_ms=config.delay_ms,
        prompts=_prompts(config, trials),
    )


def _temperature(config: EvaluateConfig) -> float:
    if config.temperature is not None:
        return config.temperature
    return checkpoint.temperature(config.checkpoint) if config.checkpoint else 0.0


def _prompts(config: EvaluateConfig, trials: Sequence[Trial]) -> Prompts | None:
    if config.prompt is None:
        return None
    spec, context_timesteps = policies.checkpoint_context(config.checkpoint)
    return prompts_from(
        config.prompt,
        config.prompt_timesteps,
        spec,
        context_timesteps,
        keep=config.keep_prompt,
        tasks={trial.instruction for trial in trials},
    )


def _settings(config: EvaluateConfig, setup: Setup, trials: Sequence[Trial]) -> dict:
    """What a result depends on, besides its trial."""
    return {
        "policy": config.policy_name,
        "weights_sha256": _weights_digest(config, trials),
        "suite": list(config.suite),
        "physics": config.physics,
        "max_steps": config.max_steps,
        "delay_ms": config.delay_ms,
        "prompt": setup.prompts and asdict(setup.prompts) | {"dataset": str(config.prompt)},
        "temperature": setup.temperature,
        "seed": config.seed,
        "versions": provenance.versions(),
    }


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
    """Notes the settings in a new folder; raises ValueError if the folder has others."""
    path = folder / "settings.json"
    if not path.exists():
        write_json(path, settings)
        return
    stored = read_json(path)
    for name, value in settings.items():
        if stored.get(name) != value:
            raise ValueError(
                f"{folder} holds results with {name} {stored.get(name)!r}, got {value!r}; "
                "choose another --name"
            )


def _comparable(folder: Path, settings: Mapping) -> tuple[str, list[dict]]:
    """Name and results of another policy. Raises ValueError unless conditions were the same."""
    stored = read_json(folder / "settings.json")
    for name in ("suite", "physics", "max_steps", "versions"):
        if stored[name] != settings[name]:
            raise ValueError(
                f"compare: expected {name} {settings[name]!r} in {folder}, got {stored[name]!r}"
            )
    name = stored["policy"]
    if name == settings["policy"]:
        name += f" of {folder.name}"
    return name, summary.read_folder(folder)


def _run_missing(config: EvaluateConfig, setup: Setup, trials: Sequence[Trial]) -> list[dict]:
    """Results of all trials, old and new; each new one is on disk before the next is awaited."""
    shard = f"-{config.shard.replace('/', '-of-')}" if config.shard else ""
    path = config.folder / f"results{shard}.jsonl"
    own = summary.read_results(path)
    with replacing(path) as temporary:  # without a line that a crash cut off
        temporary.write_text("".join(json.dumps(result) + "\n" for result in own))
    old = {(r["task"], r["index"], r["seed"]): r for r in summary.read_folder(config.folder)}
    keys = {(trial.task, trial.index, trial.seed): trial for trial in trials}
    results = [old[key] for key in keys if key in old]
    missing = [trial for key, trial in keys.items() if key not in old]
    progress = Progress(len(trials), len(results))
    print(
        f"{config.folder}: {len(results)} of {len(trials)} episodes are there; "
        f"{config.physics} physics",
        file=sys.stderr,
    )
    done = workers.run(
        partial(run_trial, setup), missing, num_workers=min(config.workers, len(missing))
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
    config: EvaluateConfig, setup: Setup, trials: Sequence[Trial], results: Sequence[Mapping]
) -> list[dict]:
    """Videos of a few trials, failures first; those that exist are not made again."""
    trial_of = {(trial.task, trial.index): trial for trial in trials}
    known = {}
    if (config.folder / "summary.json").exists():
        earlier = read_json(config.folder / "summary.json")["videos"]
        known = {entry["file"]: entry for entry in earlier}
    films, entries = [], {}
    for result in choose_films(results, config.videos):
        trial = trial_of[result["task"], result["index"]]
        path = config.folder / "videos" / _video_name(trial)
        entries[path.name] = known.get(path.name)
        if entries[path.name] is None or not path.exists():
            films.append(Film(trial, result, path))
    num_workers = min(config.workers, len(films))
    for film, entry in workers.run(partial(run_film, setup), films, num_workers=num_workers):
        entries[entry["file"]] = entry
        print(f"video: {film.path}", file=sys.stderr)
        if not entry["identical"]:
            print(f"warning: {film.trial} went differently the second time", file=sys.stderr)
    return list(entries.values())


def parse_shard(shard: str | None) -> tuple[int, int]:
    """Number and count of "2/4"; (1, 1) of None. Raises ValueError for anything else."""
    if shard is None:
        return 1, 1
    number, slash, count = shard.partition("/")
    if not (slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise ValueError(f"shard: expected NUMBER/COUNT such as 2/4, got {shard!r}")
    return int(number), int(count)


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
