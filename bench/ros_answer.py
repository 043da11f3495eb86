"""From a state's stamp to its command, with the policy node as a process beside the robot's."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from ros_robot import Robot, save_trivial_policy

from gato_ros.common import paths, realtime, topics, transport
from gato_ros.common.cadence import summary
from gato_ros.common.realtime import Realtime
from gato_ros.stack import children, lifecycle, stack

TIMEOUT = 60.0  # s
WARM_UP = 2.0  # s of states that do not count


def answer(
    checkpoint: str | None,
    rate: float,
    seconds: float,
    image_size: int = 64,
    priority: int = 0,
    release_after: float = 0.0,
) -> dict:
    """Figures of `seconds` at `rate` Hz; without a checkpoint, of the smallest policy there is.

    priority: real-time, of the node and of the robot's process; 0 is normal scheduling.
    release_after: the node's parameter, s.
    """
    overrides = {
        "control_rate": rate,
        "image_size": image_size,
        "use_sim_time": False,
        "safety.soft_start": 0.5,
        "safety.max_jump": 1.0,
        "realtime.priority": priority,
        "release_after": release_after,
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if checkpoint is None:
            checkpoint = str(save_trivial_policy(folder / "trivial", image_size, rate))
        os.environ |= transport.of_stack(os.environ, open_network=False)
        with stack.ros_node("robot") as node:
            robot = Robot(node, rate, image_size)
            process = _start_policy(folder, overrides | {"checkpoint": checkpoint})
            try:
                for transition in (lifecycle.CONFIGURE, lifecycle.ACTIVATE):
                    if not lifecycle.change_state(node, "policy_node", transition, timeout=TIMEOUT):
                        raise RuntimeError((folder / "log.txt").read_text())
                _wait_for_policy(node)
                gc.collect()
                gc.freeze()  # a collection of all modules would pause the robot for 40 ms
                with contextlib.ExitStack() as end:
                    _, refused = realtime.begin(Realtime(priority), end)
                    robot.run(round(WARM_UP * rate))
                    num_before = len(robot.published)
                    num_late = robot.run(round(seconds * rate))
            finally:
                children.end(process, TIMEOUT)
        answers = json.loads((folder / "answers.json").read_text())
    states = list(robot.published)[num_before:]
    figures = _figures(robot, states, answers, rate)
    return figures | {
        "robot_num_late": num_late,
        "priority": 0 if refused else priority,
        "release_after_ms": 1e3 * release_after,
    }


def _start_policy(folder: Path, overrides: dict) -> subprocess.Popen:
    command = [sys.executable, str(Path(__file__).with_name("ros_policy.py"))]
    command += [str(folder / "answers.json"), "--ros-args"]
    command += ["--params-file", str(paths.find("config/stack.yaml"))]
    for key, value in overrides.items():
        command += ["-p", f"{key}:={json.dumps(value)}"]
    with (folder / "log.txt").open("wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=log)


def _wait_for_policy(node) -> None:
    end = time.monotonic() + TIMEOUT
    wanted = [topics.JOINT_STATES, *map(topics.image, ("basket_front_left", "basket_front_right"))]
    while not (
        all(node.count_subscribers(topic) for topic in wanted)
        and node.count_publishers(topics.ARM_VELOCITY)
    ):
        if time.monotonic() > end:
            raise TimeoutError(f"expected the policy's subscriptions within {TIMEOUT} s")
        time.sleep(0.05)


def _figures(robot: Robot, states: list[int], answers: list[list], rate: float) -> dict:
    """Percentiles in ms over the states that were answered, and how many were not."""
    arrivals, wanted = np.array(robot.arrivals), set(states)
    rows = [row for row in answers if row[0] in wanted]
    stamps, policy, computed = (np.array(column) for column in zip(*rows))
    index = np.searchsorted(arrivals, computed)  # the first command to arrive after it was made
    arrived = index < len(arrivals)
    published = np.array([robot.published[stamp] for stamp in stamps.tolist()])
    total = arrivals[index[arrived]] - published[arrived]
    intervals = np.diff(arrivals[np.unique(index[arrived])])  # not to the hold at the end
    return {
        "rate_hz": rate,
        "num_states": len(states),
        "num_unanswered": len(states) - len(set(stamps[arrived].tolist())),
        "stamp_to_command_ms": summary(total),
        "policy_ms": summary(policy),
        "overhead_ms": summary(total - policy[arrived]),
        "jitter_ms": summary(np.abs(intervals - 1 / rate)),
    }
