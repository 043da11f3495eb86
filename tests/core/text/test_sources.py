"""Documents in files of others: the same words and pixels come out, or one line names the fault."""

import base64
import gzip
import io
import json
import tarfile

import numpy as np
import PIL.Image
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gato_core.text.sources import Documents, are_documents

RED = np.full((32, 48, 3), (255, 0, 0), np.uint8)


def png(pixels=RED):
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def jsonl(folder, *items, name="a.jsonl"):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("".join(f"{json.dumps(item)}\n" for item in items))
    return folder / name


def tar(file, members):
    with tarfile.open(file, "w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file


def said(document):
    """Its strings, and a mark for each picture."""
    return [part if isinstance(part, str) else part.shape for part in document.parts]


def coco(folder, split="train2014"):
    (folder / "annotations").mkdir(parents=True)
    (folder / split).mkdir()
    for id in (9, 25):
        (folder / split / f"COCO_{split}_{id:012d}.jpg").write_bytes(png())
    return folder / "annotations"


def captions(folder, **changes):
    content = {
        "info": {},
        "images": [{"id": i, "file_name": f"COCO_train2014_{i:012d}.jpg"} for i in (25, 9)],
        "annotations": [
            {"id": 1, "image_id": 9, "caption": "a plate\n"},
            {"id": 2, "image_id": 25, "caption": "a giraffe"},
            {"id": 3, "image_id": 9, "caption": "food"},
        ],
    }
    file = coco(folder) / "captions_train2014.json"
    file.write_text(json.dumps(content | changes))
    return file


def vqa(folder, answers, questions=None, split="train2014"):
    annotations = coco(folder, split)
    asked = [{"question_id": 9 * k, "image_id": 9, "question": f"How {k}?"} for k in (1, 2)]
    (annotations / f"OpenEnded_mscoco_{split}_questions.json").write_text(
        json.dumps({"data_subtype": split, "questions": questions or asked})
    )
    (annotations / f"mscoco_{split}_annotations.json").write_text(
        json.dumps({"data_subtype": split, "annotations": answers})
    )
    return annotations


VQAV2 = [
    {"question_id": 18, "image_id": 9, "multiple_choice_answer": "two", "answers": []},
    {"question_id": 9, "image_id": 9, "multiple_choice_answer": "one", "answers": []},
]
OKVQA = [
    {"question_id": 9, "answers": [{"answer": a} for a in ("uno", "one", "one")]},
    {"question_id": 18, "answers": [{"answer": "two"}]},
]


def test_lines_of_json_of_every_form(tmp_path):
    (tmp_path / "red.png").write_bytes(png())
    messages = [
        {"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"},
        {"role": "user", "content": "Red?"}, {"role": "assistant", "content": "Yes"},
    ]  # fmt: skip
    llava = [{"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": "Red."}]
    encoded = base64.b64encode(png()).decode()
    file = jsonl(
        tmp_path,
        {"text": " the robot \n"},
        {"image": "red.png", "text": "red", "url": "ignored"},
        {"image": encoded, "caption": "red"},
        {"image": f"data:image/png;base64,{encoded}", "question": "Which?", "answer": "red"},
        {"question": "1 + 1?", "answer": "2"},
        {"image": None, "messages": messages},
        [{"text": "See"}, {"image": "red.png"}, {"text": "it"}],
        {"file_name": "red.png", "text": "as of an image folder"},
        {"image": "red.png", "conversations": llava},
    )
    size = (32, 48, 3)
    found = Documents(file)
    assert [said(document) for document in found] == [
        ["the robot"],
        [size, "red"],
        [size, "red"],
        [size, "Question: Which? Answer:", " red"],
        ["Question: 1 + 1? Answer:", " 2"],
        ["Human: Hello\nGato:", " Hi\n", "Human: Red?\nGato:", " Yes\n"],
        ["See", size, "it"],
        [size, "as of an image folder"],
        [size, "Human: What is it?\nGato:", " Red.\n"],
    ]
    learned = [document.is_target for document in found]
    assert learned[0] is None and learned[6] is None
    assert learned[3] == (False, False, True) and learned[5] == (False, True, False, True)
    assert all(np.array_equal(found[i].parts[0], RED) for i in (1, 2, 3))


def test_any_document_can_be_read_at_any_time(tmp_path):
    """Lines of different lengths, blank ones between them, in a folder of several files."""
    jsonl(tmp_path, *({"text": "word " * k} for k in range(1, 6)), name="b.jsonl")
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b'\n{"text": "first"}\r\n\n{"text": "2"}'))
    tar(tmp_path / "c.tar", {"k.txt": b"last"})
    (tmp_path / "notes.md").write_text("no document")
    (tmp_path / "settings.json").write_text('{"episodes": 3}')
    found = Documents(tmp_path)
    expected = ["first", "2", *(("word " * k).strip() for k in range(1, 6)), "last"]
    assert [found[k].parts[0] for k in (7, 0, 3, 1, 6, 2, 5, 4)] == [
        expected[k] for k in (7, 0, 3, 1, 6, 2, 5, 4)
    ]
    assert len(found) == 8 and len(list(found)) == 8
    with pytest.raises(IndexError, match=r"expected a document in 0\.\.7, got 8"):
        found[8]


