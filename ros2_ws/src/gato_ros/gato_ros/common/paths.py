"""Where files that the stack names lie: checkpoints, parameter file, DDS profile."""

from __future__ import annotations

import sys
from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory

import gato_core


def find(name: str) -> Path:
    """The file or folder: as given, else in the repository, else in gato_core's share folder.

    Raises FileNotFoundError with everywhere it was looked for.
    """
    if not name:
        raise FileNotFoundError("expected the name of a file or folder, got an empty string")
    candidates = dict.fromkeys([Path(name), *(root / name for root in _roots())])
    for path in candidates:
        if path.exists():
            return path
    places = ", ".join(str(path) for path in candidates)
    raise FileNotFoundError(f"{name}: expected a file or folder, found none of {places}")


def _roots() -> list[Path]:
    roots = [Path(gato_core.__file__).parents[1], Path(sys.prefix) / "share" / "gato_core"]
    try:
        roots.append(Path(get_package_share_directory("gato_core")))
    except (PackageNotFoundError, OSError):  # OSError: AMENT_PREFIX_PATH is not set
        pass  # installed by pip alone
    return roots
