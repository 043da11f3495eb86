"""A control step computes what training's forward pass does, for as long as an episode lasts."""

import numpy as np
import pytest
import torch
from core_examples import (
    SMALL,
    band_mask,
    body,
    episode,
    full_logits,
    random_model,
    stepped_logits,
    tiny,
)

from gato_core.episode import Episode
from gato_core.policy import GatoPolicy
from gato_core.tokenizer import Tokenizer

LENGTH = SMALL.tokens_per_timestep
SCHEMES = pytest.mark.parametrize("positions", ["relative", "rotary"])
KINDS = pytest.mark.parametrize("kind", ["autoregressive", "hidden", "parallel"])


def make(config, embodiment, **options):
    """A network and its policy."""
    model = random_model(config)
    return model, GatoPolicy.of(model, Tokenizer(embodiment, config.vocabulary), **options)


def shown(num_timesteps, seed=0):
    return episode(SMALL, np.random.default_rng(seed), num_timesteps)


def part(whole, chosen):
    """Some timesteps of an episode."""
    observation = {key: value[chosen] for key, value in whole.observation.items()}
    action, reward = whole.action[chosen], whole.reward[chosen]
    return Episode(observation, action, reward, whole.task, whole.source, 0, True)


def differ(got, expected):
    """The largest difference, as a share of the largest value."""
    return float((got - expected).abs().max() / expected.abs().max())


@SCHEMES
@KINDS
@pytest.mark.parametrize("context_timesteps", [1, 2, 3])
def test_cached_equals_full(positions, kind, context_timesteps):
    """Past several windows, under the same band mask; peers' caches are off by 26 to 51 %."""
    model, policy = make(tiny(positions), body(kind, context_timesteps=context_timesteps))
    whole = shown(9)
    mask = band_mask(9 * LENGTH, LENGTH, context_timesteps)
    (cached,) = stepped_logits(policy, model, [whole])
    assert differ(cached, full_logits(model, policy.tokenizer, whole, mask)) <= 1e-5


@SCHEMES
@KINDS
def test_before_the_first_eviction_it_is_plain_causal_attention(positions, kind):
    model, policy = make(tiny(positions), body(kind))
    whole = shown(3)
    (cached,) = stepped_logits(policy, model, [whole])
    full = full_logits(model, policy.tokenizer, whole)
    assert differ(cached[:2], full[:2]) <= 1e-5
    assert differ(cached[2:], full[2:]) > 1e-3


@SCHEMES
@KINDS
def test_a_timestep_older_than_all_windows_has_no_influence(positions, kind):
    config, embodiment = tiny(positions), body(kind)
    reach = config.num_layers * (embodiment.context_timesteps - 1)
    whole, other = shown(reach + 2), shown(reach + 2, seed=1)
    for key, value in other.observation.items():
        value[1:] = whole.observation[key][1:]
    other.action[1:] = whole.action[1:]
    outputs = []
    for each in (whole, other):
        model, policy = make(config, embodiment)
        outputs += stepped_logits(policy, model, [each])
    assert torch.equal(outputs[0][-1], outputs[1][-1])
    assert not torch.equal(outputs[0][-2], outputs[1][-2])


@SCHEMES
@KINDS
def test_nothing_is_allocated_after_the_first_step(positions, kind):
    model, policy = make(tiny(positions), body(kind))
    buffers = [policy._run.__self__.k_NHBSK, policy._run.__self__.v_NHBSK]
    before = [(buffer.data_ptr(), buffer.shape) for buffer in buffers]
    stepped_logits(policy, model, [shown(5)])
    assert all(buffer.any() for buffer in buffers)
    buffers = [policy._run.__self__.k_NHBSK, policy._run.__self__.v_NHBSK]
    assert [(buffer.data_ptr(), buffer.shape) for buffer in buffers] == before


