"""`gato dataset`: what an edit keeps is bit for bit what it was, and a dry run writes nothing."""

import json
import shutil
import sys
from dataclasses import fields, replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from dataset_examples import SPEC, assert_equal, make_episode, write
from option_effects import Case, check_every_option

from gato_core import cli
from gato_core.data.edits_resample import joining, resampled
from gato_core.data.edits_select import Selection, listed, numbers
from gato_core.dataset import Dataset, DatasetWriter
from gato_core.episode import Episode
from gato_core.spec import Continuous, Spec, Text
from gato_core.tools.edit import (
    VERBS,
    Delete,
    Keep,
    Merge,
    Relabel,
    Restore,
    Split,
    Statistics,
    Trim,
    run,
)
from gato_core.tools.inspect import inspect


def unlike(got: Episode, expected: Episode) -> None:
    """Equal in everything but where it comes from."""
    assert got.info["origin"].keys() == {"dataset", "episode"}
    info = {k: v for k, v in got.info.items() if k in expected.info}
    assert_equal(replace(got, info=info), expected)


def files_of(root) -> dict:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def five(tmp_path):
    write(tmp_path / "five", range(5))
    return tmp_path / "five"


def test_kept_episodes_are_what_they_were_and_say_where_they_come_from(five, tmp_path):
    run(Keep(five, tmp_path / "out", Selection(("1", "3:5"))))
    dataset = Dataset(tmp_path / "out")
    assert inspect(tmp_path / "out")["episodes"] == 3
    for i, seed in enumerate((1, 3, 4)):
        unlike(dataset.episode(i), make_episode(seed, 5 + seed))
        assert dataset.episode(i).info["origin"] == {"dataset": str(five), "episode": seed}
    run(Keep(tmp_path / "out", tmp_path / "again", Selection(("2",))))
    assert Dataset(tmp_path / "again").episode(0).info["origin"]["episode"] == 4  # the first one
    (history,) = json.loads((tmp_path / "again/gato.json").read_text())["history"]
    assert history["command"] == "gato dataset keep"
    assert history["options"] == {"episodes": ["2"]}
    (source,) = history["sources"]
    assert source["path"] == str(tmp_path / "out")
    assert source["history"][0]["sources"][0]["path"] == str(five)


def test_history_outlives_what_is_added_later(five, tmp_path):
    run(Keep(five, tmp_path / "out", Selection(("1",))))
    with DatasetWriter(tmp_path / "out", SPEC) as writer:
        writer.add(make_episode(9))
    history = json.loads((tmp_path / "out/gato.json").read_text())["history"]
    assert history[0]["command"] == "gato dataset keep"


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({"episodes": ("0", "2:4")}, [0, 2, 3]),
        ({"episodes": ("4,1",)}, [1, 4]),
        ({"episodes": ("3:",)}, [3, 4]),
        ({"with_success": "yes"}, [0, 3]),
        ({"with_success": "no", "episodes": ("0:3",)}, [1, 2]),
        ({"with_task": "task 1"}, [1, 3]),
        ({"with_source": "expert", "max_timesteps": 6}, [0, 1]),
        ({"min_timesteps": 8}, [3, 4]),
    ],
)
def test_episodes_are_chosen_by_number_and_condition(five, tmp_path, conditions, expected):
    dataset = Dataset(five)
    assert Selection(**conditions).of(dataset) == expected
    run(Delete(five, tmp_path / "out", Selection(**conditions)))
    left = [row["gato/seed"] for row in Dataset(tmp_path / "out").rows]
    assert left == [i for i in range(5) if i not in expected]


@pytest.mark.parametrize(
    ("conditions", "words"),
    [
        ({}, "expected numbers or a condition, got neither"),
        ({"episodes": ("5",)}, "expected within 0:5, got '5'"),
        ({"episodes": ("-1",)}, "expected within 0:5, got '-1'"),
        ({"episodes": ("3:1",)}, "expected within 0:5, got '3:1'"),
        ({"episodes": ("two",)}, "expected numbers or FIRST:STOP, got 'two'"),
        ({"with_task": "dance"}, "got none of 5"),
        ({"episodes": (":",)}, "expected episodes that stay, got none"),
    ],
)
def test_a_choice_of_nothing_is_refused(five, tmp_path, conditions, words):
    with pytest.raises(ValueError, match=words):
        run(Delete(five, tmp_path / "out", Selection(**conditions)))
    assert not (tmp_path / "out").exists()


