"""Ablations: each choice trained and evaluated once beside the same base, as table and picture."""

from dataclasses import replace
from pathlib import Path

import cv2
import pytest
import train_examples

from gato_core import checkpoint
from gato_training.config import changed, flat
from gato_training.run_log import pictures
from gato_training.studies import ablations
from gato_training.studies.ablations import AblationsConfig, main, variants


@pytest.fixture
def config(tmp_path) -> AblationsConfig:
    """A base of two updates on three demonstrations of a small robot."""
    data = train_examples.write(tmp_path / "demos")
    base = changed(
        train_examples.config(tmp_path, data),
        **{"steps": 2, "save_every": 2, "context_timesteps": 1, "action_mode": "parallel"},
        **{"prompt_fraction": 0.0, "weights": ()},
    )
    return AblationsConfig(
        base, models=("debug",), demonstrations=(1,), contexts=(1, 2), output=tmp_path
    )


class Evaluated:
    """What `gato evaluate` would say: this robot has no simulator."""

    def __init__(self) -> None:
        self.seen: dict[str, tuple[Path, list[str]]] = {}

    def __call__(self, path: Path, name: str, extra: list[str]) -> dict:
        self.seen[name] = path, extra
        rate = {"rate": 0.5, "wilson": [0.1, 0.9], "successes": 1, "episodes": 2}
        found = {"all": {"success_end": rate, "success_ever": rate}, "latency_ms": {"p50": 3.0}}
        if "--compare" in extra:
            test = {"only_first": 1, "only_second": 0, "p_value": 1.0}
            found["comparison"] = {"tests": {"selection": test}}
        provenance = {"step": 2, "seconds": 60.0, "measured": {"held_out/error/x": 0.05}}
        return found | {"checkpoint_provenance": provenance}


def test_every_run_differs_from_the_base_in_one_choice(config):
    base = flat(config.train)
    runs = {variant.name: variant for variant in variants(config)}
    differences = {
        name: {
            option
            for option, value in flat(variant.options).items()
            if option != "batch_size" and value != base[option]
        }
        for name, variant in runs.items()
        if name not in ("bc", "crr")
    }
    assert differences == {
        "base": set(),
        "few-1": {"few_shot"},
        "context-2": {"context_timesteps"},
        "context-6": {"context_timesteps"},
        "prompt": {"context_timesteps", "prompt_fraction", "prompt_timesteps"},
        "autoregressive": {"action_mode"},
    }
    assert flat(runs["context-2"].options)["batch_size"] == base["batch_size"] // 2
    groups = {"size", "demonstrations", "context", "actions", "method"}
    assert set(runs["base"].about["groups"]) == groups


@pytest.mark.parametrize("method", ["bc", "crr"])
def test_baselines_learn_from_what_the_base_does(config, method):
    """They once dropped its augmentation and its number of demonstrations."""
    base = changed(config.train, few_shot=2, augment=None, shift=3, held_out=0.3, seed=5)
    runs = {variant.name: variant for variant in variants(replace(config, train=base))}
    data = runs[method].options.data
    assert replace(data, auxiliary=base.data.auxiliary) == base.data
    optimizer = runs[method].options.optimizer
    assert (optimizer.steps, optimizer.seed) == (base.optimizer.steps, 5)


def test_a_base_without_a_context_of_its_own_has_the_preset_s(config):
    """It counted as one timestep, so that two of them halved a batch of sequences of six."""
    base = changed(config.train, context_timesteps=None, batch_size=4)
    runs = {v.name: v.options for v in variants(replace(config, train=base, contexts=(2, 6)))}
    assert runs["context-2"].data.batch_size == 12
    assert "context-6" not in runs  # it is the base


def test_networks_with_and_without_a_prompt_may_have_a_shorter_context(config):
    options = {
        variant.about["groups"]["prompt"]: variant.options
        for variant in variants(changed(config, only=("prompt",), prompt_context=2))
        if "prompt" in variant.about["groups"]
    }
    assert {label: run.network.context_timesteps for label, run in options.items()} == {
        "without": 2,
        "with": 2,
    }
    assert options["without"].data.prompt_fraction == 0.0
    assert options["with"].data.prompt_timesteps == 1
    with pytest.raises(ValueError, match="prompt_context: expected 2 or more, got 1"):
        changed(config, prompt_context=1)


def test_points_table_and_picture_come_of_runs_that_are_made_once(config):
    evaluate = Evaluated()
    found = ablations.ablations(changed(config, only=("demonstrations", "actions")), evaluate)
    assert {p["name"] for p in found["points"]} == {"base", "few-1", "autoregressive"}
    for name, (path, extra) in evaluate.seen.items():
        assert ("--compare" in extra) == (name != "base")
        assert checkpoint.load(path).provenance["step"] == 2
    assert checkpoint.load(evaluate.seen["few-1"][0]).provenance["train"]["few_shot"] == 1
    sizes = {p["name"]: p["parameters"] for p in found["points"]}
    model = checkpoint.load(evaluate.seen["base"][0]).model
    assert sizes["base"] == sum(p.numel() for p in model.state_dict().values())
    page = (config.folder / "ablations.md").read_text().splitlines()
    assert page[2].startswith("| demonstrations | 1 | 50 (10-90) | 50 | 1, 0 (1) |")
    assert page[3].startswith("| demonstrations | all | 50 (10-90) | 50 |  |")
    assert (config.folder / "ablations.png").read_bytes().startswith(b"\x89PNG")
    log = config.folder / "train/few-1/log.jsonl"
    before = log.read_text()
    more = changed(config, only=("demonstrations", "actions", "method"))
    assert len(ablations.ablations(more, evaluate)["points"]) == 5
    assert log.read_text() == before  # nothing is trained again
    with pytest.raises(ValueError, match="episodes: expected 40 as before, got 41"):
        ablations.ablations(changed(config, episodes=41), evaluate)


def test_a_picture_of_one_panel_keeps_its_title_whole(tmp_path):
    rate = {"rate": 0.5, "wilson": [0.1, 0.9]}
    points = [{"name": "base", "groups": {"demonstrations": "all"}, "end": rate}] * 2
    path = tmp_path / "picture.png"
    title = "selection, stable physics, 40 episodes a task"
    pictures.ablations({"demonstrations": points}, title, path)
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    assert image.min() < 128
    assert (image[:, [0, -1]] == 255).all()  # nothing is cut at the left or the right


def test_demonstrations_that_there_are_not_are_refused_before_any_training(config):
    with pytest.raises(ValueError, match="demonstrations: expected at most the 3 episodes"):
        ablations.ablations(changed(config, demonstrations=(1, 10)))
    assert not (config.folder / "train").exists()


def test_demonstrations_that_there_are_not_do_not_hinder_other_choices(config):
    few = changed(config, demonstrations=(10,), only=("actions",))
    points = ablations.ablations(few, Evaluated())["points"]
    assert {point["name"] for point in points} == {"base", "autoregressive"}


def test_bad_flags_end_with_a_message(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["--train.data", "none", "--only", "colour"])
    assert "only: expected some of" in capsys.readouterr().err
    assert main(["--train.data", str(tmp_path / "none"), "--output", str(tmp_path)]) == 1
    assert "none" in capsys.readouterr().err
