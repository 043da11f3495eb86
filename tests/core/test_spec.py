import json
from dataclasses import replace

import numpy as np
import pytest
from core_examples import BENCHMARK, SMALL, continuous, episode, observations

from gato_core.spec import Continuous, Discrete, Image, Spec, Text


@pytest.fixture
def observation():
    return observations(SMALL, np.random.default_rng(0))


def test_a_timestep_of_the_benchmark_has_156_tokens_and_six_fit_in_1024():
    assert BENCHMARK.tokens_per_timestep == 64 + 64 + 22 + 1 + 5 == 156
    wider = Spec(BENCHMARK.observation | {"wrist": continuous(2)}, continuous(5), 0.05)
    assert wider.tokens_per_timestep == 158
    assert 1024 // 156 == 1024 // 158 == 6


def test_keys_are_sorted():
    assert list(SMALL.observation) == ["arm/joints", "left/pixels", "right/pixels"]


def test_a_spec_survives_json():
    spec = Spec(
        {"a": Image(16, 32), "b": continuous(2), "c": Discrete(7, ("n",)), "d": Text(5)},
        Discrete(3, ("gripper",)),
        0.05,
    )
    again = Spec.from_dict(json.loads(json.dumps(spec.to_dict())))
    assert again == spec
    assert spec.differences(again) == []


def test_a_crop_survives_json_and_what_does_not_say_one_is_whole():
    spec = Spec({"a": Image(16, 32, (0.0, 0.0, 1.0, 2 / 3))}, continuous(1), 0.05)
    said = json.loads(json.dumps(spec.to_dict()))
    assert Spec.from_dict(said) == spec
    del said["observation"]["a"]["crop"]
    assert Spec.from_dict(said).observation["a"] == Image(16, 32, (0.0, 0.0, 1.0, 1.0))
    (difference,) = spec.differences(Spec.from_dict(said))
    assert difference.startswith("observation.a.crop: expected [0.0, 0.0, 1.0, 0.6")


@pytest.mark.parametrize(
    "crop",
    [(0.0, 0.0, 1.0), (0.5, 0.0, 0.6, 1.0), (-0.1, 0, 1, 1), (0, 0, 0, 1), (0, 0, 1, np.nan)],
)
def test_a_crop_lies_inside_the_picture(crop):
    with pytest.raises(ValueError, match="expected left, top, width, height"):
        Image(16, 16, crop)


def test_differences_name_expected_and_got():
    other = Spec(SMALL.observation | {"arm/joints": continuous(4)}, SMALL.action, 0.1)
    text = "\n".join(SMALL.differences(other))
    assert "control_timestep: expected 0.05, got 0.1" in text
    assert "observation.arm/joints.names" in text
    assert "left/pixels" not in text


def test_a_sound_observation_passes(observation):
    SMALL.check_observation(observation)


def test_missing_and_surplus_keys_are_named(observation):
    del observation["arm/joints"]
    observation["elbow"] = np.zeros(1)
    with pytest.raises(KeyError, match=r"missing \['arm/joints'\], surplus \['elbow'\]"):
        SMALL.check_observation(observation)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("left/pixels", np.zeros((32, 32, 3), np.float32), r"left/pixels: expected uint8 \(32, 32"),
        ("left/pixels", np.zeros((16, 32, 3), np.uint8), r"got uint8 \(16, 32, 3\)"),
        ("left/pixels", "an image", "got str"),
        ("arm/joints", np.zeros(4, np.float32), r"arm/joints: expected float \(3,\), got float32"),
        ("arm/joints", np.zeros(3, np.int64), "got int64"),
        ("arm/joints", np.array([0.0, np.nan, np.inf]), r"NaN or infinity in \['x1', 'x2'\]"),
    ],
)
def test_a_malformed_value_is_refused_by_name(observation, key, value, message):
    with pytest.raises(ValueError, match=message):
        SMALL.check_observation(observation | {key: value})


def test_discrete_values_and_text_are_checked():
    with pytest.raises(ValueError, match=r"buttons: expected values in \[0, 4\)"):
        Discrete(4, ("a", "b")).check("buttons", np.array([0, 4]))
    with pytest.raises(ValueError, match=r"words: expected a string or integer ids \(3,\)"):
        Text(3).check("words", np.zeros(3, np.float32))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Image(100, 128), "Image height: expected a positive multiple of 16, got 100"),
        (lambda: Continuous((0.0,), (0.0,), "m", ("x",)), "expected finite low < high"),
        (lambda: Continuous((0.0,), (np.inf,), "m", ("x",)), "expected finite low < high"),
        (lambda: Continuous((0.0, 0.0), (1.0,), "m", ("x",)), "got 2, 1 and 1"),
        (lambda: Continuous((0.0,) * 2, (1.0,) * 2, "m", ("x", "x")), "distinct names"),
        (lambda: Discrete(1025, ("x",)), r"expected 1..1024, got 1025"),
        (lambda: Spec({}, continuous(1), 0.05), "at least one observation"),
        (lambda: replace(SMALL, control_timestep=0.0), "control_timestep: expected > 0"),
    ],
)
def test_contradictions_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_an_episode_is_checked_against_its_spec():
    sound = episode(SMALL, np.random.default_rng(0), 3)
    sound.check(SMALL)
    with pytest.raises(ValueError, match="reward: expected 3 timesteps, got 2"):
        replace(sound, reward=sound.reward[:2]).check(SMALL)
    with pytest.raises(ValueError, match=r"action: expected \(3, 3\), got \(3, 2\)"):
        replace(sound, action=sound.action[:, :2]).check(SMALL)
    with pytest.raises(ValueError, match="action: expected finite values"):
        replace(sound, action=sound.action * np.nan).check(SMALL)
