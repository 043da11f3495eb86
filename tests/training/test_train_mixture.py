"""Training on several sources together: robots with Specs of their own, and documents."""

import shutil

import pytest
import torch
import train_examples
from safetensors.torch import load_file
from train_examples import losses, write, write_documents

from gato_core import checkpoint
from gato_core.spec import Continuous, Spec
from gato_core.tools.inspect import inspect
from gato_training.config import TrainConfig, changed
from gato_training.run_log.processes import Processes
from gato_training.train import begin, train


@pytest.fixture
def config(tmp_path) -> TrainConfig:
    """A robot and documents."""
    data = write(tmp_path / "demos"), write_documents(tmp_path / "captions")
    return changed(
        train_examples.config(tmp_path, data[0]), data=data, weights=(2.0, 1.0), accumulate=3
    )


def test_four_steps_equal_two_and_two_more(config):
    train(config)
    folder = config.folder / "checkpoints"
    expected, expected_losses = load_file(folder / "4/model.safetensors"), losses(config)
    shutil.rmtree(folder / "4")
    (folder / "last").unlink()
    (folder / "last").symlink_to("2")
    measured = train(changed(config, resume=True))
    got = load_file(folder / "4/model.safetensors")
    assert all(torch.equal(got[name], value) for name, value in expected.items())
    assert losses(config)[4:] == expected_losses[2:]
    own = [measured[f"held_out/{name}/loss"] for name in ("sawyer_rgb_stacking", "captions")]
    assert measured["held_out/loss"] == pytest.approx(sum(own) / 2)


def test_resumed_with_other_sources_is_refused(config, tmp_path):
    train(changed(config, steps=2))
    others = {"weights": (1.0, 1.0)}, {"data": config.data.folders[:1], "weights": ()}
    for other in others:
        with pytest.raises(ValueError, match="weights: expected .* as before"):
            train(changed(config, resume=True, **other))
    with (tmp_path / "captions/documents.jsonl").open("a") as file:
        file.write('\n{"text": "one more"}\n')
    with pytest.raises(ValueError, match="documents: expected 4 as before, got 5"):
        train(changed(config, resume=True))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": ()}, "weights: expected one for each folder"),
        ({"weights": (0.0, 0.0)}, "expected episodes in datasets of positive weight"),
        ({"embodiment": ("a", "b")}, "embodiment: expected one name, or one for each of 1"),
        ({"few_shot": 1}, "few_shot: expected one source"),
    ],
)
def test_what_cannot_be_mixed_is_refused(config, changes, message):
    with pytest.raises(ValueError, match=message):
        train(changed(config, **changes))
    assert not config.folder.exists()


def test_documents_alone_need_no_weights_and_names_of_their_own(config, tmp_path):
    """Two folders of one name were one source, with the documents of the second alone."""
    captions = config.data.folders[1]
    alone = changed(config, data=(captions,), weights=(), auxiliary=0.0, augment=None, steps=2)
    assert train(alone)["embodiments"] == []
    card = (alone.folder / "checkpoints/last/README.md").read_text()
    assert "gato caption PICTURE" in card and "4096 pieces, SHA-256" in card
    assert "gato evaluate" not in card
    found = inspect(alone.folder / "checkpoints/last")
    assert found["sound"] and found["text"].startswith("4096 pieces, SHA-256")
    others = write_documents(tmp_path / "more/captions")
    with pytest.raises(ValueError, match="documents of different names, got .*captions and .*more"):
        train(changed(config, name="both", data=(captions, others), weights=(1.0, 1.0)))


OTHER = Spec(
    {"joints": Continuous((-2.0,) * 3, (2.0,) * 3, "rad", ("a", "b", "c"))},
    Continuous((-0.07, -255.0), (0.07, 255.0), "mixed", ("x", "grip")),
    0.1,
)


@pytest.fixture
def bodies(tmp_path) -> TrainConfig:
    """Two robots and documents; the second one has no camera and another rate."""
    data = write(tmp_path / "one"), write(tmp_path / "two", OTHER), write_documents(tmp_path / "c")
    options = {"weights": (1.0, 1.0, 1.0), "embodiment": ("one", "two"), "accumulate": 3}
    plain = {"auxiliary": 0.0, "held_out": 0.0, "ema": None, "augment": None}
    return changed(train_examples.config(tmp_path, data[0]), data=data, **options, **plain)


def test_a_body_is_added_to_a_checkpoint_and_an_old_one_kept_alive(bodies, tmp_path):
    one, two = bodies.data.folders[:2]
    train(changed(bodies, data=(one,), weights=(), embodiment=("one",), steps=1))
    source = str(bodies.folder / "checkpoints/last")
    begun = {"model": None, "init_from": source, "weights": (), "steps": 1}
    added = changed(bodies, name="added", data=(two,), embodiment=("two",), **begun)
    with pytest.raises(ValueError, match="to add another beside: --embodiment NAME"):
        train(changed(added, embodiment=()))
    train(added)
    assert list(checkpoint.embodiments(added.folder / "checkpoints/last")) == ["one", "two"]
    by_tokens = begin(
        Processes(), changed(added, name="b", context_timesteps=None, context_tokens=24)
    )
    assert by_tokens.run.learner.tokenizers["two"].embodiment.context_timesteps == 24 // 6
    kept = changed(added, name="kept", data=(two, one), keep=("one=0.25",))
    training = begin(Processes(), kept).training
    drawn = [training.name(k) for k in range(2000)]
    assert 0.22 < drawn.count("one") / len(drawn) < 0.28 and set(drawn) == {"one", "two"}
    for wrong, message in (
        (("three=0.5",), "keep: expected some of .'one', 'two'., got .'three'"),
        (("one=0.5", "two=0.4"), "keep: expected another source"),
    ):
        with pytest.raises(ValueError, match=message):
            begin(Processes(), changed(kept, keep=wrong))
    for wrong in (("one",), ("one=2",), ("=0.5",), ("one=0.6", "two=0.6")):
        with pytest.raises(ValueError, match="keep: expected"):
            changed(kept, keep=wrong)


def test_two_specs_of_one_name_are_refused_with_the_differences(bodies):
    with pytest.raises(ValueError, match="differs from same's.*\n.*action|control_timestep"):
        train(changed(bodies, embodiment=("same",)))
    assert not bodies.folder.exists()


def test_each_source_has_held_out_figures_and_there_is_their_mean(bodies):
    measured = train(changed(bodies, held_out=0.3, steps=2))
    names = ("one", "two", "c")
    assert measured["held_out/loss"] == pytest.approx(
        sum(measured[f"held_out/{name}/loss"] for name in names) / 3
    )
    assert {"held_out/one/error/x", "held_out/two/error/grip"} <= measured.keys()
    assert not any(name.startswith("held_out/c/error") for name in measured)
