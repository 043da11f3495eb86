"""Commands in the form that the robot's controllers take, and how each form says "hold"."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import TwistStamped
from rclpy.publisher import Publisher
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from gato_ros.common import conversion, topics
from gato_ros.common.ingest import Gripper
from gato_ros.common.labels import action_message
from gato_ros.robot.motion import Command

ARM = {
    "velocity": (Float64MultiArray, topics.ARM_VELOCITY),
    "trajectory": (JointTrajectory, topics.ARM_TRAJECTORY),
    "twist": (TwistStamped, topics.ARM_TWIST),
}
GRIPPER = {"velocity": topics.GRIPPER_VELOCITY, "position": topics.GRIPPER_POSITION}
MAX_LEAD = 0.1  # rad by which a trajectory's point may be ahead of the joint
HOLD_SPEED = 0.5  # rad/s, at most on average, on the way to where a trajectory is held
HOLD_TIME = 0.2  # s to come to a hold at angles that were measured in motion


@dataclass(frozen=True)
class Forms:
    """How the robot takes commands.

    arm: velocity, trajectory or twist. gripper: velocity or position. timestep: s between commands.
    settle: s for which a position is asked for before the gripper turns round.
    """

    arm: str
    gripper: str
    joints: tuple[str, ...]
    finger: Gripper
    timestep: float
    base_frame: str = "base"
    settle: float = 0.0


class Commander:
    """Publishes what the arm and the gripper shall do.

    A trajectory's points go on from one another, not from where the joint is: an arm that lags
    would otherwise creep. To hold is zero velocity, or under position control the last target; a
    gripper under position control keeps its grip. Trajectories are not stamped: they begin when
    they arrive, whatever the controller's clock and however long they took.
    """

    def __init__(
        self, create: Callable[[type, str], Publisher], forms: Forms, source: str = "policy"
    ) -> None:
        self._create, self._forms, self._source = create, forms, source
        self._publishers: tuple[Publisher, ...] = ()
        self._target: np.ndarray | None = None  # rad, of the newest trajectory
        self._turn = Turn(forms.settle, forms.timestep)

    def connect(self) -> bool:
        """Makes the publishers; whether there were none."""
        if self._publishers:
            return False
        arm_type, arm_topic = ARM[self._forms.arm]
        self._publishers = (
            self._create(arm_type, arm_topic),
            self._create(Float64MultiArray, GRIPPER[self._forms.gripper]),
            self._create(JointState, topics.ACTION),
        )
        return True

    def disconnect(self) -> tuple[Publisher, ...]:
        """Lets go of the publishers and returns them."""
        publishers, self._publishers = self._publishers, ()
        return publishers

    @property
    def is_connected(self) -> bool:
        return bool(self._publishers)

    def topics(self) -> tuple[str, ...]:
        """Where the robot listens for commands, as named after remapping."""
        return tuple(publisher.topic_name for publisher in self._publishers[:2])

    def num_listeners(self) -> int:
        """Subscribers of the arm's commands."""
        return self._publishers[0].get_subscription_count() if self._publishers else 0

    def move(
        self, command: Command, action_names: tuple[str, ...], state_stamp: Time, now: Time
    ) -> None:
        """Publishes a command, the gripper's first, and the action it was made of."""
        arm, gripper, action = self._publishers
        gripper.publish(conversion.velocity_message([self._finger(command)]))
        arm.publish(self._arm_message(command, now))
        action.publish(action_message(command.action, action_names, self._source, state_stamp))

    def hold(self, angles: np.ndarray | None, now: Time, *, from_rest: bool = False) -> None:
        """Publishes that the robot shall stand still; `angles` (n,) in rad as measured.

        from_rest: whatever moves the robot now, it is not what was sent last. Raises ValueError
        where holding takes angles and none are known.
        """
        if not self._publishers:
            raise ValueError("no publisher of commands")
        arm, gripper, _ = self._publishers
        if from_rest:
            self._target = None
        message = self._hold_message(angles, now)
        arm.publish(message)
        if self._forms.gripper == "velocity":
            gripper.publish(conversion.velocity_message([0.0]))

    def _finger(self, command: Command) -> float:
        """The gripper's velocity or position; both begin softly."""
        finger = self._forms.finger
        if self._forms.gripper == "velocity":
            return finger.velocity(command.gripper) * command.softness
        target = finger.target(self._turn.ask(command.gripper))
        if command.softness == 1.0 or command.finger is None:
            return target
        return command.finger + (target - command.finger) * command.softness

    def _arm_message(
        self, command: Command, now: Time
    ) -> Float64MultiArray | JointTrajectory | TwistStamped:
        forms = self._forms
        if forms.arm == "velocity":
            return conversion.velocity_message(command.velocities)
        if forms.arm == "twist":
            return conversion.twist_message(command.twist, forms.base_frame, now)
        start = command.angles if self._target is None else self._target
        if not command.is_first:
            start = np.clip(start, command.angles - MAX_LEAD, command.angles + MAX_LEAD)
        elif np.abs(start - command.angles).max() > MAX_LEAD:
            start = command.angles  # somebody else has moved it
        self._target = start + command.velocities * forms.timestep
        return conversion.trajectory_message(
            forms.joints, start, command.velocities, forms.timestep
        )

    def _hold_message(
        self, angles: np.ndarray | None, now: Time
    ) -> Float64MultiArray | JointTrajectory | TwistStamped:
        forms = self._forms
        zeros = np.zeros(len(forms.joints))
        if forms.arm == "velocity":
            return conversion.velocity_message(zeros)
        if forms.arm == "twist":
            return conversion.twist_message(np.zeros(6), forms.base_frame, now)
        if self._target is not None:
            way = 0.0 if angles is None else float(np.abs(self._target - angles).max())
            duration = max(forms.timestep, way / HOLD_SPEED)
            return conversion.trajectory_message(forms.joints, self._target, zeros, duration)
        if angles is None:
            raise ValueError("joint_states: expected angles to hold at, got none of late")
        self._target = angles
        duration = max(forms.timestep, HOLD_TIME)
        return conversion.trajectory_message(forms.joints, angles, zeros, duration)


class Turn:
    """Lets a gripper under position control turn round only once that was asked for long enough."""

    def __init__(self, settle: float, timestep: float) -> None:
        self._num_needed = max(1, round(settle / timestep))
        self._command: float | None = None
        self._num_asked = 0

    def ask(self, command: float) -> float:
        """The command that holds, when `command` (+-255) is asked for once more."""
        if self._command is None or (command > 0) == (self._command > 0):
            self._num_asked = 0
            self._command = command
        else:
            self._num_asked += 1
            if self._num_asked >= self._num_needed:
                self._num_asked, self._command = 0, command
        return self._command
