"""What holds a robot on behalf of a node, from the node's beginning to its end."""

from __future__ import annotations

import time
from collections.abc import Callable

from rclpy.node import Node
from rclpy.publisher import Publisher

from gato_ros.common import clocks
from gato_ros.common.process import RCLError, RMWError
from gato_ros.robot.commands import Commander, Forms
from gato_ros.robot.limb import Limb
from gato_ros.safety.hold import Hold, Watchdog
from gato_ros.safety.joints import JointWatch

MAX_PERIOD = 0.05  # s between holds
END_PATIENCE = 1.0  # s at the end of the process for the robot to come to rest
REACH = 1.0  # s for the robot to find publishers that were made for a hold


class Holder:
    """A commander, the joints, the Hold that stands between them, and its watchdog.

    create: makes a publisher of commands. max_pause: s that a simulated clock may stand still.
    tell: hears why the watchdog held, in its thread.
    """

    def __init__(
        self,
        node: Node,
        create: Callable[[type, str], Publisher],
        forms: Forms,
        *,
        hold_after: float,
        max_pause: float,
        source: str = "policy",
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.clocks = clocks.of_node(node)
        self.commander = Commander(create, forms, source)
        self.joints = JointWatch(forms.joints)
        self.hold = Hold(
            Limb(self.commander, self.joints, self.clocks, node.get_clock()),
            self.clocks,
            hold_after,
            min(MAX_PERIOD, forms.timestep),
            max_pause,
            (RCLError, RMWError),
            tell,
        )
        self._watchdog = Watchdog(self.hold, lambda words: node.get_logger().error(words))

    def stop(self, reason: str) -> str:
        """Holds until a rearm; why no hold reached the robot, or ""."""
        if self.commander.connect():  # this process has not moved it, but another may have
            end = time.monotonic() + REACH
            while not self.commander.num_listeners() and time.monotonic() < end:
                time.sleep(0.01)
        unsent = self.hold.stop(reason)
        if not unsent and not self.commander.num_listeners():
            return f"nobody listens on {self.commander.topics()[0]}"
        return unsent

    def settle(self) -> None:
        """Returns when nothing needs to be repeated any more, or the patience is over."""
        end = time.monotonic() + END_PATIENCE
        while not self.hold.is_resting and time.monotonic() < end:
            time.sleep(0.01)

    def end(self) -> None:
        """Ends the watchdog: nobody holds the robot from now on."""
        self._watchdog.end()
