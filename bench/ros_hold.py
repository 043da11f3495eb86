"""From a cause to the hold on the wire, fault by fault; the last line is JSON.

    python bench/ros_hold.py                     30 times each
    python bench/ros_hold.py --times 100
    python bench/ros_hold.py --soak 3600         faults at random for an hour: how many holds were
                                                 late, and whether the node grew

The policy node is a process of its own with the smallest policy; sensors, operator and the end of
the wire are this process, so that all times are of one clock. A cause is the moment from which the
robot should be held: a state that does not come when it was due, an age that passes its limit, a
message, a call or a signal sent.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from rclpy.node import Node
from ros_robot import CAMERAS, Robot, save_trivial_policy
from ros_soak import growth, sample
from rosgraph_msgs.msg import Clock
from std_msgs.msg import Bool, Float64MultiArray, String
from std_srvs.srv import Trigger

from gato_ros.common import conversion, paths, topics, transport
from gato_ros.common.cadence import summary
from gato_ros.stack import children, lifecycle, stack
from gato_sim.run.provenance import commit, machine

RATE, HOLD_AFTER, MARGIN = 20.0, 0.1, 0.010  # Hz, s, s
MAX_AGE, MAX_SILENCE = 0.15, 0.5  # s, parameters of the node
TIMEOUT, SETTLE = 60.0, 0.4  # s
POLICY = Path(__file__).with_name("ros_odd_policy.py")


@dataclass(frozen=True)
class Options:
    """How often each fault is tried."""

    times: int = 30
    soak: float = 0.0
    """Seconds of faults at random that leave the process alive, instead."""


class Stage(Robot):
    """The sensors, which may be told to be silent, and the end of the wire."""

    def __init__(self, node: Node, *, simulated: bool) -> None:
        super().__init__(node, RATE, 64)
        self._clock = node.create_publisher(Clock, topics.CLOCK, 10) if simulated else None
        self.silent: set[str] = set()
        self.due = 0.0  # monotonic s of the newest set of states, sent or not
        self.holds: list[float] = []  # monotonic s
        self.moved = 0.0
        self._joint_publisher = self._joints
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._loop, daemon=True)
        self._thread.start()

    @property
    def is_moving(self) -> bool:
        """Whether the newest command is one that moves."""
        return self.moved > max(self.holds[-1:], default=0.0)

    def _on_command(self, message: Float64MultiArray) -> None:
        now = time.monotonic()
        if any(message.data):
            self.moved = now
        else:
            self.holds.append(now)

    def _loop(self) -> None:
        deadline = time.monotonic()
        while not self._end.is_set():
            deadline += 1 / RATE
            time.sleep(max(0.0, deadline - time.monotonic()))
            self.due = time.monotonic()
            stamp = conversion.time_message(time.time_ns())
            for camera, (publisher, message) in zip(CAMERAS, self._images, strict=True):
                message.header.stamp = stamp
                if camera not in self.silent:
                    publisher.publish(message)
            if "joint_states" not in self.silent:
                self._joints.publish(self.joints(stamp))
            if self._clock and "clock" not in self.silent:
                self._clock.publish(Clock(clock=stamp))

    def end(self) -> None:
        self._end.set()
        self._thread.join()


class Bench:
    """One policy node beside a stage."""

    def __init__(self, node: Node, folder: Path, **parameters) -> None:
        self.node, self.folder = node, folder
        self.simulated = parameters.get("use_sim_time", False)
        self.stage = Stage(node, simulated=self.simulated)
        self.mode = node.create_publisher(String, "mode", 10)
        self.stop = node.create_publisher(Bool, topics.STOP, 10)
        self.clients = {
            name: node.create_client(Trigger, f"policy_node/{name}") for name in ("stop", "rearm")
        }
        self.parameters = {
            "checkpoint": str(folder / "trivial"),
            "use_sim_time": False,
            "hold_after": HOLD_AFTER,
            "max_age": MAX_AGE,
            "max_silence": MAX_SILENCE,
            "safety.soft_start": 0.1,
            "safety.max_jump": 100.0,
        } | parameters
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        """The node, active and moving; one that died is replaced."""
        if self.process is not None and self.process.poll() is None:
            return
        self._wait(lambda: self.node.count_publishers(topics.ARM_VELOCITY) == 0)
        command = [sys.executable, str(POLICY), "--ros-args"]
        command += ["--params-file", str(paths.find("config/stack.yaml"))]
        for key, value in self.parameters.items():
            command += ["-p", f"{key}:={json.dumps(value)}"]
        with (self.folder / "log.txt").open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        for transition in (lifecycle.CONFIGURE, lifecycle.ACTIVATE):
            self.change(transition)

    def change(self, transition: int) -> None:
        """A request may be lost to a process that DDS believes to live: it is asked again."""
        for _ in range(4):
            with contextlib.suppress(TimeoutError):
                if lifecycle.change_state(self.node, "policy_node", transition, timeout=15.0):
                    return
                break
        raise RuntimeError((self.folder / "log.txt").read_text())

    def call(self, name: str) -> None:
        future = self.clients[name].call_async(Trigger.Request())
        self._wait(future.done)

    def _wait(self, is_so: Callable[[], bool]) -> None:
        end = time.monotonic() + TIMEOUT
        while not is_so():
            if time.monotonic() > end:
                raise TimeoutError((self.folder / "log.txt").read_text())
            time.sleep(0.002)

    def measure(self, cause: Callable[[Bench], float], mend: Callable[[Bench], None]) -> float:
        """s from the cause, whose moment it returns, to the hold; then all is well again."""
        stage = self.stage
        self.start()
        begun = 0.0
        while time.monotonic() - begun < SETTLE or not stage.is_moving:  # all that time
            if not stage.is_moving:
                begun = time.monotonic()
            time.sleep(0.003)
        time.sleep(np.random.default_rng().uniform(0, 1 / RATE))
        num = len(stage.holds)
        moment = cause(self)
        self._wait(lambda: len(stage.holds) > num)
        held = stage.holds[num]
        stage.silent.clear()
        mend(self)
        return held - moment

    def end(self) -> None:
        if self.process is not None:
            children.end(self.process, TIMEOUT)
        self.stage.end()


def cut(stream: str, limit: float = 0.0) -> Callable[[Bench], float]:
    """A stream falls silent; the cause is the first set that lacks it, or its age's limit."""

    def cause(bench: Bench) -> float:
        before = bench.stage.due
        bench.stage.silent.add(stream)
        bench._wait(lambda: bench.stage.due > before)
        return bench.stage.due - 1 / RATE + limit if limit else bench.stage.due

    return cause


