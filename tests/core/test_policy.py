import gc
from dataclasses import replace

import numpy as np
import pytest
import torch
from core_examples import SMALL, body, continuous, episode, observations, random_model, tiny

from gato_core import checkpoint
from gato_core.deploy import onnx
from gato_core.model import to_tensors
from gato_core.policy import GatoPolicy, load
from gato_core.spec import Discrete, Image, Spec
from gato_core.tokenizer import Tokenizer
from gato_core.vocab import Vocabulary

KINDS = pytest.mark.parametrize("kind", ["autoregressive", "hidden", "parallel"])
SCHEMES = pytest.mark.parametrize("positions", ["relative", "rotary"])


def make_policy(model, kind="autoregressive", spec=SMALL, **options):
    return GatoPolicy.of(model, Tokenizer(body(kind, spec), model.config.vocabulary), **options)


def stream(num_timesteps, spec=SMALL, seed=0):
    rng = np.random.default_rng(seed)
    return [observations(spec, rng) for _ in range(num_timesteps)]


def act(policy, stream):
    return np.stack([policy.step(observation) for observation in stream])


@SCHEMES
@KINDS
def test_the_policy_does_what_the_model_was_trained_for(positions, kind):
    """Its ids are the likeliest of the training-time forward pass over the same sequence."""
    config = tiny(positions)
    model = random_model(config)
    policy = make_policy(model, kind)
    observed = stream(body().context_timesteps)
    actions = act(policy, observed)
    arrays = {key: np.stack([o[key] for o in observed]) for key in observed[0]}
    tokens = policy.tokenizer.encode_timesteps(arrays, actions)
    first, last = policy.tokenizer.action_ids
    with torch.inference_mode():
        likeliest = model(to_tensors(tokens))[:, first:last].argmax(-1) + first
    assert likeliest.tolist() == tokens.id[tokens.target].tolist()


@KINDS
def test_actions_are_float32_within_their_limits(kind):
    policy = make_policy(random_model(tiny()), kind, temperature=2.0)
    actions = act(policy, stream(8))
    assert actions.dtype == np.float32 and actions.shape == (8, 3)
    assert (np.abs(actions) < 0.07).all()
    assert len(np.unique(actions)) > 12


@KINDS
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_nothing_is_sampled_outside_the_actions_ids(kind, temperature):
    """Even if the network is certain that a word or the separator comes next."""
    vocabulary = Vocabulary(num_text=50, discrete_offset=1075)
    model = random_model(tiny(vocabulary=vocabulary))
    with torch.no_grad():
        model.embedding.weight[50 + 1024 :] *= 100
        model.embedding.weight[:50] *= 100
    policy = make_policy(model, kind, temperature=temperature)
    assert (np.abs(act(policy, stream(6))) < 0.07).all()
    discrete = replace(SMALL, action=Discrete(4, ("gripper",)))
    presses = act(make_policy(model, kind, discrete, temperature=temperature), stream(6))
    assert np.isin(presses, [0, 1, 2, 3]).all()


@KINDS
def test_same_observations_and_seed_give_the_same_actions(kind):
    model = random_model(tiny())
    torch.manual_seed(1)
    first = act(make_policy(model, kind, temperature=1.0, seed=3), stream(5))
    torch.manual_seed(2)  # the policy draws from its own generator
    assert np.array_equal(act(make_policy(model, kind, temperature=1.0, seed=3), stream(5)), first)
    assert not np.array_equal(
        act(make_policy(model, kind, temperature=1.0, seed=4), stream(5)), first
    )


@SCHEMES
@KINDS
def test_reset_forgets_everything(positions, kind):
    policy = make_policy(random_model(tiny(positions)), kind)
    first = act(policy, stream(4))
    act(policy, stream(3, seed=1))
    policy.reset()
    assert np.array_equal(act(policy, stream(4)), first)


@KINDS
def test_every_key_of_the_observation_changes_the_action(kind):
    model = random_model(tiny())
    observed, others = stream(6), stream(6, seed=1)
    before = act(make_policy(model, kind), observed)
    for key in SMALL.observation:
        edited = [o | {key: other[key]} for o, other in zip(observed, others)]
        assert not np.array_equal(before, act(make_policy(model, kind), edited)), key


@KINDS
def test_past_timesteps_change_the_action_while_in_context(kind):
    model = random_model(tiny())
    (now,) = stream(1)
    policy = make_policy(model, kind)
    policy.step(stream(1, seed=1)[0])
    assert not np.array_equal(policy.step(now), make_policy(model, kind).step(now))


@KINDS
def test_it_goes_on_far_beyond_its_context(kind):
    """What left the reach of all layers is forgotten: two different pasts, the same present."""
    config = tiny()
    reach = config.num_layers * (body().context_timesteps - 1) + 2
    model = random_model(config)
    seen = stream(40) + stream(3 * reach, seed=2)
    short = act(make_policy(model, kind), seen[-2 * reach :])
    if kind != "autoregressive":  # own actions are part of the past otherwise
        assert np.array_equal(act(make_policy(model, kind), seen)[-reach:], short[-reach:])
    else:
        assert np.isfinite(act(make_policy(model, kind), seen)).all()


