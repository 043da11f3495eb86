"""Runs robot, policy and status view over ROS 2, without ros2cli: `gato stack`.

Processes with the parameters of one file, the same that `ros2 launch` reads. Instead of a policy
the scripted expert or a person may act; a recorder and a viewer come along when asked. Ctrl-C, or
the end of the asked episodes, ends all of them in order and leaves a report and a video.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import rclpy
import tyro
import yaml
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from std_msgs.msg import String
from std_srvs.srv import SetBool

from gato_ros.common import paths, topics, transport
from gato_ros.common.process import spinning
from gato_ros.common.stopping import Stop, on_signals
from gato_ros.stack import children, lifecycle
from gato_sim.domains.rgb_stacking import instructions, objects

LOAD_TIMEOUT = 120.0  # s for a process to load torch, or MuJoCo and the scene, and to answer
END_TIMEOUT = 15.0  # s for a process to end, the video's completion included
SIM, POLICY, STATUS = "sim_node", "policy_node", "status_node"
RECORDER, TELEOP, VIEWER = "recorder", "teleop", "viewer"
REPORT = "report.json"
TASK = "rgb_test_triplet5"  # of the simulated robot, unless told otherwise
STOP_AFTER = 20  # steps of success with the gripper away, then a demonstration ends


@dataclass(frozen=True)
class StackConfig:
    """The policy moves the simulated robot over ROS 2; Ctrl-C ends it.

    example: gato stack --episodes 2 --task rgb_test_triplet3 --viewer
    """

    episodes: int = 0
    """Episodes to run; 0 goes on until Ctrl-C."""
    task: str | None = None
    """A task such as rgb_test_triplet3, or red, green and blue ids "r3,s0,b2"."""
    instruction: str | None = None
    """What is to be done, such as "put the green object on the blue one": the policy is told it, if
    it observes words, and the simulated robot's task is what it asks for."""
    checkpoint: str | None = None
    """Folder of the trained policy."""
    policy: Literal["checkpoint", "expert", "keyboard", "joystick"] = "checkpoint"
    """Who acts: the trained policy, the scripted expert, or a person."""
    record: Path | None = None
    """Folder for recordings of every episode, as `gato convert` reads them."""
    viewer: bool = False
    """Show cameras, joints, latency and state in the browser."""
    params_file: str = "config/stack.yaml"
    """Parameters of all nodes; the flags above take precedence."""
    duration: float | None = None
    """Seconds after which to end in any case."""
    out: Path | None = None
    """Folder for report, video and logs; by default outputs/stack/<date and time>."""
    video: bool = True
    """Record a video of the robot."""
    open_network: bool = False
    """Let DDS use every network interface instead of this machine alone."""

    def __post_init__(self) -> None:
        if self.episodes < 0:
            raise ValueError(f"episodes: expected 0 or more, got {self.episodes}")
        if self.duration is not None and not self.duration > 0:
            raise ValueError(f"duration: expected more than 0 s, got {self.duration}")
        self._asked_task()

    @property
    def folder(self) -> Path:
        return self.out or Path("outputs/stack") / time.strftime("%Y-%m-%d_%H-%M-%S")

    @property
    def actor(self) -> str | None:
        """The node that acts; None when the robot's own process does, with the expert."""
        return {"checkpoint": POLICY, "expert": None}.get(self.policy, TELEOP)

    def _asked_task(self) -> str | None:
        """The objects asked for, and what the instruction wants of them."""
        if self.instruction is None:
            return self.task
        stack = instructions.stack_of(self.instruction)
        name, _, named = (self.task or self._task_of_file()).partition(":")
        if named not in ("", stack):
            raise ValueError(f"instruction: expected words for {named}, got {self.instruction!r}")
        return objects.join_task(name, stack)

    def _task_of_file(self) -> str:
        nodes = yaml.safe_load(paths.find(self.params_file).read_text())
        return nodes.get(f"/**/{SIM}", {}).get("ros__parameters", {}).get("task", TASK)

    def overrides(self, folder: Path) -> dict[str, dict]:
        """Parameters of each node that flags set."""
        sim = {"episodes": self.episodes}
        if task := self._asked_task():
            sim["task"] = task
        told = {"instruction": self.instruction} if self.instruction else {}
        if self.video:
            sim["video"] = str(folder / "video.mp4")
        if self.record and self.policy != "checkpoint":
            sim["stop_after"] = STOP_AFTER
        by_person = self.actor == TELEOP
        return {
            SIM: sim,
            POLICY: told | ({"checkpoint": self.checkpoint} if self.checkpoint else {}),
            STATUS: {
                "report": str(folder / REPORT),
                "quiet": by_person,
                "await_policy": self.actor == POLICY,
            },
            RECORDER: {
                "folder": str(self.record),
                # a person begins and ends recordings by keys
                "mode": "service" if by_person else "episode",
            }
            | ({"task": self.instruction} if self.instruction else {}),
            TELEOP: {"device": self.policy} if by_person else {},
            VIEWER: {},
        }


