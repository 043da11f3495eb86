"""`gato collect --captions`: documents that training reads, the same whoever makes them."""

import json
from pathlib import Path

import pytest

from gato_core.text.sources import Documents
from gato_sim.collect import collect
from gato_sim.collect_config import CollectConfig

SHORT = dict(captions=True, stack="any", keep="all", perturb="none", max_steps=24, image_size=32)


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "documents.jsonl").read_text().splitlines()]


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "images").iterdir()}


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """Of four short episodes, made in this process."""
    out = tmp_path_factory.mktemp("reference") / "captions"
    found = collect(CollectConfig(out=out, episodes=4, workers=0, **SHORT))
    assert found["episodes"] == 4 and found["pictures"] >= 3
    return out


def test_training_reads_every_document(reference):
    documents, told = Documents(reference), lines(reference)
    assert len(documents) == len(told)
    texts = [
        " ".join(p for p in documents[i].parts if isinstance(p, str)) for i in range(len(told))
    ]
    for text, line in zip(texts, told, strict=True):
        for key in ("text", "question", "answer"):
            assert line.get(key, "") in text
    images = {line["image"] for line in told}
    assert {f"images/{name}" for name in files(reference)} == images
    for kind in ("text", "question"):
        assert {line["image"] for line in told if kind in line} == images


def test_documents_do_not_depend_on_the_number_of_workers(reference, tmp_path):
    out = tmp_path / "two"
    collect(CollectConfig(out=out, episodes=4, workers=2, **SHORT))
    assert lines(out) == lines(reference) and files(out) == files(reference)


def test_continued_collection_loses_and_doubles_nothing(reference, tmp_path):
    out = tmp_path / "data"
    for episodes in (1, 1, 4):
        collect(CollectConfig(out=out, episodes=episodes, workers=0, **SHORT))
    assert lines(out) == lines(reference) and files(out) == files(reference)


def test_other_settings_and_other_folders_are_refused(reference, tmp_path):
    other = SHORT | dict(image_size=48)
    with pytest.raises(ValueError, match="was collected with image_size 32, got 48"):
        collect(CollectConfig(out=reference, episodes=5, workers=0, **other))
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="expected an empty folder or one of captions"):
        collect(CollectConfig(out=tmp_path, episodes=1, workers=0, **SHORT))
    with pytest.raises(ValueError, match="captions: expected --cameras to draw pictures"):
        CollectConfig(out=tmp_path, cameras=(), captions=True)
    with pytest.raises(ValueError, match="captions: expected the expert's episodes, got --actor"):
        CollectConfig(out=tmp_path, captions=True, actor=tmp_path, perturb="none")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
