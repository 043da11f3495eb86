import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from core_examples import SMALL, body, continuous, observations, random_model, tiny
from safetensors.torch import load_file, save_file

from gato_core import checkpoint
from gato_core.embodiment import fitting
from gato_core.model import Gato, preset
from gato_core.policy import GatoPolicy, load
from gato_core.spec import Discrete, Image, Spec, Text
from gato_core.tokenizer import Tokenizer
from gato_core.vocab import Vocabulary


@pytest.fixture
def model():
    return random_model(tiny())


@pytest.fixture
def saved(tmp_path, model):
    path = tmp_path / "checkpoint"
    checkpoint.save(path, model, body("parallel"), {"data": "made up", "commit": "0"})
    return path


def body_of(content):
    return content["embodiments"]["a body"]


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
    assert loaded.embodiments == {"a body": body("parallel")}
    assert loaded.model.config == model.config
    assert loaded.provenance == {"data": "made up", "commit": "0"}
    assert not loaded.model.training
    for name, weight in model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], weight), name


def test_a_temperature_below_0_or_no_number_is_refused(saved):
    for wrong in (-1, "warm", None, float("nan")):
        edit(saved, lambda c: c["embodiments"]["a body"].update(temperature=wrong))  # noqa: B023
        with pytest.raises(ValueError, match="temperature: expected a number of 0 or more, got"):
            checkpoint.load(saved)


def test_a_loaded_policy_acts_as_the_saved_one(saved, model):
    rng = np.random.default_rng(0)
    original = GatoPolicy.of(model, Tokenizer(body("parallel"), model.config.vocabulary))
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
    checkpoint.save(saved, other, body(), {})
    assert checkpoint.load(saved).model.config.positions == "relative"
    assert [path.name for path in saved.parent.iterdir()] == ["checkpoint"]


def test_a_failed_save_leaves_the_older_checkpoint(saved, model):
    with pytest.raises(TypeError):
        checkpoint.save(saved, model, body(), {"not JSON": object()})
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
    checkpoint.save(tmp_path / "all", model, body(spec=spec), {})
    assert checkpoint.load(tmp_path / "all").embodiment().spec == spec
    observation, action = checkpoint.golden_timesteps(spec, num_text)
    spec.check_observation({key: value[0] for key, value in observation.items()})
    assert set(action.ravel()) <= {0, 1, 2}


def test_other_answers_to_the_golden_sample_are_refused(saved):
    """The weights load, the shapes fit, yet this is not the model that was saved."""

    def swap(weights):
        norm = weights["blocks.0.attention_norm.weight"]
        weights["blocks.0.attention_norm.weight"] = norm * 1.5

    edit_weights(saved, swap)
    with pytest.raises(ValueError, match="golden sample: expected ids .* got "):
        checkpoint.load(saved)


def test_rounding_as_on_another_processor_is_accepted(saved):
    def round_off(content):
        golden = content["embodiments"]["a body"]["golden"]
        golden["logits"] = [x * (1 + 1e-5) for x in golden["logits"]]

    edit(saved, round_off)
    checkpoint.load(saved)


def test_another_preferred_id_is_refused_even_with_equal_logits(saved):
    def shift(content):
        golden = content["embodiments"]["a body"]["golden"]
        golden["ids"] = [(id + 1) % 1024 for id in golden["ids"]]

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
        (lambda c: c.update(format_version=99), "expected format_version 2, got 99"),
        (lambda c: c.pop("format_version"), "expected format_version 2, got None"),
        (
            lambda c: c["embodiments"]["a body"].pop("spec"),
            "expected a complete config, got KeyError",
        ),
        (lambda c: c["model"].pop("width"), "expected a complete config, got TypeError"),
        (lambda c: c["model"].update(positions="absolute"), "positions: expected one of"),
        (
            lambda c: c["embodiments"]["a body"]["golden"].pop("logits"),
            "expected a complete config",
        ),
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


BODIES = {
    "arm": body("parallel", name="arm"),
    "gripper": body(
        "hidden", Spec({"x": continuous(2)}, Discrete(3, ("grip",)), 0.1), name="gripper"
    ),
    "told": body(spec=Spec({"a": Text(4), "x": Image(16, 16)}, continuous(2), 0.2), name="told"),
}


