"""The fine-tuning walk-through of docs/training.md, command by command, on a little data."""

import json
import shlex
import sys
from pathlib import Path

import pytest

from gato_core import cli

ROOT = Path(__file__).parents[2]
SMALLER = {
    "--episodes 100": "--episodes 3 --keep all --max-steps 20 --workers 0",
    "--steps 1000": "--steps 3 --batch-size 4 --threads 1 --no-successes-only --no-tensorboard",
    "--episodes 50": "--episodes 1 --max-steps 8 --workers 0 --videos 0",
    "mine-1000": "mine-3",
}


def commands() -> list[list[str]]:
    """What the section tells to type, made smaller."""
    text = (ROOT / "docs/training.md").read_text().split("## A fine-tuning walk-through")[1]
    block = text.split("```")[1]
    for long, short in SMALLER.items():
        assert long in block, f"docs/training.md: expected {long!r} in the walk-through"
        block = block.replace(long, short)
    return [shlex.split(line) for line in block.strip().splitlines()]


@pytest.fixture
def gato(tmp_path, monkeypatch, capfd):
    """Runs `gato ...` in a folder that has the checkpoints; returns the JSON of its last line."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "checkpoints").symlink_to(ROOT / "checkpoints")

    def run(command: list[str]) -> dict:
        assert command[0] == "gato"
        monkeypatch.setattr(sys, "argv", command)
        status = cli.main()
        output = capfd.readouterr()
        assert status == 0, (command, output.out, output.err)
        return json.loads(output.out.strip().splitlines()[-1])

    return run


def test_every_command_of_the_walkthrough_works(gato, tmp_path):
    results = [gato(command) for command in commands()]
    collected, inspected, trained, tuned, before = results
    assert collected["episodes"] == 3 and inspected["sound"]
    assert trained["finished"] and trained["step"] == 3
    card = (tmp_path / trained["checkpoint"] / "README.md").read_text()
    assert "checkpoints/control" in card and "datasets/mine" in card
    assert "gato evaluate --checkpoint" in card and "| hours |" in card
    run = tmp_path / "outputs/train/mine"
    assert (run / "loss.png").stat().st_size > 5000
    assert tuned["policy"] == "mine-3" and before["episodes"] == 1
    summary = json.loads((Path(before["report"]).parent / "summary.json").read_text())
    assert summary["comparison"]["tests"]
