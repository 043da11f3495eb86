"""Atomic replacement of a folder: after a crash the old or the new one is there, whole."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # linux/fcntl.h, linux/fs.h
_CANNOT = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """An empty folder to fill that becomes `path`, durably, when the block ends without an error.

    One that was there is exchanged in a single system call, so at every moment `path` is the old or
    the new one; where the file system cannot (NFS), it is missing for an instant. After an error
    `path` is what it was. What a killed program leaves is `.<name>.*` beside it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    written = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        yield written
        written.chmod(0o755)
        for entry in [*written.rglob("*"), written]:
            _to_disk(entry)
        _put(written, path)
        _to_disk(path.parent)
    finally:
        shutil.rmtree(written, ignore_errors=True)


def _put(written: Path, path: Path) -> None:
    """Gives `path` to the new folder; an old one gets the new one's name."""
    if not path.exists():
        written.rename(path)
    elif not _exchange(written, path):
        aside = written.with_name(f"{written.name}.old")
        path.rename(aside)
        try:
            written.rename(path)
        except OSError:
            aside.rename(path)
            raise
        aside.rename(written)


def _exchange(one: Path, two: Path) -> bool:
    """Exchanges two folders in one step; False where the system cannot."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    names = os.fsencode(one), os.fsencode(two)
    if renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _CANNOT:
        return False
    raise OSError(number, os.strerror(number), str(two))


def _to_disk(path: Path) -> None:
    if not path.is_dir():
        path.chmod(0o644)
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
