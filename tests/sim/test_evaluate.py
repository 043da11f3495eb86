"""Evaluation: resumable, deterministic, paired, and a page that opens."""

import contextlib
import dataclasses
import json
from pathlib import Path

import pytest
from core_examples import random_model

from gato_core import checkpoint
from gato_core.embodiment import Embodiment
from gato_core.model import PRESETS, Gato, with_text
from gato_core.spec import Image
from gato_sim import evaluate as verb
from gato_sim.domains.rgb_stacking import objects, seen
from gato_sim.domains.rgb_stacking.tasks import robot_spec
from gato_sim.evaluate import EvaluateConfig, choose_films, evaluate
from gato_sim.evaluate_config import NOT_IN_RESULT
from gato_sim.results.summary import METRICS, compare, read_results, summarize
from gato_sim.run import locks, workers

QUICK = dict(physics="stable", suite=("selection",), max_steps=6, workers=0, videos=0)


def results_of(folder):
    """Results without what a clock decided."""
    rows = read_results(folder / "results.jsonl")
    rows = [{k: v for k, v in row.items() if k != "latency_ms"} for row in rows]
    return sorted(rows, key=lambda row: row["index"])


def test_evaluation_continues_where_it_was_stopped(tmp_path):
    """Whole, and cut within a line: the same results, each trial once."""
    whole = EvaluateConfig(policy="random", episodes=3, name="whole", out=tmp_path, **QUICK)
    content = evaluate(whole)
    lines = (whole.folder / "results.jsonl").read_text().splitlines(keepends=True)
    assert len(lines) == content["num_episodes"] == 3
    cut = EvaluateConfig(policy="random", episodes=3, name="cut", out=tmp_path, **QUICK)
    cut.folder.mkdir()
    (cut.folder / "results.jsonl").write_text(lines[0] + lines[1][:40])
    evaluate(cut)
    assert results_of(cut.folder) == results_of(whole.folder)


def test_results_outlive_a_file_that_was_replaced_meanwhile(tmp_path, monkeypatch):
    """As `git stash` does with results in a repository."""
    config = EvaluateConfig(policy="random", episodes=3, out=tmp_path, **QUICK)
    path = config.folder / "results.jsonl"
    run = workers.run

    def replacing_between(*args, **kwargs):
        for outcome in run(*args, **kwargs):
            yield outcome
            copy = path.with_suffix(".copy")
            copy.write_bytes(path.read_bytes())
            copy.rename(path)

    monkeypatch.setattr(workers, "run", replacing_between)
    evaluate(config)
    assert [result["index"] for result in results_of(config.folder)] == [0, 1, 2]


def test_shards_make_the_whole(tmp_path):
    """Two machines' results, copied together: the command without --shard runs nothing more."""
    whole = EvaluateConfig(policy="random", episodes=3, name="whole", out=tmp_path, **QUICK)
    evaluate(whole)
    counts = []
    for shard in ("1/2", "2/2", None):
        options = QUICK | dict(name="parts", out=tmp_path, shard=shard)
        config = EvaluateConfig(policy="random", episodes=3, **options)
        counts.append(evaluate(config)["num_episodes"])
    assert counts == [2, 1, 3]
    assert (config.folder / "results.jsonl").read_text() == ""
    parts = [read_results(path) for path in sorted(config.folder.glob("results-*.jsonl"))]
    together = sorted((row for part in parts for row in part), key=lambda row: row["index"])
    for rows in (together, expected := results_of(whole.folder)):
        for row in rows:
            row.pop("latency_ms", None)
    assert together == expected


@pytest.mark.parametrize("shard", ["0/2", "3/2", "half", "1"])
def test_impossible_shard_is_refused(shard):
    with pytest.raises(ValueError, match="shard: expected NUMBER/COUNT"):
        EvaluateConfig(policy="random", shard=shard)


