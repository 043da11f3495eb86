from dataclasses import replace

import numpy as np
import pytest
from core_examples import BENCHMARK, SMALL, body, continuous, observations, values

from gato_core.spec import Continuous, Discrete, Image, Spec, Text
from gato_core.text import pieces
from gato_core.tokenizer import (
    ACTION_POSITION,
    NO_POSITION,
    PATCH,
    Tokenizer,
    batch,
    patch_intervals,
    patches,
)
from gato_core.vocab import Vocabulary, bin_index, mu_law


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def control(spec=SMALL):
    return Tokenizer(body(spec=spec), Vocabulary(num_text=0))


def test_a_timestep_is_sorted_keys_then_separator_then_action(rng):
    tokenizer = Tokenizer(body(spec=SMALL), Vocabulary())
    observation, action = observations(SMALL, rng, 1), values(SMALL.action, rng, 1)
    tokens = tokenizer.encode_timesteps(observation, action)
    arm = 32000 + bin_index(observation["arm/joints"][0])
    assert tokens.id.tolist() == [
        *arm,
        *[PATCH] * (4 + 2),
        33024,
        *(32000 + bin_index(action[0] / 0.07)),
    ]
    assert tokens.local_position.tolist() == [*range(9), NO_POSITION, *[ACTION_POSITION] * 3]


def test_patches_stand_in_raster_order_camera_after_camera(rng):
    observation = observations(SMALL, rng)
    tokens = control().encode_observation(observation)
    left, right = observation["left/pixels"], observation["right/pixels"]
    expected = [
        *(left[y : y + 16, x : x + 16] for y in (0, 16) for x in (0, 16)),
        *(right[:, x : x + 16] for x in (0, 16)),
    ]
    assert np.array_equal(tokens.patch, expected)


def test_an_image_can_be_put_together_from_its_patches(rng):
    image = values(Image(48, 80), rng)
    rows = patches(image).reshape(3, 5, 16, 16, 3)
    assert np.array_equal(np.block([[[p] for p in row] for row in rows]).reshape(48, 80, 3), image)


def test_patch_intervals_of_the_paper():
    """An image of 80 x 64 pixels: rows in [0.25, 0.5] -> [32, 64], columns [0.4, 0.6] -> 51, 77."""
    intervals = patch_intervals(Image(64, 80))
    assert intervals[5 + 2].tolist() == [32, 64, 51, 77]
    assert intervals[-1].tolist() == [96, 128, 102, 128]
    assert (np.diff(patch_intervals(Image(128, 128))[:, :2]) == 16).all()


def test_target_is_exactly_the_actions(rng):
    observation, action = observations(SMALL, rng, 2, 3), values(SMALL.action, rng, 2, 3)
    tokens = control().encode_timesteps(observation, action)
    expected = np.zeros((2, 3, SMALL.tokens_per_timestep), bool)
    expected[..., -3:] = True
    assert np.array_equal(tokens.target, expected.reshape(2, -1))
    assert np.array_equal(tokens.id[tokens.target], control().encode_action(action).ravel())


def test_text_is_a_target_when_asked(rng):
    spec = Spec({"instruction": Text(4), "joints": continuous(2)}, continuous(1), 0.05)
    tokenizer = Tokenizer(body(spec=spec), Vocabulary())
    observation, action = observations(spec, rng, 2), values(spec.action, rng, 2)
    tokens = tokenizer.encode_timesteps(observation, action, text_is_target=True)
    first = [False, True, True, True, False, False, False, True]  # nothing precedes the first
    assert tokens.target.tolist() == [*first, True, *first[1:]]


@pytest.mark.parametrize("name", pieces.SHIPPED)
def test_words_are_the_ids_of_the_networks_own_vocabulary(rng, name):
    """In an observation, in timesteps and in a batch of them; cut only with a warning."""
    spec = Spec({"instruction": Text(6), "joints": continuous(2)}, continuous(1), 0.05)
    vocabulary = pieces.SHIPPED[name]
    tokenizer = Tokenizer(body(spec=spec), vocabulary)
    said = np.array([["lift the cube", "lift the cube", "open"], ["open"] * 3], object)
    ids = np.stack([[pieces.fit(one, 6, vocabulary) for one in row] for row in said])
    others = {"joints": values(continuous(2), rng, 2, 3)}
    action = values(spec.action, rng, 2, 3)
    for words in (said, said.astype(str)):
        got = tokenizer.encode_timesteps(others | {"instruction": words}, action)
        expected = tokenizer.encode_timesteps(others | {"instruction": ids}, action)
        assert np.array_equal(got.id, expected.id)
    joints = {"joints": others["joints"][0, 0]}
    spec.check_observation(joints | {"instruction": "lift the cube"})
    now = tokenizer.encode_observation(joints | {"instruction": "lift the cube"})
    assert np.array_equal(now.id[0, :6], ids[0, 0])
    with pytest.warns(UserWarning, match="expected at most 6 tokens"):
        tokenizer.encode_observation(joints | {"instruction": "red green blue " * 3})


