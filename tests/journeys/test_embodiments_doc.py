"""docs/embodiments.md, command by command and line by line, on a little data of three robots."""

import json
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from train_examples import SPEC, write

from gato_core import cli

TEXT = (Path(__file__).parents[2] / "docs/embodiments.md").read_text()
SMALL = "--model debug --steps 2 --batch-size 2 --log-every 1 --threads 1 --no-tensorboard"


def blocks(language: str) -> list[str]:
    inside = [block.split("\n", 1) for block in TEXT.split("```")[1::2]]
    return [body for first, body in inside if first == language]


@pytest.fixture
def gato(tmp_path, monkeypatch, capfd):
    """Runs `gato ...` in a folder with the page's datasets; returns the JSON of its last line."""
    monkeypatch.chdir(tmp_path)
    for name, seconds in (("arm", 0.1), ("hand", 0.2), ("foot", 0.5)):
        write(tmp_path / "datasets" / name, replace(SPEC, control_timestep=seconds))

    def run(command: str) -> dict:
        small = SMALL.replace("--model debug ", "") if "--init-from" in command else SMALL
        small = f" {small}" if command.startswith("gato train") else ""
        monkeypatch.setattr(sys, "argv", shlex.split(command + small))
        status = cli.main()
        output = capfd.readouterr()
        assert status == 0, (command, output.out, output.err)
        return json.loads(output.out.strip().splitlines()[-1])

    return run


def test_every_command_and_line_of_the_page_works(gato, capfd):
    pytest.importorskip("onnx")
    first, second = blocks("")
    trained, inspected, exported = map(gato, first.strip().splitlines())
    assert trained["finished"] and inspected["embodiments"].keys() == {"arm", "hand"}
    assert exported["embodiment"] == "hand" and exported["agreement"] >= 0.99
    (code,) = blocks("python")
    exec(code, {})
    said = capfd.readouterr().out.splitlines()
    assert [line.split()[0] for line in said] == ["arm", "hand"]
    three = gato(f"gato inspect {gato(second.strip())['checkpoint']}")["embodiments"]
    assert three["foot"]["action_mode"] == "parallel" and three["arm"]["action_mode"] != "parallel"
    assert three.keys() == {"arm", "hand", "foot"}
