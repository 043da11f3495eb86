import gzip
import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest

from gato_core.model import preset, with_text
from gato_core.text import pieces, train_vocabulary
from gato_core.vocab import ENGLISH, SMALL, Vocabulary

ODD = [
    "",
    " ",
    "  two  spaces ",
    "a\nb\r\n\t",
    "▁",
    "a ▁b▁",
    "\0",
    "</s>",
    "<0x41>",
    "\ufeffé",
    "e\u0301",
]


SHIPPED = pytest.mark.parametrize("name", pieces.SHIPPED)


@SHIPPED
def test_the_shipped_models_are_those_that_their_names_promise(name):
    vocabulary = pieces.SHIPPED[name]
    model = pieces.load(pieces.FOLDER / f"{name}.model")
    assert len(model) == vocabulary.num_text
    assert pieces.sha256(model) == vocabulary.pieces_sha256


def test_the_papers_range_is_filled_and_small_presets_have_few_rows():
    assert preset("79m").vocabulary == ENGLISH and ENGLISH.num_text == 32000
    assert with_text(preset("79m")) == preset("79m")
    small = with_text(preset("control-5m")).vocabulary
    assert small.pieces_sha256 == SMALL.pieces_sha256 and small.num_text < 5000
    assert small.discrete_offset == small.continuous_offset  # as without text


@SHIPPED
def test_every_string_survives_a_round_trip(name):
    """Also spaces' own mark, which SentencePiece alone would turn into a space."""
    vocabulary = pieces.SHIPPED[name]
    rng = np.random.default_rng(0)
    code = rng.integers(0, 0x110000, (300, 20))
    code[(code >= 0xD800) & (code < 0xE000)] = 0x2581
    for string in [*ODD, *("".join(map(chr, row)) for row in code)]:
        ids = pieces.encode(string, vocabulary)
        assert pieces.decode(ids, vocabulary) == string
        assert ids.dtype == np.int64 and (ids < vocabulary.num_text).all()


@SHIPPED
@pytest.mark.parametrize(
    "word", ["robot", "gripper", "camera", "stack", "red", "green", "blue", "block", "basket"]
)
def test_robot_words_are_one_piece_each(name, word):
    assert len(pieces.encode(f" {word}", pieces.SHIPPED[name])) == 1


@SHIPPED
def test_instructions_encode_compactly(name):
    sentence = "stack the red block on the blue block"
    assert len(pieces.encode(sentence, pieces.SHIPPED[name])) <= 9


@SHIPPED
def test_digits_stand_alone(name):
    assert len(pieces.encode("12345", pieces.SHIPPED[name])) == 5


def test_an_instruction_is_padded_to_its_length_or_cut_with_a_warning():
    """It was cut without a word, and half an instruction can say something else."""
    string = "stack the red block on the blue block"
    ids = pieces.encode(string)
    with pytest.warns(UserWarning, match="expected at most 4 tokens, got 8; cut to 'stack the red"):
        assert pieces.fit(string, 4).tolist() == ids[:4].tolist()
    assert pieces.fit(string, 8).tolist() == ids.tolist()
    longer = pieces.fit(string, 20)
    assert longer.tolist() == [*ids, *[pieces.PADDING] * (20 - len(ids))]
    assert pieces.decode(longer) == string


def test_decoding_ends_at_the_end():
    ids = [*pieces.encode("red"), pieces.END, *pieces.encode("blue")]
    assert pieces.decode(np.array(ids)) == "red"


@pytest.mark.parametrize("id", [-1, 32000])
def test_ids_that_are_no_pieces_are_refused(id):
    with pytest.raises(ValueError, match=r"text: expected ids in \[0, 32000\), got"):
        pieces.decode(np.array([5, id]))


def test_another_vocabulary_is_refused_by_name():
    """With all names and both hashes; the checkpoints of before had no hash, only a size."""
    other = replace(SMALL, pieces_sha256="0123456789" * 6)
    known = r"english \(32000 pieces, SHA-256 2b1ad936\), small \(4096 pieces, SHA-256 \w{8}\)"
    with pytest.raises(ValueError, match=f"{known}, got 4096 pieces, SHA-256 01234567"):
        pieces.encode("red", other)
    with pytest.raises(ValueError, match=f"{known}, got 32000 pieces, SHA-256 "):
        pieces.encode("red", replace(ENGLISH, pieces_sha256=SMALL.pieces_sha256))
    with pytest.raises(ValueError, match=f"{known}, got 100 pieces, unnamed"):
        pieces.encode("red", Vocabulary(100))
    with pytest.raises(ValueError, match="expected text ids, got a network without any"):
        pieces.encode("red", Vocabulary(0))
    assert np.array_equal(pieces.encode("red", Vocabulary(32000)), pieces.encode("red", ENGLISH))


def test_another_file_is_refused(tmp_path):
    file = tmp_path / "other.model"
    with pytest.raises(FileNotFoundError, match="other.model: expected a SentencePiece model"):
        pieces.load(file)
    file.write_bytes(b"no model")
    with pytest.raises(ValueError, match="other.model: expected a SentencePiece model"):
        pieces.load(file)


@SHIPPED
def test_the_shipped_model_is_the_one_its_provenance_describes(name):
    provenance = json.loads((pieces.FOLDER / f"{name}.json").read_text())
    data = (pieces.FOLDER / f"{name}.model").read_bytes()
    assert provenance["pieces_sha256"] == pieces.SHIPPED[name].pieces_sha256
    assert provenance["model_sha256"] == hashlib.sha256(data).hexdigest()
    assert all(source["licence"] for source in provenance["sources"])
    assert provenance["held_out_round_trips"] == 1.0


def test_the_same_text_trains_the_same_model():
    lines = list(train_vocabulary.robot_lines(20_000))
    model = train_vocabulary.train_model(lines, 450)
    assert train_vocabulary.train_model(lines, 450) == model
    measured = train_vocabulary.measure(model, ["the robot stacks the red block", "Zürich 🤖"])
    assert measured["held_out_round_trips"] == 1.0


def test_prose_is_read_without_markup(tmp_path):
    prose = "The robot puts the red block on the blue block."
    (tmp_path / "a.html").write_text(f"<style>p {{ color: red }}</style><p>{prose}</p>")
    (tmp_path / "b.1.gz").write_bytes(
        gzip.compress(f".TH ROBOT 1\n\\fB{prose}\\fP again\n".encode())
    )
    (tmp_path / "c.txt").write_text(f"{prose}\n{'0123456789 ' * 9}\nshort\n")
    (tmp_path / "d.png").write_bytes(b"\x89PNG" + prose.encode())
    assert train_vocabulary.distinct_lines(tmp_path, 1.0) == [prose, f"{prose} again"]
    assert len(train_vocabulary.distinct_lines(tmp_path, 6e-5)) == 1
    with pytest.raises(ValueError, match="d.png: expected text, got none"):
        train_vocabulary.distinct_lines(tmp_path / "d.png", 1.0)
