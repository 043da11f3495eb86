"""Parameters of teleoperation."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from rclpy.node import Node

from gato_ros.common.parameters import declare, hold_after, refuse_unknown, warn_idle
from gato_ros.teleop.devices import Buttons, Speeds
from gato_sim.arm.sawyer import MAX_ANGULAR_VELOCITY, MAX_LINEAR_VELOCITY


@dataclass(frozen=True)
class TeleopParameters:
    """What config/stack.yaml may set; `declare_all` describes each."""

    device: str
    speeds: Speeds
    buttons: Buttons
    command: str
    control_rate: float
    hold_after: float
    soft_start: float


def declare_all(node: Node) -> TeleopParameters:
    """Declares all parameters on a node and reads them. Raises ValueError for a wrong choice."""
    param = partial(declare, node)
    rate = param("control_rate", 20.0, "states a second", low=0.1, high=1000.0)
    parameters = TeleopParameters(
        device=param("device", "keyboard", "of the person", choices=("keyboard", "joystick")),
        speeds=Speeds(
            param("linear_speed", MAX_LINEAR_VELOCITY, "m/s", low=0.0, high=MAX_LINEAR_VELOCITY),
            param("yaw_speed", MAX_ANGULAR_VELOCITY, "rad/s", low=0.0, high=MAX_ANGULAR_VELOCITY),
        ),
        buttons=Buttons(
            _axes(param("axes", ["1", "0", "4", "3"], "of a joystick: x, y, z and yaw")),
            param("deadman_button", 4, "to be held for motion", low=0, high=63),
            param("grip_button", 0, "opens and closes the gripper", low=0, high=63),
        ),
        command=param(
            "command", "velocity", "of the arm", choices=("velocity", "trajectory", "twist")
        ),
        control_rate=rate,
        hold_after=hold_after(param, rate),
        soft_start=param("soft_start", 0.3, "s until full speed", low=0.0, high=60.0),
    )
    refuse_unknown(node)
    by_keys, usual = parameters.device == "keyboard", "a keyboard has none"
    warn_idle(
        node, {"axes": usual, "deadman_button": usual, "grip_button": usual} if by_keys else {}
    )
    return parameters


def _axes(words: list[str]) -> tuple[int, ...]:
    if len(words) != 4 or not all(word.isdigit() for word in words):
        raise ValueError(f"axes: expected numbers of x, y, z and yaw like '1', got {words}")
    return tuple(int(word) for word in words)
