"""The scripts that make the shipped checkpoints again, on a thousandth of everything."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from gato_server import path_with_gato

CHECKPOINTS = Path(__file__).parents[2] / "checkpoints"


@pytest.fixture(scope="module", autouse=True)
def quick_gato():
    with path_with_gato() as path, pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", path)
        yield


def reproduce(name, folder):
    quick = {"SCALE": "0.001", "WORKERS": "0", "THREADS": "1"}
    quick["COLLECT"] = "--max-steps 12 --keep all"  # too short to succeed
    quick["TRAIN"] = "--no-successes-only --batch-size 8"
    quick["TRAIN"] += " --held-out 1e-9"  # one of two episodes, never both
    quick["EVALUATE"] = "--max-steps 2 --physics stable --videos 0"
    done = subprocess.run(
        ["bash", str(CHECKPOINTS / name / "reproduce.sh"), str(folder)],
        env=os.environ | quick,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_recipe_runs_from_demonstrations_to_results_and_repeats_nothing(tmp_path):
    results = reproduce("control", tmp_path)
    assert results["episodes"] == 10
    provenance = json.loads((tmp_path / "control" / "config.json").read_text())["provenance"]
    assert len(provenance["averaged"]) == 2
    assert len(provenance["data"]) == 9  # all that any of them was trained on
    physics = {Path(part["path"]).name: part["physics"] for part in provenance["data"]}
    assert physics["kept"] == ["benchmark"] and physics["mild"] == ["stable"]
    last = tmp_path / "runs" / "fourth" / "checkpoints" / "last"
    assert json.loads((last / "config.json").read_text())["provenance"]["step"] == 7
    corrected = tmp_path / "datasets" / "corrected"
    before = {path: path.stat().st_mtime_ns for path in (corrected / "meta").rglob("*.*")}
    written = last.resolve(), (last / "model.safetensors").stat().st_mtime_ns
    assert reproduce("control", tmp_path) == results
    assert (last.resolve(), (last / "model.safetensors").stat().st_mtime_ns) == written
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_the_recipe_for_the_test_triplets_starts_from_control(tmp_path):
    assert reproduce("mastery", tmp_path)["episodes"] == 10
    provenance = json.loads((tmp_path / "mastery" / "config.json").read_text())["provenance"]
    first, tuned = provenance["averaged"]
    control, tuned_before = first["provenance"]["averaged"]
    shipped = json.loads((CHECKPOINTS / "control" / "config.json").read_text())
    assert control["weights_sha256"] == shipped["weights_sha256"]
    assert [part["provenance"]["step"] for part in (tuned_before, tuned)] == [6, 5]
    new = [part for part in provenance["data"] if part["path"].startswith(str(tmp_path))]
    under = {Path(part["path"]).name: part["physics"] for part in new}
    stable = "mild", "corrected", "corrected44", "triplet1", "triplet3", "beginnings", "mild45"
    assert under == dict.fromkeys(stable, ["stable"]) | dict.fromkeys(
        ("kept", "kept47"), ["benchmark"]
    )
    named = [name for part in new for name in part["triplets"]]
    assert named.count("mastery") == 7
    assert {"rgb_test_triplet1", "rgb_test_triplet3"} < set(named)