def test_a_text_file_is_one_document_if_named_itself(tmp_path):
    (tmp_path / "book.txt").write_text("\ufeffChapter one.\n\nIt was.\n")
    (found,) = Documents(tmp_path / "book.txt")
    assert found.parts == ("Chapter one.\n\nIt was.",) and found.is_target is None
    assert not are_documents(tmp_path) and are_documents(tmp_path / "book.txt")


def test_shards_pair_files_by_key(tmp_path):
    """As img2dataset writes them, with what it adds; keys may lie in folders of the archive."""
    pair = json.dumps({"question": "Which?", "answer": "red"}).encode()
    members = {
        "./00/1.jpg": png(), "./00/1.txt": b"red", "./00/1.json": b'{"status": "success"}',
        "2.json": pair, "2.PNG": png(), "3.txt": b"words", "4.json": b'{"text": "more"}',
    }  # fmt: skip
    tar(tmp_path / "0.tar", members)
    (tmp_path / "0_stats.json").write_text("{}")  # how they were made
    size = (32, 48, 3)
    assert [said(document) for document in Documents(tmp_path)] == [
        [size, "red"],
        [size, "Question: Which? Answer:", " red"],
        ["words"],
        ["more"],
    ]


def test_coco_captions_are_one_document_each(tmp_path):
    found = Documents(captions(tmp_path / "coco"))
    size = (32, 48, 3)
    assert [said(d) for d in found] == [[size, "a plate"], [size, "a giraffe"], [size, "food"]]


@pytest.mark.parametrize("answers", [VQAV2, OKVQA], ids=["VQAv2", "OKVQA"])
def test_questions_find_their_answers_and_pictures(tmp_path, answers):
    """By the questions' file or by the folder of both."""
    folder = vqa(tmp_path / "vqa", answers)
    for path in (folder, folder / "OpenEnded_mscoco_train2014_questions.json"):
        assert [said(d)[1:] for d in Documents(path)] == [
            ["Question: How 1? Answer:", " one"],
            ["Question: How 2? Answer:", " two"],
        ]


