import cv2
import numpy as np
import pytest
import torch
from core_examples import SMALL, body, episode, random_model, tiny

from gato_core import checkpoint
from gato_core.dataset import DatasetWriter
from gato_core.tokenizer import Tokenizer
from gato_core.tools import analysis
from gato_core.tools.analysis import AttentionConfig, EmbeddingConfig
from gato_core.tools.tsne import principal_components, tsne

TOKENIZER = Tokenizer(body(), tiny().vocabulary)
SCHEMES = pytest.mark.parametrize("positions", ["relative", "rotary"])


@pytest.fixture
def folders(tmp_path):
    """A checkpoint and a dataset of one robot."""
    model = random_model(tiny())
    checkpoint.save(tmp_path / "checkpoint", model, body(), {})
    rng = np.random.default_rng(0)
    with DatasetWriter(tmp_path / "data", SMALL) as writer:
        for seed in range(3):
            demonstration = episode(SMALL, rng, 5)
            demonstration.seed = seed
            writer.add(demonstration)
    return tmp_path


@SCHEMES
@torch.inference_mode()
def test_recorded_attention_is_the_networks_own(positions):
    """Its softmax, applied to the values, gives what the first block's attention returns."""
    model = random_model(tiny(positions))
    demonstration = episode(SMALL, np.random.default_rng(0), 2)
    attention, seen = model.blocks[0].attention, []
    attention.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0], output)))
    score_HLL = analysis.attention_scores(model, TOKENIZER, demonstration, 0)
    x_LD, expected = seen[0][0][0], seen[0][1][0]
    v_LHK = attention.query_key_value(x_LD).unflatten(-1, (-1, model.config.key_size))
    v_HLK = v_LHK.chunk(3, dim=1)[2].transpose(0, 1)
    gathered = (score_HLL.softmax(-1) @ v_HLK).transpose(0, 1).flatten(1)
    assert torch.allclose(attention.out(gathered), expected[:-1], atol=1e-5)
    assert torch.isneginf(score_HLL.triu(1)).sum() == torch.isneginf(score_HLL).sum()


def test_a_patch_that_all_tokens_look_at_receives_their_attention():
    """A head whose queries and keys are constant spreads its attention evenly."""
    model = random_model(tiny())
    with torch.no_grad():
        model.blocks[0].attention.query_key_value.weight.zero_()
        model.blocks[0].attention.query_key_value.bias.zero_()
    map_HP = analysis.received(model, TOKENIZER, episode(SMALL, np.random.default_rng(0), 2))
    heads, length = model.config.num_heads, SMALL.tokens_per_timestep
    # a later token at place i has i others before it; the last token of all has no output
    first, last = 3, 8
    expected = [np.mean(1 / np.arange(place + 1, length - 1)) for place in range(first, last + 1)]
    assert map_HP.shape == (heads, 6)
    assert np.allclose(map_HP, expected, atol=1e-5)


def test_the_action_may_look_elsewhere():
    model, demonstration = random_model(tiny()), episode(SMALL, np.random.default_rng(0), 2)
    every, action = (
        analysis.received(model, TOKENIZER, demonstration, 0, looking)
        for looking in ("all", "action")
    )
    assert (every >= 0).all() and (action.sum(1) <= 1 + 1e-5).all()
    assert not np.allclose(every, action)


def test_the_attention_command_draws_every_camera_and_head(folders):
    output = folders / "new/attention.png"
    config = AttentionConfig(folders / "checkpoint", folders / "data", heads=(1,), output=output)
    assert analysis.analyze_attention(config)["heads"] == [1]
    picture = cv2.imread(str(output))
    side = analysis.SIDE
    assert picture.shape == (2 * (side + 26), 2 * (2 * side + 4), 3)
    assert picture.std() > 10


def test_the_embedding_command_draws_a_point_for_every_sequence(folders):
    output = folders / "embedding.png"
    config = EmbeddingConfig(
        folders / "checkpoint",
        (folders / "data",),
        by="progress",
        num_sequences=12,
        output=output,
    )
    found = analysis.analyze_embedding(config)
    assert found["sequences"] == 12 and 1 <= found["labels"] <= 4
    assert cv2.imread(str(output)).min() < 100


def test_what_does_not_exist_is_refused(folders):
    for change, message in (
        ({"layer": 9}, r"layer: expected 0..1, got 9"),
        ({"timestep": 5}, r"timestep: expected 0..4, got 5"),
        ({"episode": 3}, r"episode: expected 0..2, got 3"),
        ({"heads": (4,)}, r"heads: expected 0..3, got \(4,\)"),
    ):
        with pytest.raises(ValueError, match=message):
            analysis.analyze_attention(
                AttentionConfig(folders / "checkpoint", folders / "data", **change)
            )


def test_neighbours_stay_neighbours():
    rng = np.random.default_rng(0)
    label = np.repeat(np.arange(3), 20)
    vectors = 6.0 * np.eye(10)[label] + rng.standard_normal((60, 10))
    points = tsne(principal_components(vectors), perplexity=10.0, num_steps=250)
    distance = np.linalg.norm(points[:, None] - points, axis=-1) + 1e9 * np.eye(60)
    assert (label[distance.argmin(1)] == label).mean() > 0.95


def test_principal_components_keep_distances_and_come_in_order():
    vectors = np.random.default_rng(0).standard_normal((20, 6)) * [1, 2, 3, 4, 5, 6]
    turned = principal_components(vectors)
    assert np.allclose(
        np.linalg.norm(turned[:, None] - turned, axis=-1),
        np.linalg.norm(vectors[:, None] - vectors, axis=-1),
    )
    assert (np.diff(turned.var(0)) < 0).all()


def test_too_few_vectors_are_refused():
    with pytest.raises(ValueError, match="tsne: expected at least 90 vectors .* got 5"):
        tsne(np.zeros((5, 2)))
