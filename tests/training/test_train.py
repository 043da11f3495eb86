"""Training: exact resume, the loss, and what is refused before anything runs."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
import train_examples
from safetensors.torch import load_file
from train_examples import SPEC, losses, write

from gato_core import checkpoint
from gato_core.dataset import Dataset
from gato_core.embodiment import Embodiment
from gato_core.model import Gato, preset, to_tensors
from gato_core.spec import Discrete, Spec, Text
from gato_core.tokenizer import Tokenizer
from gato_core.vocab import Vocabulary
from gato_training.config import OptimizerConfig, TrainConfig, changed, load
from gato_training.learner import Learner
from gato_training.loop import learning_rate
from gato_training.loss import (
    action_bins,
    action_errors,
    is_action,
    masked_loss,
    smoothed_targets,
)
from gato_training.run_log import origin
from gato_training.state import remove_old
from gato_training.train import main, train


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> str:
    return write(tmp_path_factory.mktemp("data") / "demos")


@pytest.fixture
def config(tmp_path, data) -> TrainConfig:
    return train_examples.config(tmp_path, data)


def tensors(folder) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors") | load_file(
        folder / "training_state/state.safetensors"
    )


@pytest.mark.parametrize(
    "changes",
    [{}, {"ema": None, "accumulate": 2, "precision": "fp32", "checkpoint_activations": True}],
)
def test_four_steps_equal_two_and_two_more(config, changes):
    """A run that lost power after step 3 goes on from step 2, bit for bit."""
    config = changed(config, **changes)
    train(config)
    folder = config.folder / "checkpoints"
    expected, expected_losses = tensors(folder / "4"), losses(config)
    shutil.rmtree(folder / "4")
    (folder / "last").unlink()
    (folder / "last").symlink_to("2")
    summary = train(changed(config, resume=True))
    assert summary["step"] == 4 and summary["finished"]
    got = tensors(folder / "last")
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(got[name], value), name
    assert losses(config)[4:] == expected_losses[2:]


def test_newest_checkpoints_are_kept(tmp_path):
    """Sorted as text, 1000 came before 750: the newest was removed as soon as it was written."""
    for step in (250, 500, 750, 1000):
        (tmp_path / str(step)).mkdir()
    remove_old(tmp_path, 2)
    assert sorted(int(path.name) for path in tmp_path.iterdir()) == [750, 1000]


def test_same_seed_same_loss(config):
    one, two, other = (changed(config, name=name) for name in ("one", "two", "other"))
    for run in (one, two, changed(other, seed=1)):
        train(run)
    assert losses(one) == losses(two) != losses(other)


def test_overfits_a_small_dataset(config):
    """The smoothed targets' own entropy is the floor, about 2.5."""
    config = changed(
        config, steps=80, warmup_steps=5, learning_rate=3e-3, batch_size=16, evaluate_every=80,
        save_every=80, log_every=10, stochastic_depth=0.0, context_timesteps=1, augment=None,
    )  # fmt: skip
    train(config)
    assert losses(config)[0] > 4.5 and losses(config)[-1] < 3.5


def test_fine_tuning_begins_with_the_weights(config):
    train(config)
    source = str(config.folder / "checkpoints/last")
    tuned = changed(config, name="tuned", model=None, init_from=source, steps=1, learning_rate=1e-9,
                    weight_decay=0.0, ema=None, stochastic_depth=None)  # fmt: skip
    train(tuned)
    before = checkpoint.load(source).model.state_dict()
    after = checkpoint.load(tuned.folder / "checkpoints/last").model.state_dict()
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, atol=1e-6, rtol=0)


def test_fine_tuned_checkpoint_names_the_data_of_the_weights_it_began_with(config, tmp_path):
    """A policy that once saw the test triplets must not pass for one that never did."""
    train(config)
    source = str(config.folder / "checkpoints/last")
    other = write(tmp_path / "other")
    tuned = changed(config, name="tuned", model=None, init_from=source, data=(other,), steps=1)
    train(tuned)
    data = checkpoint.load(tuned.folder / "checkpoints/last").provenance["data"]
    assert [part["path"] for part in data] == [other, *config.data.folders]


