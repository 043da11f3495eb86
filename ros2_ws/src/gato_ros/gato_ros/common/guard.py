"""What a message gets wrong is refused where it arrives, and the node lives on."""

from __future__ import annotations

import functools
import time
import traceback
from collections.abc import Callable
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter

from gato_ros.common import conversion, topics

QUIET = 1.0  # s between complaints of the same topic or service
MAX_TEXT = 500  # characters of a complaint: messages may bring any string


class Guarded:
    """A mixin for nodes, before rclpy's own class: every subscription and service is guarded.

    Those of rclpy too: the clock and the parameters. A callback that raises ValueError refuses its
    message; the complaint is logged, and a service answers with the response as it was made. Any
    other exception is unexpected and passes on, which ends the process: see process.spinning.
    """

    def create_subscription(self, message_type, topic, callback, *args, **kwargs):
        complain = self._complainer(topic)
        is_clock = topic == topics.CLOCK  # rclpy's own subscription, which takes any time

        def take(message: Any) -> None:
            try:
                if is_clock:
                    conversion.stamp(message.clock)
                callback(message)
            except ValueError as error:
                complain(error)

        return super().create_subscription(message_type, topic, take, *args, **kwargs)

    def create_service(self, service_type, name, callback, *args, **kwargs):
        complain = self._complainer(name)

        def serve(request: Any, response: Any) -> Any:
            try:
                return callback(request, response)
            except ValueError as error:
                complain(error)
                return response

        return super().create_service(service_type, name, serve, *args, **kwargs)

    def _complainer(self, name: str) -> Callable[[Exception], None]:
        silent_until = 0.0

        def complain(error: Exception) -> None:
            nonlocal silent_until
            now = time.monotonic()
            if now >= silent_until:
                silent_until = now + QUIET
                self.get_logger().error(f"{name}: refused: {str(error)[:MAX_TEXT]}")

        return complain

    def keep_clock(self) -> None:
        """From now on `use_sim_time` stays as it is, like every other parameter."""

        def check(parameters: list[Parameter]) -> SetParametersResult:
            names = [parameter.name for parameter in parameters]
            reason = "use_sim_time: read-only while the node runs"
            is_kept = "use_sim_time" not in names
            return SetParametersResult(successful=is_kept, reason="" if is_kept else reason)

        self.add_on_set_parameters_callback(check)


def explained(transition: Callable) -> Callable:
    """A transition of a managed node whose exceptions are logged: rclpy swallows them.

    Before anything else the node's `on_failed_transition(words)` is called.
    """

    @functools.wraps(transition)
    def run(self: Any, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            return transition(self, state)
        except Exception as error:
            self.on_failed_transition(f"{transition.__name__} failed")
            self.get_logger().error(f"{transition.__name__} failed: {error!r}")
            self.get_logger().debug(traceback.format_exc())
            raise

    return run
