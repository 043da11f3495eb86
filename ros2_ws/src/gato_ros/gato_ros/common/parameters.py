"""Parameters with a description and a range, so that `ros2 param describe` explains each."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from weakref import WeakKeyDictionary

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node
from rclpy.parameter import Parameter

_USUAL: WeakKeyDictionary[Node, dict[str, object]] = WeakKeyDictionary()  # defaults, by name
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
    usual = None if isinstance(default, Parameter.Type) else default
    _USUAL.setdefault(node, {})[name] = usual
    if choices and value not in choices:
        raise ValueError(f"parameter {name}: expected one of {list(choices)}, got {value!r}")
    return value


def hold_after(param: Callable, rate: float) -> float:
    """Declares how long a command counts, s; `rate` in Hz is that of commands."""
    after = param(
        "hold_after",
        0.0,
        "s that a command counts; without another the robot is held; 0 = two control timesteps",
        low=0.0,
        high=60.0,
    )
    if after and after <= 1 / rate:
        raise ValueError(
            f"parameter hold_after: expected more than a control timestep, {1 / rate:g} s, "
            f"got {after:g}"
        )
    return after or 2 / rate


def warn_idle(node: Node, reasons: Mapping[str, str]) -> None:
    """Warns of parameters that were given another value than the usual one, and do nothing.

    reasons: why, by the parameter's name.
    """
    for name, why in reasons.items():
        if name in node._parameter_overrides and name in _USUAL.get(node, {}):
            value = node.get_parameter(name).value
            if value != _USUAL[node][name]:
                node.get_logger().warning(f"parameter {name}: {value!r} has no effect: {why}")


def refuse_unknown(node: Node) -> None:
    """Raises ValueError for parameters that were given but not declared: rclpy ignores those."""
    unknown = sorted(node._parameter_overrides.keys() - node._parameters.keys())
    unknown = [name for name in unknown if not name.startswith("qos_overrides.")]
    if unknown:
        known = [*node._parameters]
        near = {name: difflib.get_close_matches(name, known, 1) for name in unknown}
        hints = [f"{name} ({near[name][0]}?)" if near[name] else name for name in unknown]
        raise ValueError(f"parameters: {node.get_name()} has none called {', '.join(hints)}")