def test_a_shard_without_a_trial_is_refused(tmp_path):
    options = QUICK | dict(policy="random", episodes=1, shard="2/2", out=tmp_path / "out")
    with pytest.raises(ValueError, match="shard: expected no more shards than trials, got 2/2"):
        evaluate(EvaluateConfig(**options))
    assert not (tmp_path / "out").exists()


def test_policies_meet_the_same_initial_states(tmp_path):
    configs = [
        EvaluateConfig(policy=policy, episodes=2, out=tmp_path, **QUICK)
        for policy in ("random", "expert")
    ]
    for config in configs:
        evaluate(config)
    first, second = (results_of(config.folder) for config in configs)
    for key in ("task", "index", "seed", "objects"):
        assert [row[key] for row in first] == [row[key] for row in second]
    assert [row["trajectory"] for row in first] != [row["trajectory"] for row in second]


def test_folder_of_other_settings_is_refused(tmp_path):
    evaluate(EvaluateConfig(policy="random", episodes=1, name="a", out=tmp_path, **QUICK))
    other = EvaluateConfig(policy="random", seed=1, episodes=1, name="a", out=tmp_path, **QUICK)
    with pytest.raises(ValueError, match="results with seed 0, got 1"):
        evaluate(other)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"temperature": -1.0}, "temperature: expected 0 or more, got -1"),
        ({"temperature": float("nan")}, "temperature: expected 0 or more, got nan"),
        ({"temperature": float("inf")}, "temperature: expected 0 or more, got inf"),
        ({"workers": -1}, "workers: expected 0 or more, got -1"),
        ({"videos": -1}, "videos: expected 0 or more, got -1"),
        ({"episodes": 0}, "episodes: expected at least 1, got 0"),
        ({"max_steps": 401}, "max_steps: expected 1..400, got 401"),
        ({"delay_ms": -1.0}, "delay_ms: expected 0 or more, or measured, got -1"),
    ],
)
def test_impossible_options_are_refused(option, message):
    """A temperature of -1 once left a folder that blocked the corrected command."""
    with pytest.raises(ValueError, match=message):
        EvaluateConfig(**{"policy": "random"} | QUICK | option)


def test_a_comparison_that_cannot_be_made_is_refused_before_anything_runs(tmp_path):
    options = dict(policy="random", episodes=1, out=tmp_path / "out")
    other = EvaluateConfig(**options | QUICK | {"suite": ("train",), "out": tmp_path / "other"})
    evaluate(other)
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "settings.json").write_text((other.folder / "settings.json").read_text())
    for folder, suite, message in (
        (tmp_path / "none", "selection", "expected a results folder with settings.json, got"),
        (other.folder, "selection", r"expected suite \['selection'\] in .*, got \['train'\]"),
        (empty, "train", "expected results of the same trials in .*, got none"),
    ):
        with pytest.raises(ValueError, match=f"compare: {message}"):
            evaluate(EvaluateConfig(**options | QUICK | {"suite": (suite,), "compare": folder}))
    assert not (tmp_path / "out").exists()


def test_a_folder_has_one_evaluation_at_a_time_or_one_of_each_shard(tmp_path):
    """Two at once once ran the same trials, and one report replaced the other."""
    options = dict(policy="random", episodes=2, name="one", out=tmp_path) | QUICK
    whole = EvaluateConfig(**options)
    first, second = (EvaluateConfig(shard=f"{i}/2", **options) for i in (1, 2))
    with locks.held(whole.folder):
        for config in (whole, first):
            with pytest.raises(RuntimeError, match="another evaluation is writing there"):
                evaluate(config)
    with locks.held(whole.folder, "1/2"):
        for config in (whole, first):
            with pytest.raises(RuntimeError, match="another evaluation is writing there"):
                evaluate(config)
        assert evaluate(second)["num_episodes"] == 1
    assert evaluate(whole)["num_episodes"] == 2


def test_results_keep_every_option_that_they_depend_on():
    options = {field.name for field in dataclasses.fields(EvaluateConfig)}
    assert NOT_IN_RESULT < options
    config = EvaluateConfig(policy="random")
    assert config.settings().keys() == options - NOT_IN_RESULT


