"""The whole path in small: demonstrations, training, a look, a measurement."""

import json
import sys

import pytest

from gato_core import cli


@pytest.fixture
def gato(tmp_path, monkeypatch, capfd):
    """Runs `gato ...` in an empty folder; returns the JSON of its last line."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> dict:
        monkeypatch.setattr(sys, "argv", ["gato", *arguments])
        status = cli.main()
        output = capfd.readouterr()
        assert status == 0, output.err
        last = output.out.strip().splitlines()[-1]
        return json.loads(last) if last.startswith("{") else {"text": output.out}

    return run


def test_collect_train_inspect_evaluate(gato, tmp_path):
    collected = gato(
        *("collect", "--out", "demos", "--episodes", "5", "--keep", "all"),
        *("--max-steps", "30", "--image-size", "32", "--workers", "1"),
    )
    assert collected["episodes"] == 5
    trained = gato(
        *("train", "--preset", "debug", "--data", "demos", "--name", "first"),
        *("--no-successes-only", "--steps", "4", "--threads", "1"),
    )
    for thing in ("demos", trained["checkpoint"]):
        gato("inspect", thing)
    measured = gato(
        *("evaluate", "--checkpoint", trained["checkpoint"], "--suite", "selection"),
        *("--episodes", "1", "--max-steps", "10", "--physics", "stable", "--videos", "1"),
        *("--workers", "1"),
    )
    assert measured["episodes"] == 1
    assert (tmp_path / measured["report"]).stat().st_size > 10_000