def test_numbers_are_listed_as_they_are_read():
    assert listed([0, 1, 2, 5, 7, 8]) == "0:3, 5, 7:9"
    assert numbers(listed([0, 1, 2, 5, 7, 8]).split(" "), 9) == [0, 1, 2, 5, 7, 8]


def test_duplicates_are_found_by_what_is_seen_and_done(tmp_path):
    with DatasetWriter(tmp_path / "d", SPEC) as writer:
        for seed in (0, 1, 0, 2, 0):
            writer.add(make_episode(seed))
        other = make_episode(1)  # equal in all numbers, other pictures
        other.observation["left/pixels"] = other.observation["left/pixels"] ^ 1
        writer.add(other)
    run(Delete(tmp_path / "d", tmp_path / "out", Selection(duplicates=True)))
    assert [row["gato/seed"] for row in Dataset(tmp_path / "out").rows] == [0, 1, 2, 1]


def test_parts_by_share_are_all_episodes_once(five, tmp_path):
    run(Split(five, tmp_path / "out", ("train=0.6", "test=0.4"), seed=3))
    parts = {name: Dataset(tmp_path / "out" / name) for name in ("train", "test")}
    assert [part.num_episodes for part in parts.values()] == [3, 2]
    seeds = [row["gato/seed"] for part in parts.values() for row in part.rows]
    assert sorted(seeds) == [0, 1, 2, 3, 4]
    run(Split(five, tmp_path / "same", ("train=0.6", "test=0.4"), seed=3))
    assert seeds[:3] == [row["gato/seed"] for row in Dataset(tmp_path / "same/train").rows]


def test_parts_by_number_are_as_they_stand(five, tmp_path, capsys):
    run(Split(five, tmp_path / "out", ("a=3:5", "b=0:2")))
    assert [row["gato/seed"] for row in Dataset(tmp_path / "out/a").rows] == [3, 4]
    assert "in no part: 2" in capsys.readouterr().out


@pytest.mark.parametrize(
    "parts", [(), ("a=2",), ("a=0.5", "b=0.6"), ("a=0",), ("a=0:2", "b=0.5"), ("a=0:3", "b=2:5"),
              ("../a=0.5",), ("a=x",), ("a=0.6", "b=0.001")],
)  # fmt: skip
def test_parts_of_no_sense_are_refused(five, tmp_path, parts):
    with pytest.raises(ValueError, match="parts: expected"):
        run(Split(five, tmp_path / "out", parts))
    assert not (tmp_path / "out").exists()


def standing(start: int, length: int = 12) -> Episode:
    """Nothing moves before timestep `start`, but for noise."""
    episode = make_episode(1, length)
    noise = np.random.default_rng(0).normal(size=(start, 2)).astype(np.float32) * 1e-3
    joints, action = episode.observation["arm/joints"], episode.action
    joints[:start] = joints[0] + noise
    action[:start], episode.observation["gripper"][:start] = action[0], 0.5
    joints[start:] += 1.0
    return episode


def test_idle_starts_are_trimmed_and_the_rest_is_what_it_was(tmp_path, capsys):
    episodes = [standing(4), standing(0), standing(12)]
    with DatasetWriter(tmp_path / "d", SPEC) as writer:
        for episode in episodes:
            writer.add(episode)
    run(Trim(tmp_path / "d", tmp_path / "out"))
    dataset = Dataset(tmp_path / "out")
    assert dataset.lengths.tolist() == [9, 12, 12]
    got = dataset.episode(0)
    assert got.info["trimmed"] == 3
    np.testing.assert_array_equal(got.action, episodes[0].action[3:])
    np.testing.assert_array_equal(
        got.observation["left/pixels"], episodes[0].observation["left/pixels"][3:]
    )
    assert dataset.column("timestamp")[:, 0].tolist()[:2] == [0, np.float32(0.05)]
    said = capsys.readouterr().out
    assert "3 of 36 timesteps go, from 1 episodes" in said
    assert "nothing moves in, and they stay whole: 2" in said


