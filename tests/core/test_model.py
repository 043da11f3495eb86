from dataclasses import replace

import numpy as np
import pytest
import torch
from core_examples import (
    BENCHMARK,
    SMALL,
    band_mask,
    body,
    observations,
    random_model,
    tiny,
    values,
)
from torch.nn import functional as F

from gato_core.model import Gato, preset, to_tensors
from gato_core.positions import rotate
from gato_core.tokenizer import ACTION_POSITION, PATCH, Tokenizer, encode_document
from gato_core.vocab import Vocabulary
from gato_core.window import rotation

SCHEMES = pytest.mark.parametrize("positions", ["relative", "rotary"])


def encode(config, *lead, kind="autoregressive", spec=SMALL, seed=0):
    rng = np.random.default_rng(seed)
    tokenizer = Tokenizer(body(kind, spec), config.vocabulary)
    arrays = observations(spec, rng, *lead), values(spec.action, rng, *lead)
    return to_tensors(tokenizer.encode_timesteps(*arrays))


def every_output(tokens):
    """The same tokens with an output asked for at each position but the last."""
    return replace(tokens, target=torch.ones_like(tokens.target))


@pytest.mark.parametrize(
    ("name", "millions"), [("79m", 78.0), ("364m", 363.6), ("1.2b", 1177.2)], ids=str
)
def test_parameter_counts_of_the_paper(name, millions):
    """Only Transformer-XL positions, split GEGLU and tied embeddings give these numbers."""
    with torch.device("meta"):
        model = Gato(preset(name))
    tables = ("patch_embedder.row", "patch_embedder.column")
    embedder = sum(
        parameter.numel()
        for name, parameter in model.named_parameters()
        if name.startswith("patch_embedder") and not name.startswith(tables)
    )
    total = sum(parameter.numel() for parameter in model.parameters())
    assert abs((total - embedder) / 1e6 - millions) < 0.06
    assert abs(total / 1e6 / {"79m": 79, "364m": 364, "1.2b": 1180}[name] - 1) < 0.015


@SCHEMES
def test_later_tokens_never_change_earlier_outputs(positions):
    """A public reproduction attends in both directions: there they changed by 3.04."""
    model = random_model(tiny(positions))
    tokens = every_output(encode(model.config, 1, 3))
    before = model(tokens)
    edited = replace(tokens, id=tokens.id.clone(), patch=tokens.patch.clone())
    edited.id[:, -2] = (edited.id[:, -2] + 500) % 1024
    last_patch = int((tokens.id[0] == PATCH).nonzero().max())
    edited.patch[-1] = 255 - edited.patch[-1]
    after = model(edited)
    assert torch.equal(before[:last_patch], after[:last_patch])
    assert not torch.allclose(before[last_patch:], after[last_patch:])


@SCHEMES
def test_an_action_token_never_influences_its_own_prediction(positions):
    """In a public reproduction it did, by 0.28: the label leaked into the prediction."""
    model = random_model(tiny(positions))
    tokens = encode(model.config, 1, 1)
    before = model(tokens)
    positions_of_actions = tokens.target[0].nonzero()[:, 0]
    assert len(positions_of_actions) == 3
    for i, position in enumerate(positions_of_actions):
        edited = replace(tokens, id=tokens.id.clone())
        edited.id[0, position] = (edited.id[0, position] + 512) % 1024
        after = model(edited)
        assert torch.equal(before[: i + 1], after[: i + 1])
        assert i == 2 or not torch.allclose(before[i + 1 :], after[i + 1 :])


@SCHEMES
def test_targets_only_equals_all_outputs(positions):
    """The last block computes only what is wanted; what it leaves out must change nothing."""
    model = random_model(tiny(positions))
    tokens = encode(model.config, 2, 2)
    everywhere = model(every_output(tokens)).unflatten(0, (2, -1))
    assert torch.allclose(model(tokens), everywhere[tokens.target[:, 1:]], atol=1e-5)


def test_without_targets_there_are_no_logits():
    model = random_model(tiny())
    tokens = encode(model.config, 2, 1)
    assert model(replace(tokens, target=torch.zeros_like(tokens.target))).shape == (0, 1025)


def test_rows_may_have_different_numbers_of_targets():
    model = random_model(tiny())
    tokens = encode(model.config, 2, 2)
    fewer = replace(tokens, target=tokens.target.clone())
    fewer.target[0, : SMALL.tokens_per_timestep] = False
    assert torch.allclose(model(fewer), model(tokens)[3:], atol=1e-5)


@SCHEMES
def test_rows_of_a_batch_do_not_meet(positions):
    """A public reproduction raises for a batch of two."""
    model = random_model(tiny(positions))
    both, first = encode(model.config, 2, 2), encode(model.config, 2, 2)
    half = len(first.patch) // 2
    first = replace(
        first,
        id=first.id[:1],
        local_position=first.local_position[:1],
        target=first.target[:1],
        patch=first.patch[:half],
        patch_interval=first.patch_interval[:half],
    )
    assert torch.allclose(model(both)[:6], model(first), atol=1e-5)


