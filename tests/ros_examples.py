"""Real nodes in real processes for the ROS tests, and a probe that talks to them."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import rclpy
import torch
from lifecycle_msgs.msg import Transition
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image, JointState
from std_srvs.srv import Trigger

from gato_core import checkpoint
from gato_core.embodiment import Embodiment
from gato_core.model import Gato, preset, with_text
from gato_core.spec import Spec, Text
from gato_ros.common import conversion, ingest, paths, topics, transport
from gato_ros.common.process import spinning
from gato_ros.stack import children, lifecycle
from gato_sim.arm.sawyer import JOINT_NAMES
from gato_sim.domains.rgb_stacking.tasks import robot_spec

CAMERAS = ("basket_front_left", "basket_front_right")
DOMAINS = range(1, 97)  # beyond 101 are the ports that Linux gives to anybody; 97 is `gato stack`'s
TIMEOUT = 60.0  # s; discovery alone may take seconds, and the machine may be busy
CONFIGURE, ACTIVATE = lifecycle.CONFIGURE, lifecycle.ACTIVATE
# in real time, and patient: the machine may be busy with other tests
LOOSE = {"use_sim_time": False, "max_age": 0.4, "max_stamp_age": 0.4, "status_rate": 20.0}
LOOSE |= {"hold_after": 0.4, "safety.soft_start": 0.05, "safety.max_jump": 100.0}
DEACTIVATE, CLEANUP = Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP


def in_domain(domain: int) -> list[str]:
    """Command lines of processes that were started in a ROS domain."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            environ = (folder / "environ").read_bytes().split(b"\0")
            if f"ROS_DOMAIN_ID={domain}".encode() in environ:
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return found


