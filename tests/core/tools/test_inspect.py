"""`gato inspect` finds what would spoil training, and passes what is sound."""

import json
import re
import sys

import numpy as np
import pytest

from gato_core import checkpoint
from gato_core.dataset import DatasetWriter
from gato_core.embodiment import Embodiment
from gato_core.episode import Episode
from gato_core.model import Gato, preset
from gato_core.spec import Continuous, Image, Spec
from gato_core.tools.inspect import inspect, main, report

SPEC = Spec(
    {"camera/pixels": Image(16, 16), "joints": Continuous((-1.0,), (1.0,), "rad", ("j",))},
    Continuous((-0.07, -255.0), (0.07, 255.0), "mixed", ("x", "grip")),
    0.05,
)


def write(root, *, joint=0.5, image=None, success=True):
    rng = np.random.default_rng(0)
    with DatasetWriter(root, SPEC) as writer:
        for i in range(3):
            images = rng.integers(0, 256, (8, 16, 16, 3), np.uint8)
            writer.add(
                Episode(
                    {"camera/pixels": images if image is None else np.full_like(images, image),
                     "joints": rng.uniform(-joint, joint, (8, 1)).astype(np.float32)},
                    rng.uniform(-0.07, 0.07, (8, 2)).astype(np.float32),
                    np.zeros(8, np.float32),
                    task="stack",
                    source="expert",
                    seed=i,
                    success=success,
                )
            )  # fmt: skip
    return root


def test_sound_dataset_passes(tmp_path, monkeypatch, capsys):
    write(tmp_path)
    monkeypatch.setattr(sys, "argv", ["gato inspect", str(tmp_path)])
    assert main() == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["sound"] and found["problems"] == []
    assert (found["episodes"], found["successes"], found["timesteps"]) == (3, 3, 24)
    assert found["dimensions"]["action/x"]["clipped"] == 0


@pytest.mark.parametrize(
    ("options", "problem"),
    [({"joint": 3.0}, "joints/j: .*limits"), ({"image": 7}, "blank image")],
)
def test_spoiled_dataset_is_unsound(tmp_path, options, problem):
    found = inspect(write(tmp_path, **options))
    assert not found["sound"]
    assert any(re.search(problem, text) for text in found["problems"])


def test_constant_dimension_and_failures_are_warned_about(tmp_path):
    found = inspect(write(tmp_path, joint=0.0, success=False))
    assert found["sound"]
    assert any("joints/j: always 0" in text for text in found["warnings"])
    assert any("no episode ended in success" in text for text in found["warnings"])


def test_truncated_file_is_unsound(tmp_path):
    path = write(tmp_path) / "data/chunk-000/file-000.parquet"
    path.write_bytes(path.read_bytes()[:-10])
    found = inspect(tmp_path)
    assert not found["sound"] and "file-000.parquet" in found["problems"][0]


def test_wrong_rate_is_unsound(tmp_path):
    path = write(tmp_path) / "meta/info.json"
    path.write_text(path.read_text().replace('"fps": 20', '"fps": 30'))
    problems = " ".join(inspect(tmp_path)["problems"])
    assert "fps: expected 20 by the Spec, got 30" in problems


def test_checkpoint_is_replayed(tmp_path):
    bodies = Embodiment("arm", SPEC), Embodiment("leg", SPEC, 3, "parallel")
    checkpoint.save(tmp_path / "policy", Gato(preset("debug")), bodies, {"data": "none"})
    found = inspect(tmp_path / "policy")
    assert found["sound"] and found["kind"] == "checkpoint"
    assert [(n, e["action_mode"]) for n, e in found["embodiments"].items()] == [
        ("arm", "autoregressive"),
        ("leg", "parallel"),
    ]
    assert {"embodiment arm:", "embodiment leg:", "  context_timesteps: 3"} <= set(report(found))
    weights = tmp_path / "policy/model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-4:] = bytes(4)
    weights.write_bytes(data)
    assert not inspect(tmp_path / "policy")["sound"]


def test_neither_dataset_nor_checkpoint_is_unsound(tmp_path):
    assert not inspect(tmp_path)["sound"]
    assert not inspect(tmp_path / "missing")["sound"]
