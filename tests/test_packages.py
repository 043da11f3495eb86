"""The ROS packages: none needs itself through others, and each names what it imports."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "ros2_ws/src"
PACKAGES = {
    "gato_core": ROOT,
    "gato_ros": SOURCES / "gato_ros",
    "gato_bringup": SOURCES / "gato_bringup",
}
MODULES = {  # where each package's programs lie
    "gato_core": [ROOT / name for name in ("gato_core", "sim", "training")],
    "gato_ros": [SOURCES / "gato_ros/gato_ros"],
    "gato_bringup": [ROOT / "launch"],
}
OURS = {"gato_core": "gato_core", "gato_sim": "gato_core", "gato_training": "gato_core"}
KEYS = {  # rosdep's, of modules from elsewhere; ROS's own packages are named as they are imported
    "PIL": "python3-pil",
    "cv2": "python3-opencv",
    "dm_env": "python3-dm-env-pip",
    "gymnasium": "python3-gymnasium-pip",
    "h5py": "python3-h5py",
    "matplotlib": "python3-matplotlib",
    "mujoco": "python3-mujoco-pip",
    "numpy": "python3-numpy",
    "onnxruntime": "python3-onnxruntime-pip",
    "rosbags": "python3-rosbags-pip",
    "scipy": "python3-scipy",
    "torch": "python3-torch",
    "yaml": "python3-yaml",
}
WITHOUT_KEY = {"apsw", "av", "dm_control", "imageio_ffmpeg", "mcap", "onnx", "pyarrow", "ray"}
WITHOUT_KEY |= {"safetensors", "sentencepiece", "tyro", "zstandard"}


def manifest(name: str):
    parse_package = pytest.importorskip("catkin_pkg.package").parse_package
    return parse_package(str(PACKAGES[name] / "package.xml"))


def needed(name: str) -> set[str]:
    return {dependency.name for dependency in manifest(name).exec_depends}


def imported(name: str) -> set[str]:
    """First names of all modules that a package imports, those of the standard library left out."""
    found = set()
    files = [file for folder in MODULES[name] for file in folder.rglob("*.py")]
    assert files
    for node in (node for file in files for node in running(ast.parse(file.read_text()))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(node.module)
    return {module.split(".")[0] for module in found} - sys.stdlib_module_names


def running(node: ast.AST) -> Iterator[ast.AST]:
    """The node and all below it, without what only type checkers see."""
    yield node
    if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
        for child in ast.iter_child_nodes(node):
            yield from running(child)


@pytest.mark.parametrize("name", PACKAGES)
def test_manifest_is_valid(name):
    """colcon says nothing about an invalid one: `ros2 run` just does not find the package."""
    package = manifest(name)
    assert package.name == name and package.get_build_type() == "ament_python"
    assert (PACKAGES[name] / "resource" / name).exists()
    assert f'name="{name}"' in (PACKAGES[name] / "setup.py").read_text()


def test_each_package_needs_only_those_before_it():
    """gato_bringup, which held gato_core, and gato_ros needed each other: what colcon built up to
    either could not be imported."""
    for place, name in enumerate(PACKAGES):
        assert needed(name) & PACKAGES.keys() == set(list(PACKAGES)[:place]), name


@pytest.mark.parametrize("name", PACKAGES)
def test_manifest_names_what_the_package_imports(name):
    modules = imported(name) - WITHOUT_KEY
    keys = {OURS.get(module, KEYS.get(module, module)) for module in modules} - {name}
    assert keys <= needed(name), f"package.xml lacks {sorted(keys - needed(name))}"
    unused = needed(name) - keys - PACKAGES.keys()
    # torch's and rclpy's own needs, which we choose the version or the type of
    assert unused <= {"python3-tensorboard-pip", "builtin_interfaces"}, unused
