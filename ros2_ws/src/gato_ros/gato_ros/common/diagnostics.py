"""A node's health as diagnostic_msgs, and back to the numbers it was made of."""

from __future__ import annotations

import json
from collections.abc import Mapping

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


def status_message(
    name: str, level: bytes, summary: str, values: Mapping[str, object], stamp: Time
) -> DiagnosticArray:
    """One status; `values` are written as JSON, one per key."""
    pairs = [KeyValue(key=key, value=json.dumps(value)) for key, value in values.items()]
    status = DiagnosticStatus(
        level=level, name=name, message=summary, hardware_id="gato", values=pairs
    )
    message = DiagnosticArray(status=[status])
    message.header.stamp = stamp
    return message


def values_of(message: DiagnosticArray, name: str) -> dict | None:
    """{"level", "message", **values} of the status with this name; None if it is not there.

    Raises ValueError for values that are not JSON.
    """
    for status in message.status:
        if status.name == name:
            try:
                values = {pair.key: json.loads(pair.value) for pair in status.values}
            except RecursionError:
                raise ValueError(f"{name}: expected JSON, got levels without end") from None
            return values | {"level": status.level[0], "message": status.message}
    return None
