"""Asking a managed node for a transition, from another process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from weakref import WeakKeyDictionary

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.client import Client
from rclpy.node import Node

CONFIGURE = Transition.TRANSITION_CONFIGURE
ACTIVATE = Transition.TRANSITION_ACTIVATE
DEACTIVATE = Transition.TRANSITION_DEACTIVATE
CLEANUP = Transition.TRANSITION_CLEANUP
_CLIENTS: WeakKeyDictionary[Node, dict[str, Client]] = WeakKeyDictionary()


def change_state(
    node: Node,
    name: str,
    transition: int,
    *,
    timeout: float,
    go_on: Callable[[], bool] = lambda: True,
) -> bool:
    """Whether the managed node `name` made the transition.

    `node` must be spinning. Raises TimeoutError after `timeout` s; gives up with False when
    `go_on()` turns false, as when the other process died.
    """
    client = _client(node, name)
    end = time.monotonic() + timeout
    while not client.wait_for_service(timeout_sec=0.1):
        if not go_on():
            return False
        if time.monotonic() > end:
            raise TimeoutError(f"{name}: expected its lifecycle services within {timeout} s")
    request = ChangeState.Request(transition=Transition(id=transition))
    future = client.call_async(request)
    is_done = threading.Event()
    future.add_done_callback(lambda _: is_done.set())
    while not is_done.wait(0.1):
        if not go_on():
            return False
        if time.monotonic() > end:
            raise TimeoutError(f"{name}: expected an answer to transition within {timeout} s")
    return future.result().success


def _client(node: Node, name: str) -> Client:
    """The node's one client for another's transitions, which lives as long as the node.

    Its executor runs in another thread and may hold an event of a client just destroyed.
    """
    clients = _CLIENTS.setdefault(node, {})
    if name not in clients:
        clients[name] = node.create_client(ChangeState, f"{name}/change_state")
    return clients[name]