def test_folders_of_earlier_versions_are_continued():
    """They lack options that were added since, which had their defaults then."""
    path = Path(__file__).parents[2] / "checkpoints/control"
    folder = path / "results/skill-generalization-benchmark"
    config = EvaluateConfig(checkpoint=path, temperature=1.0)
    settings = config.settings() | {
        "weights_sha256": checkpoint.read(path)["weights_sha256"],
        "versions": verb.read_json(folder / "settings.json")["versions"],
    }
    verb._check_settings(folder, settings)
    with pytest.raises(ValueError, match="holds results with keep_prompt False, got True"):
        verb._check_settings(folder, settings | {"keep_prompt": True})


def test_page_holds_videos_that_repeat_the_counted_run(tmp_path):
    settings = QUICK | {"videos": 2}
    config = EvaluateConfig(policy="random", episodes=2, out=tmp_path, **settings)
    content = evaluate(config)
    assert [entry["identical"] for entry in content["videos"]] == [True, True]
    assert len(list((config.folder / "videos").glob("*.mp4"))) == 2
    page = (config.folder / "report.html").read_text()
    assert page.count("data:video/mp4;base64,") == 2
    assert "src=" in page and "http" not in page
    report = (config.folder / "report.md").read_text()
    assert "Wilson" in report and "never reached the object" in report


@pytest.fixture(scope="module")
def small_checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoints") / "small"
    spec = robot_spec(("basket_front_left",), 16)
    checkpoint.save(path, Gato(PRESETS["debug"]), Embodiment("robot", spec), {})
    return path


def test_checkpoint_is_evaluated_with_its_own_cameras(small_checkpoint, tmp_path, capsys):
    config = EvaluateConfig(checkpoint=small_checkpoint, episodes=1, out=tmp_path, **QUICK)
    content = evaluate(config)
    assert content["policy"] == "small"
    assert content["latency_ms"]["num_steps"] == 6


@pytest.fixture(scope="module")
def told_checkpoint(tmp_path_factory):
    """Of a network that observes words."""
    path, config = tmp_path_factory.mktemp("checkpoints") / "told", with_text(PRESETS["debug"])
    spec = robot_spec(("basket_front_left",), 16, instruction_tokens=12)
    checkpoint.save(path, random_model(config), Embodiment("robot", spec), {})
    return path


def test_what_a_policy_is_told_is_what_counts(told_checkpoint, tmp_path):
    """Its words say which colours are meant, and reach it: other words, other actions."""
    rows = {}
    for name, words in (
        ("own", None),
        ("one", "put the green object on the blue one"),
        ("two", "please stack green on top of blue"),
    ):
        options = QUICK | dict(episodes=1, name=name, out=tmp_path, instruction=words)
        config = EvaluateConfig(checkpoint=told_checkpoint, **options)
        evaluate(config)
        (rows[name],) = read_results(config.folder / "results.jsonl")
        stored = json.loads((config.folder / "settings.json").read_text())
        assert stored["instruction"] == words
    assert rows["own"]["task"] == "selection"
    assert rows["one"]["task"] == rows["two"]["task"] == "selection:green_on_blue"
    assert rows["one"]["seed"] == rows["own"]["seed"]
    assert rows["one"]["objects"] == rows["own"]["objects"] + ":green_on_blue"
    assert len({row["trajectory"] for row in rows.values()}) == 3
    report = (config.folder / "report.md").read_text()
    assert "told: please stack green on top of blue" in report


def test_other_words_have_another_folder(tmp_path):
    plain, one, two = (
        EvaluateConfig(policy="expert", instruction=words, out=tmp_path).folder
        for words in (None, "Put red on blue!", "put red on/../blue")
    )
    assert plain.name == "expert-skill-generalization-benchmark"
    assert one.name == two.name == f"{plain.name}-put-red-on-blue"


