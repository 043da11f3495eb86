"""Parameters with a description and a range, so that `ros2 param describe` explains each."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node
from rclpy.parameter import Parameter

Value = bool | int | float | str | list[str] | list[float]


def declare(
    node: Node,
    name: str,
    default: Value | Parameter.Type,
    description: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: Sequence[str] = (),
) -> Value | None:
    """Declares a read-only parameter and returns its value.

    A type instead of a default declares one that may be left out: then its value is None.
    low and high limit a number, choices a string. Raises ValueError for another choice; rclpy
    itself refuses a wrong type or a number out of range.
    """
    descriptor = ParameterDescriptor(description=description, read_only=True)
    if choices:
        descriptor.additional_constraints = f"one of {', '.join(choices)}"
    is_real = isinstance(default, float) or default == Parameter.Type.DOUBLE
    if low is not None and is_real:
        descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
    elif low is not None:
        descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high))]
    value = node.declare_parameter(name, default, descriptor).value
    if choices and value not in choices:
        raise ValueError(f"parameter {name}: expected one of {list(choices)}, got {value!r}")
    return value


def refuse_unknown(node: Node) -> None:
    """Raises ValueError for parameters that were given but not declared: rclpy ignores those."""
    unknown = sorted(node._parameter_overrides.keys() - node._parameters.keys())
    unknown = [name for name in unknown if not name.startswith("qos_overrides.")]
    if unknown:
        known = [*node._parameters]
        near = {name: difflib.get_close_matches(name, known, 1) for name in unknown}
        hints = [f"{name} ({near[name][0]}?)" if near[name] else name for name in unknown]
        raise ValueError(f"parameters: {node.get_name()} has none called {', '.join(hints)}")