def test_timesteps_of_a_batch_equal_those_encoded_one_by_one(rng):
    observation, action = observations(SMALL, rng, 2, 3), values(SMALL.action, rng, 2, 3)
    whole = control().encode_timesteps(observation, action)
    parts = [
        control().encode_timesteps(
            {key: value[b, t : t + 1] for key, value in observation.items()}, action[b, t : t + 1]
        )
        for b in range(2)
        for t in range(3)
    ]
    for name in ("id", "local_position", "target"):
        joined = np.concatenate([getattr(part, name) for part in parts]).reshape(2, -1)
        assert np.array_equal(getattr(whole, name), joined)
    for name in ("patch", "patch_interval"):
        assert np.array_equal(
            getattr(whole, name), np.concatenate([getattr(part, name) for part in parts])
        )


def test_an_observation_is_the_beginning_of_its_timestep(rng):
    observation = observations(SMALL, rng, 1)
    timestep = control().encode_timesteps(observation, values(SMALL.action, rng, 1))
    now = control().encode_observation({key: value[0] for key, value in observation.items()})
    assert now.id.shape == (1, SMALL.num_observation_tokens + 1)
    assert np.array_equal(now.id[0], timestep.id[: now.id.shape[1]])
    assert np.array_equal(now.patch_interval, timestep.patch_interval)


def test_the_benchmark_takes_156_tokens(rng):
    tokens = control(BENCHMARK).encode_timesteps(
        observations(BENCHMARK, rng, 6), values(BENCHMARK.action, rng, 6)
    )
    assert len(tokens.id) == 6 * 156 <= 1024
    assert (tokens.id == PATCH).sum() == len(tokens.patch) == 6 * 128


def test_values_are_scaled_by_their_limits(rng):
    spec = replace(SMALL, observation={"z": Continuous((0.0, -2.0), (0.5, 2.0), "m", ("a", "b"))})
    tokens = control(spec).encode_observation({"z": np.array([0.25, 9.0])})
    assert tokens.id[0, :2].tolist() == [512, 1023]


def test_companded_values_follow_mu_law(rng):
    spec = replace(SMALL, observation={"z": replace(continuous(2), mu_law=True)})
    z = np.array([0.6, -256.0])
    tokens = Tokenizer(body(spec=spec), Vocabulary(100)).encode_observation({"z": z})
    assert tokens.id[0, :2].tolist() == (100 + bin_index(mu_law(z))).tolist()


def test_a_saturated_action_comes_back_inside_its_range():
    """1.0 became the first id of the next range in a public reproduction, and was never emitted."""
    tokenizer = control()
    id = tokenizer.encode_action(np.array([0.07, 9.9, -0.07], np.float32))
    assert id.tolist() == [1023, 1023, 0]
    action = tokenizer.decode_action(id)
    assert action.dtype == np.float32
    assert (np.abs(action) < 0.07).all() and (np.abs(action) > 0.0699).all()


def test_an_action_survives_to_half_a_bin(rng):
    action = values(SMALL.action, rng, 1000)
    error = control().decode_action(control().encode_action(action)) - action
    assert np.abs(error).max() <= 0.07 / 1024 * 1.001
    assert abs(error.mean()) < 0.07 / 1024 / 10


def test_discrete_actions_have_their_own_ids(rng):
    spec = replace(SMALL, action=Discrete(3, ("gripper",)))
    tokenizer = Tokenizer(body(spec=spec), Vocabulary(discrete_offset=33025))
    assert tokenizer.action_ids == (33025, 33028)
    action = np.array([[0], [2]])
    assert tokenizer.encode_action(action).tolist() == [[33025], [33027]]
    assert np.array_equal(tokenizer.decode_action(tokenizer.encode_action(action)), action)


def test_ids_that_are_no_actions_are_refused():
    """A separator or a word must never become a motion."""
    tokenizer = Tokenizer(body(spec=SMALL), Vocabulary())
    for ids in ([32000, 31999, 32001], [32000, 33023, 33024]):
        with pytest.raises(ValueError, match=r"action ids: expected \[32000, 33024\), got \[32000"):
            tokenizer.decode_action(np.array(ids))


def test_padding_is_never_a_target(rng):
    tokenizer = control()
    sequences = [
        tokenizer.encode_timesteps(observations(SMALL, rng, t), values(SMALL.action, rng, t))
        for t in (1, 3)
    ]
    both = batch(sequences, tokenizer.vocabulary.separator)
    length = SMALL.tokens_per_timestep
    assert both.id.shape == (2, 3 * length)
    assert not both.target[0, length:].any()
    assert (both.id == PATCH).sum() == len(both.patch) == len(both.patch_interval)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (replace(SMALL, observation={"x": Image(512, 512)}), "at most 511 tokens .* got 1024"),
        (replace(SMALL, observation={"x": Text(3)}), "expected no text"),
        (replace(SMALL, action=replace(continuous(1), mu_law=True)), "expected mu_law=False"),
    ],
)
def test_a_spec_that_does_not_fit_is_refused(spec, message):
    with pytest.raises(ValueError, match=message):
        control(spec)
