"""The main function of every node process: executor thread, signals, shutdown."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import TypeVar

import rclpy
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.experimental.events_executor import EventsExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from gato_ros.common import transport
from gato_ros.common.stopping import Stop, on_signals

AnyNode = TypeVar("AnyNode", bound=Node)
RCLError = rclpy_implementation.RCLError
RMWError = rclpy_implementation.RMWError
SPIN_TIMEOUT = 0.1  # s; an EventsExecutor without a finite timeout hangs in the PyPI wheels
GRACE = 10.0  # s for the main thread to end after a callback failed


@contextlib.contextmanager
def spinning(node: Node, fail: Callable[[str], None] | None = None) -> Iterator[None]:
    """Runs the node's callbacks in a background thread for as long as the block lasts.

    fail: is told, in that thread, of an exception that nobody expected; callbacks have ended then,
    and the process must, too. Without it the process ends at once. A message that cannot be read
    is refused.
    """
    executor = EventsExecutor()
    executor.add_node(node)
    end = threading.Event()
    complained_at = 0.0

    def spin() -> None:
        nonlocal complained_at
        while not end.is_set():
            try:
                executor.spin_once(timeout_sec=SPIN_TIMEOUT)
            except (
                RCLError,
                RMWError,
                SystemError,
            ) as error:  # rclpy's, of bytes that are no such message
                if time.monotonic() - complained_at > 1.0:
                    complained_at = time.monotonic()
                    node.get_logger().error(f"a message was refused unread: {error}")
            except Exception as error:
                _give_up(node, error, fail, end)
                return

    thread = threading.Thread(target=spin, name="callbacks", daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()
        executor.remove_node(node)
        executor.shutdown()


def _give_up(
    node: Node, error: Exception, fail: Callable[[str], None] | None, end: threading.Event
) -> None:
    """Tells of an unexpected exception, and ends the process should its main thread hang."""
    words = f"a callback failed: {error!r}"
    node.get_logger().fatal(f"{words}\n{traceback.format_exc()}")
    if fail is not None:
        fail(words)
        if end.wait(GRACE):
            return
    os._exit(1)  # a node that is deaf must not look alive


def run(create: Callable[[], AnyNode], loop: Callable[[AnyNode, Stop], int | None]) -> int:
    """Creates a node and runs `loop(node, stop)` in the main thread; returns the exit status.

    DDS keeps to this machine unless the environment says otherwise. Signals only set `stop`, so
    the loop can still publish what must come last. What the user got wrong (ValueError and the
    like) ends with one line on stderr and status 1. So does an exception in a callback: `stop` is
    set, and the node's `on_failure(words)`, if it has one, is called before anything else.
    """
    stop = on_signals()
    failures: list[str] = []
    os.environ |= transport.of_node(os.environ)
    try:
        rclpy.init(args=sys.argv, signal_handler_options=SignalHandlerOptions.NO)
        node = create()

        def fail(words: str) -> None:
            failures.append(words)
            getattr(node, "on_failure", lambda _: None)(words)
            stop.set()

        try:
            with spinning(node, fail):
                status = loop(node, stop) or 0
        finally:
            node.destroy_node()
    except (
        ValueError,
        FileNotFoundError,
        InvalidParameterTypeException,
        InvalidParameterValueException,
    ) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        rclpy.try_shutdown()
    for words in failures:
        print(f"error: {words}", file=sys.stderr)
    return 1 if failures else status
