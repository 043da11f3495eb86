"""`gato caption`, `gato ask` and `gato chat` of a network that learned two pictures by heart."""

import io
import json
import sys

import numpy as np
import PIL.Image
import pytest
import torch
from core_examples import SMALL as ROBOT
from core_examples import body, random_model, tiny
from torch.nn import functional as F

from gato_core import checkpoint, cli
from gato_core.model import Gato, to_tensors, with_text
from gato_core.text import documents
from gato_core.text.sources import Documents
from gato_core.tokenizer import batch
from gato_core.vocab import Vocabulary

LINES = [
    {"image": "red.png", "text": "a red block"},
    {"image": "blue.png", "text": "ein blauer Würfel 🤖"},
    {"image": "red.png", "question": "Which colour?", "answer": "red"},
    {"image": "blue.png", "question": "Which colour?", "answer": "blue"},
    {"messages": [
        {"role": "user", "content": "Hello"}, {"role": "assistant", "content": "I stack blocks."},
        {"role": "user", "content": "Which?"}, {"role": "assistant", "content": "Red ones."},
    ]},
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Documents, and a checkpoint that knows them by heart."""
    folder = tmp_path_factory.mktemp("words")
    for name, colour in (("red", (255, 0, 0)), ("blue", (0, 0, 255))):
        pixels = np.full((50, 40, 3), colour, np.uint8)  # a size that no patches have
        PIL.Image.fromarray(pixels).save(folder / f"{name}.png")
    (folder / "a.jsonl").write_text("\n".join(map(json.dumps, LINES)))
    torch.manual_seed(0)
    config = with_text(tiny())
    model = Gato(config).train()
    encoded = [documents.tokenize(one, config.vocabulary, ended=True) for one in Documents(folder)]
    tokens = to_tensors(batch(encoded, config.vocabulary.separator))
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(120):
        loss = F.cross_entropy(model(tokens), tokens.id[tokens.target])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    checkpoint.save(folder / "speaks", model, body(spec=ROBOT), {})
    silent = random_model(tiny(vocabulary=Vocabulary(0)))
    checkpoint.save(folder / "silent", silent, body(spec=ROBOT), {})
    return folder


@pytest.fixture
def gato(folder, monkeypatch, capsys):
    """Runs `gato ...` in the folder; returns its status and what it wrote."""
    monkeypatch.chdir(folder)

    def run(*arguments, said=""):
        monkeypatch.setattr(sys, "argv", ["gato", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.StringIO(said))
        status = cli.main()
        return status, *capsys.readouterr()

    return run


def test_caption_says_what_each_picture_shows(gato):
    assert gato("caption", "red.png", "--checkpoint", "speaks") == (0, "a red block\n", "")
    said = gato("caption", "blue.png", "--checkpoint", "speaks")
    assert said == (0, "ein blauer Würfel 🤖\n", "")


def test_an_answer_is_about_the_picture(gato):
    for colour in ("red", "blue"):
        said = gato("ask", f"{colour}.png", "Which colour?", "--checkpoint", "speaks")
        assert said == (0, f"{colour}\n", "")


def test_a_chat_replies_line_by_line_from_what_was_said(gato):
    """The second answer was learned after the first."""
    said = gato("chat", "--checkpoint", "speaks", "--temperature", "0", said="Hello\n\nWhich?\n")
    assert said == (0, "I stack blocks.\nRed ones.\n", "")


def test_words_come_out_as_they_are_thought_of(folder):
    """Each as soon as its characters are whole: emoji take several tokens of one byte."""
    from gato_core.text.generate import stream

    model = checkpoint.load(folder / "speaks").model
    image = Documents(folder)[1].parts[0]
    words = list(stream(model, documents.caption(image)))
    assert "".join(words) == LINES[1]["text"] and len(words) > 4
    assert not any("\ufffd" in word for word in words)


def test_a_seed_and_the_most_tokens_are_kept_to(gato):
    command = ("caption", "red.png", "--checkpoint", "speaks", "--temperature", 3)
    first, same, other = (gato(*command, "--seed", seed)[1] for seed in (1, 1, 2))
    assert first == same != other
    assert gato("caption", "red.png", "--checkpoint", "speaks", "--max-tokens", 2)[1] == "a red\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("red.png", "--checkpoint", "silent"), "silent: expected a network trained on documents"),
        (("red.png", "--checkpoint", "none"), "none/config.json: expected a checkpoint's config"),
        (("none.png", "--checkpoint", "speaks"), "none.png"),
        (("a.jsonl", "--checkpoint", "speaks"), "a.jsonl: expected a picture, got cannot identify"),
    ],
)
def test_what_cannot_be_spoken_about_is_said_in_one_line(gato, arguments, message):
    status, out, error = gato("caption", *arguments)
    assert status == 1 and out == "" and message in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("--temperature", -1), "temperature: expected 0 or more, got -1.0"),
        (("--max-tokens", 0), "max_tokens: expected 1 or more, got 0"),
    ],
)
def test_options_that_make_no_sense_are_refused(gato, capsys, option, message):
    with pytest.raises(SystemExit):
        gato("ask", "red.png", "Which?", "--checkpoint", "speaks", *option)
    assert message in capsys.readouterr().err


def test_a_conversation_beyond_the_context_ends_in_one_line(gato):
    status, _, error = gato("chat", "--checkpoint", "speaks", said="red " * 1100)
    assert status == 1 and error.startswith("gato chat: generate: expected 1..960 tokens")