@SCHEMES
@KINDS
def test_a_prompt_is_a_past(positions, kind):
    """Prompted with its own first steps, the policy continues as if it had not stopped."""
    model = random_model(tiny(positions))
    observed = stream(12)
    actions = act(make_policy(model, kind), observed)
    prompt = episode(SMALL, np.random.default_rng(0), 9)
    prompt.observation = {key: np.stack([o[key] for o in observed[:9]]) for key in observed[0]}
    prompt.action = actions[:9]
    policy = make_policy(model, kind)
    policy.reset(prompt)
    assert np.array_equal(act(policy, observed[9:]), actions[9:])


def test_a_prompt_of_another_robot_is_refused():
    policy = make_policy(random_model(tiny()))
    prompt = episode(replace(SMALL, action=Discrete(4, ("gripper",))), np.random.default_rng(0), 2)
    with pytest.raises(ValueError, match=r"action: expected \(2, 3\), got \(2, 1\)"):
        policy.reset(prompt)


def test_a_bad_observation_is_refused_before_anything_is_remembered():
    policy = make_policy(random_model(tiny()))
    good = stream(3)
    expected = act(policy, good)
    policy.reset()
    policy.step(good[0])
    bad = good[1] | {"arm/joints": np.full(3, np.nan, np.float32)}
    with pytest.raises(ValueError, match="arm/joints: expected finite values"):
        policy.step(bad)
    assert np.array_equal(act(policy, good[1:]), expected[1:])


@KINDS
def test_bfloat16_mostly_agrees_with_float32(kind):
    config = tiny()
    exact, rounded = (random_model(config, scale=1.0) for _ in range(2))
    actions = act(make_policy(exact, kind), stream(1))
    close = act(make_policy(rounded.to(torch.bfloat16), kind), stream(1))
    assert np.isfinite(close).all() and close.shape == actions.shape


MIXED = Spec(  # a wide camera, a tall one, and a view cut out of the middle
    {
        "a/pixels": Image(48, 96),
        "b/pixels": Image(128, 16),
        "c/pixels": Image(64, 64, crop=(0.25, 0.0, 0.5, 0.75)),
        "joints": continuous(3),
    },
    continuous(3, 0.07, "m/s"),
    0.05,
)


@SCHEMES
@KINDS
def test_cameras_may_have_different_sizes_and_shapes(positions, kind):
    """The patches of all cameras are embedded in one batch."""
    model = random_model(tiny(positions))
    batches = []
    model.patch_embedder.register_forward_pre_hook(lambda _, inputs: batches.append(len(inputs[0])))
    observed = stream(7, MIXED)
    expected = act(make_policy(model, kind, MIXED), observed)
    assert batches == [3 * 6 + 8 * 1 + 4 * 4] * 7
    for key in ("a/pixels", "b/pixels", "c/pixels"):
        edited = [o | {key: 255 - o[key]} for o in observed]
        assert not np.array_equal(act(make_policy(model, kind, MIXED), edited), expected), key


@KINDS
def test_a_long_episode_keeps_nothing_but_its_buffers(kind):
    """As many tensors are alive after thirty steps as after ten."""
    policy, alive = make_policy(random_model(tiny()), kind), []
    observed = stream(30)
    for part in (observed[:10], observed[10:]):
        act(policy, part)
        gc.collect()
        alive.append(sum(type(each) is torch.Tensor for each in gc.get_objects()))
    assert alive[0] == alive[1]


def test_a_negative_temperature_is_refused():
    with pytest.raises(ValueError, match="temperature: expected >= 0, got -1"):
        make_policy(random_model(tiny()), temperature=-1.0)


def test_draws_follow_the_softmax():
    policy = make_policy(random_model(tiny()), "parallel", temperature=0.5)
    inputs, (now,) = policy._robots[0], stream(1)
    noise_NV = np.stack([inputs.observed(now)["noise"][0, :3] for _ in range(4_000)])
    logits = np.array([0.0, 1.0, 2.0])
    share = np.bincount((logits + noise_NV).argmax(-1)) / len(noise_NV)
    expected = np.exp(logits / 0.5) / np.exp(logits / 0.5).sum()
    assert np.abs(share - expected).max() < 0.03


def test_a_policy_draws_at_its_checkpoints_own_temperature_unless_told_otherwise(tmp_path):
    """Loading once took the likeliest where the checkpoint, and evaluation, said to draw."""
    model = random_model(tiny())
    warm = body(temperature=0.7)
    checkpoint.save(tmp_path / "c", model, warm, {})
    onnx.export(model, warm, tmp_path / "c.onnx")
    for path, runtime in ((tmp_path / "c", "cpu"), (tmp_path / "c.onnx", "onnx")):
        for asked, got in ((None, 0.7), (0.0, 0.0), (2.0, 2.0)):
            policy = load(path, runtime=runtime, temperature=asked)
            assert policy.temperature == got


def test_an_unknown_runtime_is_refused():
    with pytest.raises(ValueError, match="runtime: expected one of .*'onnx'.*, got 'tpu'"):
        load("nowhere", runtime="tpu")