def test_another_label_changes_rewards_and_columns_with_it(five, tmp_path):
    """A recording that was converted as a failure stayed one, whatever was said later."""
    sparse = make_episode(1)
    sparse.reward = np.zeros(len(sparse), np.float32)
    with DatasetWriter(five, SPEC) as writer:
        writer.add(sparse)
    run(Relabel(five, five, "pour", "yes", Selection(("1", "5"))))
    dataset = Dataset(five)
    assert dataset.successes.tolist() == [True, True, False, True, False, True]
    assert [row["gato/task"] for row in dataset.rows][:3] == ["task 0", "pour", "task 0"]
    assert dataset.rows[1]["tasks"] == ["pour"]
    np.testing.assert_array_equal(dataset.episode(1).reward, make_episode(1, 6).reward)  # shaped
    assert dataset.episode(5).reward.tolist() == [0] * 6 + [1]
    assert dataset.episode(5).info["relabelled"] == {"task": "task 1", "success": False}
    ends = np.cumsum(dataset.lengths) - 1
    assert dataset.column("next.success")[ends, 0].tolist() == dataset.successes.tolist()
    texts = pq.read_table(five / "meta/tasks.parquet").to_pylist()
    assert [row["task"] for row in texts] == ["task 0", "pour", "task 1"]


def test_a_label_that_is_there_already_is_refused(five):
    with pytest.raises(ValueError, match="expected something to change"):
        run(Relabel(five, five, None, "yes", Selection(("0",))))
    with pytest.raises(ValueError, match="expected one of them to set, got neither"):
        run(Relabel(five, five, None, None, Selection(("0",))))


def test_merged_datasets_hold_the_episodes_of_both(five, tmp_path):
    write(tmp_path / "two", (7, 8))
    run(Merge((five, tmp_path / "two"), tmp_path / "out"))
    dataset = Dataset(tmp_path / "out")
    for i, seed in enumerate((0, 1, 2, 3, 4, 7, 8)):
        unlike(dataset.episode(i), make_episode(seed, 5 + seed))
    assert not inspect(tmp_path / "out")["warnings"] or dataset.warnings == []


def other_spec(**changes) -> Spec:
    return replace(SPEC, **changes)


def test_other_specs_are_refused_with_all_differences_and_limits_widened_on_demand(five, tmp_path):
    wide = Continuous((-9.0, -1.0, -255.0), (0.01, 1.0, 255.0), "mixed", ("x", "yaw", "grip"))
    with DatasetWriter(tmp_path / "wide", other_spec(action=wide)) as writer:
        writer.add(make_episode(9))
    with pytest.raises(ValueError, match=r"(?s)action.high: expected.*action.low: expected"):
        run(Merge((five, tmp_path / "wide"), tmp_path / "out"))
    run(Merge((five, tmp_path / "wide"), tmp_path / "out", widen_limits=True))
    spec = Dataset(tmp_path / "out").spec
    assert (spec.action.low, spec.action.high) == ((-9, -1, -255), (0.07, 1, 255))
    degrees = replace(wide, unit="deg")
    with DatasetWriter(tmp_path / "deg", other_spec(action=degrees)) as writer:
        writer.add(make_episode(9))
    with pytest.raises(ValueError, match="action.unit: expected"):
        run(Merge((five, tmp_path / "deg"), tmp_path / "no", widen_limits=True))


def test_the_faster_dataset_comes_to_the_rate_of_the_slower(five, tmp_path):
    with DatasetWriter(tmp_path / "fast", other_spec(control_timestep=0.025)) as writer:
        writer.add(make_episode(7, 9))
    with pytest.raises(ValueError, match="actions: expected mean, last, sum.*'mixed'"):
        run(Merge((five, tmp_path / "fast"), tmp_path / "out"))
    run(Merge((five, tmp_path / "fast"), tmp_path / "out", actions="mean"))
    dataset, whole = Dataset(tmp_path / "out"), make_episode(7, 9)
    assert (dataset.spec.control_timestep, len(dataset.episode(5))) == (0.05, 5)
    got = dataset.episode(5)
    np.testing.assert_array_equal(got.observation["mode"], whole.observation["mode"][::2])
    means = [whole.action[a : a + 2].mean(0) for a in range(0, 9, 2)]
    np.testing.assert_allclose(got.action, means, rtol=1e-6)
    np.testing.assert_allclose(got.reward.sum(), whole.reward.sum(), rtol=1e-6)
    unlike(dataset.episode(1), make_episode(1, 6))  # that had this rate stays as it was
    with pytest.raises(ValueError, match="rate: expected at most 20 Hz, which all have, got 30"):
        run(Merge((five, tmp_path / "fast"), tmp_path / "no", rate=30, actions="mean"))
    run(Merge((five, tmp_path / "fast"), tmp_path / "slow", rate=10, actions="last"))
    assert Dataset(tmp_path / "slow").lengths.tolist() == [3, 3, 4, 4, 5, 3]


