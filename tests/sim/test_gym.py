"""The Gymnasium environment."""

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import gato_sim.gym  # noqa: F401  registers the environment

ID = "gato/RgbStacking-v0"


def make(**settings):
    return gymnasium.make(ID, **{"triplet": "rgb_test_triplet1", "physics": "stable"} | settings)


# Actions are in SI units, not in [-1, 1]; velocities, forces and positions have no bound.
@pytest.mark.filterwarnings("ignore:.*symmetric and normalized space:UserWarning")
@pytest.mark.filterwarnings("ignore:.*Box observation space m..imum value is:UserWarning")
def test_gymnasiums_own_checker_is_content():
    env = make(cameras=("basket_front_left",), image_size=32, render_mode="rgb_array")
    check_env(env.unwrapped)
    env.close()


@pytest.fixture(scope="module")
def env():
    env = make()
    yield env
    env.close()


def test_an_episode_is_truncated_and_never_terminated(env):
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.unwrapped.step(np.zeros(5))
    env.reset(seed=0)
    env.unwrapped._env.simulation.step = lambda: None  # time passes in the environment alone
    try:
        ends = [env.step(np.zeros(5, np.float32))[2:4] for _ in range(400)]
    finally:
        del env.unwrapped._env.simulation.step
    assert ends == [(False, False)] * 399 + [(False, True)]
    with pytest.raises(gymnasium.error.ResetNeeded, match="expected reset"):
        env.step(np.zeros(5, np.float32))


def test_objects_change_at_reset(env):
    env.reset(seed=1, options={"triplet": "r6,g3,b5"})
    _, info = env.reset()
    assert info["triplet"] == ("r6", "g3", "b5")
    for options, message in (
        ({"triplet": "r6,g3,zz"}, "got 'zz'"),
        ({"objects": 1}, "expected only 'triplet', got .'objects'"),
    ):
        with pytest.raises(ValueError, match=message):
            env.reset(options=options)
    env.reset(seed=0, options={"triplet": "rgb_test_triplet1"})


def test_unseeded_environments_differ_and_seeded_ones_agree(env):
    other = make()
    firsts = [e.reset()[0]["rgb30_red/abs_pose"] for e in (make(), other)]
    assert (firsts[0] != firsts[1]).any()
    first, second = (e.reset(seed=7)[0]["rgb30_red/abs_pose"] for e in (env, other))
    np.testing.assert_array_equal(first, second)
    assert (other.reset()[0]["rgb30_red/abs_pose"] != first).any()


@pytest.mark.filterwarnings("ignore:(?s).*ERROR. :UserWarning")  # Gymnasium tells all on the way
@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_processes_that_draw_are_spawned_or_told_to_be(context):
    """A fork of a process that has drawn waited for ever for its OpenGL."""
    settings = dict(triplet="rgb_test_triplet1", physics="stable")
    settings |= dict(cameras=("basket_front_left",), image_size=32)
    single = gymnasium.make(ID, **settings)
    drawn = single.reset(seed=3)[0]["basket_front_left/pixels"]
    single.close()
    options = dict(vectorization_mode="async", vector_kwargs={"context": context})
    several = gymnasium.make_vec(ID, num_envs=2, **options, **settings)
    try:
        if context == "fork":
            with pytest.raises(RuntimeError, match="OpenGL hangs in a fork.*'spawn'"):
                several.reset(seed=[3, 4])
        else:
            images = several.reset(seed=[3, 4])[0]["basket_front_left/pixels"]
            np.testing.assert_array_equal(images[0], drawn)
            assert (images[1] != drawn).any()
    finally:
        several.close(terminate=True)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"triplet": "rgb_test_triplet9"}, "rgb_train_random"),
        ({"cameras": ("wrist",)}, "basket_front_left"),
        ({"image_size": 63}, "multiple of 16 .* got 63"),
        ({"randomise": "wild"}, "mild"),
        ({"render_mode": "ansi"}, "rgb_array"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*render_mode:UserWarning")
def test_unknown_settings_are_answered_with_the_valid_ones(change, message):
    with pytest.raises(ValueError, match=message):
        make(**change)