@SCHEMES
def test_every_camera_and_every_value_changes_the_action(positions):
    """In a public model the image was ignored as soon as proprioception was given."""
    model = random_model(tiny(positions))
    tokens = encode(model.config, 1, 1)
    before = model(tokens)
    for patch in range(len(tokens.patch)):
        edited = replace(tokens, patch=tokens.patch.clone())
        edited.patch[patch] = 255 - edited.patch[patch]
        assert (model(edited) - before).abs().max() > 1e-3
    for position in range(3):
        edited = replace(tokens, id=tokens.id.clone())
        edited.id[0, position] = (edited.id[0, position] + 512) % 1024
        assert (model(edited) - before).abs().max() > 1e-3


def test_local_positions_are_applied():
    """In a public reproduction they were silently absent by default."""
    model = random_model(tiny())
    tokens = encode(model.config, 1, 1)
    moved = replace(tokens, local_position=tokens.local_position.clone())
    moved.local_position[0, 0] = 7
    assert not torch.allclose(model(tokens), model(moved))


@pytest.mark.parametrize(("reading", "matters"), [("shared", True), ("none", False)])
def test_action_tokens_have_one_position_or_none(reading, matters):
    """The paper says both, in appendix C.3 and in figure 18."""
    model = random_model(tiny(action_position=reading))
    tokens = encode(model.config, 1, 1)
    before = model(tokens)
    with torch.no_grad():
        model.local_position.weight[ACTION_POSITION] += 1.0
    assert torch.equal(model(tokens), before) != matters


def test_patch_positions_are_applied():
    model = random_model(tiny())
    tokens = encode(model.config, 1, 1)
    moved = replace(tokens, patch_interval=tokens.patch_interval.flip(0))
    assert not torch.allclose(model(tokens), model(moved))


def test_patch_positions_are_means_in_evaluation_and_drawn_in_training():
    embedder = random_model(tiny()).patch_embedder
    interval = torch.tensor([[32, 64], [51, 77], [112, 128]], dtype=torch.uint8)
    assert embedder._index(interval).tolist() == [48, 64, 120]
    drawn = torch.stack([embedder.train()._index(interval) for _ in range(2000)])
    assert drawn.amin(0).tolist() == [32, 51, 112]
    assert drawn.amax(0).tolist() == [63, 76, 127]


def test_pixels_enter_between_minus_and_plus_a_quarter():
    embedder, seen = random_model(tiny()).patch_embedder, []
    embedder.stem.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    embedder(torch.tensor([0, 255], dtype=torch.uint8).expand(1, 16, 16, 2)[..., [0, 1, 1]], zeros4)
    assert seen[0].min() == -0.25 and seen[0].max() == 0.25


zeros4 = torch.zeros((1, 4), dtype=torch.uint8)


@SCHEMES
def test_positions_are_relative(positions):
    """The same timestep behind a window that hides what precedes it gives the same outputs."""
    model = random_model(tiny(positions))
    length = SMALL.tokens_per_timestep
    alone = encode(model.config, 1, 1)
    twice = to_tensors_twice(alone)
    outputs = model(replace(twice, mask=band_mask(2 * length, length, 1)))
    assert torch.allclose(outputs[3:], model(alone), atol=1e-5)


def to_tensors_twice(tokens):
    names = ("id", "local_position", "target")
    doubled = {name: getattr(tokens, name).repeat(1, 2) for name in names}
    patch, interval = tokens.patch.repeat(2, 1, 1, 1), tokens.patch_interval.repeat(2, 1)
    return replace(tokens, **doubled, patch=patch, patch_interval=interval)


def test_rotary_angles_stay_exact_for_ever():
    """At 20 Hz a day is 90 million tokens; float32 angles would be off by whole radians."""
    torch.manual_seed(0)
    vectors = torch.randn(1, 2, 1, 32)
    scores = []
    for start in (0, 123_456_789, 10**11):
        cos, sin = torch.from_numpy(rotation(np.array([start + 40, start]), 32))[:, None, :, None]
        turned = rotate(vectors, (cos, sin))
        scores.append(float(turned[:, 0].flatten() @ turned[:, 1].flatten()))
    assert np.allclose(scores, scores[0], atol=1e-4)


@SCHEMES
def test_actions_of_the_past_are_hidden_where_the_body_says_so(positions):
    """Those of the present are seen, in which they differ from parallel ones."""
    model = random_model(tiny(positions))
    tokens = encode(model.config, 1, 3, kind="hidden")
    edited = replace(tokens, id=tokens.id.clone())
    edited.id[0, tokens.target[0].nonzero()[:6, 0]] = 17  # all of the first two timesteps
    before, after = model(tokens).view(3, 3, -1), model(edited).view(3, 3, -1)
    assert torch.equal(before[2], after[2]) and torch.equal(before[1, 0], after[1, 0])
    assert (before[1, 1] - after[1, 1]).abs().max() > 1e-3
    seen = [model(replace(each, mask=None)).view(3, 3, -1)[2] for each in (tokens, edited)]
    assert (seen[0] - seen[1]).abs().max() > 1e-3