@pytest.mark.parametrize("ratio", [1.0, 1.5, 2.0, 3.0, 7.0, 100.0])
def test_resampling_keeps_every_action_once_and_the_way_of_a_velocity(ratio):
    episode = make_episode(3, 20)
    summed = resampled(episode, ratio, "sum")
    np.testing.assert_allclose(summed.action.sum(0), episode.action.sum(0), rtol=1e-4)
    assert len(summed) == int(19 / ratio + 1e-9) + 1
    kept = (np.arange(len(summed)) * ratio + 1e-9).astype(int)
    joints = episode.observation["arm/joints"]
    np.testing.assert_array_equal(summed.observation["arm/joints"], joints[kept])


def test_velocities_are_averaged_without_a_word():
    limits = ((-1.0,), (1.0,))
    assert joining(Continuous(*limits, "rad/s", ("a",)), None) == "mean"
    assert joining(Continuous(*limits, "rad/s", ("a",)), "last") == "last"
    with pytest.raises(ValueError, match="the unit 'rad' does not tell"):
        joining(Continuous(*limits, "rad", ("a",)), None)


def test_what_only_some_have_is_shared_or_left_out(five, tmp_path, capsys):
    with DatasetWriter(tmp_path / "more", SPEC) as writer:
        episode = make_episode(8)
        episode.executed = episode.action / 2
        episode.privileged = {}
        writer.add(episode)
    run(Merge((five, tmp_path / "more"), tmp_path / "out"))
    dataset = Dataset(tmp_path / "out")
    np.testing.assert_array_equal(dataset.episode(0).executed, make_episode(0, 5).action)
    np.testing.assert_array_equal(dataset.episode(5).executed, episode.action / 2)
    assert dataset.privileged == []
    assert "privileged, not in all and left out: red" in capsys.readouterr().out


def test_words_are_kept_compared_and_restored(tmp_path):
    """Arrays of words have no bytes of their own to compare by."""
    spec = other_spec(observation={**SPEC.observation, "instruction": Text(8)})
    with DatasetWriter(tmp_path / "d", spec) as writer:
        for words in ("lift", "lift", "push"):
            episode = make_episode(1)
            episode.observation["instruction"] = np.array([words] * 7, object)
            writer.add(episode)
    run(Delete(tmp_path / "d", tmp_path / "out", Selection(duplicates=True)))
    dataset = Dataset(tmp_path / "out")
    said = [dataset.episode(i).observation["instruction"][0] for i in range(2)]
    assert said == ["lift", "push"] and inspect(tmp_path / "d")["repeated"] == 1
    run(Statistics(tmp_path / "d"))
    copy = edited_by_another(tmp_path / "d", tmp_path / "copy", "2")
    assert run(Restore(copy, (tmp_path / "d",)))["from"] == [2]


VERBS_OF = {
    "keep": lambda d, o: ["keep", d, "--out", o, "--episodes", "1"],
    "delete": lambda d, o: ["delete", d, "--out", o, "--episodes", "1"],
    "trim": lambda d, o: ["trim", d, "--out", o],
    "relabel": lambda d, o: ["relabel", d, "--out", o, "--episodes", "1", "--success", "yes"],
    "split": lambda d, o: ["split", d, "--out", o, "--parts", "a=0.4", "b=0.6"],
    "merge": lambda d, o: ["merge", d, d, "--out", o],
    "statistics": lambda d, o: ["statistics", d],
}


@pytest.mark.parametrize("verb", VERBS_OF)
def test_a_dry_run_says_what_would_change_and_writes_nothing(
    five, tmp_path, verb, monkeypatch, capsys
):
    command = [str(part) for part in VERBS_OF[verb](five, tmp_path / "out")]
    before = files_of(tmp_path)
    monkeypatch.setattr(sys, "argv", ["gato", "dataset", *command, "--dry-run"])
    assert cli.main() == 0
    assert files_of(tmp_path) == before
    said = capsys.readouterr().out.splitlines()
    assert isinstance(json.loads(said[-1]), dict) and (len(said) > 1 or verb == "statistics")
    monkeypatch.setattr(sys, "argv", ["gato", "dataset", *command])
    assert cli.main() == 0
    again = capsys.readouterr().out.splitlines()
    assert again[:-1] == said[:-1]
    assert VERBS.keys() - VERBS_OF.keys() == {"restore"}


