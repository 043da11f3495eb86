"""The robot as its holder sees it: a commander to speak with, joints to look at."""

from __future__ import annotations

from rclpy.clock import Clock

from gato_ros.common.clocks import Clocks
from gato_ros.robot.commands import Commander
from gato_ros.safety.joints import JointWatch

MAX_AGE = 0.5  # s of a joint state at whose angles an arm may be held


class Limb:
    """Satisfies gato_ros.safety.hold.Robot."""

    def __init__(
        self, commander: Commander, joints: JointWatch, clocks: Clocks, clock: Clock
    ) -> None:
        self._commander, self._joints = commander, joints
        self._clocks, self._clock = clocks, clock

    def hold(self, *, from_rest: bool) -> None:
        angles = self._joints.angles(self._clocks.wall(), MAX_AGE)
        self._commander.hold(angles, self._clock.now().to_msg(), from_rest=from_rest)

    def stands_still(self, since: int) -> bool:
        return self._joints.stands_still(since)