def test_weights_of_unknown_data_stay_unknown(config, tmp_path):
    """Whoever goes on from them must not look as if all was known."""
    source = str(tmp_path / "source")
    checkpoint.save(source, Gato(preset("debug")), Embodiment("robot", SPEC), {})
    own, unknown = origin.data([Dataset(config.data.folders[0])], earlier=source)
    assert own["path"] == config.data.folders[0]
    assert own["episodes_of_unknown_triplets"] == own["episodes"] > 0
    assert source in unknown["path"] and unknown["triplets"] == []


def test_checkpoint_of_another_spec_is_refused_with_differences(config, tmp_path):
    train(config)
    other = Spec(SPEC.observation, SPEC.action, 0.1)
    path = write(tmp_path / "other", other)
    source = str(config.folder / "checkpoints/last")
    tuned = changed(config, name="tuned", model=None, data=(path,), init_from=source)
    with pytest.raises(ValueError, match="control_timestep: expected 0.05, got 0.1"):
        train(tuned)
    assert not tuned.folder.exists()


def test_datasets_of_two_specs_are_refused(config, data, tmp_path):
    path = write(tmp_path / "other", Spec(SPEC.observation, SPEC.action, 0.1))
    with pytest.raises(ValueError, match="control_timestep"):
        train(changed(config, data=(data, path)))


def test_old_run_is_not_overwritten(config):
    train(config)
    with pytest.raises(ValueError, match="--resume"):
        train(config)


def test_resumed_with_other_options_is_refused_with_every_difference(config):
    """They were taken without a word, or passed over while config.json said them."""
    train(changed(config, steps=2))
    others = {"seed": 1, "learning_rate": 0.1, "batch_size": 2, "held_out": 0.5, "weights": (1.0,)}
    others |= {"context_timesteps": 1, "model": "control-2m", "precision": "fp32"}
    with pytest.raises(ValueError) as refused:
        train(changed(config, resume=True, **others))
    told = [line.split(":")[0].strip() for line in str(refused.value).splitlines()[1:]]
    assert told == sorted(others)
    assert "learning_rate: expected 0.0005 as before, got 0.1" in str(refused.value)
    assert load(config.folder / "config.json") == changed(config, steps=2)
    free = {"steps": 3, "hours": 1.0, "num_checkpoints": 1, "log_every": 2, "threads": 2}
    assert train(changed(config, resume=True, **free))["step"] == 3


def test_resumed_on_data_that_grew_is_refused(config, tmp_path):
    data = write(tmp_path / "grows", num_episodes=3)
    train(changed(config, data=(data,), steps=2))
    shutil.rmtree(data)
    write(tmp_path / "grows", num_episodes=4)
    with pytest.raises(ValueError, match="grows: .*\n.*episodes: expected 3 as before, got 4"):
        train(changed(config, data=(data,), resume=True))


def test_run_keeps_its_resolved_configuration(config):
    train(config)
    assert load(config.folder / "config.json") == config
    provenance = checkpoint.load(config.folder / "checkpoints/last").provenance
    assert provenance["step"] == 4
    assert provenance["data"][0]["episodes"] == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps"),
        ({"ema": 1.5}, "ema"),
        ({"model": "debug", "init_from": "x"}, "model"),
        ({"weights": (1.0, 2.0), "data": ("one",)}, "weights"),
        ({"prompt_fraction": 1.25}, "prompt_fraction"),
    ],
)
def test_contradictions_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        changed(TrainConfig(), **changes)


def test_bad_flags_and_data_end_with_a_message(tmp_path, capsys):
    assert main(["--preset", "nonsense"]) == 1
    assert "nonsense" in capsys.readouterr().err
    assert main(["--preset", "debug", "--data", str(tmp_path / "none")]) == 1
    assert "none" in capsys.readouterr().err