def test_an_edit_that_fails_leaves_all_as_it_was(five, tmp_path, monkeypatch):
    """In the middle of the second episode, as on a full disk."""
    before, calls = files_of(tmp_path), []

    def read(self, i, start, stop):
        calls.append(i)
        if len(calls) == 2:
            raise OSError("no room")
        return original(self, i, start, stop)

    original = Dataset.read
    monkeypatch.setattr(Dataset, "read", read)
    for out in (tmp_path / "out", five):
        calls.clear()
        with pytest.raises(OSError, match="no room"):
            run(Keep(five, out, Selection(("1:4",))))
    after = files_of(tmp_path)
    assert {k: v for k, v in after.items() if k.name != ".lock"} == {
        k: v for k, v in before.items() if k.name != ".lock"
    }


def test_another_folder_is_not_replaced(five, tmp_path):
    write(tmp_path / "other", [1])
    before = files_of(tmp_path / "other")
    with pytest.raises(ValueError, match="other: expected a new folder, or a source to replace"):
        run(Keep(five, tmp_path / "other", Selection(("1",))))
    with pytest.raises(ValueError, match="expected a new folder"):
        run(Split(five, five, ("a=0.5",)))
    assert files_of(tmp_path / "other") == before


def test_a_dataset_that_is_being_written_is_not_replaced(five):
    with DatasetWriter(five, SPEC), pytest.raises(RuntimeError, match="another process"):
        run(Keep(five, five, Selection(("1",))))


def test_stale_statistics_are_told_and_put_right(five, monkeypatch, capsys):
    path = five / "meta/stats.json"
    sound = json.loads(path.read_text())
    stale = json.loads(path.read_text())
    stale["action"]["mean"] = [9.0, 9.0, 9.0]
    del stale["next.reward"]
    path.write_text(json.dumps(stale))
    found = run(Statistics(five, dry_run=True))
    assert json.loads(path.read_text()) == stale
    assert (
        found["changed"]
        == [
            "next.reward: no statistics were there",
            next(
                line
                for line in found["changed"]
                if line.startswith("action: mean: 9, 9, 9 becomes")
            ),
        ]
        or len(found["changed"]) == 2
    )
    assert run(Statistics(five))["changed"] == found["changed"]
    assert run(Statistics(five))["changed"] == []
    fresh = json.loads(path.read_text())
    for name in ("action", "next.reward", "observation.images.left"):
        for key in ("min", "max", "mean", "std"):
            np.testing.assert_allclose(fresh[name][key], sound[name][key], atol=1e-6)
    assert Dataset(five).statistics()[0]["action"]["count"] == [5]
    with DatasetWriter(five, SPEC) as writer:
        writer.add(make_episode(9))  # a writer takes them up


def edited_by_another(root, copy, keep):
    """As lerobot-edit-dataset leaves a copy: renumbered, without gato.json and `gato/` columns."""
    run(Keep(root, copy, Selection((keep,))))
    (copy / "gato.json").unlink()
    for path in copy.glob("meta/episodes/*/*.parquet"):
        table = pq.read_table(path)
        ours = [name for name in table.column_names if name.startswith("gato/")]
        pq.write_table(table.drop_columns(ours), path)
    return copy


def test_what_an_edited_copy_has_lost_comes_back_from_the_original(five, tmp_path):
    copy = edited_by_another(five, tmp_path / "copy", "1,3:5")
    with pytest.raises(FileNotFoundError, match="gato dataset restore"):
        Dataset(copy)
    before = files_of(tmp_path)
    assert run(Restore(copy, (five,), dry_run=True))["from"] == [1, 3, 4]
    assert files_of(tmp_path) == before
    run(Restore(copy, (five,)))
    dataset = Dataset(copy)
    for i, seed in enumerate((1, 3, 4)):
        assert_equal(dataset.episode(i), make_episode(seed, 5 + seed))
    with pytest.raises(ValueError, match="expected a copy without gato.json"):
        run(Restore(copy, (five,)))