def say(mode: str) -> Callable[[Bench], float]:
    """The policy misbehaves with the next state that it answers."""

    def cause(bench: Bench) -> float:
        bench.mode.publish(String(data=mode))
        before = bench.stage.due
        bench._wait(lambda: bench.stage.due > before)
        return bench.stage.due

    return cause


def now(act: Callable[[Bench], object]) -> Callable[[Bench], float]:
    def cause(bench: Bench) -> float:
        moment = time.monotonic()
        act(bench)
        return moment

    return cause


def lie(bench: Bench) -> None:
    """A joint state filled with zeros."""
    message = bench.stage.joints(conversion.time_message(time.time_ns()))
    message.position = [0.0] * len(message.name)
    bench.stage._joints.publish(message)


def resume(bench: Bench) -> float:
    """Suspended for longer than a command counts; the cause is that it goes on."""
    os.kill(bench.process.pid, signal.SIGSTOP)
    time.sleep(3 * HOLD_AFTER)
    moment = time.monotonic()
    os.kill(bench.process.pid, signal.SIGCONT)
    return moment


def nothing(_: Bench) -> None:
    pass


def steady(bench: Bench) -> None:
    bench.mode.publish(String(data="steady"))


def rearm(bench: Bench) -> None:
    steady(bench)
    bench.call("rearm")


def reactivate(bench: Bench) -> None:
    bench.change(lifecycle.ACTIVATE)


def await_end(bench: Bench) -> None:
    bench.process.wait(TIMEOUT)