def test_learning_rate_reaches_its_floor_when_the_time_is_over():
    config = OptimizerConfig(learning_rate=1e-3, final_fraction=0.1, warmup_steps=10)
    assert learning_rate(config, 0, 0.0) < 1e-3 / 5
    assert learning_rate(config, 100, 0.0) == pytest.approx(1e-3)
    assert learning_rate(config, 100, 0.5) == pytest.approx(0.55e-3)
    assert learning_rate(config, 100, 1.0) == pytest.approx(1e-4)


def test_time_limit_ends_the_run(config):
    summary = train(changed(config, steps=10_000, hours=2 / 3600, save_every=10_000))
    assert summary["finished"] and 0 < summary["step"] < 10_000


def test_smoothed_targets_sum_to_one_and_peak_at_the_label():
    targets = smoothed_targets(8.0)
    torch.testing.assert_close(targets.sum(1), torch.ones(1024))
    assert targets.argmax(1).tolist() == list(range(1024))


@pytest.mark.parametrize("first", [0, 70])
def test_narrow_smoothing_is_cross_entropy(first):
    """Wherever the actions' ids begin, with words before and after them."""
    bins = torch.tensor([0, 1, 5, 400, 1000, 1022, 1023])
    label = torch.cat([first + bins, torch.tensor([2, first + 1030])])
    logits, is_action = torch.randn(9, first + 1100), torch.arange(9) < 7
    actions = is_action, (first, first + 1024)
    hard = masked_loss(logits, label, *actions)
    torch.testing.assert_close(masked_loss(logits, label, *actions, smoothed_targets(0.01)), hard)
    torch.testing.assert_close(hard, torch.nn.functional.cross_entropy(logits, label))


def test_only_actions_that_are_numbers_are_smoothed(config):
    """1024 buttons had neighbours where there was no text: their ids end at the separator too."""
    model, buttons = Gato(preset("debug")), replace(SPEC, action=Discrete(1024, ("button",)))
    for spec, smoothed in ((SPEC, True), (buttons, False)):
        tokenizer = Tokenizer(Embodiment("robot", spec), model.config.vocabulary)
        learner = Learner(model, {"": tokenizer}, config)
        assert (learner.smoothed is not None) == smoothed


def test_words_are_never_taken_for_actions():
    """Where discrete actions share the lowest ids with text, words once counted as actions."""
    spec = replace(SPEC, observation={"words": Text(3)}, action=Discrete(9, ("a", "b")))
    tokenizer = Tokenizer(Embodiment("robot", spec), Vocabulary(num_text=1024))
    words, presses = np.array([[7, 5, 8], [1, 2, 3]]), np.array([[4, 6], [0, 8]])
    encoded = tokenizer.encode_timesteps({"words": words}, presses, text_is_target=True)
    tokens = to_tensors(encoded)
    id_N, is_action_N = tokens.id[tokens.target], is_action(tokens)
    logits = torch.randn(len(id_N), 2049)
    _, label_MA = action_bins(logits, id_N, is_action_N, tokenizer)
    assert label_MA.tolist() == presses.tolist()
    hard_N = torch.nn.functional.cross_entropy(logits, id_N, reduction="none")
    only_words = masked_loss(
        logits[~is_action_N], id_N[~is_action_N], is_action_N[~is_action_N], (0, 1024),
        smoothed_targets(8.0),
    )  # fmt: skip
    torch.testing.assert_close(only_words, hard_N[~is_action_N].mean())


def test_errors_are_shares_of_the_range_by_dimension():
    tokenizer = Tokenizer(Embodiment("robot", SPEC), Vocabulary(num_text=0))
    label = torch.tensor([512, 1000, 700, 3])
    answer = torch.tensor([0, 1000, 700, 600])
    logits = torch.nn.functional.one_hot(answer, 1025).float()
    bins = action_bins(logits, label, torch.ones(4, dtype=torch.bool), tokenizer)
    assert action_errors(*bins, SPEC.action) == {
        "error/x": 0.25,
        "error/grip": pytest.approx(597 / 2048),
        "side/grip": 0.5,  # x has no label in the outer quarters
    }
