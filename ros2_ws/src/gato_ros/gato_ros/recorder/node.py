"""Records demonstrations from topics into rosbag2 folders, one folder an episode.

Callbacks put serialized messages into a queue; the main thread writes them and carries out what
the services ask, in the order of arrival, so a recording holds exactly what came between `start`
and `stop`. What is recorded is checked before, not afterwards.
"""

from __future__ import annotations

import concurrent.futures
import json
import queue
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, JointState
from std_msgs.msg import Float64MultiArray, String
from std_srvs.srv import SetBool, Trigger
from trajectory_msgs.msg import JointTrajectory

from gato_ros.bags.writer import BagWriter, Topic, repair, unfinished
from gato_ros.common import ingest, reports, topics
from gato_ros.common.guard import Guarded
from gato_ros.common.joint_parts import MAX_PARTS, JointParts
from gato_ros.common.stopping import Stop
from gato_ros.recorder import arrivals, parameters
from gato_sim.arm.controller import Controller

VERSION = "1"  # of what docs/recording.md lays down
DEPTH = 200  # messages a topic may be ahead of the callbacks: 10 s at 20 Hz
MAX_QUEUED = 10_000
STATUS_PERIOD = 0.5  # s
SERVICE_TIMEOUT = 30.0  # s
STAMPED = (JointState, Image, CompressedImage, CameraInfo, JointTrajectory)
IMAGES = (Image, CompressedImage)


