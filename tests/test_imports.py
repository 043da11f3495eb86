"""The arrows between the rooms, read from the syntax trees: gato_core knows nobody, and so on."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = {
    "gato_core": "gato_core",
    "gato_sim": "sim",
    "gato_training": "training",
    "gato_ros": "ros2_ws/src/gato_ros/gato_ros",
}
ALLOWED = {
    "gato_core": set(),
    "gato_sim": {"gato_core"},
    "gato_training": {"gato_core"},
    "gato_ros": {"gato_core", "gato_sim"},
}


def _imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module)
    return {name.split(".")[0] for name in names}


def _modules(room: str) -> list[Path]:
    modules = sorted((ROOT / FOLDERS[room]).rglob("*.py"))
    assert modules, f"{room}: no module found in {FOLDERS[room]}"
    return modules


@pytest.mark.parametrize("room", FOLDERS)
def test_rooms_import_only_along_the_arrows(room):
    for path in _modules(room):
        foreign = _imported(path) & (FOLDERS.keys() | {"sim", "training"}) - {room}
        assert foreign <= ALLOWED[room], f"{path.relative_to(ROOT)} imports {sorted(foreign)}"


def test_only_ros_and_launch_import_ros():
    """The simulator, the training and the agent run where no ROS is installed."""
    for room in ("gato_core", "gato_sim", "gato_training"):
        for path in _modules(room):
            ros = {n for n in _imported(path) if n in ("rclpy", "launch", "launch_ros")}
            assert not ros, f"{path.relative_to(ROOT)} imports {sorted(ros)}"


def test_dataset_and_tokens_need_no_torch():
    """A robot that only records must not need torch; neither must the simulator."""
    core = ROOT / "gato_core"
    light = [core / f"{name}.py" for name in ("spec", "episode", "vocab", "tokenizer", "dataset")]
    light += [path for wing in ("data", "importers") for path in (core / wing).glob("*.py")]
    assert len(light) > 15
    for path in light:
        assert "torch" not in _imported(path), path.name


def test_launch_files_import_only_launch():
    allowed = {"launch", "launch_ros", "lifecycle_msgs", "os", "pathlib", "__future__"}
    allowed |= {"ament_index_python"}
    files = list((ROOT / "ros2_ws/src/gato_bringup/launch").glob("*.py"))
    assert files
    for path in files:
        assert _imported(path) <= allowed, f"{path.name} imports {_imported(path) - allowed}"


def test_nothing_unpickles():
    """Loading a file or a message never runs code in it."""
    for room in FOLDERS:
        for path in _modules(room):
            assert not _imported(path) & {"pickle", "cloudpickle", "dill"}, path
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                    raise AssertionError(f"{path.relative_to(ROOT)}:{node.lineno} torch.load")
                if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                    assert ast.unparse(node.value) == "False", f"{path}:{node.lineno}"
