from dataclasses import replace

import numpy as np
import pytest
import torch
from core_examples import SMALL, episode, observations, random_model, tiny, values

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


def extended(model, cache, chosen, seed=0):
    """Features (1, T * LENGTH, D) by passes of one timestep each."""
    passes = [timesteps(model.config, [t], seed) for t in chosen]
    return torch.cat([model.extend(tokens, cache, LENGTH) for tokens in passes], dim=1)


@SCHEMES
@torch.inference_mode()
def test_a_kept_prompt_stands_right_before_the_window(positions):
    """As in training, where a prompt precedes the window: equal for ever, past many windows."""
    config = replace(tiny(positions), num_layers=1, context_timesteps=4)
    model = random_model(config)
    cache = model.new_cache(LENGTH)
    cache.reset(kept_timesteps=2)
    cached = model.logits(extended(model, cache, range(20)))
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


def test_a_prompt_that_leaves_no_room_is_refused():
    model = random_model(tiny())
    policy = GatoPolicy(model, Tokenizer(SMALL, model.config.vocabulary), keep_prompt=True)
    with pytest.raises(ValueError, match="prompt: expected fewer timesteps .* context's 2, got 3"):
        policy.reset(episode(SMALL, np.random.default_rng(0), 3))
