from dataclasses import replace

import numpy as np
import pytest
import torch
from core_examples import (
    SMALL,
    observations,
    policy_borders,
    random_model,
    stretch,
    tiny,
    values,
)

from gato_core.model import band_mask, to_tensors
from gato_core.tokenizer import Tokenizer

LENGTH = SMALL.tokens_per_timestep
SCHEMES = pytest.mark.parametrize("positions", ["relative", "rotary"])


def encode(config, *lead, seed=0):
    rng = np.random.default_rng(seed)
    arrays = observations(SMALL, rng, *lead), values(SMALL.action, rng, *lead)
    return to_tensors(Tokenizer(SMALL, config.vocabulary).encode_timesteps(*arrays))


def cached_outputs(model, tokens, borders, cache=None):
    """Features (B, L, D) by extending a cache from border to border."""
    cache = cache or model.new_cache(LENGTH, len(tokens.id))
    parts = [
        model.extend(stretch(tokens, a, b), cache, b - a) for a, b in zip(borders, borders[1:])
    ]
    return torch.cat(parts, dim=1)


def full_outputs(model, tokens, mask=None):
    """Logits (B, L - 1, V) at every position but the last, in one pass."""
    everywhere = replace(tokens, target=torch.ones_like(tokens.target))
    return model(everywhere, mask).unflatten(0, (len(tokens.id), -1))


@SCHEMES
@pytest.mark.parametrize(
    ("chunks", "context_timesteps"),
    [("policy", 1), ("policy", 2), ("policy", 3), ("timesteps", 2), ("tokens", 2)],
)
@torch.inference_mode()
def test_cached_equals_full(positions, chunks, context_timesteps):
    """Past several windows, under the same band mask; peers' caches are off by 26 to 51 %."""
    num_timesteps = 9
    model = random_model(replace(tiny(positions), context_timesteps=context_timesteps))
    tokens = encode(model.config, 2, num_timesteps)
    borders = {
        "policy": policy_borders(num_timesteps),
        "timesteps": list(range(0, num_timesteps * LENGTH + 1, LENGTH)),
        "tokens": list(range(num_timesteps * LENGTH + 1)),
    }[chunks]
    cached = model.logits(cached_outputs(model, tokens, borders))[:, :-1]
    mask = band_mask(num_timesteps * LENGTH, LENGTH, model.config.context_timesteps)
    full = full_outputs(model, tokens, mask)
    assert (cached - full).abs().max() <= 1e-5 * full.abs().max()


@SCHEMES
@torch.inference_mode()
def test_before_the_first_eviction_it_is_plain_causal_attention(positions):
    model = random_model(tiny(positions))
    tokens = encode(model.config, 1, 3)
    cached = model.logits(cached_outputs(model, tokens, policy_borders(3)))[:, :-1]
    full = full_outputs(model, tokens)
    in_context = 2 * LENGTH
    bound = 1e-5 * full.abs().max()
    assert (cached - full)[:, :in_context].abs().max() <= bound
    assert (cached - full)[:, in_context:].abs().max() > 100 * bound


@SCHEMES
@torch.inference_mode()
def test_a_timestep_older_than_all_windows_has_no_influence(positions):
    model = random_model(tiny(positions))
    reach = model.config.num_layers * (model.config.context_timesteps - 1)
    tokens = encode(model.config, 1, reach + 2)
    other = encode(model.config, 1, reach + 2, seed=1)
    other.id[:, LENGTH:] = tokens.id[:, LENGTH:]
    other.patch[6:] = tokens.patch[6:]
    borders = policy_borders(reach + 2)
    outputs, edited = (cached_outputs(model, each, borders) for each in (tokens, other))
    assert torch.equal(outputs[:, -LENGTH:], edited[:, -LENGTH:])
    near = slice(reach * LENGTH, (reach + 1) * LENGTH)
    assert not torch.equal(outputs[:, near], edited[:, near])


@SCHEMES
@torch.inference_mode()
def test_nothing_is_allocated_after_the_first_step(positions):
    model = random_model(tiny(positions))
    cache = model.new_cache(LENGTH)
    buffers = [cache.k_NBHSK, cache.v_NBHSK, cache.position_S]
    before = [(buffer.data_ptr(), buffer.shape) for buffer in buffers]
    cached_outputs(model, encode(model.config, 1, 7), policy_borders(7), cache)
    buffers = [cache.k_NBHSK, cache.v_NBHSK, cache.position_S]
    assert [(buffer.data_ptr(), buffer.shape) for buffer in buffers] == before


@SCHEMES
@torch.inference_mode()
def test_reset_forgets_everything(positions):
    model = random_model(tiny(positions))
    cache = model.new_cache(LENGTH, 2)
    tokens, borders = encode(model.config, 2, 2), policy_borders(2)
    first = cached_outputs(model, tokens, borders, cache)
    cached_outputs(model, encode(model.config, 2, 4, seed=1), policy_borders(4), cache)
    cache.reset()
    assert torch.equal(cached_outputs(model, tokens, borders, cache), first)


@SCHEMES
@torch.inference_mode()
def test_one_robot_begins_anew_while_the_other_goes_on(positions):
    model = random_model(tiny(positions))
    tokens = encode(model.config, 2, 5)
    borders = [t * LENGTH for t in range(6)]
    undisturbed = cached_outputs(model, tokens, borders)
    cache = model.new_cache(LENGTH, 2)
    cached_outputs(model, tokens, borders[:4], cache)
    cache.reset(1)
    late = cached_outputs(model, tokens, borders[3:], cache)
    fresh = cached_outputs(model, stretch(tokens, borders[3], borders[5]), borders[:3])
    bound = 1e-5 * undisturbed.abs().max()
    assert torch.equal(late[0], undisturbed[0, borders[3] :])
    assert (late[1] - fresh[1]).abs().max() <= bound
    assert (late[1] - undisturbed[1, borders[3] :]).abs().max() > 100 * bound


@torch.inference_mode()
def test_a_robot_that_never_stops_computes_the_same():
    """Positions count up for ever: after 123 million timesteps nothing may have drifted."""
    model = random_model(tiny())
    tokens, borders = encode(model.config, 1, 4), policy_borders(4)
    cache = model.new_cache(LENGTH)
    young = cached_outputs(model, tokens, borders, cache)
    cache.reset()
    cache.length = 123_456_789 * cache.num_slots
    old = cached_outputs(model, tokens, borders, cache)
    assert (young - old).abs().max() <= 1e-4 * young.abs().max()


@SCHEMES
@torch.inference_mode()
def test_bfloat16_cached_equals_full_to_its_precision(positions):
    model = random_model(tiny(positions), scale=1.0).to(torch.bfloat16)
    tokens = encode(model.config, 1, 5)
    cached = model.logits(cached_outputs(model, tokens, policy_borders(5)))[:, :-1].float()
    mask = band_mask(5 * LENGTH, LENGTH, model.config.context_timesteps)
    full = full_outputs(model, tokens, mask).float()
    assert torch.nn.functional.cosine_similarity(cached, full, dim=-1).min() > 0.99
