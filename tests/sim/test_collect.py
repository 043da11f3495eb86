"""Collection: which objects, in which order, and nothing lost or doubled."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from gato_core.dataset import Dataset
from gato_core.embodiment import Embodiment
from gato_core.spec import Text
from gato_core.tokenizer import Tokenizer
from gato_core.vocab import Vocabulary
from gato_sim.collect import collect, main
from gato_sim.collect_config import CollectConfig, trial
from gato_sim.demonstrations import demonstrate
from gato_sim.domains.rgb_stacking import instructions, objects, suites
from gato_sim.domains.rgb_stacking.tasks import ACTION
from gato_training.run_log import origin
from gato_training.sequences import Sampling, Sequences

# short episodes without images: what is tested is the order and the bookkeeping
SHORT = dict(cameras=(), perturb="none", keep="all", max_steps=12)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """Five short episodes, collected in this process."""
    out = tmp_path_factory.mktemp("reference") / "data"
    collect(CollectConfig(out=out, episodes=5, workers=0, **SHORT))
    return Dataset(out)


def assert_equal_datasets(got: Dataset, expected: Dataset) -> None:
    assert got.num_episodes == expected.num_episodes
    for i in range(expected.num_episodes):
        a, b = got.episode(i), expected.episode(i)
        assert (a.seed, a.task, a.source, a.info) == (b.seed, b.task, b.source, b.info)
        arrays = a.observation | a.privileged | {"action": a.action, "reward": a.reward}
        others = b.observation | b.privileged | {"action": b.action, "reward": b.reward}
        assert arrays.keys() == others.keys()
        for key, value in arrays.items():
            np.testing.assert_array_equal(value, others[key], err_msg=key)


def test_dataset_does_not_depend_on_the_number_of_workers(reference, tmp_path):
    collect(CollectConfig(out=tmp_path / "two", episodes=5, workers=2, **SHORT))
    assert_equal_datasets(Dataset(tmp_path / "two"), reference)


def test_an_episode_does_not_depend_on_those_before_it():
    """A process keeps its environment: other objects, other meshes in the pictures."""
    config = CollectConfig(out=Path("unused"), max_steps=2, image_size=32, workers=0)
    first = demonstrate(config, trial(config, 0))
    demonstrate(config, trial(config, 1))
    again = demonstrate(config, trial(config, 0))
    assert first.info == again.info
    for key, value in first.observation.items():
        np.testing.assert_array_equal(value, again.observation[key], err_msg=key)


def test_continued_collection_loses_and_doubles_nothing(reference, tmp_path):
    out = tmp_path / "data"
    for episodes in (2, 2, 5):
        summary = collect(CollectConfig(out=out, episodes=episodes, workers=0, **SHORT))
        assert summary["episodes"] == episodes
    assert_equal_datasets(Dataset(out), reference)
    lines = (out / "attempts.jsonl").read_text().splitlines()
    assert [json.loads(line)["index"] for line in lines] == list(range(5))


def test_interrupted_collection_continues_to_the_same_dataset(reference, tmp_path):
    """Ctrl-C in the middle, then the same command again."""
    out = tmp_path / "data"
    command = [sys.executable, "-m", "gato_sim.collect", "--out", str(out), "--episodes", "5"]
    command += ["--perturb", "none", "--keep", "all", "--max-steps", "12", "--workers", "1"]
    command += ["--cameras"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    attempts = out / "attempts.jsonl"
    while process.poll() is None and not (attempts.exists() and attempts.read_text()):
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert "the same command continues" in errors
    assert 1 <= Dataset(out).num_episodes < 5
    subprocess.run(command, check=True, capture_output=True)
    assert_equal_datasets(Dataset(out), reference)


def test_a_disk_that_fills_up_costs_nothing_but_time(reference, tmp_path):
    """Files may not grow past 8 kB: the data file fails, and the same command mends all later."""
    out = tmp_path / "data"
    command = [sys.executable, "-m", "gato_sim.collect", "--out", str(out), "--episodes", "5"]
    command += ["--perturb", "none", "--keep", "all", "--max-steps", "12", "--workers", "0"]
    command += ["--cameras"]
    limit = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (8000, 8000))
    full = subprocess.run(command, capture_output=True, text=True, preexec_fn=limit)
    assert full.returncode == 1
    assert "gato collect: " in full.stderr and "File too large" in full.stderr
    assert "Traceback" not in full.stderr
    collect(CollectConfig(out=out, episodes=5, workers=0, **SHORT))
    assert_equal_datasets(Dataset(out), reference)


def test_other_settings_do_not_mix_into_a_dataset(reference):
    config = CollectConfig(out=reference.root, episodes=9, seed=1, workers=0, **SHORT)
    with pytest.raises(ValueError, match="collected with seed 0, got 1"):
        collect(config)


def test_provenance_is_stored(reference):
    info = reference.episode(0).info
    for key in ("index", "objects", "physics", "perturb", "seed", "versions", "failure"):
        assert key in info
    assert reference.episode(0).source == "expert"


def test_episodes_of_different_objects_are_of_one_task(reference):
    """The task was the objects' ids: no other demonstration of "the same task" for a prompt."""
    rows = [reference.rows[i] for i in range(5)]
    assert {row["gato/task"] for row in rows} == {"stack the red object on the blue object"}
    assert {row["gato/task"] for row in rows} == {reference.episode(0).task}
    assert len(set(reference.information("objects"))) == 5


