"""Episodes of an evaluation that begin with a demonstration."""

from dataclasses import replace

import numpy as np
import pytest
from core_examples import episode

from gato_core import checkpoint
from gato_core.dataset import DatasetWriter
from gato_core.embodiment import Embodiment
from gato_core.model import PRESETS, Gato
from gato_sim import prompts
from gato_sim.domains.rgb_stacking.instructions import instruction
from gato_sim.domains.rgb_stacking.tasks import robot_spec
from gato_sim.evaluate import EvaluateConfig, evaluate
from gato_sim.results.summary import read_results

SPEC = robot_spec(("basket_front_left",), 16)
RED_ON_BLUE, BLUE_ON_GREEN = instruction("red_on_blue"), instruction("blue_on_green")
SHOWN = (
    (RED_ON_BLUE, "a,b,c"),
    (RED_ON_BLUE, "d,e,f"),
    (RED_ON_BLUE, "a,b,c"),
    (RED_ON_BLUE, "d,e,f"),
    (BLUE_ON_GREEN, "x,y,z:blue_on_green"),
)
QUICK = dict(physics="stable", suite=("selection",), max_steps=6, workers=0, videos=0)


def write(root, spec=SPEC, successes=(True, True, False, True, True)):
    rng = np.random.default_rng(0)
    with DatasetWriter(root, spec) as writer:
        for i, ((task, ids), success) in enumerate(zip(SHOWN, successes, strict=True)):
            about = dict(task=task, seed=i, success=success, info={"objects": ids})
            writer.add(replace(episode(spec, rng, 5), **about))
    return root


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    return write(tmp_path_factory.mktemp("data") / "shown")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A checkpoint with a context of four timesteps."""
    path = tmp_path_factory.mktemp("checkpoints") / "small"
    body = Embodiment("robot", SPEC, context_timesteps=4, sees_past_actions=True)
    checkpoint.save(path, Gato(PRESETS["debug"]), body, {})
    return path


def test_a_prompt_shows_the_same_task_with_the_same_objects_if_there_are_any(shown):
    for task, ids, expected in (
        (RED_ON_BLUE, "a,b,c", {0}),
        (RED_ON_BLUE, "d,e,f", {1, 3}),
        (RED_ON_BLUE, "x,y,z", {0, 1, 3}),
        (BLUE_ON_GREEN, "a,b,c:blue_on_green", {4}),
    ):
        assert {prompts.choose(shown, task, ids, seed) for seed in range(20)} == expected
    assert len(prompts.read(shown, 3, 2)) == 2
    assert len(prompts.read(shown, 3, 9)) == 5  # the whole episode


def test_as_much_is_shown_as_leaves_room_for_the_present(shown):
    assert prompts.check(shown, None, SPEC, 4, {RED_ON_BLUE, BLUE_ON_GREEN}) == 3
    assert prompts.check(shown, 2, SPEC, 4, {RED_ON_BLUE}) == 2
    for context, timesteps, message in (
        (1, None, "prompt: expected a checkpoint whose context has room .* got 1"),
        (4, 4, "prompt_timesteps: expected 1..3 within a context of 4, got 4"),
        (4, 0, "prompt_timesteps: expected 1..3 within a context of 4, got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            prompts.check(shown, timesteps, SPEC, context, {RED_ON_BLUE})


def test_demonstrations_of_another_robot_or_without_success_are_refused(shown, tmp_path):
    other = replace(SPEC, control_timestep=0.1)
    with pytest.raises(ValueError, match="differs from the checkpoint's:\n  control_timestep: exp"):
        prompts.check(shown, 1, other, 4, {RED_ON_BLUE})
    failures = write(tmp_path / "failures", successes=(False,) * 5)
    with pytest.raises(ValueError, match="prompt: expected successful episodes of .*got.* nothing"):
        prompts.check(failures, 1, SPEC, 4, {RED_ON_BLUE})
    with pytest.raises(ValueError, match="expected successful episodes of .'stack the green obj"):
        prompts.check(shown, 1, SPEC, 4, {instruction("green_on_red")})
    with pytest.raises(FileNotFoundError):
        prompts.check(tmp_path / "none", 1, SPEC, 4, {RED_ON_BLUE})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"policy": "expert", "prompt": "x"}, "prompt: expected a --checkpoint to read it, got ex"),
        ({"checkpoint": "x", "keep_prompt": True}, "expected --prompt DATASET with"),
        ({"checkpoint": "x", "prompt_timesteps": 2}, "expected --prompt DATASET with"),
    ],
)
def test_prompts_need_a_dataset_and_a_network(options, message):
    with pytest.raises(ValueError, match=message):
        EvaluateConfig(**options)


def test_prompted_episodes_differ_repeat_and_say_what_they_were_shown(shown, trained, tmp_path):
    rows = {}
    for name, options in (
        ("plain", {}),
        ("slides", {"prompt": shown}),
        ("again", {"prompt": shown}),
        ("stays", {"prompt": shown, "keep_prompt": True}),
    ):
        config = EvaluateConfig(
            checkpoint=trained, episodes=1, name=name, out=tmp_path, **QUICK, **options
        )
        evaluate(config)
        (rows[name],) = read_results(config.folder / "results.jsonl")
    seen = {name: row["trajectory"] for name, row in rows.items()}
    assert seen["slides"] == seen["again"]
    assert len(set(seen.values())) == 3
    assert rows["plain"]["prompt"] is None and rows["slides"]["prompt"] in (0, 1, 3)
    report = (tmp_path / "stays/report.md").read_text()
    assert f"begin with 3 timesteps of a demonstration of {shown}, which stay in context" in report
