"""docs/text.md, command by command and line by line of its Python, on its five documents."""

import io
import json
import shlex
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from gato_core import cli

TEXT = (Path(__file__).parents[2] / "docs/text.md").read_text()


def blocks(language):
    inside = [block.split("\n", 1) for block in TEXT.split("```")[1::2]]
    return [body for first, body in inside if first == language]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The captions that the page begins with."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "captions").mkdir()
    (lines,) = blocks("json")
    (tmp_path / "captions/captions.jsonl").write_text(lines)
    for name, above, below in (
        ("red", (200, 0, 0), (0, 0, 200)),
        ("blue", (0, 0, 200), (200, 0, 0)),
    ):
        pixels = np.full((60, 80, 3), 230, np.uint8)
        pixels[10:30, 30:50], pixels[30:50, 30:50] = above, below
        PIL.Image.fromarray(pixels).save(tmp_path / f"captions/{name}.png")
    return tmp_path


def test_every_command_and_line_of_the_page_works(folder, monkeypatch, capfd):
    """What was learned comes back: captions, answers, a reply."""
    said = {}
    for line in "".join(blocks("")).strip().splitlines():
        piped, _, command = line.rpartition(" | ")
        words = shlex.split(command)
        assert words[0] == "gato"
        monkeypatch.setattr(sys, "argv", words)
        monkeypatch.setattr(sys, "stdin", io.StringIO(piped and shlex.split(piped)[1] + "\n"))
        status = cli.main()
        output = capfd.readouterr()
        assert status == 0, (line, output.out, output.err)
        said[words[1]] = output.out.strip()
    assert json.loads(said["inspect"].splitlines()[-1])["documents"] == 5
    assert said["caption"] == "a red block on a blue block"
    assert said["ask"] == "the blue one"
    assert said["chat"] == "I stack blocks."
    (python,) = blocks("python")
    exec(compile(python, "docs/text.md", "exec"), {})
    assert capfd.readouterr().out.strip() == "the red one"