def own_domain() -> int:
    """A ROS domain that no other test process of this machine has while this one lives."""
    for domain in DOMAINS:
        path = f"{tempfile.gettempdir()}/gato-tests-ros-{domain}"
        with contextlib.suppress(OSError):  # another user's
            lock = os.open(path, os.O_CREAT, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
                continue
            if not in_domain(domain):  # nodes may have outlived a run that was killed
                return domain  # locked until this process ends
    raise RuntimeError(f"expected a free ROS domain among {DOMAINS}, found none")


DOMAIN = own_domain()


def save_checkpoint(folder: Path, spec: Spec | None = None) -> Path:
    """An untrained policy of the debug preset."""
    torch.manual_seed(0)
    body = Embodiment("robot", spec or robot_spec())
    has_words = any(isinstance(m, Text) for m in body.spec.observation.values())
    sizes = with_text(preset("debug")) if has_words else preset("debug")
    checkpoint.save(folder, Gato(sizes), body, {"data": "none"})
    return folder


@contextlib.contextmanager
def environment(domain: int = DOMAIN) -> Iterator[None]:
    """DDS on the loopback, in a domain of this test process."""
    wanted = transport.localhost() | {"ROS_DOMAIN_ID": str(domain), "OMP_NUM_THREADS": "1"}
    before = {key: os.environ.get(key) for key in wanted}
    os.environ |= wanted
    try:
        yield
    finally:
        for key, value in before.items():
            os.environ.pop(key) if value is None else os.environ.__setitem__(key, value)


@contextlib.contextmanager
def node_process(
    name: str, log: Path, overrides: Mapping[str, bool | int | float | str]
) -> Iterator[subprocess.Popen]:
    """A node with the parameters of config/stack.yaml, ended with the block."""
    params = paths.find("config/stack.yaml")
    process = children.start(name, params, overrides, log)
    try:
        yield process
    finally:
        status = children.end(process, TIMEOUT)
    assert status == 0, log.read_text()


@contextlib.contextmanager
def odd_policy_process(
    checkpoint: Path,
    log: Path,
    name: str = "policy_node",
    *,
    use_sim_time: bool = False,
    status: int = 0,
    **overrides: bool | int | float | str,
) -> Iterator[subprocess.Popen]:
    """A policy node whose policy does what the topic `mode` says; see ros_odd_policy.py.

    status: with which the process ends. overrides: parameters, with __ for a point.
    """
    program = Path(__file__).parents[1] / "bench/ros_odd_policy.py"
    command = [sys.executable, str(program), "--ros-args"]
    command += ["--params-file", str(paths.find("config/stack.yaml"))]
    command += ["-r", f"__node:={name}"]
    given = LOOSE | {"checkpoint": str(checkpoint), "use_sim_time": use_sim_time}
    given |= {"safety.max_frozen": 0.5}
    given |= {key.replace("__", "."): value for key, value in overrides.items()}
    for key, value in given.items():
        command += ["-p", f"{key}:={json.dumps(value)}"]
    process = children.begin(command, log)
    try:
        yield process
    finally:
        ended = children.end(process, TIMEOUT)
    assert ended == status, log.read_text()


@contextlib.contextmanager
def stand_in(log: Path) -> Iterator[subprocess.Popen]:
    """A robot without a watchdog, in a process of its own; see bench/ros_stand_in.py."""
    command = [sys.executable, str(Path(__file__).parents[1] / "bench/ros_stand_in.py")]
    process = children.begin(command, log)
    try:
        yield process
    finally:
        ended = children.end(process, TIMEOUT)
    assert ended == 0, log.read_text()


class Probe:
    """A node that keeps what it hears and plays the robot."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.heard: dict[str, list] = {}
        self._changed = threading.Condition()
        self._publishers: dict[str, object] = {}
        self._clients: dict[str, object] = {}
        self.time = 1.0
        self._stamps = threading.Event()

    def listen(self, message_type: type, topic: str, qos=10) -> list:
        """A list that grows with each message of the topic."""
        heard = self.heard.setdefault(topic, [])

        def keep(message) -> None:
            with self._changed:
                heard.append(message)
                self._changed.notify_all()

        self.node.create_subscription(message_type, topic, keep, qos)
        return heard

    def wait(self, predicate: Callable[[], bool], what: str, timeout: float = TIMEOUT) -> None:
        with self._changed:
            assert self._changed.wait_for(predicate, timeout), f"waited in vain for {what}"

    def publish(self, message, topic: str) -> None:
        if topic not in self._publishers:
            self._publishers[topic] = self.node.create_publisher(
                type(message), topic, topics.SENSOR
            )
        self._publishers[topic].publish(message)

    def unpublish(self, topic: str) -> None:
        """Leaves the topic to other nodes until something is published on it again."""
        self.node.destroy_publisher(self._publishers.pop(topic))

    def call(self, service: str, patience: float = TIMEOUT) -> Trigger.Response:
        """The answer of a service without arguments; asked again after `patience` s.

        A request to a process that was killed is lost: DDS believes for 20 s that it lives.
        """
        if service not in self._clients:
            self._clients[service] = self.node.create_client(Trigger, service)
        client = self._clients[service]
        assert client.wait_for_service(timeout_sec=TIMEOUT), f"waited in vain for {service}"
        for _ in range(round(TIMEOUT / patience)):
            future = client.call_async(Trigger.Request())
            if eventually(future.done, patience):
                return future.result()
        raise AssertionError(f"{service} did not answer")

    def transition(
        self, transition: int, name: str = "policy_node", patience: float = TIMEOUT
    ) -> bool:
        """Whether the node made it; asked again after `patience` s, as `call` does."""
        end = time.monotonic() + TIMEOUT
        while True:
            try:
                return lifecycle.change_state(self.node, name, transition, timeout=patience)
            except TimeoutError:
                if time.monotonic() > end:
                    raise


@contextlib.contextmanager
def probe(name: str = "probe") -> Iterator[Probe]:
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node(name)
    try:
        with spinning(node):
            yield Probe(node)
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


class FakeSensors:
    """Cameras and joints at 20 Hz until the block ends; `faults` changes what they say.

    No two messages have the same content, as on a robot that moves before noisy cameras.
    faults: functions from a message to the message to publish, None for silence, by topic.
    """

    def __init__(self, robot: Probe) -> None:
        self.faults: dict[str, Callable] = {}
        self._robot = robot
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> FakeSensors:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        rng = np.random.default_rng(0)
        while not self._end.wait(0.05):
            stamp = self._robot.node.get_clock().now().to_msg()
            for camera in CAMERAS:
                image = conversion.image_message(64, 64, camera)
                pixels = rng.integers(0, 8, (64, 64, 3), np.uint8)
                conversion.fill_image(image, pixels, stamp)
                self._publish(image, topics.image(camera))
            angles = ANGLES + rng.uniform(-1e-4, 1e-4, 7)
            self._publish(joint_state(stamp, angles), topics.JOINT_STATES)

    def _publish(self, message: Image | JointState, topic: str) -> None:
        message = self.faults.get(topic, lambda same: same)(message)
        if message is not None:
            self._robot.publish(message, topic)


ANGLES = np.array([0.0, -0.52, -0.53, 1.22, 0.41, 1.08, 0.0])


def joint_state(stamp=None, angles: np.ndarray = ANGLES, finger: float = 0.2) -> JointState:
    """A Sawyer's joints and its gripper's, in the usual order."""
    message = JointState(
        name=[*JOINT_NAMES, ingest.GRIPPER_JOINT], position=[*angles.tolist(), finger]
    )
    if stamp is not None:
        message.header.stamp = stamp
    return message


def falls_silent(messages: list, seconds: float = 0.5) -> bool:
    """Whether a list stops growing: holds are repeated until the robot is seen to stand still."""
    end = time.monotonic() + TIMEOUT
    while time.monotonic() < end:
        seen = len(messages)
        time.sleep(seconds)
        if len(messages) == seen:
            return True
    return False


def run_stack(arguments: list[str], timeout: float = 120.0) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "gato_ros.stack.stack", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout)


def living_nodes() -> list[str]:
    """Command lines of processes that run a node in the ROS domain of these tests."""
    return [command for command in in_domain(DOMAIN) if "gato_ros." in command]


def eventually(predicate: Callable[[], bool], timeout: float = TIMEOUT) -> bool:
    """Whether the predicate becomes true in time."""
    end = time.monotonic() + timeout
    while not predicate() and time.monotonic() < end:
        time.sleep(0.05)
    return predicate()