@pytest.fixture
def many(tmp_path):
    model = random_model(tiny(vocabulary=Vocabulary(100, 1125)))
    checkpoint.save(tmp_path / "many", model, BODIES.values(), {})
    return tmp_path / "many"


def test_a_checkpoint_has_many_embodiments_and_words(many):
    loaded = checkpoint.load(many)
    assert loaded.embodiments == checkpoint.embodiments(many) == BODIES
    assert loaded.embodiment("gripper") == BODIES["gripper"]
    for name, each in BODIES.items():
        policy = load(many, embodiment=name)
        rng = np.random.default_rng(0)
        for _ in range(4):
            assert policy.step(observations(each.spec, rng)).shape == each.spec.action.shape


@pytest.mark.parametrize("name", [None, "leg"])
def test_one_of_several_is_asked_for_by_name(many, name):
    with pytest.raises(ValueError, match=r"one of \['arm', 'gripper', 'told'\], got (None|'leg')"):
        load(many, embodiment=name)


def test_two_embodiments_of_one_name_are_refused(tmp_path, model):
    with pytest.raises(ValueError, match="embodiments: expected different names, got 'a body'"):
        checkpoint.save(tmp_path / "two", model, [body(), body("parallel")], {})


@pytest.mark.parametrize("of", ["arm", "told", "text"])
def test_each_golden_sample_is_asked_for(many, of):
    def forget(content):
        (content["text"] if of == "text" else content["embodiments"][of]).pop("golden")

    def lie(content):
        golden = (content["text"] if of == "text" else content["embodiments"][of])["golden"]
        golden["logits"] = [x + 1.0 for x in golden["logits"]]

    whole = (many / "config.json").read_text()
    edit(many, lie)
    with pytest.raises(ValueError, match=f"many: {of}: golden sample: expected ids"):
        checkpoint.load(many)
    (many / "config.json").write_text(whole)
    edit(many, forget)
    with pytest.raises(ValueError, match="expected a complete config, got KeyError.'golden'"):
        checkpoint.load(many)


def test_what_fits_is_found_by_its_spec_and_two_that_fit_are_both_named(many):
    bodies = checkpoint.embodiments(many)
    assert fitting(bodies, BODIES["gripper"].spec.differences) == "gripper"
    with pytest.raises(ValueError, match=r"(?s)got none:.*arm:.*gripper:.*told:"):
        fitting(bodies, replace(SMALL, control_timestep=1.0).differences)
    twin = bodies | {"twin": replace(BODIES["arm"], name="twin")}
    with pytest.raises(ValueError, match=r"one that fits, or its name, got \['arm', 'twin'\]"):
        fitting(twin, SMALL.differences)


@pytest.mark.parametrize("name", ["control", "mastery"])
def test_a_checkpoint_of_version_1_is_one_embodiment_with_the_same_logits(name):
    """The shipped ones, whose golden samples are replayed; to the last digit but three."""
    path = Path(__file__).parents[2] / "checkpoints" / name
    stored = json.loads((path / "config.json").read_text())
    assert stored["format_version"] == 1
    loaded = checkpoint.load(path)
    only = loaded.embodiment()
    assert only.context_timesteps == stored["model"]["context_timesteps"]
    assert only.action_mode == stored["model"]["action_mode"]
    assert only.temperature == stored["temperature"] == load(path).temperature
    tokenizer = loaded.tokenizer(checkpoint.NAME_1)
    tokens, ids = checkpoint.golden_tokens(tokenizer), tokenizer.action_ids
    best = checkpoint._golden_logits(loaded.model, tokens, ids).max(-1)
    assert (best.indices + ids[0]).tolist() == stored["golden"]["action_ids"]
    assert np.allclose(best.values, stored["golden"]["logits"], atol=1e-4)


def test_twenty_embodiments_load_within_three_seconds(tmp_path):
    """CPU time, of the preset that our checkpoints have, golden samples replayed."""
    spec = Spec({"left": Image(64, 64), "right": Image(64, 64)}, continuous(5), 0.05)
    bodies = [body("parallel", spec, name=f"body {i}") for i in range(20)]
    checkpoint.save(tmp_path / "20", Gato(preset("control-2m")), bodies, {})
    started = time.process_time()
    assert len(checkpoint.load(tmp_path / "20").embodiments) == 20
    assert time.process_time() - started < 3