def test_of_several_embodiments_one_is_evaluated(tmp_path):
    """The one that fits the robot; where two do, the one that is named."""
    path, config = tmp_path / "several", with_text(PRESETS["debug"])
    spec = robot_spec(("basket_front_left",), 16)
    pictures = {"left/pixels": Image(16, 32), "right/pixels": Image(32, 16)}
    other = dataclasses.replace(spec, observation=pictures)
    slow = dataclasses.replace(spec, control_timestep=0.1)
    bodies = [Embodiment("a", spec), Embodiment("b", other), Embodiment("c", slow)]
    checkpoint.save(path, random_model(config), bodies, {})
    options = QUICK | dict(episodes=1, max_steps=2, out=tmp_path / "out")
    assert evaluate(EvaluateConfig(checkpoint=path, **options))["num_episodes"] == 1
    told = robot_spec(("basket_front_left",), 16, instruction_tokens=8)
    checkpoint.save(path, random_model(config), [*bodies, Embodiment("d", told)], {})
    options |= {"out": tmp_path / "again"}
    with pytest.raises(ValueError, match="embodiment: expected one that fits.*'a', 'd'"):
        evaluate(EvaluateConfig(checkpoint=path, **options))
    with pytest.raises(ValueError, match="embodiment: expected one of .*'a', 'b', 'c', 'd'.* 'e'"):
        evaluate(EvaluateConfig(checkpoint=path, embodiment="e", **options))
    with pytest.raises(ValueError, match="control_timestep: expected 0.1, got 0.05"):
        evaluate(EvaluateConfig(checkpoint=path, embodiment="c", **options))
    assert not (tmp_path / "again").exists()
    options |= {"instruction": "put red on blue"}
    content = evaluate(EvaluateConfig(checkpoint=path, embodiment="d", **options))
    assert content["embodiment"] == "d"
    with pytest.raises(ValueError, match="embodiment: expected a --checkpoint that has it, got ra"):
        EvaluateConfig(policy="random", embodiment="d")


def test_words_that_cannot_be_followed_are_refused(told_checkpoint, small_checkpoint, tmp_path):
    for path, suite, words, message in (
        (small_checkpoint, "selection", "put red on blue", "a checkpoint that observes Text as"),
        (told_checkpoint, "selection", "tidy up", "expected one of red, green, blue on another"),
        (told_checkpoint, "selection:red_on_green", "put red on blue", "words for red_on_green"),
    ):
        options = QUICK | dict(suite=(suite,), instruction=words, out=tmp_path / "out")
        with pytest.raises(ValueError, match=f"instruction: expected .*{message.split(' ', 1)[1]}"):
            evaluate(EvaluateConfig(checkpoint=path, **options))
    assert not (tmp_path / "out").exists()


def test_words_beyond_a_networks_tokens_are_cut_with_a_warning(told_checkpoint, tmp_path):
    words = "would you be so kind as to put the green object on the blue one for me"
    options = QUICK | dict(episodes=1, max_steps=1, instruction=words, out=tmp_path)
    with pytest.warns(UserWarning, match="expected at most 12 tokens, got .*; cut to 'would you"):
        evaluate(EvaluateConfig(checkpoint=told_checkpoint, **options))


def test_each_pair_of_colours_is_a_row_of_its_own(tmp_path):
    options = QUICK | dict(suite=("any-stack",), episodes=1, max_steps=2, out=tmp_path)
    content = evaluate(EvaluateConfig(policy="random", **options))
    assert content["tasks"].keys() == {objects.join_task("selection", s) for s in objects.STACKS}


def test_sampling_does_not_depend_on_the_order_of_episodes(small_checkpoint, tmp_path):
    """An episode's draws follow from its own seed, not from what its worker did before."""
    rows = []
    for name, episodes in (("both", (2,)), ("apart", (1, 2))):
        for count in episodes:
            config = EvaluateConfig(
                checkpoint=small_checkpoint,
                temperature=1.0,
                episodes=count,
                name=name,
                out=tmp_path,
                **QUICK,
            )
            evaluate(config)
        rows.append(results_of(config.folder))
    assert rows[0] == rows[1]


