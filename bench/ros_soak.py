"""Memory, threads and open files of every process of the stack, sampled while it runs."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import yaml
from ros_robot import save_trivial_policy

from gato_ros.common import paths
from gato_ros.stack import stack
from gato_sim.domains.rgb_stacking.benchmark import NUM_STEPS

PAGE = os.sysconf("SC_PAGE_SIZE")
RATE = 20.0  # Hz, of the simulated robot
COUNTS = ("rss_mb", "num_threads", "num_files")


class Sampler(threading.Thread):
    """Looks at this process's children every `period` s; `samples[name]` are rows of COUNTS."""

    def __init__(self, period: float, log: Path | None) -> None:
        super().__init__(daemon=True)
        self.samples: dict[str, list[tuple[float, int, int]]] = {}
        self._period, self._log = period, log
        self._end = threading.Event()

    def run(self) -> None:
        started = time.monotonic()
        while not self._end.wait(self._period):
            now = {name: sample(pid) for name, pid in children_of(os.getpid()).items()}
            for name, row in now.items():
                if row is not None:
                    self.samples.setdefault(name, []).append(row)
            if self._log:
                with self._log.open("a") as file:
                    file.write(json.dumps({"s": round(time.monotonic() - started), **now}) + "\n")

    def end(self) -> None:
        self._end.set()
        self.join()


def children_of(parent: int) -> dict[str, int]:
    """{node: process id} of the node processes that `parent` started."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == parent:
                words = (stat.parent / "cmdline").read_bytes().decode().split("\0")
                if "gato_ros.nodes" in words:
                    found[words[words.index("gato_ros.nodes") + 1]] = int(stat.parent.name)
    return found


def sample(pid: int) -> tuple[float, int, int] | None:
    """Resident memory in MB, threads, open files; None when the process has gone."""
    folder = Path(f"/proc/{pid}")
    with contextlib.suppress(OSError, ValueError, IndexError):
        rss = int((folder / "statm").read_text().split()[1]) * PAGE / 1e6
        num_threads = len(list((folder / "task").iterdir()))
        return round(rss, 2), num_threads, len(list((folder / "fd").iterdir()))
    return None


def growth(rows: list[tuple[float, int, int]], quarters_before: int = 1) -> dict[str, float]:
    """What the last quarter of the samples has more than an earlier one, by medians.

    quarters_before: what is left to loading and warming up: the accounts of the newest ten minutes
    fill.
    """
    table, quarter = np.array(rows), len(rows) // 4
    begin = quarters_before * quarter
    difference = np.median(table[3 * quarter :], 0) - np.median(table[begin : begin + quarter], 0)
    return dict(zip(COUNTS, difference.tolist()))


def soak(
    *,
    seconds: float | None = None,
    num_steps: int = 0,
    period: float,
    real_time_factor: float = 1.0,
    quarters_before: int = 1,
    log: Path | None = None,
    priority: int = 0,
) -> dict:
    """{node: {"first", "last", "growth"}} after so many seconds, or control steps, of the stack.

    The policy is trivial; `period` (s) is that of the samples. quarters_before: as of `growth`.
    priority: real-time, of the policy's process, whose memory is then locked; 0 is normal.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        checkpoint = save_trivial_policy(folder / "trivial", 64, RATE)
        params = yaml.safe_load(paths.find("config/stack.yaml").read_text())
        params["/**/sim_node"]["ros__parameters"] |= {
            "physics": "stable",
            "real_time_factor": real_time_factor,
            "episode_steps": num_steps or NUM_STEPS,
        }
        params["/**/policy_node"]["ros__parameters"]["realtime"] = {
            "priority": priority,
            "lock_memory": priority > 0,  # what is swapped out would not count
        }
        file = folder / "stack.yaml"
        file.write_text(yaml.safe_dump(params))
        config = stack.StackConfig(
            checkpoint=str(checkpoint),
            params_file=str(file),
            duration=seconds,
            episodes=1 if num_steps else 0,
            out=folder / "out",
            video=False,
        )
        sampler = Sampler(period, log)
        sampler.start()
        try:
            stack.run(config, stack.Stop())
        finally:
            sampler.end()
        report = json.loads((folder / "out" / "report.json").read_text())
    nodes = {
        name: {
            "first": rows[len(rows) // 4],
            "last": rows[-3],
            "growth": growth(rows, quarters_before),
        }
        for name, rows in sampler.samples.items()  # the last ones are of processes that end
    }
    policy = report["policy"]
    ticks = {key: policy[key] for key in ("num_ticks", "num_late", "num_missed", "num_holds")}
    return {"counts": COUNTS, "nodes": nodes, "ticks": ticks}
