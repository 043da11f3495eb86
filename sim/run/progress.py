"""The progress line of long commands: done, rate, time left."""

from __future__ import annotations

import resource
import sys
import time
from datetime import timedelta


def cpu_seconds() -> float:
    """CPU time of this process and of its workers that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


class Progress:
    """Prints "done/total" with rate and time left to stderr, in place on a terminal."""

    def __init__(self, total: int, done: int = 0) -> None:
        self.total, self.done = total, done
        self._at_start, self._started = done, time.monotonic()
        self._shown = -float("inf")
        self._terminal = sys.stderr.isatty()

    @property
    def num_new(self) -> int:
        """Items done since the start."""
        return self.done - self._at_start

    @property
    def rate(self) -> float:
        """Items an hour since the start."""
        elapsed = max(time.monotonic() - self._started, 1e-9)
        return 3600 * self.num_new / elapsed

    def show(self, note: str, *, last: bool = False) -> None:
        """Prints the line unless the previous one is too recent to bother anyone."""
        now = time.monotonic()
        if not last and now - self._shown < (0.5 if self._terminal else 15):
            return
        self._shown = now
        left = "?"
        if self.rate > 0:
            left = str(timedelta(seconds=round(3600 * (self.total - self.done) / self.rate)))
        line = f"{self.done}/{self.total}  {note}  {self.rate:.0f} episodes/h  {left} left"
        end = "\n" if last or not self._terminal else ""
        print(f"\r{line:<100}" if self._terminal else line, end=end, file=sys.stderr, flush=True)
