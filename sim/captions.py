"""Pictures of the expert's episodes with captions and questions: `gato collect --captions`.

    documents.jsonl                     {"image": "images/...", "text": "..."}
                                        {"image": "images/...", "question": "...", "answer": "..."}
    images/00000012-087.png             step 87 of episode 12, as one of the cameras sees it
    about/settings.json                 which must stay the same

A line's "episode" and "objects" say where it comes from. Episodes are added a few at a time, in the
order of their index; the same command continues.
"""

from __future__ import annotations

import contextlib
import json
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from gato_core.data.features import encode_png
from gato_core.data.storage import lock, read_json, replacing, write_json
from gato_sim.collect_config import CollectConfig
from gato_sim.demonstrations import environment, in_order, until_decided
from gato_sim.domains.rgb_stacking import captions, perturb
from gato_sim.domains.rgb_stacking.facts import facts, seen
from gato_sim.domains.rgb_stacking.objects import COLORS
from gato_sim.domains.rgb_stacking.tasks import robot_spec
from gato_sim.run import workers
from gato_sim.run.progress import Progress
from gato_sim.suites import Trial, stable_seed

DOCUMENTS = "documents.jsonl"
SETTINGS = "about/settings.json"  # not beside the documents, where readers look for more
PICTURE_SHARE = 1 / 30  # of the control steps; the last one always has its picture
EPISODES_A_WRITE = 16


@dataclass(frozen=True)
class Pictured:
    """One episode's PNG files by name, and the documents about them."""

    index: int
    success: bool
    images: dict[str, bytes]
    documents: list[dict]


def picture(config: CollectConfig, trial: Trial) -> Pictured:
    """Runs the expert once and draws some of its moments, each from one of the cameras."""
    from gato_sim.domains.rgb_stacking.expert.expert import ScriptedExpert
    from gato_sim.rollout import play

    env = environment(config.physics, config.randomise, (), config.image_size, config.view)
    expert = ScriptedExpert(env, seed=trial.seed)
    disturb = None
    if config.perturb != "none":
        disturb = perturb.load(config.perturb, stable_seed("perturb", trial.seed))
    steps = play(
        env,
        expert,
        robot_spec(()),
        seed=trial.seed,
        objects=trial.objects,
        max_steps=config.max_steps,
        perturb=disturb,
    )
    rng = np.random.default_rng(stable_seed("captions", trial.seed))
    images, documents, success, last = {}, [], False, None
    for number, step in enumerate(until_decided(steps, expert, config.stop_after)):
        success, last = bool(step.reward), number
        if rng.random() < PICTURE_SHARE:
            _add(images, documents, config, env, trial, number, rng)
    _add(images, documents, config, env, trial, last, rng)
    return Pictured(trial.index, success, images, documents)


def _add(images: dict, documents: list, config, env, trial: Trial, number: int, rng) -> None:
    """The present moment as a picture, if it shows all objects, and what is said about it."""
    name = f"images/{trial.index:08d}-{number:03d}.png"
    if name in images:
        return
    camera = str(rng.choice(config.cameras))
    size = (env.image.height, env.image.width)
    image = env.simulation.render(camera, size, env.image.crop)
    if seen(image) != set(COLORS):
        return
    images[name] = encode_png(image)
    true = facts(env.simulation, camera, env.image.crop)
    about = {"image": name, "episode": trial.index, "objects": trial.objects}
    documents.append(about | {"text": captions.caption(true, rng)})
    for question, answer in captions.questions(true, rng):
        documents.append(about | {"question": question, "answer": answer})


def collect_captions(config: CollectConfig) -> dict:
    """Fills the folder `config.out` and returns a summary.

    Raises ValueError for a folder of other settings, RuntimeError where another process writes.
    """
    settings = {k: v for k, v in config.identity().items() if k != "actor"} | {"captions": True}
    path = config.out / SETTINGS
    if path.exists():
        _check_settings(config.out, read_json(path), settings)
    elif config.out.exists() and any(config.out.iterdir()):
        raise ValueError(f"{config.out}: expected an empty folder or one of captions, got neither")
    workers.set_threads(1)
    with contextlib.closing(lock(config.out)):
        write_json(path, settings)
        documents = _stored(config.out / DOCUMENTS)
        episodes = {document["episode"] for document in documents}
        progress = Progress(config.episodes, len(episodes))
        print(f"{config.out}: {len(episodes)} of {config.episodes} episodes", file=sys.stderr)
        if progress.done < config.episodes:
            _fill(config, documents, progress, max(episodes, default=-1) + 1)
    return {
        "out": str(config.out),
        "episodes": progress.done,
        "pictures": len({document["image"] for document in documents}),
        "documents": len(documents),
    }


def _fill(config: CollectConfig, documents: list[dict], progress: Progress, start: int) -> None:
    """Adds episodes from index `start` on until there are enough; stores what there is then."""
    try:
        with contextlib.closing(in_order(config, partial(picture, config), start)) as pictured:
            for one in pictured:
                if one.success or config.keep == "all":
                    _write_images(config.out, one)
                    documents += one.documents
                    progress.done += 1
                complete = progress.done >= config.episodes
                progress.show(f"{len(documents)} documents", last=complete)
                if complete:
                    return
                if progress.num_new % EPISODES_A_WRITE == 0:
                    _write(config.out / DOCUMENTS, documents)
    finally:
        _write(config.out / DOCUMENTS, documents)


def _write_images(folder: Path, one: Pictured) -> None:
    for name, data in one.images.items():
        with replacing(folder / name) as path:
            path.write_bytes(data)


def _write(path: Path, documents: list[dict]) -> None:
    if not documents:
        return
    with replacing(path) as temporary:
        temporary.write_text("".join(json.dumps(document) + "\n" for document in documents))


def _stored(path: Path) -> list[dict]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def _check_settings(folder: Path, stored: dict, settings: dict) -> None:
    for name, value in settings.items():
        if stored.get(name) != value:
            raise ValueError(
                f"{folder} was collected with {name} {stored.get(name)!r}, got {value!r}; "
                "choose another --out or the same settings"
            )