@SCHEMES
@KINDS
@pytest.mark.parametrize("keep_prompt", [False, True])
def test_robots_in_lock_step_decide_as_each_alone(positions, kind, keep_prompt):
    """One begins anew meanwhile, one is shown a prompt, one stands still for some steps."""
    embodiment = body(kind, context_timesteps=3)
    model, together = make(tiny(positions), embodiment, num_robots=3, keep_prompt=keep_prompt)
    alone = [GatoPolicy.of(model, together.tokenizer, keep_prompt=keep_prompt) for _ in range(3)]
    parts = [shown(4, seed=seed) for seed in range(9)]

    def compare(first, still=None):
        chosen = [None if b == still else parts[first + b] for b in range(3)]
        got_BTAV = stepped_logits(together, model, chosen)
        for b, each in enumerate(chosen):
            if each is not None:
                (expected,) = stepped_logits(alone[b], model, [each])
                assert differ(got_BTAV[b], expected) <= 1e-5

    compare(0)
    prompt = shown(2, seed=10)
    together.reset(robot=1)
    together.reset(prompt, robot=2)
    alone[1].reset()
    alone[2].reset(prompt)
    compare(3, still=0)
    compare(6)


@KINDS
def test_actions_in_lock_step_are_those_of_each_alone(kind):
    model, together = make(tiny(), body(kind), num_robots=2, temperature=1.0)
    seen = [shown(6, seed=seed) for seed in range(2)]
    alone = [GatoPolicy.of(model, together.tokenizer, temperature=1.0) for _ in range(2)]
    for b, policy in enumerate(alone):
        policy._robots[0].seed((0, b))
    for t in range(6):
        now = [{key: x[t] for key, x in each.observation.items()} for each in seen]
        expected = [policy.step(o) for policy, o in zip(alone, now)]
        assert np.array_equal(together.step_together(now), expected)
    assert together.step_together([None, now[1]])[0] is None


def test_one_observation_for_each_robot_is_asked_for():
    _, together = make(tiny(), body(), num_robots=2)
    with pytest.raises(ValueError, match="observations: expected one for each of 2 robots, got 1"):
        together.step({key: value[0] for key, value in shown(1).observation.items()})


@SCHEMES
@KINDS
def test_a_robot_that_never_stops_computes_the_same(positions, kind):
    """Positions count up for ever: after 123 million timesteps nothing may have drifted."""
    outputs = []
    for skipped in (0, 123_456_789):
        model, policy = make(tiny(positions), body(kind))
        policy._robots[0]._next += skipped * policy._robots[0].num_slots
        stepped_logits(policy, model, [shown(4)])  # as long as what lies before is seen
        outputs += stepped_logits(policy, model, [shown(4, seed=1)])
    assert differ(*outputs) <= 1e-4


@SCHEMES
@KINDS
def test_bfloat16_cached_equals_full_to_its_precision(positions, kind):
    model = random_model(tiny(positions), scale=1.0).to(torch.bfloat16)
    policy, whole = GatoPolicy.of(model, Tokenizer(body(kind), model.config.vocabulary)), shown(5)
    (cached,) = stepped_logits(policy, model, [whole])
    full = full_logits(model, policy.tokenizer, whole, band_mask(5 * LENGTH, LENGTH, 2))
    assert torch.nn.functional.cosine_similarity(cached.float(), full.float(), dim=-1).min() > 0.99


# a prompt that stays in context


@SCHEMES
@KINDS
def test_a_kept_prompt_stands_right_before_the_window(positions, kind):
    """As in training, where a prompt precedes the window: equal for ever, past many windows."""
    config, embodiment = tiny(positions, num_layers=1), body(kind, context_timesteps=4)
    model, policy = make(config, embodiment, keep_prompt=True)
    whole = shown(20)
    policy.reset(part(whole, slice(0, 2)))
    (cached,) = stepped_logits(policy, model, [part(whole, slice(2, 20))])
    for t in (3, 4, 5, 11, 19):
        full = full_logits(model, policy.tokenizer, part(whole, [0, 1, t - 1, t]))
        assert differ(cached[t - 2], full[-1]) <= 1e-5, t