class StackError(Exception):
    """A node refused or died; the message says which and why."""


class Stack:
    """The processes and the node that leads them through their states."""

    def __init__(self, config: StackConfig, folder: Path, stop: Stop) -> None:
        self.config, self.folder, self.stop = config, folder, stop
        self.processes: dict[str, subprocess.Popen] = {}
        self.report = folder / REPORT
        self._is_active = False

    def start(self) -> None:
        """Starts what takes long to load, all at the same time."""
        names = [SIM, POLICY if self.config.actor == POLICY else None]
        names += [RECORDER if self.config.record else None, VIEWER if self.config.viewer else None]
        for name in names:
            if name:
                self._start(name)

    def _start(self, name: str) -> None:
        config = self.config
        self.processes[name] = children.start(
            name,
            paths.find(config.params_file),
            config.overrides(self.folder)[name],
            None if name in (STATUS, TELEOP) else self._log(name),
            keep_stdin=name == TELEOP,
        )

    def _log(self, name: str) -> Path:
        return self.folder / "log" / f"{name}.txt"

    def bring_up(self, node: Node) -> None:
        """Loads and checks the policy, waits for the robot, starts control. Raises StackError."""
        print("[2/3] loading robot and policy", flush=True)
        by_policy = self.config.actor == POLICY
        if by_policy:
            self._transition(node, lifecycle.CONFIGURE)
        self._wait_for(lambda: node.count_publishers(topics.JOINT_STATES), f"{SIM}'s joint states")
        self._start(STATUS)
        # not when we see its subscriptions, but when it hears: a short episode could be over
        self._wait_for(self.report.exists, f"the first report of {STATUS}")
        if self.config.viewer:
            self._wait_for(lambda: "http://" in self._log(VIEWER).read_text(), VIEWER)
            print(self._log(VIEWER).read_text().strip(), flush=True)
        if self.config.actor == TELEOP:
            print("[3/3] control by hand; Ctrl-C ends it", flush=True)
            self._start(TELEOP)
            return
        self._await_recording(node)
        print("[3/3] control; Ctrl-C ends it", flush=True)
        if by_policy:
            self._transition(node, lifecycle.ACTIVATE)
            self._is_active = True
        else:
            self._let_expert_act(node)

    def _await_recording(self, node: Node) -> None:
        """Nothing moves before the recorder has passed its checks. Raises StackError."""
        if not self.config.record:
            return
        said: list[dict] = [{}]

        def hear(message: String) -> None:
            said.append(json.loads(message.data))

        listening = node.create_subscription(String, topics.RECORDER, hear, topics.LATCHED)
        try:
            self._wait_for(lambda: said[-1].get("state") == "recording", "a sound recording")
        except StackError as error:
            problems = "\n  ".join(said[-1].get("problems", []))
            raise StackError(f"{error}\n  {problems}") from error
        finally:
            node.destroy_subscription(listening)

    def _let_expert_act(self, node: Node) -> None:
        client = node.create_client(SetBool, f"{SIM}/expert")
        self._wait_for(client.service_is_ready, f"{SIM}'s expert")
        future = client.call_async(SetBool.Request(data=True))
        self._wait_for(future.done, f"{SIM}'s expert")

    def _wait_for(self, is_there: Callable[[], int], what: str) -> None:
        end = time.monotonic() + LOAD_TIMEOUT
        while not is_there() and self._goes_on():
            if time.monotonic() > end:
                raise StackError(f"expected {what} within {LOAD_TIMEOUT} s, got nothing")
            self.stop.wait(0.05)

    def _transition(self, node: Node, transition: int) -> None:
        try:
            done = lifecycle.change_state(
                node, POLICY, transition, timeout=LOAD_TIMEOUT, go_on=self._goes_on
            )
        except TimeoutError as error:
            raise StackError(f"{error}\n{children.complaint(self._log(POLICY))}") from error
        if not done and self._goes_on():
            raise StackError(f"{POLICY} refused:\n{children.complaint(self._log(POLICY))}")

    def _goes_on(self) -> bool:
        """False once asked to stop or when the robot ended well. Raises StackError for a death."""
        for name, process in self.processes.items():
            if process.poll():
                reason = children.complaint(self._log(name)) if self._log(name).exists() else ""
                raise StackError(f"{name} ended with status {process.returncode}:\n{reason}")
        return not self.stop.is_set() and self.processes[SIM].poll() is None

    def watch(self) -> None:
        """Returns when the episodes or the duration are over, or at Ctrl-C."""
        end = time.monotonic() + (self.config.duration or float("inf"))
        while self._goes_on() and time.monotonic() < end:
            self.stop.wait(0.1)

    def take_down(self, node: Node) -> None:
        """Lets the policy hold the robot, then ends everything in order."""
        if self._is_active and self.processes[POLICY].poll() is None:
            with contextlib.suppress(TimeoutError):
                lifecycle.change_state(node, POLICY, lifecycle.DEACTIVATE, timeout=END_TIMEOUT)
        for name in (TELEOP, SIM, POLICY, RECORDER, VIEWER, STATUS):
            if name in self.processes:
                children.end(self.processes[name], END_TIMEOUT)


