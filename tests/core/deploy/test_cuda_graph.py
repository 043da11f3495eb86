"""On a GPU the step is captured on buffers that never move; here the same is run as it is."""

import demonstration
import numpy as np
import pytest
import torch
from core_examples import SMALL, body, episode, observations, random_model, tiny

from gato_core.deploy.cuda_graph import CapturedStep
from gato_core.deploy.packed import PackedLinear, pack
from gato_core.policy import GatoPolicy
from gato_core.step import ControlStep, layout
from gato_core.tokenizer import Tokenizer

KINDS = pytest.mark.parametrize("kind", ["autoregressive", "hidden", "parallel"])
SCHEMES = pytest.mark.parametrize("positions", ["relative", "rotary"])


def eager(model, tokenizer, **options):
    return GatoPolicy.of(model, tokenizer, **options)


def buffered(model, tokenizer, **options):
    step = ControlStep(model, tokenizer, options.get("num_robots", 1))
    return GatoPolicy(CapturedStep(step), tokenizer, layout(model.config), **options)


def make(way, model, embodiment=None, **options):
    return way(model, Tokenizer(embodiment or body(), model.config.vocabulary), **options)


def act(policy, num_timesteps, seed=0):
    rng = np.random.default_rng(seed)
    return np.stack([policy.step(observations(SMALL, rng)) for _ in range(num_timesteps)])


@SCHEMES
@KINDS
@pytest.mark.parametrize("keep_prompt", [False, True])
def test_static_buffers_change_no_action(positions, kind, keep_prompt):
    """Past several windows, and in a second episode that begins with a prompt."""
    model, embodiment = random_model(tiny(positions)), body(kind, context_timesteps=4)
    policies = [
        make(each, model, embodiment, keep_prompt=keep_prompt) for each in (eager, buffered)
    ]
    expected, got = (act(policy, 9) for policy in policies)
    assert np.array_equal(expected, got)
    for policy in policies:
        policy.reset(episode(SMALL, np.random.default_rng(1), 3))
    expected, got = (act(policy, 9, seed=2) for policy in policies)
    assert np.array_equal(expected, got)


@SCHEMES
@KINDS
def test_two_robots_are_decided_for_on_a_demonstration(positions, kind):
    """Token for token, seven windows long, in one buffer as in two networks."""
    model, (spec, shown) = random_model(tiny(positions)), demonstration.load()
    tokenizer = Tokenizer(body(kind, spec, 4), model.config.vocabulary)
    stream = demonstration.observations(shown, 200)[::6]
    alone = [eager(model, tokenizer) for _ in range(2)]
    together = buffered(model, tokenizer, num_robots=2)
    for seen in zip(stream[:30], stream[:3:-1]):
        expected = [policy.step(observation) for policy, observation in zip(alone, seen)]
        assert np.array_equal(expected, together.step_together(seen))


def test_the_buffers_stay_where_they_are():
    """What a captured graph reads and writes must not move."""
    policy = make(buffered, random_model(tiny()))
    act(policy, 1)
    run = policy._run

    def addresses():
        buffers = [*run._inputs.values(), run._step.k_NHBSK, run._step.v_NHBSK, run._id_BA]
        return [buffer.data_ptr() for buffer in buffers]

    before = addresses()
    act(policy, 4)
    assert addresses() == before


@KINDS
def test_the_same_seed_draws_the_same_actions(kind):
    model = random_model(tiny())
    first, again, other = (
        act(make(buffered, model, body(kind), temperature=1.0, seed=seed), 4) for seed in (0, 0, 1)
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
    expected = act(make(eager, random_model(config)), 6)
    assert np.array_equal(act(make(eager, pack(random_model(config))), 6), expected)


def test_what_cannot_be_packed_stays_as_it_is():
    model = random_model(tiny()).to(torch.float64)
    assert pack(model) is model
    assert isinstance(model.blocks[0].feed_forward.up, torch.nn.Linear)
