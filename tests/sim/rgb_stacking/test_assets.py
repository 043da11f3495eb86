import os
import subprocess
import sys
import zipfile

import pytest

from gato_sim.domains.rgb_stacking.scene import assets


def test_missing_model_files_name_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("GATO_ASSETS", str(tmp_path / "absent"))
    with pytest.raises(FileNotFoundError, match="gato assets"):
        assets.path()


def test_a_command_without_model_files_says_how_to_get_them(tmp_path):
    command = [sys.executable, "-m", "gato_sim.evaluate", "--policy", "random"]
    result = subprocess.run(
        [*command, "--out", str(tmp_path)],
        env=os.environ | {"GATO_ASSETS": str(tmp_path / "absent")},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    assert "expected them in" in result.stderr and "run `gato assets`" in result.stderr
    assert "Traceback" not in result.stderr and list(tmp_path.iterdir()) == []


def test_a_wrong_wheel_is_refused_and_leaves_nothing(tmp_path):
    wheels = [tmp_path / "wheels" / name for name in assets.WHEELS]
    wheels[0].parent.mkdir()
    for wheel in wheels:
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr("dm_robotics/moma/models/arenas/empty_assets/arena.xml", "<mujoco/>")
    root = tmp_path / "cache" / "assets"
    with pytest.raises(ValueError, match="sha256"):
        assets.unpack(wheels, root)
    assert list(root.parent.iterdir()) == []


def test_downloading_again_does_nothing(capsys):
    root = assets.fetch()
    assert root == assets.path()
    assert "Model files are in" in capsys.readouterr().out
