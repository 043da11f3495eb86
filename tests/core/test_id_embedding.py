import copy

import pytest
import torch
from core_examples import tiny

from gato_core.id_embedding import IdEmbedding
from gato_core.model import Gato
from gato_core.vocab import Vocabulary


@pytest.fixture
def embedding() -> IdEmbedding:
    """Five words and seven other ids."""
    torch.manual_seed(0)
    return IdEmbedding(5, 12, 4)


def test_rows_of_ids_are_where_one_table_has_them(embedding):
    whole = embedding.state_dict()["weight"]
    assert whole.shape == (12, 4)
    for first, last in ((0, 12), (0, 3), (2, 9), (5, 12), (7, 8), (0, 5)):
        assert torch.equal(embedding.rows(first, last), whole[first:last])
    id = torch.tensor([[0, 4, 5, 11], [6, 1, 9, 3]])
    for training in (True, False):
        assert torch.equal(embedding.train(training)(id), whole[id])


def test_batches_without_text_leave_its_table_alone(embedding):
    embedding.train()(torch.tensor([5, 8, 11])).sum().backward()
    assert embedding.text.weight.grad is None and embedding.weight.grad is not None
    embedding(torch.tensor([5, 2])).sum().backward()
    assert embedding.text.weight.grad[2].eq(1).all()


def test_state_is_one_tensor_and_comes_back(embedding):
    other = IdEmbedding(5, 12, 4)
    other.load_state_dict(embedding.state_dict())
    assert torch.equal(other.rows(0, 12), embedding.rows(0, 12))
    again = copy.deepcopy(embedding)
    again.load_state_dict({"weight": torch.zeros(12, 4)})
    assert not again.rows(0, 12).any() and embedding.rows(0, 12).all()
    with pytest.raises(RuntimeError, match="size mismatch"):
        other.load_state_dict({"weight": torch.zeros(11, 4)})


def test_a_network_without_text_has_one_table():
    names = dict(Gato(tiny()).named_parameters())
    assert "embedding.weight" in names and "embedding.text.weight" not in names
    words = Gato(tiny(vocabulary=Vocabulary(num_text=9)))
    assert {"embedding.weight", "embedding.text.weight"} <= dict(words.named_parameters()).keys()
    assert len(words.state_dict()["embedding.weight"]) == words.config.vocabulary.size
