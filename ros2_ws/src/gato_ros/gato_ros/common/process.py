"""The main function of every node process: executor thread, signals, shutdown."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

import rclpy
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.experimental.events_executor import EventsExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from gato_ros.common import transport
from gato_ros.common.stopping import Stop, on_signals

AnyNode = TypeVar("AnyNode", bound=Node)
SPIN_TIMEOUT = 0.1  # s; an EventsExecutor without a finite timeout hangs in the PyPI wheels


@contextlib.contextmanager
def spinning(node: Node) -> Iterator[None]:
    """Runs the node's callbacks in a background thread for as long as the block lasts."""
    executor = EventsExecutor()
    executor.add_node(node)
    end = threading.Event()

    def spin() -> None:
        while not end.is_set():
            executor.spin_once(timeout_sec=SPIN_TIMEOUT)

    thread = threading.Thread(target=spin, name="callbacks", daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()
        executor.remove_node(node)
        executor.shutdown()


def run(create: Callable[[], AnyNode], loop: Callable[[AnyNode, Stop], int | None]) -> int:
    """Creates a node and runs `loop(node, stop)` in the main thread; returns the exit status.

    DDS keeps to this machine unless the environment says otherwise. SIGINT and SIGTERM only set
    `stop`, so the loop can still publish what must come last. What the user got wrong (ValueError
    and the like) ends with one line on stderr and status 1.
    """
    stop = on_signals()
    os.environ |= transport.of_node(os.environ)
    try:
        rclpy.init(args=sys.argv, signal_handler_options=SignalHandlerOptions.NO)
        node = create()
        try:
            with spinning(node):
                return loop(node, stop) or 0
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
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        rclpy.try_shutdown()
