import json
import operator
from dataclasses import replace

import numpy as np
import pytest
import torch
from core_examples import SMALL, continuous, observations, random_model, tiny
from safetensors.torch import load_file, save_file

from gato_core import checkpoint
from gato_core.policy import GatoPolicy, load
from gato_core.spec import Discrete, Image, Spec, Text
from gato_core.tokenizer import Tokenizer
from gato_core.vocab import Vocabulary


@pytest.fixture
def model():
    return random_model(tiny(action_mode="parallel"))


@pytest.fixture
def saved(tmp_path, model):
    path = tmp_path / "checkpoint"
    checkpoint.save(path, model, model.config, SMALL, {"data": "made up", "commit": "0"})
    return path


def edit(path, change):
    content = json.loads((path / "config.json").read_text())
    change(content)
    (path / "config.json").write_text(json.dumps(content))


def edit_weights(path, change):
    """Changes tensors and keeps the hash right, as a careless tool would."""
    weights = load_file(path / "model.safetensors")
    change(weights)
    save_file(weights, path / "model.safetensors")
    sha256 = checkpoint._sha256(path / "model.safetensors")
    edit(path, lambda content: content.update(weights_sha256=sha256))


def test_what_was_saved_is_loaded(saved, model):
    loaded = checkpoint.load(saved)
    assert loaded.spec == SMALL
    assert loaded.model.config == model.config
    assert loaded.provenance == {"data": "made up", "commit": "0"}
    assert not loaded.model.training
    for name, weight in model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], weight), name


def test_a_checkpoint_says_at_which_temperature_to_draw_its_actions(saved, model):
    assert checkpoint.temperature(saved) == 0.0
    checkpoint.save(saved, model, model.config, SMALL, {}, temperature=0.7)
    assert checkpoint.temperature(saved) == 0.7
    edit(saved, lambda content: content.pop("temperature"))  # as the first checkpoints were
    assert checkpoint.temperature(saved) == 0.0
    for wrong in (-1, "warm", None):
        edit(saved, operator.methodcaller("update", temperature=wrong))
        with pytest.raises(ValueError, match="temperature: expected a number of 0 or more, got"):
            checkpoint.temperature(saved)


def test_a_loaded_policy_acts_as_the_saved_one(saved, model):
    rng = np.random.default_rng(0)
    original = GatoPolicy.of(model, Tokenizer(SMALL, model.config.vocabulary))
    loaded = load(saved)
    for _ in range(4):
        observation = observations(SMALL, rng)
        assert np.array_equal(loaded.step(observation), original.step(observation))


def test_a_checkpoint_is_two_files_that_others_may_read(saved):
    assert sorted(file.name for file in saved.iterdir()) == ["config.json", "model.safetensors"]
    assert all(file.stat().st_mode & 0o444 == 0o444 for file in saved.iterdir())
    assert [path.name for path in saved.parent.iterdir()] == ["checkpoint"]


def test_a_newer_checkpoint_replaces_an_older_one(saved):
    other = random_model(tiny("relative"), seed=1)
    checkpoint.save(saved, other, other.config, SMALL, {})
    assert checkpoint.load(saved).model.config.positions == "relative"
    assert [path.name for path in saved.parent.iterdir()] == ["checkpoint"]


def test_a_failed_save_leaves_the_older_checkpoint(saved, model):
    with pytest.raises(TypeError):
        checkpoint.save(saved, model, model.config, SMALL, {"not JSON": object()})
    assert checkpoint.load(saved).provenance["commit"] == "0"
    assert [path.name for path in saved.parent.iterdir()] == ["checkpoint"]


@pytest.mark.parametrize("num_text", [10, 1000])
def test_every_modality_has_a_golden_sample(tmp_path, num_text):
    """Golden words were among 1,000, and a checkpoint with fewer could not be saved."""
    spec = Spec(
        {"a": Image(16, 16), "b": Discrete(5, ("x", "y")), "c": Text(2), "d": continuous(2)},
        Discrete(3, ("gripper",)),
        0.05,
    )
    model = random_model(tiny(vocabulary=Vocabulary(num_text, discrete_offset=num_text + 1025)))
    checkpoint.save(tmp_path / "all", model, model.config, spec, {})
    assert checkpoint.load(tmp_path / "all").spec == spec
    observation, action = checkpoint.golden_timesteps(spec, num_text)
    spec.check_observation({key: value[0] for key, value in observation.items()})
    assert set(action.ravel()) <= {0, 1, 2}


def test_other_answers_to_the_golden_sample_are_refused(saved):
    """The weights load, the shapes fit, yet this is not the model that was saved."""

    def swap(weights):
        norm = weights["blocks.0.attention_norm.weight"]
        weights["blocks.0.attention_norm.weight"] = norm * 1.5

    edit_weights(saved, swap)
    with pytest.raises(ValueError, match="golden sample: expected action ids .* got "):
        checkpoint.load(saved)


def test_rounding_as_on_another_processor_is_accepted(saved):
    def round_off(content):
        content["golden"]["logits"] = [x * (1 + 1e-5) for x in content["golden"]["logits"]]

    edit(saved, round_off)
    checkpoint.load(saved)


def test_another_preferred_id_is_refused_even_with_equal_logits(saved):
    def shift(content):
        content["golden"]["action_ids"] = [
            (id + 1) % 1024 for id in content["golden"]["action_ids"]
        ]

    edit(saved, shift)
    with pytest.raises(ValueError, match="golden sample"):
        checkpoint.load(saved)


def test_a_flipped_bit_is_refused(saved):
    file = saved / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match="model.safetensors: expected SHA-256 .*, got "):
        checkpoint.load(saved)


def test_a_truncated_file_is_refused(saved):
    file = saved / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ValueError, match="model.safetensors: expected safetensors, got"):
        checkpoint.load(saved)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_missing_file_is_named(saved, name):
    (saved / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"checkpoint/{name}"):
        checkpoint.load(saved)


def test_a_missing_and_a_wrong_tensor_are_named(saved):
    def damage(weights):
        del weights["norm.bias"]
        weights["norm.weight"] = torch.zeros(3)

    edit_weights(saved, damage)
    with pytest.raises(ValueError, match=r"norm.bias: expected \(64,\), got nothing; norm.weight"):
        checkpoint.load(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(format_version=99), "expected format_version 1, got 99"),
        (lambda c: c.pop("format_version"), "expected format_version 1, got None"),
        (lambda c: c.pop("spec"), "expected a complete config, got KeyError"),
        (lambda c: c["model"].pop("width"), "expected a complete config, got TypeError"),
        (lambda c: c["model"].update(positions="absolute"), "positions: expected one of"),
        (lambda c: c["golden"].pop("logits"), "expected a complete config"),
    ],
)
def test_a_wrong_config_is_refused(saved, change, message):
    edit(saved, change)
    with pytest.raises(ValueError, match=message):
        checkpoint.load(saved)


def test_a_config_that_is_not_json_is_refused(saved):
    (saved / "config.json").write_text("{")
    with pytest.raises(ValueError, match="config.json: expected JSON, got"):
        checkpoint.load(saved)


def test_a_config_that_is_not_the_models_is_refused(tmp_path, model):
    other = replace(model.config, context_timesteps=9)
    with pytest.raises(ValueError, match="config: expected the model's own"):
        checkpoint.save(tmp_path / "x", model, other, SMALL, {})
    assert list(tmp_path.iterdir()) == []
