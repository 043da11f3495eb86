"""How SIGINT, SIGTERM and SIGHUP reach a loop in the main thread."""

from __future__ import annotations

import signal
import time

LONGEST_SLEEP = 0.05  # s


class Stop:
    """Whether to end. Handlers may set it at any moment.

    Not a threading.Event: its lock is not reentrant, so a handler that comes while the main thread
    is in wait() or set() would wait for that very thread, for ever.
    """

    def __init__(self) -> None:
        self._is_set = False

    def set(self) -> None:
        """Asks to end."""
        self._is_set = True

    def is_set(self) -> bool:
        """Whether it was asked to end."""
        return self._is_set

    def wait(self, timeout: float) -> bool:
        """Sleeps for `timeout` s, or until little after it was asked to end; returns whether."""
        end = time.monotonic() + timeout
        while not self._is_set and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, LONGEST_SLEEP))
        return self._is_set


def on_signals() -> Stop:
    """A Stop that an interrupt, a request to end and the end of the terminal set from now on."""
    stop = Stop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
            signal.signal(number, lambda *_: stop.set())
    return stop
