"""Commands in the form that the robot's controllers take, and how each form says "hold"."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import TwistStamped
from rclpy.publisher import Publisher
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from gato_core.spec import Spec
from gato_ros.common import conversion, topics
from gato_ros.common.labels import action_message
from gato_ros.policy.control import Command
from gato_ros.robot.robot import Robot

ARM = {
    "velocity": (Float64MultiArray, topics.ARM_VELOCITY),
    "trajectory": (JointTrajectory, topics.ARM_TRAJECTORY),
    "twist": (TwistStamped, topics.ARM_TWIST),
}
GRIPPER = {"velocity": topics.GRIPPER_VELOCITY, "position": topics.GRIPPER_POSITION}
MAX_LEAD = 0.1  # rad by which a trajectory's point may be ahead of the joint


class Commander:
    """Publishes what the arm and the gripper shall do.

    A trajectory's points go on from one another, not from where the joint is: an arm that lags
    would otherwise creep. To hold is zero velocity, or under position control the measured angles;
    a gripper under position control keeps its grip.
    """

    def __init__(
        self,
        create: Callable[[type, str], Publisher],
        arm_form: str,
        gripper_form: str,
        robot: Robot,
        spec: Spec,
        base_frame: str,
        *,
        source: str = "policy",
    ) -> None:
        self._source = source
        self._arm_form, self._gripper_form = arm_form, gripper_form
        self._robot, self._spec, self._base_frame = robot, spec, base_frame
        arm_type, arm_topic = ARM[arm_form]
        self._arm = create(arm_type, arm_topic)
        self._gripper = create(Float64MultiArray, GRIPPER[gripper_form])
        self._action = create(JointState, topics.ACTION)
        self.restart()

    @property
    def publishers(self) -> tuple[Publisher, ...]:
        return self._arm, self._gripper, self._action

    def topics(self) -> tuple[str, str]:
        """Where the robot listens for commands, as named after remapping."""
        return self._arm.topic_name, self._gripper.topic_name

    def restart(self) -> None:
        """The arm stands still: the next trajectory goes on from the measured angles."""
        self._target: np.ndarray | None = None

    def move(self, command: Command, state_stamp: Time, now: Time) -> None:
        """Publishes a command, the gripper's first, and the action it was made of."""
        self._send_gripper(command.gripper)
        self._arm.publish(self._arm_message(command, now))
        names = self._spec.action.names
        self._action.publish(action_message(command.action, names, self._source, state_stamp))

    def hold(self, angles: np.ndarray, now: Time) -> None:
        """Publishes that the arm shall stay at `angles` (rad)."""
        self.restart()
        if self._gripper_form == "velocity":
            self._send_gripper(0.0)
        self._arm.publish(self._hold_message(angles, now))

    def _send_gripper(self, command: float) -> None:
        gripper = self._robot.gripper
        speak = gripper.velocity if self._gripper_form == "velocity" else gripper.target
        self._gripper.publish(conversion.velocity_message([speak(command)]))

    def _arm_message(
        self, command: Command, now: Time
    ) -> Float64MultiArray | JointTrajectory | TwistStamped:
        if self._arm_form == "velocity":
            return conversion.velocity_message(command.velocities)
        if self._arm_form == "twist":
            return conversion.twist_message(command.twist, self._base_frame, now)
        timestep = self._robot.control_timestep
        start = command.angles if self._target is None else self._target
        start = np.clip(start, command.angles - MAX_LEAD, command.angles + MAX_LEAD)
        self._target = start + command.velocities * timestep
        return conversion.trajectory_message(
            self._robot.arm.joints, start, command.velocities, timestep, now
        )

    def _hold_message(
        self, angles: np.ndarray, now: Time
    ) -> Float64MultiArray | JointTrajectory | TwistStamped:
        if self._arm_form == "velocity":
            return conversion.velocity_message(np.zeros(len(angles)))
        if self._arm_form == "twist":
            return conversion.twist_message(np.zeros(6), self._base_frame, now)
        timestep = self._robot.control_timestep
        return conversion.trajectory_message(
            self._robot.arm.joints, angles, np.zeros(len(angles)), timestep, now
        )