def test_of_several_embodiments_the_simulated_robots_is_evaluated(tmp_path):
    """Two that are the simulated robot's are refused with both named."""
    path, spec = tmp_path / "several", robot_spec((), 16)
    slow = Embodiment("slow", dataclasses.replace(spec, control_timestep=0.5), temperature=1.0)
    arm = Embodiment("arm", spec, temperature=0.5)
    checkpoint.save(path, Gato(PRESETS["debug"]), [slow, arm], {})
    config = EvaluateConfig(checkpoint=path, episodes=1, out=tmp_path / "out", **QUICK)
    assert evaluate(config)["temperature"] == 0.5
    twins = tmp_path / "twins"
    both = [arm, dataclasses.replace(arm, name="twin")]
    checkpoint.save(twins, Gato(PRESETS["debug"]), both, {})
    with pytest.raises(ValueError, match=r"expected one that fits.* got \['arm', 'twin'\]"):
        evaluate(dataclasses.replace(config, checkpoint=twins, name="twins"))


def test_actions_are_drawn_at_the_checkpoints_own_temperature_unless_one_is_given(tmp_path):
    path, spec = tmp_path / "warm", robot_spec((), 16)
    options = dict(checkpoint=path, episodes=1, out=tmp_path / "out", **QUICK)
    for own, given, expected in ((0.0, None, 0.0), (1.0, None, 1.0), (1.0, 0.0, 0.0)):
        model = Gato(PRESETS["debug"])
        checkpoint.save(path, model, Embodiment("robot", spec, temperature=own), {})
        config = EvaluateConfig(temperature=given, name=f"{own} {given}", **options)
        assert evaluate(config)["temperature"] == expected


def test_checkpoint_of_another_robot_is_refused(tmp_path):
    spec = robot_spec((), 64)
    other = dataclasses.replace(spec, control_timestep=0.1)
    path = tmp_path / "other"
    checkpoint.save(path, Gato(PRESETS["debug"]), Embodiment("robot", other), {})
    config = EvaluateConfig(checkpoint=path, out=tmp_path / "out", **QUICK)
    with pytest.raises(ValueError, match="control_timestep: expected 0.1, got 0.05"):
        evaluate(config)
    assert not (tmp_path / "out").exists()


def test_missing_checkpoint_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["gato evaluate", "--checkpoint", str(tmp_path / "none")])
    assert verb.main() == 1
    assert "gato evaluate: " in capsys.readouterr().err


def result(index: int, success: bool, why: str | None = None, task: str = "a") -> dict:
    return {
        "task": task,
        "index": index,
        "seed": 10 * index,
        "success_end": success,
        "success_ever": success,
        "success_strict": False,
        "stages": dict.fromkeys(
            ("reached", "grasped", "lifted", "aligned", "stacked", "released"),
            5 if success else None,
        ),
        "failure": None if success else why or "never reached the object",
        "num_steps": 20,
        "latency_ms": [1.0, 3.0],
    }


def test_summary_counts_by_task_and_averages_tasks():
    results = [result(i, i < 3) for i in range(4)] + [result(0, False, task="b")]
    content = summarize(results)
    assert content["tasks"]["a"]["success_end"]["successes"] == 3
    assert content["mean_of_tasks"]["success_end"] == pytest.approx(0.375)
    assert content["all"]["success_end"]["rate"] == pytest.approx(0.6)
    assert content["all"]["failures"] == {"never reached the object": 2}
    assert content["tasks"]["a"]["stages"]["lifted"] == {
        "episodes": 3,
        "rate": 0.75,
        "median_step": 5,
    }
    assert content["tasks"]["a"]["curves"]["lifted"] == [0.0, 0.75, 0.75]
    assert set(METRICS) <= content["all"].keys()
    assert json.loads(json.dumps(content)) == content


