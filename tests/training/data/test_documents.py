import json

import numpy as np
import PIL.Image
import pytest

from gato_core.text import pieces
from gato_core.text.sources import Documents
from gato_core.tokenizer import PATCH
from gato_core.vocab import SMALL
from gato_training.data.documents import DocumentBatches, split


@pytest.fixture
def documents(tmp_path):
    """Pictures of two sizes with captions, and texts of which some are long."""
    rng = np.random.default_rng(0)
    lines = []
    for k in range(6):
        pixels = rng.integers(0, 256, (16, 16 + 16 * (k % 2), 3), dtype=np.uint8)
        PIL.Image.fromarray(pixels).save(tmp_path / f"{k}.png")
        lines.append({"image": f"{k}.png", "text": f"picture {k}"})
    lines += [{"text": f"{word} " * 60} for word in ("red", "blue")]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return Documents(tmp_path)


def drawn(documents, numbers=range(8), seed=0, batch_size=5):
    return DocumentBatches(documents, list(numbers), SMALL, 32, batch_size, seed)


def same(one, other):
    names = ("id", "local_position", "target", "patch", "patch_interval")
    return all(np.array_equal(getattr(one.tokens, n), getattr(other.tokens, n)) for n in names)


def test_a_batch_is_a_function_of_seed_and_number(documents):
    first, again = drawn(documents), drawn(documents)
    batches = [first.batch(k) for k in range(4)]
    for k in (3, 0, 2, 1):
        assert same(again.batch(k), batches[k])
        assert again.batch(k).noise_seed == batches[k].noise_seed
    assert not same(batches[0], batches[1])
    assert not same(drawn(documents, seed=1).batch(0), batches[0])


def test_a_sequence_is_one_document_or_a_stretch_of_it(documents):
    """Padding is never learned; captions end with END; what is learned are words alone."""
    source = drawn(documents, batch_size=8)
    for k in range(5):
        batch = source.batch(k)
        assert batch.tokens.id.shape[0] == 8 and batch.tokens.id.shape[1] <= 32
        assert np.array_equal(batch.labels, batch.tokens.id[batch.tokens.target])
        assert (batch.labels < SMALL.num_text).all() and batch.tokens.target.any(axis=1).all()
        assert (batch.tokens.id == PATCH).sum() == len(batch.tokens.patch)
        for row, target, number in zip(batch.tokens.id, batch.tokens.target, source.draw(k)):
            words = pieces.decode(row[target], SMALL)
            if number < 6:
                assert words == f"picture {number}" and row[target][-1] == pieces.END
            else:
                assert words.strip().split()[0] in ("red", "ed", "blue", "ue")


def test_every_document_is_drawn_as_often(documents):
    source = drawn(documents, numbers=(1, 4, 7), batch_size=60)
    counts = np.bincount(np.concatenate([source.draw(k) for k in range(20)]), minlength=8)
    assert set(np.flatnonzero(counts)) == {1, 4, 7}
    assert (np.abs(counts[[1, 4, 7]] - 400) < 5 * np.sqrt(400)).all()


def test_documents_are_held_out_for_good(documents, tmp_path):
    train, held = split(documents, 0.3)
    assert sorted(train + held) == list(range(8)) and held
    with (tmp_path / "a.jsonl").open("a") as file:
        file.write('\n{"text": "more"}\n{"text": "and more"}\n')
    longer_train, longer_held = split(Documents(tmp_path), 0.3)
    assert set(train) <= set(longer_train) and set(held) <= set(longer_held)
    assert split(documents, 1e-9)[1] and not split(documents, 0.0)[1]
    with pytest.raises(ValueError, match="expected documents to learn from, got none"):
        drawn(documents, numbers=())
