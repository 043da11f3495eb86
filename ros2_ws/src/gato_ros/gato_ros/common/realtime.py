"""Real-time scheduling of this process, as far as the system allows it.

As ros2_control's controller manager asks for it. Linux alone has it; what is refused is told, with
what would allow it, and the process goes on without.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_MCL_CURRENT, _MCL_ONFAULT = 1, 4
LIMITS = "/etc/security/limits.d/realtime.conf"


@dataclass(frozen=True)
class Realtime:
    """What to ask for.

    priority: 0 is normal scheduling, 1 to 98 that of SCHED_FIFO. cpus: empty means any.
    """

    priority: int = 0
    lock_memory: bool = False
    cpus: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.priority <= 98:
            raise ValueError(f"realtime.priority: expected 0 to 98, got {self.priority}")
        if sys.platform == "linux" and not set(self.cpus) <= (usable := os.sched_getaffinity(0)):
            raise ValueError(
                f"realtime.cpus: expected some of {sorted(usable)}, got {sorted(self.cpus)}"
            )


def begin(wanted: Realtime, end: contextlib.ExitStack) -> tuple[list[str], list[str]]:
    """(what was granted, what was refused and why), for all threads there are.

    Threads made later inherit it from those that make them. Closing `end` gives it all back.
    """
    requests: list[tuple[bool, str, Callable, str]] = [
        (
            bool(wanted.cpus),
            f"CPUs {', '.join(map(str, wanted.cpus))}",
            lambda: _keep_to(wanted.cpus, end),
            "ask for CPUs that the process may use",
        ),
        (
            wanted.lock_memory,
            "memory locked",
            lambda: _lock_memory(end),
            f"write `@realtime - memlock unlimited` to {LIMITS}, or give CAP_IPC_LOCK",
        ),
        (
            wanted.priority > 0,
            f"priority {wanted.priority}",
            lambda: _schedule(wanted.priority, end),
            f"write `@realtime - rtprio 99` to {LIMITS} and add the user to that group, or give "
            "CAP_SYS_NICE",
        ),
    ]
    granted, refused = [], []
    for is_wanted, what, request, remedy in requests:
        if is_wanted and sys.platform != "linux":
            refused.append(f"{what}: expected Linux, which alone has it, got {sys.platform}")
        elif is_wanted:
            try:
                request()
                granted.append(what)
            except OSError as error:
                refused.append(f"{what}: {error.strerror}; to allow it, {remedy}")
    return granted, refused


def _schedule(priority: int, end: contextlib.ExitStack) -> None:
    process = os.getpid()
    before = os.sched_getscheduler(process), os.sched_getparam(process)
    fifo = os.SCHED_FIFO, os.sched_param(priority)
    end.callback(_for_all_threads, lambda thread: os.sched_setscheduler(thread, *before))
    _for_all_threads(lambda thread: os.sched_setscheduler(thread, *fifo))


def _keep_to(cpus: tuple[int, ...], end: contextlib.ExitStack) -> None:
    before = os.sched_getaffinity(os.getpid())
    end.callback(_for_all_threads, lambda thread: os.sched_setaffinity(thread, before))
    _for_all_threads(lambda thread: os.sched_setaffinity(thread, cpus))


def _lock_memory(end: contextlib.ExitStack) -> None:
    """Keeps pages in memory that are there, or come: what was never used takes none."""
    libc = ctypes.CDLL(None, use_errno=True)
    # not MCL_FUTURE: with a limit, allocations would fail once it is reached
    if libc.mlockall(_MCL_CURRENT | _MCL_ONFAULT):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    end.callback(libc.munlockall)


def _for_all_threads(change: Callable[[int], None]) -> None:
    """Calls `change(thread id)` for each, also those that begin meanwhile."""
    done: set[int] = set()
    while new := {int(task.name) for task in Path("/proc/self/task").iterdir()} - done:
        for thread in new:
            with contextlib.suppress(ProcessLookupError):  # it has ended
                change(thread)
        done |= new
