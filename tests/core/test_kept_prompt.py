from dataclasses import replace

import numpy as np
import pytest
import torch
from core_examples import (
    SMALL,
    episode,
    observations,
    policy_borders,
    random_model,
    stretch,
    tiny,
    values,
)

from gato_core.deploy.cuda_graph import StaticPolicy
from gato_core.model import to_tensors
from gato_core.policy import GatoPolicy
from gato_core.tokenizer import Tokenizer

LENGTH = SMALL.tokens_per_timestep
SCHEMES = pytest.mark.parametrize("positions", ["relative", "rotary"])


def timesteps(config, chosen, seed=0):
    """Tokens of some timesteps of one made-up episode."""
    rng = np.random.default_rng(seed)
    observation, action = observations(SMALL, rng, 20), values(SMALL.action, rng, 20)
    tokenizer = Tokenizer(SMALL, config.vocabulary)
    picked = {key: value[chosen] for key, value in observation.items()}
    return to_tensors(tokenizer.encode_timesteps(picked, action[chosen]))


def extended(model, cache, chosen, seed=0, borders=None):
    """Features (1, T * LENGTH, D) by passes from border to border, of one timestep if not given."""
    tokens = timesteps(model.config, list(chosen), seed)
    borders = borders or range(0, tokens.id.shape[1] + 1, LENGTH)
    passes = [(stretch(tokens, a, b), b - a) for a, b in zip(borders, borders[1:])]
    return torch.cat([model.extend(each, cache, length) for each, length in passes], dim=1)


@SCHEMES
@pytest.mark.parametrize("borders", [None, policy_borders(20)], ids=["timesteps", "policy"])
@torch.inference_mode()
def test_a_kept_prompt_stands_right_before_the_window(positions, borders):
    """As in training, where a prompt precedes the window: equal for ever, past many windows.

    The policy's passes cross timesteps: an action's last token enters with what is seen next.
    """
    config = replace(tiny(positions), num_layers=1, context_timesteps=4)
    model = random_model(config)
    cache = model.new_cache(LENGTH)
    cache.reset(kept_timesteps=2)
    cached = model.logits(extended(model, cache, range(20), borders=borders))
    for t in (3, 4, 5, 11, 19):
        tokens = timesteps(config, [0, 1, t - 1, t])
        full = model(replace(tokens, target=torch.ones_like(tokens.target)))[-LENGTH + 1 :]
        now = cached[0, t * LENGTH : (t + 1) * LENGTH - 1]
        assert (now - full).abs().max() <= 1e-5 * full.abs().max(), t


@SCHEMES
@torch.inference_mode()
def test_what_is_kept_matters_for_ever_and_nothing_else_does(positions):
    """Also after the cache has served another episode."""
    model = random_model(tiny(positions))
    cache = model.new_cache(LENGTH)

    def last(first, kept_timesteps):
        cache.reset(kept_timesteps=kept_timesteps)
        extended(model, cache, [first], seed=1)
        return extended(model, cache, range(20))[:, -LENGTH:]

    assert torch.equal(last(0, 0), last(1, 0))
    kept = last(0, 1)
    assert (kept - last(1, 1)).abs().max() > 1e-3 * kept.abs().max()
    assert torch.equal(last(0, 1), kept)


@SCHEMES
@torch.inference_mode()
def test_a_prompt_to_be_kept_is_read_as_any_other(positions):
    """What comes later in it is not seen, within a pass neither."""
    model = random_model(tiny(positions, num_layers=2))
    outputs = []
    for kept_timesteps in (0, 1):
        cache = model.new_cache(LENGTH, context_timesteps=4)
        cache.reset(kept_timesteps=kept_timesteps)
        outputs.append(extended(model, cache, range(3)))
    bound = 1e-5 * outputs[0].abs().max()
    assert (outputs[0] - outputs[1]).abs().max() <= bound


@SCHEMES
@torch.inference_mode()
def test_keeping_a_prompt_loses_no_precision_in_a_long_episode(positions):
    """After ten million timesteps the prompt is met exactly as after ten."""
    config = replace(tiny(positions), num_layers=1, context_timesteps=4)
    model, last = random_model(config), []
    for skipped in (0, 10_000_000):
        cache = model.new_cache(LENGTH)
        cache.reset(kept_timesteps=1)
        extended(model, cache, range(9))
        skipped_tokens = skipped * (cache.num_slots - LENGTH)  # around the ring
        cache.length += skipped_tokens
        cache.position_S[LENGTH:] += skipped_tokens
        last.append(extended(model, cache, range(9, 15))[:, -LENGTH:])
    assert (last[0] - last[1]).abs().max() <= 1e-4 * last[0].abs().max()


@pytest.mark.parametrize("action_mode", ["autoregressive", "parallel"])
@SCHEMES
def test_a_kept_prompt_is_met_alike_by_the_step_of_static_shapes(positions, action_mode):
    """Token for token past many windows; then an episode without a prompt, then another prompt."""
    config = replace(tiny(positions, action_mode=action_mode), context_timesteps=4)
    model, rng = random_model(config), np.random.default_rng(0)
    tokenizer = Tokenizer(SMALL, config.vocabulary)
    policies = [each(model, tokenizer, keep_prompt=True) for each in (GatoPolicy, StaticPolicy)]
    for prompt in (episode(SMALL, rng, 2), None, episode(SMALL, rng, 3)):
        observed = [observations(SMALL, rng) for _ in range(20)]
        for policy in policies:
            policy.reset(prompt)
        ours, theirs = ([policy.step(o) for o in observed] for policy in policies)
        assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("action_mode", ["autoregressive", "parallel"])
def test_keeping_changes_nothing_before_the_first_eviction(action_mode):
    config = replace(tiny(action_mode=action_mode), context_timesteps=5)
    rng = np.random.default_rng(0)
    prompt, observed = episode(SMALL, rng, 2), [observations(SMALL, rng) for _ in range(6)]
    actions = []
    for keep_prompt in (False, True):
        tokenizer = Tokenizer(SMALL, config.vocabulary)
        policy = GatoPolicy(random_model(config), tokenizer, keep_prompt=keep_prompt)
        policy.reset(prompt)
        actions.append(np.stack([policy.step(observation) for observation in observed]))
    assert np.array_equal(actions[0][:3], actions[1][:3])
    assert not np.array_equal(actions[0], actions[1])


@pytest.mark.parametrize("policy_class", [GatoPolicy, StaticPolicy])
def test_a_prompt_that_leaves_no_room_is_refused(policy_class):
    model = random_model(tiny())
    policy = policy_class(model, Tokenizer(SMALL, model.config.vocabulary), keep_prompt=True)
    with pytest.raises(ValueError, match="prompt: expected fewer timesteps .* context's 2, got 3"):
        policy.reset(episode(SMALL, np.random.default_rng(0), 3))