def test_a_dataset_of_episodes_is_no_documents(tmp_path):
    (tmp_path / "meta").mkdir()
    jsonl(tmp_path, {"text": "x"})
    assert not are_documents(tmp_path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: expected JSON, got"),
        ("[" * 100000, "line 2: expected JSON, got"),
        ("\udcff\udcfe", "line 2: expected JSON, got"),
        ("3", "line 2: expected an object or a list, got int"),
        ("{}", r"line 2: expected text, question and answer, or messages, got \[\]"),
        ('{"txt": "a"}', r"messages, got \['txt'\]"),
        ('{"text": "  "}', "line 2: text: expected text, got '  '"),
        ('{"text": null}', "line 2: text: expected text, got None"),
        (r'{"text": "\ud800"}', "line 2: text: expected text, got 'utf-8' codec"),
        ('{"image": "no.png", "text": "a"}', "line 2: image: expected a picture's file, got none"),
        (f'{{"image": "{"no." * 999}", "text": "a"}}', "line 2: image: expected a picture's file"),
        ('{"image": "?", "text": "a"}', "line 2: image: expected a path or base64, got '\\?'"),
        ('{"image": 3, "text": "a"}', "line 2: image: expected a path or base64, got 3"),
        ('{"question": "Who?"}', "line 2: answer: expected text, got None"),
        ('{"messages": [{"role": "user", "content": "a"}]}', r"in turn, got \['user'\]"),
        ('{"messages": "hello"}', r"messages: expected user and assistant in turn, got \[\]"),
        ('{"conversations": [3]}', r"conversations: expected human and gpt in turn, got \[None\]"),
        ("[]", "line 2: expected text, got a page without any"),
        ('[{"image": "red.png"}]', "line 2: expected text, got a page without any"),
        ("[3]", "line 2: part 0: expected text or image, got 3"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, message):
    (tmp_path / "red.png").write_bytes(png())
    file = tmp_path / "a.jsonl"
    file.write_bytes(b'{"text": "good"}\n' + line.encode("utf-8", "surrogateescape") + b"\n")
    with pytest.raises(ValueError, match=message) as error:
        Documents(file)
    assert "a.jsonl" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({}, "expected files such as 000.jpg and 000.txt, got none"),
        ({"readme": b""}, "expected files such as 000.jpg and 000.txt, got none"),
        ({"1.jpg": b""}, r"0.tar: 1: expected txt or json, got \['jpg'\]"),
        ({"1.jpg": b"", "1.txt": b" "}, "0.tar: 1: txt: expected text, got ' '"),
        ({"1.txt": b"\xff"}, "0.tar: 1: 'utf-8' codec"),
        ({"1.json": b"{"}, "0.tar: 1: Expecting"),
        ({"1.json": b'{"image": "a.jpg", "text": "a"}'}, "1: image: expected a picture's file bes"),
    ],
)
def test_a_bad_sample_of_a_shard_is_named(tmp_path, members, message):
    with pytest.raises(ValueError, match=message):
        Documents(tar(tmp_path / "0.tar", members))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": 3}, "images: expected objects in a list, got int"),
        ({"images": [{"id": 9}]}, "image 0: file_name: expected text, got None"),
        (
            {"images": [{"id": 9, "file_name": "no.jpg"}, {"id": 25, "file_name": "no.jpg"}]},
            "captions_train2014.json: expected no.jpg in one of .*train2014.*, got none",
        ),
        ({"images": [{"id": 9, "file_name": "x"}]}, "annotation 2: image_id: expected one of ima"),
        ({"annotations": [{"id": 7, "image_id": 9, "caption": ""}]}, "annotation 7: caption: exp"),
        ({"annotations": []}, r"expected captions, questions or a list of documents, got \['ann"),
    ],
)
def test_bad_coco_captions_are_named(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        Documents(captions(tmp_path / "coco", **changes))


def test_questions_without_answers_are_refused(tmp_path):
    folder = vqa(tmp_path / "vqa", VQAV2[:1])
    message = r"annotations of all its 2 questions in one file beside it, got \['mscoco_train2014"
    with pytest.raises(ValueError, match=message):
        Documents(folder)
    with pytest.raises(ValueError, match="expected the questions' file, got their annotations"):
        Documents(folder / "mscoco_train2014_annotations.json")
    lost = [{"question_id": 9, "image_id": 3, "question": "Which?"}]
    folder = vqa(tmp_path / "other", VQAV2, lost)
    with pytest.raises(ValueError, match=r"expected COCO_train2014_0{11}3\.jpg in one of .*got no"):
        Documents(folder)


def test_a_path_without_documents_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected a file or a folder of documents"):
        Documents(tmp_path / "none")
    (tmp_path / "a.csv").write_text("")
    with pytest.raises(ValueError, match=r"expected files that end in .*, got \['a.csv'\]"):
        Documents(tmp_path)
    with pytest.raises(ValueError, match=r"expected a name that ends in .*, got a.csv"):
        Documents(tmp_path / "a.csv")
    for name, data in (("a.tar", b"no tar"), ("a.jsonl.gz", b"\x1f\x8b"), ("a.jsonl", b"\n")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ValueError, match=f"{name}: expected"):
            Documents(tmp_path / name)


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "0.tar", "a.json", "a.txt"])
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_damaged_bytes_are_read_or_refused_in_one_line(tmp_path, name, data):
    """Whatever bytes are cut off or changed: documents come out, or a ValueError names the file."""
    encoded = base64.b64encode(png()).decode()
    items = [{"image": encoded, "text": "red"}, {"text": "word"}, [{"text": "a"}]]
    source = jsonl(tmp_path, *items, name="good")
    whole = {
        "a.jsonl": source.read_bytes(),
        "a.jsonl.gz": gzip.compress(source.read_bytes(), mtime=0),
        "0.tar": tar(tmp_path / "good", {"1.png": png(), "1.txt": b"red"}).read_bytes()[:3000],
        "a.json": json.dumps(items).encode(),
        "a.txt": b"some words",
    }[name]
    damaged = bytearray(whole)
    places = st.integers(0, len(damaged) - 1)
    for place, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=4)):
        damaged[place] = value
    (tmp_path / name).write_bytes(damaged[: data.draw(st.integers(1, len(damaged)))])
    try:
        documents = list(Documents(tmp_path / name))
    except ValueError as error:
        assert name in str(error) and "\n" not in str(error)
    else:
        assert documents and all(document.parts for document in documents)
