"""The few-shot protocol: every subset trained and evaluated once, and the curve drawn."""

import pytest
import train_examples

from gato_core import checkpoint
from gato_core.data.storage import read_json
from gato_training.config import changed
from gato_training.run_log import pictures
from gato_training.studies import few_shot
from gato_training.studies.few_shot import FewShotConfig, main
from gato_training.train import train


def test_curve_has_a_mean_and_an_interval_for_every_size(tmp_path):
    points = [
        {"size": size, "series": series, "end": {"rate": rate, "wilson": [rate / 2, 1.0]}}
        for size, series, rate in [
            (0, 0, 0.1),
            (1, 0, 0.2),
            (10, 0, 0.6),
            (1, 1, 0.3),
            (10, 1, 0.5),
        ]
    ]
    pictures.few_shot(points, {"expert": 0.8}, "a task", tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


@pytest.fixture
def config(tmp_path) -> FewShotConfig:
    """A checkpoint of a small robot, and demonstrations to fine-tune it on."""
    base = train_examples.config(tmp_path, train_examples.write(tmp_path / "demos"))
    train(changed(base, steps=1, name="base"))
    tuned = changed(base, model=None, init_from=str(tmp_path / "base/checkpoints/last"), steps=2)
    return FewShotConfig(tuned, sizes=(0, 1, 3), series=2, output=tmp_path, name="few")


def test_each_subset_is_trained_once_from_the_checkpoint_and_evaluated(config):
    """This robot has no simulator: all succeed in half of two episodes."""
    evaluated = []

    def evaluate(path, name, flags) -> dict:
        evaluated.append((name, checkpoint.load(path).provenance))
        rate = {"rate": 0.5, "wilson": [0.4, 0.6], "successes": 1, "episodes": 2}
        found = {"success_end": rate, "success_ever": rate}
        made = {"checkpoint_provenance": evaluated[-1][1], "latency_ms": {"p50": 3.0}}
        return {"all": found} | made

    points = few_shot.few_shot(config, evaluate)["points"]
    assert [(p["size"], p["series"]) for p in points] == [(0, 0), (1, 0), (3, 0), (1, 1), (3, 1)]
    for (name, provenance), point in zip(evaluated, points):
        options = provenance["train"]
        if point["size"]:
            assert name == f"{point['size']}-{point['series']}" and provenance["step"] == 2
            assert (options["few_shot"], options["seed"]) == (point["size"], point["series"])
            assert point["measured"] == provenance["measured"]
    assert (config.folder / "few_shot.png").exists()
    log = config.folder / "train/3-1/log.jsonl"
    before = log.read_text()
    assert few_shot.few_shot(changed(config, series=1), evaluate)["points"] == points[:3]
    assert log.read_text() == before  # nothing is trained again
    with pytest.raises(ValueError, match="episodes: expected 20 as before, got 21"):
        few_shot.few_shot(changed(config, episodes=21))


def test_sizes_that_cannot_be_drawn_are_refused_before_any_is_trained(config):
    with pytest.raises(ValueError, match="sizes: expected at most the 3 episodes"):
        few_shot.few_shot(changed(config, sizes=(1, 10)))
    assert not config.folder.exists()


def test_a_first_point_that_was_stopped_goes_on_with_its_own_options_alone(config, monkeypatch):
    """Options were noted after the first point: until then it went on at another learning rate."""

    def stopped(*_: object) -> dict:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        few_shot.few_shot(config, stopped)
    with pytest.raises(ValueError, match="learning_rate: expected 0.0005 as before, got 0.1"):
        few_shot.few_shot(changed(config, train=changed(config.train, learning_rate=0.1)))
    kept = read_json(config.folder / "options.json")
    assert kept["points"] == ["0-0", "1-0", "3-0", "1-1", "3-1"]


def test_bad_flags_end_with_a_message(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["--train.data", "none", "--sizes", "1", "1"])
    assert "sizes: expected different numbers" in capsys.readouterr().err
    assert (
        main(["--train.data", str(tmp_path / "none"), "--sizes", "1", "--output", str(tmp_path)])
        == 1
    )
    assert "none" in capsys.readouterr().err
