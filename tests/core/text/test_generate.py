from dataclasses import replace

import numpy as np
import pytest
import torch
from core_examples import continuous, observations, random_model, tiny, values
from torch.nn import functional as F

from gato_core.embodiment import Embodiment
from gato_core.model import Gato, to_tensors
from gato_core.policy import GatoPolicy
from gato_core.spec import Image, Spec, Text
from gato_core.text import documents, pieces
from gato_core.text.documents import Document
from gato_core.text.generate import Chat, Reading, generate, sample, stream
from gato_core.tokenizer import PATCH, Tokenizer, batch, encode_document
from gato_core.vocab import Vocabulary

SCHEMES = pytest.mark.parametrize("positions", ["relative", "rotary"])
FEW = Vocabulary(num_text=100)


def image(seed):
    return values(Image(32, 16), np.random.default_rng(seed))


def prompt(num_ids=6, seed=0):
    ids = np.random.default_rng(seed).integers(4, 100, num_ids)
    return to_tensors(encode_document([image(seed), ids], FEW))


def ids_of(*arguments, **options):
    """(B, n)"""
    return torch.stack(list(generate(*arguments, **options)), dim=1)


def greedy(model, tokens, max_tokens=8, **options):
    return ids_of(Reading(model, 64, len(tokens.id)), tokens, max_tokens=max_tokens, **options)


def complete(model, document):
    return "".join(stream(model, document))


def test_targets_are_text_and_nothing_else():
    asked = documents.question("Is it red?", "yes", image(0))
    tokens = documents.tokenize(Document(asked.parts), Vocabulary(), ended=True)
    assert tokens.id[:2].tolist() == [PATCH] * 2 and tokens.id[-1] == pieces.END
    assert np.array_equal(tokens.target, tokens.id != PATCH)
    assert pieces.decode(tokens.id[2:]) == "Question: Is it red? Answer: yes"


@pytest.mark.parametrize(
    ("document", "learned"),
    [
        (documents.caption(image(0), "a block"), "a block"),
        (documents.question("Is it red?", "yes", image(0)), " yes"),
        (documents.question("Is it red?", "yes"), " yes"),
        (documents.chat([("Hello", "Hi"), ("Red?", "Yes")], image(0)), " Hi\n Yes\n"),
    ],
)
def test_captions_answers_and_replies_are_learned_and_no_questions(document, learned):
    """A network that learned to ask would do so when it is to caption."""
    tokens = documents.tokenize(document, Vocabulary(), ended=True)
    *targets, last = tokens.id[tokens.target]
    assert pieces.decode(np.array(targets)) == learned and last == pieces.END


def test_a_crop_is_a_stretch_with_a_target():
    """Patches go along with their marks, and no stretch teaches nothing."""
    page = Document(("words " * 20, image(0), "more", image(1), "end"), (False, False, True) * 1
                    + (False, True))  # fmt: skip
    whole = documents.tokenize(page, Vocabulary(), ended=True)
    rng = np.random.default_rng(0)
    assert documents.crop(whole, len(whole.id), rng) is whole
    lengths, starts = set(), set()
    for _ in range(100):
        got = documents.crop(whole, 5, rng)
        (start,) = (s for s in range(len(whole.id) - 4)
                    if same_tokens(whole, got, s))  # fmt: skip
        lengths.add(len(got.id))
        starts.add(start)
        assert got.target.any() and not got.target[0]
        assert len(got.patch) == len(got.patch_interval) == (got.id == PATCH).sum()
    assert lengths == {5} and len(starts) > 3
    with pytest.raises(ValueError, match="expected targets within 5 tokens, got none"):
        documents.crop(documents.tokenize(Document((image(0),)), Vocabulary()), 5, rng)


def same_tokens(whole, got, start):
    """Whether `got` is what stands at `start`."""
    if not np.array_equal(whole.id[start : start + len(got.id)], got.id):
        return False
    before = int((whole.id[:start] == PATCH).sum())
    patch = whole.patch[before : before + len(got.patch)]
    return np.array_equal(patch, got.patch)


def test_a_text_without_images_predicts_all_but_its_first_token():
    tokens = documents.tokenize(Document(("The robot is a Sawyer.",)), Vocabulary())
    assert not tokens.target[0] and tokens.target[1:].all() and len(tokens.patch) == 0
    model = Gato(tiny(vocabulary=Vocabulary()))
    assert model(to_tensors(tokens)).shape == (len(tokens.id) - 1, 33025)


@SCHEMES
def test_a_network_learns_a_caption_and_answers_about_images(positions):
    """One question, two images, two answers: what is written depends on what is seen."""
    torch.manual_seed(0)
    vocabulary = Vocabulary()
    model = Gato(tiny(positions, vocabulary=vocabulary)).train()
    caption, asked = "a red block on a blue block", "What is on top?"
    whole = [
        documents.caption(image(0), caption),
        documents.question(asked, "a red block", image(1)),
        documents.question(asked, "nothing", image(2)),
    ]
    encoded = [documents.tokenize(one, vocabulary, ended=True) for one in whole]
    tokens = to_tensors(batch(encoded, vocabulary.separator))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(80):
        loss = F.cross_entropy(model(tokens), tokens.id[tokens.target])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert complete(model, documents.caption(image(0))) == caption
    assert complete(model, documents.question(asked, image=image(1))) == "a red block"
    assert complete(model, documents.question(asked, image=image(2))) == "nothing"


@SCHEMES
@torch.inference_mode()
def test_generated_text_is_the_likeliest_of_the_full_forward_pass(positions):
    model = random_model(tiny(positions, vocabulary=FEW))
    tokens = prompt()
    ids = greedy(model, tokens, stop=-1)
    whole = replace(
        tokens,
        id=torch.cat([tokens.id, ids], 1),
        local_position=torch.full((1, 2 + 6 + 8), 512),
        target=torch.arange(2 + 6 + 8)[None] >= 2 + 6,
    )
    assert model(whole)[:, :100].argmax(-1).tolist() == ids[0].tolist()