def test_prompts_reach_their_share_on_collected_demonstrations(reference):
    options = Sampling(2, 64, seed=0, prompt_fraction=0.25)
    tokenizer = Tokenizer(Embodiment("robot", reference.spec), Vocabulary())
    sequences = Sequences([reference], [range(5)], tokenizer, options)
    prompted = [len(pieces) == 2 for k in range(20) for pieces in sequences.draw(k)]
    assert 0.2 < np.mean(prompted) < 0.3


def test_what_was_executed_is_stored_beside_the_label(reference, tmp_path):
    """A turn of the gripper at full speed disturbs each of the first 30 steps."""
    options = SHORT | dict(perturb="spin", episodes=1, workers=0)
    collect(CollectConfig(out=tmp_path / "data", **options))
    disturbed, clean = Dataset(tmp_path / "data").episode(0), reference.episode(0)
    np.testing.assert_array_equal(np.abs(disturbed.executed[:, 3]), 1.0)
    assert (disturbed.executed[:, 3] != disturbed.action[:, 3]).all()
    np.testing.assert_array_equal(disturbed.action[0], clean.action[0])
    low, high = (np.float32(bound) for bound in (ACTION.low, ACTION.high))
    np.testing.assert_array_equal(clean.executed, np.clip(clean.action, low, high))
    assert not disturbed.terminated and not clean.terminated


def test_train_collection_never_draws_test_or_selection_objects(tmp_path):
    config = CollectConfig(out=tmp_path)
    drawn = {i for index in range(2000) for i in trial(config, index).objects.split(",")}
    assert drawn == set(suites.set_ids("train"))
    for reserved in ("selection", "heldout"):
        assert not drawn & set(suites.set_ids(reserved))
    assert not drawn & set(objects.object_ids("test"))


def test_a_demonstration_can_show_that_a_finished_stack_is_left_alone():
    """A longer one begins as the short one does; blue, red and gripper then stay where they are."""
    options = dict(out=Path("unused"), cameras=(), perturb="none", workers=0)
    short, long = (
        demonstrate(config, trial(config, 0))
        for config in (CollectConfig(**options), CollectConfig(stop_after=60, **options))
    )
    assert len(long) == len(short) + 40 and short.success and long.success
    np.testing.assert_array_equal(long.action[: len(short)], short.action)
    for key in ("red", "blue", "pinch"):
        moved = np.ptp(long.privileged[key][-40:, :3], axis=0)
        assert np.all(moved < 0.01), (key, moved)


def test_a_test_triplet_is_asked_for_by_its_name_which_the_dataset_keeps(tmp_path):
    """By it an evaluation tells that a checkpoint has seen these objects."""
    config = CollectConfig(
        out=tmp_path / "data", triplets="rgb_test_triplet1", episodes=1, workers=0, **SHORT
    )
    collect(config)
    dataset = Dataset(config.out)
    assert dataset.episode(0).info["objects"] == "r3,s0,b2"
    (part,) = origin.data([dataset])
    assert part["triplets"] == ["rgb_test_triplet1"]


