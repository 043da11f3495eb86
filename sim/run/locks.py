"""Who may write into a results folder: one evaluation of all of it, or one of each shard."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def held(folder: Path, shard: str | None = None) -> Iterator[None]:
    """Keeps other processes out of the folder, or out of this shard of it, until the block ends.

    Raises RuntimeError where another process is at it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as files:
        try:
            _lock(files, folder / ".lock", fcntl.LOCK_SH if shard else fcntl.LOCK_EX)
            if shard:
                _lock(files, folder / f".lock-{shard.replace('/', '-of-')}", fcntl.LOCK_EX)
        except BlockingIOError:
            raise RuntimeError(
                f"{folder}: another evaluation is writing there; wait for it, or choose another "
                "--name"
            ) from None
        yield


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Waits until no other shard is in such a block: for files that all of them write."""
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as files:
        _lock(files, folder / ".lock-alone", fcntl.LOCK_EX, wait=True)
        yield


def _lock(files: contextlib.ExitStack, path: Path, kind: int, *, wait: bool = False) -> None:
    file = files.enter_context(path.open("w"))
    fcntl.flock(file, kind if wait else kind | fcntl.LOCK_NB)
