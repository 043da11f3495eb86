"""An action and a joint state to the command that is safe to send."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sensor_msgs.msg import JointState

from gato_ros.common.reading import joint_positions, joint_values
from gato_ros.robot.robot import Robot
from gato_ros.safety.limits import Limiter, SafetyLimits
from gato_sim.arm.controller import Controller


@dataclass(frozen=True)
class Command:
    """What the robot shall do at joint angles (n,) in rad.

    velocities: (n,) rad/s, within all limits. gripper: the benchmark's +-255, 0 to leave it. twist:
    (6,) linear (m/s) and angular (rad/s) velocity that these velocities give the wrist. action: who
    acts asked for it. softness: the part of full speed that a soft start allows. finger: where the
    gripper was when motion began, if known. is_first: the robot was held before.
    """

    velocities: np.ndarray
    gripper: float
    twist: np.ndarray
    angles: np.ndarray
    action: np.ndarray
    softness: float = 1.0
    finger: float | None = None
    is_first: bool = False


class Motion:
    """Kinematics and limits of a robot that is set in motion and held again."""

    def __init__(self, robot: Robot, safety: SafetyLimits) -> None:
        self.robot = robot
        self.controller = Controller(robot.arm, robot.control_timestep)
        self.limiter = Limiter(self.controller, safety, robot.control_timestep)
        self.restart()

    def restart(self) -> None:
        """The robot is held: the next command begins a motion, softly."""
        self.limiter.restart()
        self._finger: float | None = None
        self._is_first = True

    def command(
        self, action: np.ndarray, joints: JointState, age: float = 0.0, *, at_rest: bool = False
    ) -> Command:
        """The command for an action (5,), whose numbers are within the Spec's bounds.

        age: s since `joints` were measured. at_rest: the arm stands still whatever its null space
        would like. Raises ValueError when the joints do not fit or a number is not finite.
        """
        angles = self.angles(joints)
        if self._is_first:
            self._finger = self._measured_finger(joints)
        ctrl = self.controller.ctrl(action, angles)
        wanted = np.zeros(len(angles)) if at_rest else ctrl[:-1]
        velocities = self.limiter.limit(wanted, angles, age)
        twist = self.controller.tcp_jacobian(angles) @ velocities
        command = Command(
            velocities, float(ctrl[-1]), twist, angles, action,
            self.limiter.softness, self._finger, self._is_first,
        )  # fmt: skip
        self._is_first = False
        return command

    def angles(self, joints: JointState) -> np.ndarray:
        """The arm's joint angles (n,) in rad of a JointState. Raises ValueError."""
        return joint_positions(joints, self.robot.arm.joints)

    def _measured_finger(self, joints: JointState) -> float | None:
        try:
            return float(joint_values(joints, [self.robot.gripper.joint], "position")[0])
        except ValueError:  # not every robot's joint states have it
            return None
