"""Records demonstrations of the scripted expert in simulation: `gato collect`.

Episode i follows from (seed, i) alone and episodes are stored in the order of i, so a dataset
does not depend on the number of workers, and the same command continues where it was stopped.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import tyro

from gato_core.dataset import Dataset, DatasetWriter
from gato_sim.captions import collect_captions
from gato_sim.collect_config import CollectConfig, spec_of
from gato_sim.demonstrations import demonstrate, in_order
from gato_sim.domains.rgb_stacking import suites
from gato_sim.domains.rgb_stacking.objects import RED_ON_BLUE
from gato_sim.domains.rgb_stacking.scene import assets
from gato_sim.domains.rgb_stacking.tasks import view_image
from gato_sim.policies import checkpoint_spec
from gato_sim.run import gl, workers
from gato_sim.run.attempts import Attempts
from gato_sim.run.progress import Progress, cpu_seconds

_TYPICAL_STEPS = 220
_EARLIER = {"stack": RED_ON_BLUE, "view": "whole", "stop_after": 20}  # of datasets that do not say
_SPARE_BYTES = 200_000_000


def collect(config: CollectConfig) -> dict:
    """Fills the dataset at `config.out` and returns a summary.

    Raises ValueError for unknown triplets, settings unlike the folder's, or too little disk, and
    FileNotFoundError without model files, all before an episode starts.
    """
    assets.path()
    if config.cameras:
        gl.check_drawing()
    suites.check_collectable(config.triplets, config.stack)
    if config.captions:
        return collect_captions(config)
    stored = _stored_info(config.out)
    _check_settings(config, stored)
    spec = spec_of(config)
    if config.actor and (differences := spec.differences(checkpoint_spec(config.actor))):
        raise ValueError(f"{config.actor}: it acts on another Spec:\n  " + "\n  ".join(differences))
    workers.set_threads(1)
    started = cpu_seconds()
    with DatasetWriter(config.out, spec) as writer:
        _check_disk(config, config.episodes - writer.num_episodes)
        start = stored["index"] + 1 if stored else 0
        attempts = Attempts(config.out / "attempts.jsonl", start)
        progress = Progress(config.episodes, writer.num_episodes)
        print(_opening(config, writer.num_episodes), file=sys.stderr)
        if writer.num_episodes < config.episodes:
            _fill(config, writer, attempts, progress, start)
        num_episodes = writer.num_episodes
    summary = {
        "out": str(config.out),
        "episodes": num_episodes,
        "attempts": attempts.num_attempts,
        "success_rate": round(attempts.success_rate, 4),
        "episodes_per_hour": round(progress.rate),
    }
    if config.cluster is None:  # whose processors' time is not known here
        hours = (cpu_seconds() - started) / 3600
        summary["episodes_per_core_hour"] = round(progress.num_new / hours)
    return summary


def _fill(
    config: CollectConfig,
    writer: DatasetWriter,
    attempts: Attempts,
    progress: Progress,
    start: int,
) -> None:
    """Runs attempts from index `start` on until the dataset is as long as it shall be."""
    with contextlib.closing(in_order(config, partial(demonstrate, config), start)) as episodes:
        for episode in episodes:
            with _uninterrupted():
                if episode.success or config.keep == "all":
                    writer.add(episode)
                attempts.add(episode)
            progress.done = writer.num_episodes
            complete = progress.done >= config.episodes
            progress.show(f"{attempts.success_rate:.0%} successful", last=complete)
            if complete:
                return
            attempts.check(config.keep)


def _stored_info(root: Path) -> dict | None:
    """`info` of the last episode stored in a dataset folder, None if there is none."""
    if not (root / "meta/info.json").exists():
        return None
    rows = Dataset(root).rows
    return json.loads(rows[-1]["gato/info"])


def _check_settings(config: CollectConfig, stored: dict | None) -> None:
    if stored is None:
        return
    for name, expected in config.identity().items():
        if stored.get(name, _EARLIER.get(name)) != expected:
            raise ValueError(
                f"{config.out} was collected with {name} {stored.get(name)!r}, got {expected!r}; "
                "choose another --out or the same settings"
            )


def _check_disk(config: CollectConfig, num_missing: int) -> None:
    folder = next(p for p in (config.out, *config.out.absolute().parents) if p.exists())
    image = view_image(config.view, config.image_size)
    pixels = len(config.cameras) * image.height * image.width
    needed = num_missing * _TYPICAL_STEPS * pixels + _SPARE_BYTES  # a byte a pixel as PNG
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ValueError(
            f"{config.out}: expected about {needed / 1e9:.1f} GB of free disk for {num_missing} "
            f"episodes, got {free / 1e9:.1f} GB"
        )


def _opening(config: CollectConfig, num_episodes: int) -> str:
    return (
        f"{config.out}: {num_episodes} of {config.episodes} episodes are there; objects "
        f"{config.triplets}, {config.stack.replace('_', ' ')}, {config.physics} physics, "
        f"perturbation {config.perturb}"
    )


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Holds Ctrl-C back until the block is done: an episode is stored and noted, or neither."""
    pressed: list[int] = []
    previous = signal.signal(signal.SIGINT, lambda number, _: pressed.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
    if pressed:
        raise KeyboardInterrupt


def main() -> int:
    try:
        config = tyro.cli(CollectConfig)
        print(json.dumps(collect(config)))
    except KeyboardInterrupt:
        print("stopped; the same command continues", file=sys.stderr)
        return 130
    except (ValueError, RuntimeError, OSError) as error:
        print(f"gato collect: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
