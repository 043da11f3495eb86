"""Statistics of control ticks: on time, late, missed, and latency by stage."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping

import numpy as np

NEWEST = 12_000  # ticks kept for percentiles: 10 minutes at 20 Hz
PERCENTILES = (50, 95, 99)


class Cadence:
    """Counts ticks on time, late and missed, and keeps the newest durations of each stage.

    A tick is late when its command left later than one control timestep after it was due. A
    missed tick is one that never ran because an earlier one took its time: those are skipped,
    never queued. Durations are in seconds.
    """

    def __init__(self, control_timestep: float) -> None:
        self.control_timestep = control_timestep
        self.num_ticks = 0
        self.num_late = 0
        self.num_missed = 0
        self._times: deque[float] = deque(maxlen=NEWEST)
        self._stages: dict[str, deque[float]] = {}

    def tick(self, time: float, latency: float, stages: Mapping[str, float]) -> None:
        """Counts a command that left at `time`, `latency` after it was due, and its stages."""
        self.num_ticks += 1
        self.num_late += latency > self.control_timestep
        self._times.append(time)
        for stage, duration in {**stages, "total": latency}.items():
            self._stages.setdefault(stage, deque(maxlen=NEWEST)).append(duration)

    def miss(self, num_ticks: int) -> None:
        self.num_missed += num_ticks

    def on_time_fraction(self) -> float:
        """Ticks on time of all that were due; 1.0 before the first."""
        num_due = self.num_ticks + self.num_missed
        return (self.num_ticks - self.num_late) / num_due if num_due else 1.0

    def rate(self, window: float = 5.0) -> float:
        """Commands per second over the newest `window` seconds of ticks."""
        times = np.array(self._times)
        recent = times[times > times[-1] - window] if times.size else times
        return float((len(recent) - 1) / (recent[-1] - recent[0])) if len(recent) > 1 else 0.0

    def percentiles(self, newest: int = NEWEST) -> dict[str, dict[str, float]]:
        """{stage: {"p50": ms, "p95": ms, "p99": ms, "max": ms}} over the newest ticks."""
        return {
            stage: summary(np.array(durations)[-newest:])
            for stage, durations in self._stages.items()
        }

    def report(self, newest: int = NEWEST) -> dict:
        """Everything counted, and percentiles over the newest ticks; JSON-ready."""
        return {
            "num_ticks": self.num_ticks,
            "num_late": self.num_late,
            "num_missed": self.num_missed,
            "on_time_fraction": self.on_time_fraction(),
            "rate_hz": self.rate(),
            "latency_ms": self.percentiles(newest),
        }


def table(report: Mapping) -> str:
    """What `Cadence.report` counted, in words and one line a stage."""
    num_due = report["num_ticks"] + report["num_missed"]
    lines = [
        f"{report['rate_hz']:.2f} Hz; of {num_due} ticks {report['num_late']} late and "
        f"{report['num_missed']} missed, {100 * report['on_time_fraction']:.2f} % on time",
        f"{'ms':<12}{'p50':>9}{'p95':>9}{'p99':>9}{'worst':>9}",
    ]
    for stage, values in report["latency_ms"].items():
        numbers = "".join(f"{value:9.2f}" for value in values.values())
        lines.append(f"{stage:<12}{numbers}")
    return "\n".join(lines)


class CpuMeter:
    """How many cores this process has kept busy since the meter was made."""

    def __init__(self) -> None:
        self._cpu, self._wall = time.process_time(), time.monotonic()

    def cores(self) -> float:
        return (time.process_time() - self._cpu) / (time.monotonic() - self._wall + 1e-9)


def summary(durations: np.ndarray) -> dict[str, float]:
    """{"p50": ms, ..., "max": ms} of durations in seconds; empty without any."""
    if not len(durations):
        return {}
    values = np.percentile(durations, PERCENTILES) * 1e3
    named = {f"p{percent}": float(value) for percent, value in zip(PERCENTILES, values)}
    return named | {"max": float(np.max(durations) * 1e3)}