@contextlib.contextmanager
def ros_node(name: str) -> Iterator[Node]:
    """A spinning node that leaves signals to us."""
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node(name)
    try:
        with spinning(node):
            yield node
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


def check_params_file(file: Path) -> None:
    """Raises ValueError unless it is YAML: the nodes would only say that they cannot parse it."""
    try:
        yaml.safe_load(file.read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"{file}: expected YAML, got {error}") from error


def run(config: StackConfig, stop: Stop) -> Path:
    """Runs the stack until its end; returns the folder with what it left.

    Raises StackError, or ValueError or FileNotFoundError for the parameter file.
    """
    check_params_file(paths.find(config.params_file))
    folder = config.folder
    (folder / "log").mkdir(parents=True, exist_ok=True)
    (folder / REPORT).unlink(missing_ok=True)  # of an earlier run
    print(f"[1/3] starting robot and policy; report, video and logs in {folder}", flush=True)
    environ = transport.of_stack(os.environ, open_network=config.open_network)
    os.environ |= environ | {"ROS_LOG_DIR": str(folder / "log" / "ros")}
    stack = Stack(config, folder, stop)
    with ros_node("stack") as node:
        try:
            stack.start()
            stack.bring_up(node)
            stack.watch()
        finally:
            stack.take_down(node)
    return folder


def main() -> int:
    """Entry point of `gato stack`."""
    stop = on_signals()
    try:
        config = tyro.cli(StackConfig)
        folder = run(config, stop)
    except (StackError, ValueError, FileNotFoundError) as error:
        print(f"gato stack: {error}", file=sys.stderr)
        return 1
    print_summary(folder / REPORT)
    return 0


def print_summary(file: Path) -> None:
    """Says what was left where; the last line is JSON."""
    if not file.exists():
        print("ended before control began")
        return
    report = json.loads(file.read_text())
    video = file.with_name("video.mp4")
    print(f"report: {file}" + (f"   video: {video}" if video.exists() else ""))
    policy, episodes = report["policy"], report["episodes"]
    print(
        json.dumps(
            {
                "report": str(file),
                "on_time_fraction": policy.get("on_time_fraction"),
                "rate_hz": policy.get("rate_hz"),
                "num_episodes": episodes.get("num_finished"),
                "num_success_end": episodes.get("num_success_end"),
                "num_success_ever": episodes.get("num_success_ever"),
                "num_recordings": report["recorder"].get("num_finished"),
            }
        )
    )


if __name__ == "__main__":
    sys.exit(main())
