"""`gato inspect` tells what is in documents and names every one that cannot be read."""

import json

import numpy as np
import PIL.Image
import pytest

from gato_core.tools.inspect import inspect, report


@pytest.fixture
def folder(tmp_path):
    for name, width in (("red", 32), ("wide", 100)):
        PIL.Image.fromarray(np.full((16, width, 3), 99, np.uint8)).save(tmp_path / f"{name}.png")
    lines = [
        {"image": "red.png", "text": "a red block"},
        {"image": "wide.png", "question": "Which colour?", "answer": "red"},
        {"image": "red.png", "text": "red"},
        {"text": "stack the red block on the blue block"},
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return tmp_path


def test_documents_are_counted_and_measured(folder):
    for path in (folder, folder / "a.jsonl"):
        found = inspect(path)
        assert found["kind"] == "documents" and found["sound"] and not found["problems"]
        assert (found["documents"], found["pictures"], found["shapes"]) == (4, 3, 2)
        # two patches, `red` and the end; six patches, the question's 7 pieces, ` red` and the end
        assert found["tokens"] == {"min": 4, "median": 7, "max": 15}
        assert found["learned"]["min"] == 2 and found["learned"]["max"] == 8
        assert report(found)[-1] == "sound"


def test_every_picture_that_cannot_be_read_is_named(folder):
    (folder / "red.png").write_bytes(b"no picture")
    found = inspect(folder)
    assert not found["sound"] and len(found["problems"]) == 2
    assert all("red.png: expected a picture" in problem for problem in found["problems"])
    (folder / "a.jsonl").write_text("{}")
    (problem,) = inspect(folder)["problems"]
    assert "a.jsonl: line 1: expected text" in problem