@SCHEMES
@KINDS
def test_what_is_kept_matters_for_ever_and_nothing_else_does(positions, kind):
    """Also after the cache has served another episode."""
    config, embodiment = tiny(positions), body(kind)
    last = {}
    for keep_prompt in (False, True):
        model, policy = make(config, embodiment, keep_prompt=keep_prompt)
        for name, seed in (("one", 1), ("other", 2), ("one again", 1)):
            policy.reset(shown(1, seed=seed))
            last[keep_prompt, name] = stepped_logits(policy, model, [shown(20)])[0, -1]
    assert torch.equal(last[False, "one"], last[False, "other"])
    assert differ(last[True, "one"], last[True, "other"]) > 1e-3
    assert torch.equal(last[True, "one"], last[True, "one again"])


@SCHEMES
@KINDS
def test_keeping_a_prompt_loses_no_precision_in_a_long_episode(positions, kind):
    """After ten million timesteps the prompt is met exactly as after ten."""
    config, embodiment = tiny(positions, num_layers=1), body(kind, context_timesteps=4)
    last = []
    for skipped in (0, 10_000_000):
        model, policy = make(config, embodiment, keep_prompt=True)
        policy.reset(shown(1))
        stepped_logits(policy, model, [shown(8, seed=1)])
        robot = policy._robots[0]
        robot._next += skipped * (robot.num_slots - LENGTH)  # around the ring
        last.append(stepped_logits(policy, model, [shown(6, seed=2)])[0, -1])
    assert differ(*last) <= 1e-4


@KINDS
def test_keeping_changes_nothing_before_the_first_eviction(kind):
    config, embodiment = tiny(), body(kind, context_timesteps=5)
    outputs = []
    for keep_prompt in (False, True):
        model, policy = make(config, embodiment, keep_prompt=keep_prompt)
        policy.reset(shown(2))
        outputs += stepped_logits(policy, model, [shown(6, seed=1)])
    assert differ(outputs[1][:3], outputs[0][:3]) <= 1e-5
    assert differ(outputs[1], outputs[0]) > 1e-3


def test_a_prompt_that_leaves_no_room_is_refused_before_anything_is_forgotten():
    model, policy = make(tiny(), body(), keep_prompt=True)
    stepped_logits(policy, model, [shown(2)])
    before = vars(policy._robots[0]).copy()
    with pytest.raises(ValueError, match="prompt: expected fewer timesteps .* context's 2, got 3"):
        policy.reset(shown(3))
    assert vars(policy._robots[0]) == before


# several embodiments of one network


@SCHEMES
@torch.inference_mode()
def test_hidden_actions_of_the_past_change_nothing_and_those_of_the_present_do(positions):
    model, policy = make(tiny(positions), body("hidden", context_timesteps=3))
    whole, other = shown(3), shown(3)
    other.action[:2] = shown(3, seed=1).action[:2]
    (one,), (two,) = (stepped_logits(p, model, [e]) for p, e in _fresh(policy, model, whole, other))
    assert torch.equal(one[2], two[2])
    assert torch.equal(one[1, 0], two[1, 0]) and not torch.equal(one[1, 1:], two[1, 1:])


def _fresh(policy, model, *episodes):
    return [(GatoPolicy.of(model, policy.tokenizer), each) for each in episodes]


@SCHEMES
def test_all_kinds_of_bodies_live_in_one_network(positions):
    """In turn, each as if it were alone: the network knows none of them."""
    model = random_model(tiny(positions))
    kinds = ("autoregressive", "hidden", "parallel")
    tokenizers = [Tokenizer(body(kind), model.config.vocabulary) for kind in kinds]
    mixed = [GatoPolicy.of(model, tokenizer) for tokenizer in tokenizers]
    alone = [GatoPolicy.of(random_model(tiny(positions)), tokenizer) for tokenizer in tokenizers]
    whole = shown(5)
    taken = {kind: [] for kind in kinds}
    for t in range(5):
        now = {key: value[t] for key, value in whole.observation.items()}
        for kind, policy, other in zip(kinds, mixed, alone):
            taken[kind].append(policy.step(now))
            assert np.array_equal(taken[kind][-1], other.step(now))
    assert not np.array_equal(taken["autoregressive"], taken["hidden"])
    assert not np.array_equal(taken["autoregressive"], taken["parallel"])
