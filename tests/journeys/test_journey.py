"""The whole path in small: demonstrations, training, a look, a measurement."""

import json
import sys
from pathlib import Path

import pytest
import ros_examples
import yaml

from gato_core import cli
from gato_ros.common import paths


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


def params_file(folder: Path) -> Path:
    """config/stack.yaml for the small images and a short episode."""
    params = yaml.safe_load(paths.find("config/stack.yaml").read_text())
    for node in ("sim_node", "policy_node"):
        params[f"/**/{node}"]["ros__parameters"]["image_size"] = 32
    params["/**/sim_node"]["ros__parameters"] |= {"episode_steps": 20, "physics": "stable"}
    file = folder / "stack.yaml"
    file.write_text(yaml.safe_dump(params))
    return file


def test_collect_train_inspect_evaluate_stack(gato, tmp_path):
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
    arguments = ["--checkpoint", trained["checkpoint"], "--params-file", params_file(tmp_path)]
    with ros_examples.environment():
        run = ros_examples.run_stack([str(a) for a in (*arguments, "--episodes", 1, "--no-video")])
    assert run.returncode == 0, run.stdout + run.stderr
    assert json.loads(run.stdout.splitlines()[-1])["num_episodes"] == 1