@torch.inference_mode()
def test_a_conversation_in_the_cache_equals_reading_it_anew():
    model = random_model(tiny(vocabulary=FEW))
    first, second = np.arange(5, 10), np.arange(20, 24)
    reading = Reading(model, 64)

    def follow(ids):
        tokens = to_tensors(encode_document([ids], FEW))
        return ids_of(reading, tokens, max_tokens=5, stop=-1)

    reply, continued = follow(first), follow(second)
    whole = encode_document([first, reply[0].numpy(), second], FEW)
    assert torch.equal(continued, greedy(model, to_tensors(whole), 5, stop=-1))


@torch.inference_mode()
def test_rows_of_a_batch_stop_on_their_own():
    model = random_model(tiny(vocabulary=FEW))
    rows = [prompt(seed=seed) for seed in (0, 1)]
    alone = [greedy(model, row, stop=-1)[0].tolist() for row in rows]
    stop = next(id for id in alone[0] if id not in alone[1])
    end = alone[0].index(stop)
    both = replace(
        rows[0],
        **{
            name: torch.cat([getattr(row, name) for row in rows])
            for name in ("id", "local_position", "target", "patch", "patch_interval")
        },
    )
    ids = greedy(model, both, stop=stop)
    assert ids[1].tolist() == alone[1]
    assert ids[0].tolist() == alone[0][:end] + [stop] * (8 - end)
    assert greedy(model, rows[0], stop=stop).shape == (1, end + 1)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@torch.inference_mode()
def test_nothing_but_text_is_drawn(temperature):
    """Even if the network is certain that a number or the separator comes next."""
    model = random_model(tiny(vocabulary=FEW))
    model.embedding.weight[100:] *= 100
    generator = torch.Generator().manual_seed(0)
    ids = greedy(model, prompt(), 20, stop=-1, temperature=temperature, generator=generator)
    assert ids.shape == (1, 20) and ids.max() < 100


@torch.inference_mode()
def test_a_seed_determines_a_draw_and_the_likeliest_alone_is_greedy():
    model = random_model(tiny(vocabulary=FEW))
    draw = {"temperature": 0.9, "stop": -1}
    first, same, other = (
        greedy(model, prompt(), **draw, generator=torch.Generator().manual_seed(seed))
        for seed in (1, 1, 2)
    )
    assert torch.equal(first, same) and not torch.equal(first, other)
    assert torch.equal(greedy(model, prompt(), **draw, top_k=1), greedy(model, prompt(), stop=-1))


def test_a_document_beyond_the_context_is_refused():
    model = random_model(tiny(vocabulary=FEW))
    with pytest.raises(ValueError, match=r"expected 1..56 tokens before 8 new ones, got 72"):
        greedy(model, prompt(num_ids=70))


def test_a_chat_replies_and_remembers():
    vocabulary = Vocabulary()
    model = random_model(tiny(vocabulary=vocabulary))
    chats = [Chat(model, temperature=0.0) for _ in range(2)]
    list(chats[0].say("The block is red.", max_tokens=3))
    list(chats[1].say("The block is green.", image(0), max_tokens=3))
    replies = ["".join(chat.say("What colour is it?", max_tokens=6)) for chat in chats]
    assert replies[0] != replies[1]


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (np.zeros((20, 32, 3), np.uint8), "Image height: expected a positive multiple of 16"),
        (np.zeros((16, 32, 3), np.float32), "part 1: expected uint8"),
        (np.array([3, 100]), r"part 1: expected text ids in \[0, 100\), got 3..100"),
        (np.array([-1]), r"part 1: expected text ids in \[0, 100\), got -1..-1"),
        (np.array([0.5]), "part 1: expected a string or integer ids"),
    ],
)
def test_a_part_that_is_no_text_and_no_image_is_refused(part, message):
    with pytest.raises(ValueError, match=message):
        encode_document([np.array([1]), part], FEW)


def test_a_network_without_words_is_refused():
    with pytest.raises(
        ValueError, match="vocabulary: expected text ids, got a network without any"
    ):
        complete(random_model(tiny()), Document(("The robot",)))


def test_an_instruction_changes_what_the_policy_does():
    spec = Spec({"instruction": Text(12), "joints": continuous(2)}, continuous(2), 0.05)
    model = random_model(tiny(vocabulary=Vocabulary()))
    observation = observations(spec, np.random.default_rng(0))
    actions = []
    for words in ("stack the red block on the blue block", "open the gripper"):
        policy = GatoPolicy.of(
            model,
            Tokenizer(Embodiment("robot", spec), model.config.vocabulary),
        )
        actions.append(policy.step(observation | {"instruction": words}))
    assert not np.array_equal(*actions)


def test_an_instruction_of_another_vocabulary_is_refused_by_name():
    spec = Spec({"instruction": Text(2), "joints": continuous(2)}, continuous(2), 0.05)
    observation = {"instruction": np.array([5, 100]), "joints": np.zeros(2, np.float32)}
    with pytest.raises(ValueError, match=r"instruction: expected text ids in \[0, 100\), got 5..1"):
        Tokenizer(Embodiment("robot", spec), FEW).encode_observation(observation)


def test_samples_follow_the_softmax():
    logits = torch.tensor([0.0, 1.0, 2.0])
    draws = sample(logits.expand(20_000, 3), 0.5, torch.Generator().manual_seed(0))
    share = draws.bincount(minlength=3) / len(draws)
    assert torch.allclose(share, (logits / 0.5).softmax(-1), atol=0.02)
