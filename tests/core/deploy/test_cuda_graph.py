"""The step of static shapes decides as GatoPolicy does; on a GPU it is captured, here it is run."""

from dataclasses import replace

import demonstration
import numpy as np
import pytest
import torch
from core_examples import SMALL, episode, observations, random_model, tiny

from gato_core.deploy.cuda_graph import StaticPolicy
from gato_core.deploy.packed import PackedLinear, pack
from gato_core.policy import GatoPolicy
from gato_core.tokenizer import Tokenizer

MODES = pytest.mark.parametrize("action_mode", ["autoregressive", "parallel"])
SCHEMES = pytest.mark.parametrize("positions", ["relative", "rotary"])


def make(policy_class, model, **options):
    return policy_class(model, Tokenizer(SMALL, model.config.vocabulary), **options)


def act(policy, num_timesteps, seed=0):
    rng = np.random.default_rng(seed)
    return np.stack([policy.step(observations(SMALL, rng)) for _ in range(num_timesteps)])


@SCHEMES
@MODES
def test_static_shapes_change_no_action(positions, action_mode):
    """Past several windows, and in a second episode that begins with a prompt."""
    model = random_model(tiny(positions, action_mode=action_mode))
    policies = [make(each, model) for each in (GatoPolicy, StaticPolicy)]
    expected, got = (act(policy, 9) for policy in policies)
    assert np.array_equal(expected, got)
    for policy in policies:
        policy.reset(episode(SMALL, np.random.default_rng(1), 3))
    expected, got = (act(policy, 4, seed=2) for policy in policies)
    assert np.array_equal(expected, got)


@SCHEMES
@MODES
def test_it_decides_as_gato_policy_does_on_a_demonstration(positions, action_mode):
    """Token for token, seven windows long, for two robots in turn."""
    config = replace(tiny(positions, action_mode=action_mode), context_timesteps=4)
    model, (spec, shown) = random_model(config), demonstration.load()
    tokenizer = Tokenizer(spec, config.vocabulary)
    stream = demonstration.observations(shown, 200)[::6]
    robots = stream[:30], stream[:3:-1]
    eager = [GatoPolicy(model, tokenizer) for _ in robots]
    static = [StaticPolicy(model, tokenizer) for _ in robots]
    for seen in zip(*robots):
        expected = [policy.step(observation) for policy, observation in zip(eager, seen)]
        got = [policy.step(observation) for policy, observation in zip(static, seen)]
        assert np.array_equal(expected, got)


@torch.inference_mode()
def test_the_buffers_stay_where_they_are():
    """What a captured graph reads and writes must not move."""
    policy = make(StaticPolicy, random_model(tiny()))
    buffers = [*policy._device_inputs.values(), *policy._step.cache.values(), policy._id_1A]
    before = [buffer.data_ptr() for buffer in buffers]
    act(policy, 4)
    buffers = [*policy._device_inputs.values(), *policy._step.cache.values(), policy._id_1A]
    assert [buffer.data_ptr() for buffer in buffers] == before


@MODES
def test_the_same_seed_draws_the_same_actions(action_mode):
    model = random_model(tiny(action_mode=action_mode))
    first, again, other = (
        act(make(StaticPolicy, model, temperature=1.0, seed=seed), 4) for seed in (0, 0, 1)
    )
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert (np.abs(first) < 0.07).all()


@torch.inference_mode()
@pytest.mark.parametrize("dtype, precision", [(torch.float32, 1e-5), (torch.bfloat16, 0.05)])
def test_packed_weights_compute_the_same(dtype, precision):
    layer = random_model(tiny()).blocks[0].feed_forward.up.to(dtype)
    for num_rows in (1, 72):
        x = torch.randn(1, num_rows, 64, generator=torch.Generator().manual_seed(0)).to(dtype)
        expected = layer(x).float()
        assert (PackedLinear(layer)(x) - expected).abs().max() <= precision * expected.abs().max()


@SCHEMES
def test_a_packed_model_acts_as_before(positions):
    config = tiny(positions)
    expected = act(make(GatoPolicy, random_model(config)), 6)
    assert np.array_equal(act(make(GatoPolicy, pack(random_model(config))), 6), expected)


def test_what_cannot_be_packed_stays_as_it_is():
    model = random_model(tiny()).to(torch.float64)
    assert pack(model) is model
    assert isinstance(model.blocks[0].feed_forward.up, torch.nn.Linear)