def test_a_copy_of_something_else_is_refused_with_the_way_that_is_left(five, tmp_path):
    write(tmp_path / "other", (11, 12))
    copy = edited_by_another(five, tmp_path / "copy", "1,3")
    with pytest.raises(ValueError, match=r"got others, or changed ones: \[0, 1\]; `gato convert`"):
        run(Restore(copy, (tmp_path / "other",)))
    run(Restore(copy, (tmp_path / "other", five)))
    assert Dataset(copy).num_episodes == 2


def test_a_copy_without_its_original_is_converted_by_its_spec(five, tmp_path):
    """The names of our own columns have their key before them; these were not found."""
    from gato_ros.bags.convert import ConvertConfig, convert

    copy = edited_by_another(five, tmp_path / "copy", "0:2")
    wide = replace(SPEC.action, low=(-9.0,) * 3, high=(9.0,) * 3)
    spec = other_spec(action=wide)
    (tmp_path / "spec.json").write_text(json.dumps(spec.to_dict()))
    convert(ConvertConfig(copy, tmp_path / "out", spec=tmp_path / "spec.json"))
    dataset = Dataset(tmp_path / "out")
    assert dataset.successes.tolist() == [True, False]
    np.testing.assert_array_equal(dataset.episode(1).action, make_episode(1, 6).action)
    shutil.rmtree(tmp_path / "out")


def test_every_option_has_an_effect_or_is_refused(five, tmp_path):
    wide = replace(SPEC.action, low=(-9.0,) * 3, high=(9.0,) * 3)
    specs = {"fast": other_spec(control_timestep=0.025), "wide": other_spec(action=wide)}
    for name, spec in specs.items():
        with DatasetWriter(tmp_path / name, spec) as writer:
            writer.add(make_episode(7, 9))
    with DatasetWriter(tmp_path / "idle", SPEC) as writer:
        writer.add(standing(6))
    kept = {"dataset": five, "chosen": Selection(("1", "2"))}
    both, rates = {"datasets": (five, five)}, {"datasets": (five, tmp_path / "fast")}
    said = {"dataset": five, "chosen": Selection(("1",)), "success": "yes"}
    cases = {
        Merge: [
            Case("rate", 10.0, rates | {"actions": "mean"}),
            Case("rate", 40.0, both, refused="rate: expected at most 20 Hz"),
            Case("rate", -1.0, both, refused="rate: expected above 0 Hz"),
            Case("actions", "last", rates | {"actions": "mean"}),
            Case("actions", "last", both, refused="actions: expected nothing"),
            Case("widen_limits", True, {"datasets": (five, tmp_path / "wide")},
                 base_refused="action.high: expected"),
        ],
        Split: [
            Case("parts", ("a=0.4",), {"dataset": five, "parts": ("a=0.6",)}),
            Case("seed", 5, {"dataset": five, "parts": ("a=0.4", "b=0.6")}),
            Case("seed", 5, {"dataset": five, "parts": ("a=0:3",)}, refused="seed: expected 0"),
        ],
        Keep: [Case("chosen", Selection(("3",)), kept)],
        Delete: [Case("chosen", Selection(("3",)), kept)],
        Trim: [
            Case("still", 0.0, {"dataset": tmp_path / "idle"}),
            Case("still", float("nan"), {"dataset": five}, refused="still, lead: expected"),
            Case("lead", 3, {"dataset": tmp_path / "idle"}),
        ],
        Relabel: [
            Case("task", "pour", said),
            Case("success", "yes", said | {"task": "x", "success": None}),
            Case("chosen", Selection(("2",)), said),
        ],
    }  # fmt: skip

    for verb, tried in cases.items():

        def outcome(options, folder, verb=verb):
            run(verb(out=folder / "out", **options))
            found = {}
            for path in sorted(folder.glob("out/**/gato.json")):
                dataset = Dataset(path.parent)
                rows = [(r["gato/seed"], r["gato/task"], r["gato/success"]) for r in dataset.rows]
                found[path.parent.name] = rows, dataset.lengths.tolist(), dataset.spec
                found["actions"] = dataset.column("action").tolist()
            return found

        positional = {"dataset", "datasets", "out"} & {f.name for f in fields(verb)}
        check_every_option(verb, outcome, tmp_path / verb.__name__, cases=tried,
                           positional=positional, elsewhere={"dry_run"})  # fmt: skip
