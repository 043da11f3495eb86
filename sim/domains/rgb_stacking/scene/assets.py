"""Gets DeepMind's model files (robot, gripper, basket, 152 objects): `gato assets`.

The files come from two wheels on the Python package index. They are read as archives: nothing
in them is installed or imported, so what they require does not concern this project.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from importlib.metadata import version
from pathlib import Path

VERSION = "0.10.0"
WHEELS = {
    "dm_robotics_moma-0.10.0-py3-none-any.whl": (
        18945307,
        "4f62cd6ad49e18797f807e20770675ca10d203d77d3d78c8d922d140f02e8503",
    ),
    "dm_robotics_manipulation-0.10.0-py3-none-any.whl": (
        173780,
        "43951c1c7e968f86463a489d2f78bc4da5ba2625e1c6d65eb58911b7c9e670d6",
    ),
}
_VENDOR = "dm_robotics/moma/models/vendor/"
# A wheel's member is unpacked if it starts with one of these.
_MEMBERS = (
    "dm_robotics/moma/models/arenas/empty_assets/arena.xml",
    "dm_robotics/moma/models/end_effectors/wrist_sensors/robotiq_fts300.xml",
    _VENDOR + "rethink/LICENSE",
    _VENDOR + "rethink/sawyer_description/mjcf/sawyer.xml",
    _VENDOR + "rethink/sawyer_description/meshes/sawyer_pv/",
    _VENDOR + "robotiq_beta_robots/LICENSE",
    _VENDOR + "robotiq_beta_robots/mujoco/robotiq_2f85_v2.xml",
    _VENDOR + "robotiq_beta_robots/robotiq_2f_model/model/meshes/2f85/collision/",
    _VENDOR + "ros_robotiq/LICENSE",
    _VENDOR + "ros_robotiq/robotiq_force_torque_sensor/meshes/visual/",
    "dm_robotics/manipulation/standard_cell/rgb_basket_assets/",
    "dm_robotics/manipulation/props/rgb_objects/assets/rgb_v1.3/meshes/",
    "dm_robotics_moma-0.10.0.dist-info/METADATA",
    "dm_robotics_manipulation-0.10.0.dist-info/METADATA",
)
_SUFFIXES = ("", ".xml", ".stl")  # LICENSE and METADATA have none


def folder() -> Path:
    """Where the model files belong: $GATO_ASSETS or ~/.cache/gato/assets-0.10.0."""
    chosen = os.environ.get("GATO_ASSETS")
    return Path(chosen) if chosen else Path.home() / ".cache" / "gato" / f"assets-{VERSION}"


def versions() -> dict[str, str]:
    """Versions that an episode's outcome depends on."""
    return {"mujoco": version("mujoco"), "assets": VERSION}


def path() -> Path:
    """The folder of the model files. Raises FileNotFoundError if they are not there yet."""
    root = folder()
    if not (root / "dm_robotics").is_dir():
        raise FileNotFoundError(f"model files: expected them in {root}; run `gato assets`")
    return root


def check_wheel(wheel: Path) -> None:
    """Raises ValueError unless the file has the size and SHA-256 of the published wheel."""
    size, digest = WHEELS[wheel.name]
    content = wheel.read_bytes()
    got = hashlib.sha256(content).hexdigest()
    if len(content) != size or got != digest:
        raise ValueError(
            f"{wheel.name}: expected {size} bytes with sha256 {digest}, "
            f"got {len(content)} bytes with {got}"
        )


def unpack(wheels: list[Path], root: Path) -> int:
    """Unpacks the model files of checked wheels into `root`; returns how many files there are.

    The files appear all at once: they are written to a neighbouring folder, then renamed.
    Raises ValueError for a wheel that is not the published one, or if `root` holds other files.
    """
    root.parent.mkdir(parents=True, exist_ok=True)
    num_files = 0
    with tempfile.TemporaryDirectory(dir=root.parent, prefix=".assets-") as scratch:
        for wheel in wheels:
            check_wheel(wheel)
            with zipfile.ZipFile(wheel) as archive:
                for name in archive.namelist():
                    if name.startswith(_MEMBERS) and Path(name).suffix.lower() in _SUFFIXES:
                        archive.extract(name, scratch)
                        num_files += 1
        os.chmod(scratch, 0o755)  # a temporary folder is private, the cache need not be
        try:
            os.rename(scratch, root)
        except OSError as error:
            if not (root / "dm_robotics").is_dir():  # else another process was first
                raise ValueError(
                    f"{root}: expected an empty or missing folder, got other files"
                ) from error
    return num_files


def download(target: Path) -> list[Path]:
    """Downloads the two wheels into `target` with pip; returns their paths."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    # Their metadata names Pythons and simulators that are irrelevant: only files are read.
    command += ["--only-binary=:all:", "--python-version", "3.11", "--dest", str(target)]
    command += [f"dm-robotics-moma=={VERSION}", f"dm-robotics-manipulation=={VERSION}"]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        raise RuntimeError(f"pip download failed ({result.returncode}):\n{result.stderr.strip()}")
    return [target / name for name in WHEELS]


def fetch(wheel_folder: Path | None = None) -> Path:
    """The folder of the model files, downloaded (or taken from local wheels) if need be."""
    root = folder()
    if (root / "dm_robotics").is_dir():
        print(f"Model files are in {root}.")
        return root
    with tempfile.TemporaryDirectory(prefix="gato-wheels-") as scratch:
        if wheel_folder is None:
            print(f"Downloading the model files (19 MB) to {root} ...", flush=True)
            wheels = download(Path(scratch))
        else:
            wheels = [wheel_folder / name for name in WHEELS]
        num_files = unpack(wheels, root)
    print(f"Unpacked {num_files} model files into {root}.")
    return root


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="gato assets",
        description=__doc__.splitlines()[0],
        epilog="example: gato assets    (again: does nothing)",
    )
    parser.add_argument("--wheels", type=Path, help="folder that already holds the two wheels")
    arguments = parser.parse_args()
    try:
        fetch(arguments.wheels)
    except (OSError, ValueError, RuntimeError) as error:
        print(f"gato assets: {error}", file=sys.stderr)
        return 1
    from gato_sim.domains.rgb_stacking.scene import scene

    print(f"The scene is composed in {scene.template_folder()}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