def test_comparison_pairs_common_trials_only():
    ours = [result(i, True) for i in range(8)]
    theirs = [result(i, False) for i in range(6)]
    test = compare(ours, theirs, ("ours", "theirs"))["a"]
    assert (test["episodes"], test["only_first"], test["only_second"]) == (6, 6, 0)
    assert test["p_value"] == pytest.approx(2 / 2**6)
    with pytest.raises(ValueError, match="expected common trials"):
        compare(ours[:2], theirs[3:], ("ours", "theirs"))


def test_videos_show_each_kind_of_failure_and_one_success():
    results = [
        result(0, True),
        result(1, False, "stacked, fell later"),
        result(2, False, "stacked, fell later"),
        result(3, False, "never reached the object"),
        result(4, True),
    ]
    assert [r["index"] for r in choose_films(results, 3)] == [1, 3, 0]
    assert [r["index"] for r in choose_films(results, 4)] == [1, 3, 2, 0]
    assert [r["index"] for r in choose_films(results, 1)] == [1]
    assert [r["index"] for r in choose_films(results[:1], 3)] == [0]
    assert choose_films(results, 0) == []


SEEN = "expected skill-mastery for a checkpoint trained on the test triplets"
UNKNOWN = "expected training data that says which objects it showed.*got none for"
TRAIN = {"path": "known", "triplets": ["train"]}


@pytest.mark.parametrize(
    ("provenance", "message"),
    [
        ({"data": [TRAIN, {"path": "demos", "triplets": ["mastery"]}]}, SEEN),
        ({"data": [{"path": "demos", "triplets": ["train", "rgb_test_triplet1"]}]}, SEEN),
        ({"data": [{"path": "demos", "triplets": ["rgb_test_triplet5:blue_on_green"]}]}, SEEN),
        ({"data": [{"path": "demos", "triplets": ["r25,s0,y26"]}]}, SEEN),
        ({}, UNKNOWN),
        ({"data": []}, UNKNOWN),
        ({"data": [TRAIN, {"path": "recordings"}]}, UNKNOWN + ".*recordings"),
        ({"data": [TRAIN, {"path": "recordings", "triplets": []}]}, UNKNOWN + ".*recordings"),
        ({"data": [{"path": "demos", "triplets": ["my kitchen"]}]}, UNKNOWN + ".*demos"),
        ({"data": [TRAIN | {"episodes_of_unknown_triplets": 1}]}, UNKNOWN + ".*known"),
        ({"data": [TRAIN], "averaged": [{"path": "one", "provenance": {}}]}, UNKNOWN + ".*one"),
    ],
)
def test_generalization_refuses_a_policy_that_may_have_seen_the_test_objects(
    tmp_path, provenance, message
):
    """Data that did not say its objects once passed."""
    path, spec = tmp_path / "checkpoint", robot_spec((), 64)
    checkpoint.save(path, Gato(PRESETS["debug"]), Embodiment("robot", spec), provenance)
    config = EvaluateConfig(checkpoint=path, out=tmp_path / "out")
    with pytest.raises(ValueError, match=message):
        evaluate(config)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("triplets", ["train", "selection", "rgb_train_random", "r25,x37,y26"])
def test_generalization_is_measured_where_no_test_object_was_seen(tmp_path, triplets):
    path, spec = tmp_path / "checkpoint", robot_spec((), 64)
    provenance = {"data": [{"path": "demos", "triplets": [triplets]}]}
    checkpoint.save(path, Gato(PRESETS["debug"]), Embodiment("robot", spec), provenance)
    options = QUICK | dict(suite=("skill-generalization",), episodes=1, max_steps=1)
    config = EvaluateConfig(checkpoint=path, out=tmp_path / "out", **options)
    assert evaluate(config)["num_episodes"] == 5


def test_the_shipped_policy_is_known_to_have_seen_no_test_object():
    for name, refused in (("control", False), ("mastery", True)):
        path = Path(__file__).parent.parent.parent / "checkpoints" / name
        provenance = checkpoint.read(path)["provenance"]
        with pytest.raises(ValueError, match=SEEN) if refused else contextlib.nullcontext():
            seen.check_unseen(provenance, path)
