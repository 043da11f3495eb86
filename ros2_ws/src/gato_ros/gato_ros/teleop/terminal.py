"""Single keys from a terminal, as they are pressed."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import termios
import threading
import tty
from collections.abc import Callable, Iterator

from gato_ros.common.stopping import Stop
from gato_ros.teleop.devices import keys_in

POLL = 0.05  # s


@contextlib.contextmanager
def keys(on_key: Callable[[str], None], stop: Stop) -> Iterator[None]:
    """Calls `on_key` in a thread for each key of stdin while the block lasts.

    Ctrl-C stays an interrupt, and the terminal is put back as it was. An exception in `on_key` sets
    `stop` and is raised again at the end of the block: who cannot be heard must not move a robot.
    Raises ValueError when stdin is no terminal.
    """
    if not sys.stdin.isatty():
        raise ValueError("keyboard: expected a terminal on stdin, got none")
    stdin, end = sys.stdin.fileno(), threading.Event()
    before = termios.tcgetattr(stdin)

    failures: list[Exception] = []

    def read() -> None:
        try:
            listen()
        except Exception as error:
            failures.append(error)
            stop.set()

    def listen() -> None:
        while not end.is_set():
            if select.select([stdin], [], [], POLL)[0]:
                data = os.read(stdin, 256)
                if not data:
                    return  # the terminal was closed
                for key in keys_in(data.decode(errors="ignore")):
                    on_key(key)

    thread = threading.Thread(target=read, name="keys", daemon=True)
    tty.setcbreak(stdin)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()
        termios.tcsetattr(stdin, termios.TCSADRAIN, before)
    if failures:
        raise failures[0]
