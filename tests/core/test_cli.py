"""The `gato` command finds its verbs by name and imports only the one asked for."""

import subprocess
import sys
from ctypes.util import find_library
from importlib.metadata import entry_points, version
from pathlib import Path

import pytest

VERBS = [
    "analyze",
    "assets",
    "ask",
    "bench",
    "caption",
    "chat",
    "collect",
    "completion",
    "evaluate",
    "export",
    "inspect",
    "stack",
    "train",
    "vocabulary",
]


def _gato(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "gato_core.cli", *arguments], capture_output=True, text=True
    )


def test_help_lists_every_verb():
    result = _gato("--help")
    assert result.returncode == 0
    for entry in entry_points(group="gato.commands"):
        assert f"  {entry.name} " in result.stdout


def test_unknown_verb_names_the_known_ones():
    result = _gato("dance")
    assert result.returncode == 2
    assert "dance" in result.stderr and "evaluate" in result.stderr


def test_a_verb_misspelt_gets_the_near_one_and_another_does_not():
    assert "did you mean evaluate?" in _gato("evaluat").stderr
    assert "did you mean" not in _gato("dance").stderr


def test_the_version_is_the_packages():
    assert _gato("--version").stdout == f"gato {version('gato_core')}\n"


@pytest.mark.parametrize("verb", VERBS)
def test_verb_help_works_from_a_fresh_process(verb):
    result = _gato(verb, "--help")
    assert result.returncode == 0, result.stderr
    assert f"gato {verb}" in result.stdout


@pytest.mark.parametrize("backend", ["vulkan", "osmesa"])
def test_an_opengl_that_cannot_be_loaded_is_one_line(backend, monkeypatch):
    """MuJoCo loads it when it is imported: a traceback of twenty lines."""
    if backend == "osmesa" and find_library("OSMesa"):
        pytest.skip("OSMesa is installed here: it can be loaded")
    monkeypatch.setenv("MUJOCO_GL", backend)
    monkeypatch.delenv("PYOPENGL_PLATFORM", raising=False)  # this process's, if it has drawn
    result = _gato("evaluate", "--policy", "random")
    assert result.returncode == 1
    assert result.stderr.startswith(f"gato evaluate: MUJOCO_GL={backend} cannot be loaded (")
    assert "unset it" in result.stderr.splitlines()[-1] and "Traceback" not in result.stderr


def test_help_imports_no_room():
    """`gato --help` is instant: no torch, no mujoco, no room."""
    code = (
        "import sys; sys.argv = ['gato', '--help']\n"
        "from gato_core.cli import main; main()\n"
        "heavy = {'torch', 'mujoco', 'rclpy', 'gato_sim', 'gato_training'} & sys.modules.keys()\n"
        "assert not heavy, heavy"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_a_reader_that_leaves_causes_no_traceback():
    """`gato inspect checkpoint | head -1` ended in one."""
    checkpoint = Path(__file__).parents[2] / "checkpoints/control"
    command = f"{sys.executable} -m gato_core.cli inspect {checkpoint} | head -1"
    result = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert result.stdout == "kind: checkpoint\n"
    assert "Traceback" not in result.stderr and "BrokenPipe" not in result.stderr
    command = f"{sys.executable} -u -m gato_core.cli --help | head -1"
    result = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert result.stdout.startswith("usage: gato VERB") and not result.stderr