def test_another_stack_is_part_of_the_episode(tmp_path):
    """Of its task too: a prompt shows the same stack."""
    options = SHORT | dict(triplets="rgb_test_triplet1", stack="blue_on_green", workers=0)
    collect(CollectConfig(out=tmp_path / "data", episodes=1, **options))
    episode = Dataset(tmp_path / "data").episode(0)
    assert episode.task == "stack the blue object on the green object"
    assert episode.info["objects"] == "r3,s0,b2:blue_on_green"
    assert episode.info["stack"] == "blue_on_green"
    tasks = pq.read_table(tmp_path / "data/meta/tasks.parquet").to_pylist()
    assert "stack the blue object on the green object" in str(tasks)
    with pytest.raises(ValueError, match="with stack 'blue_on_green', got 'red_on_green'"):
        options |= dict(stack="red_on_green")
        collect(CollectConfig(out=tmp_path / "data", episodes=2, **options))


def test_any_stack_is_told_which(tmp_path):
    """All six pairs of colours, each in several wordings, which the policy observes as words."""
    config = CollectConfig(out=Path("unused"), stack="any", **SHORT)
    drawn = [trial(config, index) for index in range(300)]
    assert {objects.split_task(one.objects)[1] for one in drawn} == set(objects.STACKS)
    for one in drawn:
        assert instructions.stack_of(one.instruction) == objects.split_task(one.objects)[1]
    spoken = {one.instruction for one in drawn}
    assert spoken == {words for stack in objects.STACKS for words in instructions.wordings(stack)}
    options = SHORT | dict(stack="any", episodes=4, workers=0, out=tmp_path / "data")
    collect(CollectConfig(**options))
    dataset = Dataset(tmp_path / "data")
    assert dataset.spec.observation["instruction"] == Text(instructions.NUM_TOKENS)
    for i, one in enumerate(drawn[:4]):
        episode = dataset.episode(i)
        assert episode.task == dataset.rows[i]["tasks"][0] == one.instruction
        assert episode.observation["instruction"].tolist() == [one.instruction] * len(episode)
        assert episode.info["objects"] == one.objects


def test_unknown_stack_names_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match="expected one of red_on_green.*got 'red_on_red'"):
        collect(CollectConfig(out=tmp_path / "data", stack="red_on_red", **SHORT))


@pytest.mark.parametrize(
    "triplets, message",
    [
        ("nonsense", "expected one of train, selection, heldout, mastery.*got 'nonsense'"),
        ("r25,x37,q99", "got 'q99'"),
        ("r3,s0,b2", "no test objects unless '--triplets mastery'"),
        ("rgb_test_triplet6", "a test triplet's name.*got 'rgb_test_triplet6'"),
        ("m67,r25,y26", "no selection objects unless '--triplets selection'"),
    ],
)
def test_triplets_that_may_not_be_collected_are_refused_first(tmp_path, triplets, message):
    with pytest.raises(ValueError, match=message):
        collect(CollectConfig(out=tmp_path / "data", triplets=triplets, **SHORT))
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"workers": -1}, "workers: expected 0 or more, got -1"),
        ({"max_steps": 401}, "max_steps: expected 1..400, got 401"),
        ({"episodes": 0}, "episodes: expected at least 1, got 0"),
        ({"niceness": 20}, "niceness: expected 0..19, got 20"),
        ({"actor": Path("x"), "perturb": "mild"}, "actor: expected --perturb none .* got mild"),
    ],
)
def test_impossible_options_are_refused(option, message):
    with pytest.raises(ValueError, match=message):
        CollectConfig(out=Path("unused"), **SHORT | option)


def test_missing_model_files_say_how_to_get_them(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("GATO_ASSETS", str(tmp_path / "nowhere"))
    monkeypatch.setattr(sys, "argv", ["gato collect", "--out", str(tmp_path / "data")])
    assert main() == 1
    assert "gato assets" in capsys.readouterr().err


def test_full_disk_is_seen_before_the_start(tmp_path):
    with pytest.raises(ValueError, match="GB of free disk"):
        collect(CollectConfig(out=tmp_path / "data", episodes=10**9, workers=0))