class RecorderNode(Guarded, Node):
    """Topics, services and parameters are tabulated in docs/recording.md."""

    def __init__(self) -> None:
        super().__init__("recorder")
        self.parameters = parameters.declare_all(self)
        self.keep_clock()
        self.spec = self.parameters.robot_spec()
        ingest.check_streams(self.spec)
        self._controller = Controller()
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._bag: BagWriter | None = None
        self._num_lost = self._num_finished = 0
        self._success: bool | None = None
        self._reports: dict[str, dict] = {}  # by objects, of the episodes in this recording
        self._wanted = False  # an episode began that is not yet recorded
        self._problems: list[str] = []
        self._status_at = 0.0
        self._types: dict[str, type] = {}
        self.roles: dict[str, str] = {}
        self.arrivals: dict[str, arrivals.Arrivals] = {}
        self._create_inputs()
        self._status = self.create_publisher(String, "~/status", topics.LATCHED)
        for name, action in (
            ("start", self._start),
            ("stop", self._stop),
            ("discard", self._discard),
        ):
            self.create_service(Trigger, f"~/{name}", partial(self._on_trigger, action))
        self.create_service(SetBool, "~/success", self._on_success)

    def _create_inputs(self) -> None:
        image_type, suffix = {
            "raw": (Image, ""),
            "compressed": (CompressedImage, "/compressed"),
        }[self.parameters.image_type]
        plain, latched = QoSProfile(depth=DEPTH), topics.LATCHED
        self._record("joint_states", JointState, topics.JOINT_STATES, plain)
        for camera in self.parameters.cameras:
            self._record(camera, image_type, topics.image(camera) + suffix, plain)
            self._record(f"{camera}_info", CameraInfo, topics.camera_info(camera), plain)
        self._record("action", JointState, topics.ACTION, plain)
        self._record("arm", Float64MultiArray, topics.ARM_VELOCITY, plain)
        self._record("trajectory", JointTrajectory, topics.ARM_TRAJECTORY, plain)
        self._record("gripper", Float64MultiArray, topics.GRIPPER_VELOCITY, plain)
        self._record("episode", String, topics.EPISODE, latched)
        self._record("episode_start", Time, topics.EPISODE_START, latched)
        self._record("diagnostics", DiagnosticArray, topics.DIAGNOSTICS, plain)

    def _record(self, role: str, message_type: type, topic: str, qos: QoSProfile) -> None:
        events = SubscriptionEventCallbacks(message_lost=self._on_lost)
        name = self.resolve_topic_name(topic)
        self.roles[role], self._types[name] = name, message_type
        self.arrivals[name] = arrivals.Arrivals(MAX_PARTS if role == "joint_states" else 1)
        self.create_subscription(
            message_type, topic, partial(self._on_message, name), qos, raw=True,
            event_callbacks=events,
        )  # fmt: skip

    # Callbacks, in the background thread.

    def _on_message(self, topic: str, data: bytes) -> None:
        arrival = time.time_ns()
        if self._inbox.qsize() > MAX_QUEUED:  # the disk stalls; memory must not fill
            self._num_lost += 1
            return
        self._refuse_unreadable(topic, data)
        self._inbox.put(partial(self._take, topic, data, arrival, time.monotonic()))

    def _refuse_unreadable(self, topic: str, data: bytes) -> None:
        """Raises ValueError for bytes that no reader of the recording could read either.

        Images are not deserialized for that: they are large, and their headers say enough.
        """
        message_type = self._types[topic]
        if issubclass(message_type, STAMPED):
            arrivals.header_stamp(data)
        if not issubclass(message_type, IMAGES):
            deserialized(data, message_type)

    def _on_lost(self, event) -> None:
        self._num_lost += event.total_count_change

    def _on_trigger(
        self, action: Callable[[], str], _: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        response.success, response.message = self._in_order(action)
        return response

    def _on_success(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        response.success, response.message = self._in_order(partial(self._label, request.data))
        return response

    def _in_order(self, action: Callable[[], str]) -> tuple[bool, str]:
        """Has the main thread act after what arrived before; whether it could, and its words."""
        done: concurrent.futures.Future[str] = concurrent.futures.Future()

        def act() -> None:
            try:
                done.set_result(action())
            except (ValueError, OSError) as error:
                done.set_exception(error)

        self._inbox.put(act)
        try:
            return True, done.result(SERVICE_TIMEOUT)
        except (ValueError, OSError, TimeoutError) as error:
            return False, str(error) or "expected an answer in time, got none"

    # In the main thread.

    def run(self, stop: Stop) -> None:
        """Writes until `stop`; a recording under way is completed."""
        self.parameters.folder.mkdir(parents=True, exist_ok=True)
        self._repair()
        while not stop.is_set():
            self._work(0.05)
            if self._wanted:
                self._begin_episode()
            self._report()
        while not self._inbox.empty():
            self._work(0.0)
        if self._bag:
            self._stop()
        self._report(final=True)

    def _work(self, timeout: float) -> None:
        try:
            self._inbox.get(timeout=timeout)()
        except queue.Empty:
            pass

    def _repair(self) -> None:
        for folder in unfinished(self.parameters.folder):
            try:
                self.get_logger().warning(f"{folder}: completed with {repair(folder)} messages")
            except ValueError as error:
                self.get_logger().warning(f"cannot be completed: {error}")

    def _take(self, topic: str, data: bytes, arrival: int, now: float) -> None:
        """Counts a message, writes it when recording, and follows episodes when told to."""
        stamped = issubclass(self._types[topic], STAMPED)
        self.arrivals[topic].add(data, now, arrivals.header_stamp(data) if stamped else now)
        if topic == self.roles["episode_start"] and self.parameters.mode == "episode":
            if self._bag:
                self._stop()
            self._wanted = True
            self._begin_episode()
        if self._bag:
            self._bag.write(topic, data, arrival, arrival)
            if topic == self.roles["episode"]:
                self._note_report(self._newest("episode").data)

    def _note_report(self, words: str) -> None:
        """Keeps the simulated robot's account; another robot may use the topic as it likes."""
        try:
            report = reports.read(words)
        except ValueError:
            return
        if isinstance(report.get("task", ""), str):
            self._reports[str(report.get("objects", ""))] = report

    def _begin_episode(self) -> None:
        """Starts as soon as the robot delivers; from the second episode on without asking again."""
        try:
            self._start(check=self._num_finished == 0)
        except (ValueError, OSError) as error:
            self._problems = str(error).splitlines()[1:]
        else:
            self._wanted = False

    def problems(self) -> list[str]:
        """Why a recording would not be sound, one line each; none: it may begin."""
        roles, rate = self.roles, self.parameters.control_rate
        rates = {roles[role]: rate for role in ("joint_states", *self.parameters.cameras)}
        lines = arrivals.problems(self.arrivals, rates, time.monotonic())
        if not lines:
            lines = self._misfits()
        # in episode mode whoever acts may come when everything else is ready
        by_service = self.parameters.mode == "service"
        if by_service and not any(
            self.count_publishers(roles[role]) for role in ("action", "arm", "trajectory")
        ):
            lines.append(f"{roles['action']}: expected someone who acts, got no publisher")
        for role in (*self.parameters.cameras, "action"):
            if (count := self.count_publishers(roles[role])) > 1:
                lines.append(f"{roles[role]}: expected one publisher, got {count}")
        return lines + self._disk_problems()

    def _misfits(self) -> list[str]:
        """How the newest messages depart from the Spec: what reads them live reads bags too."""
        streams = ("joint_states", *self.parameters.cameras)
        try:
            messages = {role: self._newest(role) for role in streams}
            messages["joint_states"] = self._newest_joints()
            ingest.observation(messages, self.spec, self._controller, self.parameters.gripper)
        except (ValueError, KeyError) as error:
            return [str(error)]
        return []

    def _newest_joints(self) -> JointState:
        """Of all parts of the robot that publish theirs apart."""
        needed = ingest.needed_joints(self.spec, self.parameters.gripper)
        parts = JointParts({one for names in needed.values() for one in names}, arrivals.SILENCE)
        for data in self.arrivals[self.roles["joint_states"]].recent:
            joints = parts.merged(deserialized(data, JointState))
        return joints

    def _disk_problems(self) -> list[str]:
        free, needed = self._free_gb(), self.parameters.min_free_gb
        return [] if free >= needed else [f"disk: expected {needed} GB free, got {free:.2f} GB"]

    def _free_gb(self) -> float:
        return shutil.disk_usage(self.parameters.folder).free / 1e9

    def _newest(self, role: str):
        topic = self.roles[role]
        data = self.arrivals[topic].newest
        return deserialized(data, self._types[topic]) if data else None

    def _start(self, *, check: bool = True) -> str:
        """Begins a recording. Raises ValueError with the list of what is not as it should be."""
        if self._bag:
            raise ValueError(f"already recording {self._bag.folder}")
        problems = self.problems() if check else self._disk_problems()
        if problems:
            raise ValueError("not recording:\n" + "\n".join(problems))
        self._bag = BagWriter(self._free_name(), self._bag_topics(), self._info())
        self._problems, self._success, self._num_lost, self._reports = [], None, 0, {}
        self._write_latched()
        self._report(final=True)
        return str(self._bag.folder)

    def _free_name(self) -> Path:
        base = self.parameters.folder / time.strftime("%Y-%m-%d_%H-%M-%S")
        names = (base.with_name(f"{base.name}_{i}" if i else base.name) for i in range(10_000))
        return next(name for name in names if not name.exists())

    def _bag_topics(self) -> list[Topic]:
        latched = {self.roles["episode"], self.roles["episode_start"]}
        return [Topic(name, _ros_name(t), name in latched) for name, t in self._types.items()]

    def _info(self) -> dict[str, str]:
        gripper = self.parameters.gripper
        return {
            "version": VERSION,
            "spec": json.dumps(self.spec.to_dict()),
            "topics": json.dumps(self.roles),
            "gripper_joint": gripper.joint,
            "gripper_range": json.dumps([gripper.open, gripper.closed]),
            "task": str(self.get_parameter("task").value),
            "source": "unknown",
            "success": "unknown",
        }

    def _write_latched(self) -> None:
        """What was said before this recording and still holds."""
        now = time.time_ns()
        if data := self.arrivals[self.roles["episode_start"]].newest:
            self._bag.write(self.roles["episode_start"], data, now, now)

    def _stop(self) -> str:
        """Completes the recording. Raises ValueError when there is none."""
        bag = self._take_bag()
        action = self._newest("action") if bag.num_messages[self.roles["action"]] else None
        success = self._success if self._success is not None else self._reported_success()
        bag.close(
            self._shown()
            | {
                "task": str(self.get_parameter("task").value),
                "source": action.header.frame_id if action else "unknown",
                "success": "unknown" if success is None else str(success).lower(),
                "num_lost": str(self._num_lost),
            }
        )
        self._num_finished += 1
        total = sum(bag.num_messages.values())
        self.get_logger().info(f"{bag.folder}: {total} messages of {bag.seconds:.1f} s")
        return f"{bag.folder}: {total} messages of {bag.seconds:.1f} s, {self._num_lost} lost"

    def _reported_success(self) -> bool | None:
        """What the simulated robot said last; None for a robot that does not judge itself."""
        last = list(self._reports.values())[-1:]
        success = last[0].get("success_end") if last else None
        return success if isinstance(success, bool) else None

    def _shown(self) -> dict[str, str]:
        """Which objects the simulated robot showed, or drew them from; other robots do not say."""
        shown = {}
        if names := {report["task"] for report in self._reports.values() if "task" in report}:
            shown["triplets"] = " ".join(sorted(names))
        if len(self._reports) == 1 and (objects := next(iter(self._reports))):
            shown["objects"] = objects
        return shown

    def _discard(self) -> str:
        """Deletes the recording under way. Raises ValueError when there is none."""
        bag = self._take_bag()
        bag.abandon()
        shutil.rmtree(bag.folder)
        return f"{bag.folder}: discarded"

    def _take_bag(self) -> BagWriter:
        if self._bag is None:
            raise ValueError("not recording")
        bag, self._bag = self._bag, None
        return bag

    def _label(self, success: bool) -> str:
        """Says whether the recording under way is a success."""
        if self._bag is None:
            raise ValueError("not recording")
        self._success = success
        return "a success" if success else "a failure"

    def _report(self, *, final: bool = False) -> None:
        """Publishes the state twice a second, and ends a recording when the disk is nearly full."""
        now = time.monotonic()
        if now < self._status_at and not final:
            return
        self._status_at = now + STATUS_PERIOD
        if self._bag and (problems := self._disk_problems()):
            self._stop()
            self._problems = problems
            self.get_logger().error(f"recording ended: {problems[0]}")
        self._status.publish(String(data=json.dumps(self._state(now))))

    def _state(self, now: float) -> dict:
        bag, roles = self._bag, self.roles
        streams = ("joint_states", *self.parameters.cameras, "action")
        return {
            "state": "recording" if bag else "idle",
            "folder": str(bag.folder) if bag else "",
            "seconds": bag.seconds if bag else 0.0,
            "num_messages": sum(bag.num_messages.values()) if bag else 0,
            "num_bytes": bag.num_bytes if bag else 0,
            "num_lost": self._num_lost,
            "num_queued": self._inbox.qsize(),
            "num_finished": self._num_finished,
            "task": str(self.get_parameter("task").value),
            "rates_hz": {role: round(self.arrivals[roles[role]].rate(now), 1) for role in streams},
            "problems": self._problems,
            "free_gb": round(self._free_gb(), 2),
        }


def deserialized(data: bytes, message_type: type):
    """The message that bytes are in CDR. Raises ValueError for others."""
    try:
        return deserialize_message(data, message_type)
    except RuntimeError as error:  # rclpy's, which speaks of Fast CDR and a line of C++
        raise ValueError(
            f"expected {_ros_name(message_type)} in CDR, got {len(data)} bytes of something else"
        ) from error


def _ros_name(message_type: type) -> str:
    """ "sensor_msgs/msg/Image" of a message class."""
    return f"{message_type.__module__.split('.')[0]}/msg/{message_type.__name__}"