FAULTS = [
    ("joint states stay away", "state", cut("joint_states"), nothing, HOLD_AFTER),
    ("images stay away", "state", cut(CAMERAS[0]), nothing, HOLD_AFTER),
    ("images stay away, `trigger: clock`: past `max_age`", "clock", cut(CAMERAS[0], MAX_AGE),
     nothing, HOLD_AFTER),
    ("a joint state filled with zeros", "state", now(lie), nothing, HOLD_AFTER),
    ("the policy hangs", "state", say("hang 1"), steady, HOLD_AFTER),
    ("the policy answers NaN", "state", say("nan"), steady, HOLD_AFTER),
    ("the policy raises", "state", say("raise"), rearm, HOLD_AFTER),
    ("`stop`, the topic", "state", now(lambda b: b.stop.publish(Bool(data=True))), rearm,
     HOLD_AFTER),
    ("`stop`, the service", "state", now(lambda b: b.call("stop")), rearm, HOLD_AFTER),
    ("`stop` while the policy hangs", "state",
     now(lambda b: (b.mode.publish(String(data="hang 1")), b.stop.publish(Bool(data=True)))), rearm,
     HOLD_AFTER),
    ("deactivated", "state", now(lambda b: b.change(lifecycle.DEACTIVATE)), reactivate, HOLD_AFTER),
    ("suspended, and goes on", "state", resume, nothing, HOLD_AFTER),
    ("an exception in a callback", "state",
     now(lambda b: b.mode.publish(String(data="crash"))), await_end, HOLD_AFTER),
    ("SIGTERM", "state", now(lambda b: b.process.send_signal(signal.SIGTERM)), await_end,
     HOLD_AFTER),
    ("a simulated clock stands still (`max_silence`)", "simulated", cut("clock"), nothing,
     MAX_SILENCE),
]  # fmt: skip


def measure(times: int) -> list[dict]:
    """A row a fault: what, how often, the bound and percentiles in ms."""
    rows = []
    for kind in ("state", "clock", "simulated"):
        parameters = {"use_sim_time": True} if kind == "simulated" else {"trigger": kind}
        with alone() as (folder, node):
            bench = Bench(node, folder, **parameters)
            try:
                for what, wanted, cause, mend, bound in FAULTS:
                    if wanted != kind:
                        continue
                    # a process that ends takes ten seconds to replace
                    count = min(times, 5) if mend is await_end else times
                    seconds = [bench.measure(cause, mend) for _ in range(count)]
                    figures = summary(np.array(seconds))
                    most = 1e3 * (bound + MARGIN)
                    rows.append({"fault": what, "num": count, "most_ms": most} | figures)
                    print_row(rows[-1])
            finally:
                bench.end()
    return rows


def soak(seconds: float) -> dict:
    """Faults at random: how many, which were held late, and what the node has more at the end."""
    rng = np.random.default_rng(0)
    faults = [row for row in FAULTS if row[1] == "state" and row[3] is not await_end]
    late, samples, worst, num = [], [], 0.0, 0
    with alone() as (folder, node):
        bench = Bench(node, folder)
        try:
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                what, _, cause, mend, bound = faults[rng.integers(len(faults))]
                took = bench.measure(cause, mend)
                num, worst = num + 1, max(worst, took)
                if took > bound + MARGIN:
                    late.append({"fault": what, "ms": 1e3 * took})
                samples.append(sample(bench.process.pid))
        finally:
            bench.end()
    return {"num": num, "late": late, "worst_ms": 1e3 * worst, "growth": growth(samples)}


@contextlib.contextmanager
def alone() -> Iterator[tuple[Path, Node]]:
    """A folder with a trivial policy, and a node of this process."""
    os.environ |= transport.of_stack(os.environ, open_network=False)
    with tempfile.TemporaryDirectory() as name:
        save_trivial_policy(Path(name) / "trivial", 64, RATE)
        with stack.ros_node("robot") as node:
            yield Path(name), node


def print_row(row: dict) -> None:
    verdict = "holds" if row["p99"] <= row["most_ms"] else "FAILS"
    print(
        f"{row['fault']:<52}{row['num']:>4}{row['p50']:>8.1f}{row['p99']:>8.1f}"
        f"{row['most_ms']:>8.0f}  {verdict}",
        flush=True,
    )


def main() -> None:
    options = tyro.cli(Options)
    if options.soak:
        print(json.dumps({"soak": soak(options.soak), "machine": machine(), "commit": commit()}))
        return
    print(f"{'ms from cause to hold':<52}{'n':>4}{'p50':>8}{'p99':>8}{'most':>8}")
    rows = measure(options.times)
    print(f"load average {os.getloadavg()[0]:.1f}")
    print(json.dumps({"rows": rows, "machine": machine(), "commit": commit()}))


if __name__ == "__main__":
    main()
