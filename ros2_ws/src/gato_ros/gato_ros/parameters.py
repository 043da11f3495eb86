"""Parameters with a description and a range, so that `ros2 param describe` explains each."""

from __future__ import annotations

from collections.abc import Sequence

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node


def declare(
    node: Node,
    name: str,
    default: bool | int | float | str | list[str],
    description: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: Sequence[str] = (),
) -> bool | int | float | str | list[str]:
    """Declares a read-only parameter and returns its value.

    low and high limit a number, choices a string. Raises ValueError for another choice; rclpy
    itself refuses a wrong type or a number out of range.
    """
    descriptor = ParameterDescriptor(description=description, read_only=True)
    if choices:
        descriptor.additional_constraints = f"one of {', '.join(choices)}"
    if low is not None and isinstance(default, float):
        descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
    elif low is not None:
        descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high))]
    value = node.declare_parameter(name, default, descriptor).value
    if choices and value not in choices:
        raise ValueError(f"parameter {name}: expected one of {list(choices)}, got {value!r}")
    return value
