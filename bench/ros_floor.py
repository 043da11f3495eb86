"""What the machine itself can do: how late a bare loop wakes up at its deadlines."""

from __future__ import annotations

import contextlib
import time

import numpy as np

from gato_ros.common import realtime
from gato_ros.common.cadence import summary
from gato_ros.common.realtime import Realtime


def lateness(rate: float, seconds: float, priority: int = 0) -> dict[str, float]:
    """Percentiles (ms) of how late time.sleep returns, at absolute deadlines `rate` times a second.

    priority: of SCHED_FIFO, where the system allows it; 0 is normal scheduling.
    """
    late = np.empty(round(seconds * rate))
    with contextlib.ExitStack() as end:
        realtime.begin(Realtime(priority), end)
        start = time.monotonic()
        for i in range(len(late)):
            deadline = start + (i + 1) / rate
            time.sleep(max(0.0, deadline - time.monotonic()))
            late[i] = time.monotonic() - deadline
    return summary(late)