@SCHEMES
def test_parallel_mode_ignores_what_the_actions_were(positions):
    model = random_model(tiny(positions))
    tokens = encode(model.config, 1, 3, kind="parallel")
    edited = replace(tokens, id=tokens.id.clone())
    edited.id[tokens.local_position == ACTION_POSITION] = 17
    assert torch.equal(model(tokens), model(edited))


@SCHEMES
def test_parallel_mode_tells_the_dimensions_of_an_action_apart(positions):
    model = random_model(tiny(positions))
    logits = model(encode(model.config, 1, 1, kind="parallel"))
    assert (logits[1] - logits[0]).abs().max() > 1e-2
    assert (logits[2] - logits[1]).abs().max() > 1e-2


@SCHEMES
@pytest.mark.parametrize("kind", ["autoregressive", "hidden", "parallel"])
def test_training_reaches_every_parameter_and_learns(positions, kind):
    """Public reproductions raise as soon as training=True."""
    torch.manual_seed(0)
    config = tiny(positions, stochastic_depth=0.1, dropout=0.1)
    model = Gato(config).train()
    tokens = encode(config, 4, 2, kind=kind)
    label = tokens.id[tokens.target]
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(30):
        loss = F.cross_entropy(model(tokens), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []
    assert losses[0] == pytest.approx(np.log(1025), rel=0.15)
    assert losses[-1] < losses[0] - 1


def test_a_batch_without_images_reaches_every_parameter_too():
    """Processes exchange gradients of the same parameters, whoever has the batch of words."""
    vocabulary = Vocabulary(num_text=50)
    model = Gato(tiny(vocabulary=vocabulary)).train()
    tokens = to_tensors(encode_document([np.arange(20)], vocabulary))
    F.cross_entropy(model(tokens), tokens.id[tokens.target]).backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("name", ["debug", "control-5m"])
def test_near_numbers_begin_with_near_vectors(name):
    """With unrelated vectors a policy learned nothing from images where this one did."""
    model = Gato(preset(name))
    for table in (model.embedding.weight[:1024], model.patch_embedder.row.weight):
        unit = F.normalize(table.detach(), dim=1)
        similarity = unit @ unit.T
        assert similarity.diagonal(1).min() > 0.9
        assert similarity.diagonal(len(unit) // 2).max() < 0.6


def test_tokens_without_position_stay_without():
    """Training must not teach the separator a position: its row gets no gradient."""
    model = Gato(tiny())
    model(encode(model.config, 1, 1)).square().sum().backward()
    assert not model.local_position.weight.grad[-1].any()
    assert not model.local_position.weight[-1].any()


def test_stochastic_depth_keeps_the_expected_output():
    model = random_model(tiny(stochastic_depth=0.5))
    block = model.blocks[0].train()
    x = torch.ones(4000, 1, 2)
    kept = block._regularize(x)
    assert set(kept.unique().tolist()) == {0.0, 2.0}
    assert kept.mean() == pytest.approx(1.0, abs=0.1)
    assert torch.equal(block.eval()._regularize(x), x)


def test_evaluation_is_deterministic():
    model = random_model(tiny(stochastic_depth=0.5, dropout=0.5))
    tokens = encode(model.config, 1, 1)
    assert torch.equal(model(tokens), model(tokens))


@SCHEMES
def test_bfloat16_stays_close(positions):
    model = random_model(tiny(positions), scale=1.0)
    tokens = encode(model.config, 1, 2)
    exact = model(tokens)
    rounded = model.to(torch.bfloat16)(tokens).float()
    assert torch.nn.functional.cosine_similarity(exact, rounded, dim=-1).min() > 0.99


def test_text_images_and_values_share_one_sequence():
    model = random_model(tiny(vocabulary=Vocabulary(num_text=200, discrete_offset=1225)))
    tokens = encode(model.config, 2, 2, spec=BENCHMARK)
    assert model(tokens).shape == (2 * 2 * 5, 1225 + 1024)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"positions": "absolute"}, "positions: expected one of .*, got 'absolute'"),
        ({"patch_channels": 48}, "patch_channels: expected a multiple of 32, got 48"),
        ({"patch_stride": 3}, "patch_stride: expected one of"),
        ({"dropout": 1.0}, r"dropout: expected \[0, 1\), got 1.0"),
    ],
)
def test_contradictions_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(tiny(), **change)


def test_an_unknown_preset_is_refused_with_the_names():
    with pytest.raises(ValueError, match="control-5m.*got '80m'"):
        preset("80m")
