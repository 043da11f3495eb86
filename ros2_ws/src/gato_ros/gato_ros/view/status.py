"""The live status line, and a report at the end.

A process of its own: it can neither slow the control loop nor stop it.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from std_msgs.msg import String

from gato_core.data.storage import write_json
from gato_ros.common import diagnostics, reports, topics
from gato_ros.common.guard import Guarded
from gato_ros.common.parameters import declare
from gato_ros.common.stopping import Stop
from gato_sim.run.provenance import machine

LINE_PERIOD, LOG_PERIOD = 0.5, 5.0  # s between lines on a terminal, and in a file
BEGIN_PERIOD = 0.05  # s between looks for robot and policy
LAST_MESSAGES = 0.3  # s to wait for what the other nodes say when they end


def declare_all(node: Node) -> tuple[str, bool, bool]:
    """Declares all parameters on a node and reads them."""
    return (
        declare(node, "report", "", "JSON file to write; empty writes none"),
        declare(node, "quiet", False, "show no line: another node has the terminal"),
        declare(node, "await_policy", False, "begin the report once the policy's node is seen too"),
    )


class StatusNode(Guarded, Node):
    """Listens to `diagnostics` and `episode`."""

    def __init__(self) -> None:
        super().__init__("status_node")
        self.keep_clock()
        self._report_file, self._is_quiet, self._awaits_policy = declare_all(self)
        self._started = time.time()
        self._policy: dict = {}
        self._episode: dict = {}
        self._recorder: dict = {}
        self.create_subscription(String, topics.RECORDER, self._on_recorder, topics.LATCHED)
        self.create_subscription(DiagnosticArray, topics.DIAGNOSTICS, self._on_diagnostics, 10)
        self.create_subscription(String, topics.EPISODE, self._on_episode, topics.LATCHED)
        self._beginning = self.create_timer(BEGIN_PERIOD, self._begin)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        policy = diagnostics.values_of(message, "policy_node")
        if policy:
            reports.check(policy, lambda values: line(values, {}))
            self._policy = policy

    def _on_recorder(self, message: String) -> None:
        self._recorder = reports.read(message.data)

    def _on_episode(self, message: String) -> None:
        self._episode = reports.read(message.data, lambda values: line({}, values))

    def _begin(self) -> None:
        """The first report: says to whoever started us that what happens from now on is heard."""
        sees_policy = self.count_publishers(topics.DIAGNOSTICS) > 0
        if self._episode and (sees_policy or not self._awaits_policy):
            self._beginning.cancel()
            self._write_report()

    def run(self, stop: Stop) -> None:
        """Shows the line until `stop`, then writes the report."""
        is_terminal = sys.stdout.isatty()
        while not stop.wait(LINE_PERIOD if is_terminal else LOG_PERIOD):
            if self._is_quiet:
                continue
            text = line(self._policy, self._episode)
            print(
                f"\r\033[K{text}" if is_terminal else text,
                end="" if is_terminal else "\n",
                flush=True,
            )
        self._beginning.cancel()  # two threads do not write one file
        time.sleep(LAST_MESSAGES)
        if is_terminal and not self._is_quiet:
            print()
        self._write_report()

    def _write_report(self) -> None:
        if self._report_file:
            write_json(Path(self._report_file), self.report())

    def report(self) -> dict:
        """Control rate, latency per stage and episodes, JSON-ready."""
        return {
            "policy": self._policy,
            "recorder": self._recorder,
            "episodes": self._episode,
            "wall_seconds": time.time() - self._started,
            "machine": machine(),
        }


def line(policy: dict, episode: dict) -> str:
    """One line of at most about 100 characters for a terminal."""
    parts = []
    if policy.get("state") == "inactive":
        parts = ["policy inactive"]
    elif policy:
        latency = policy["latency_ms"].get("total", {"p50": 0.0, "p99": 0.0})
        num_missed = policy["num_missed"] + policy["num_late"]
        parts = [
            f"{policy['rate_hz']:4.1f} Hz",
            f"latency p50 {latency['p50']:.1f} p99 {latency['p99']:.1f} ms",
            f"missed {num_missed} of {policy['num_ticks'] + policy['num_missed']}",
        ]
        if policy["level"]:
            parts.append(policy["message"][:60])
    if episode:
        of = f"/{episode['num_episodes']}" if episode["num_episodes"] else ""
        parts.append(
            f"episode {episode['episode']}{of} step {episode['step']}/{episode['num_steps']}"
        )
        parts.append(f"success {episode['num_success_end']}/{episode['num_finished']}")
    return " | ".join(parts) or "waiting for the robot and the policy"
