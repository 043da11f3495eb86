"""Training on several sources together: robots with Specs of their own, and documents."""

import shutil

import pytest
import torch
import train_examples
from safetensors.torch import load_file
from train_examples import losses, write, write_documents

from gato_core.tools.inspect import inspect
from gato_training.config import TrainConfig, changed
from gato_training.train import train


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
