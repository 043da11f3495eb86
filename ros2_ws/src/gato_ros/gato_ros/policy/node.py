"""The policy as a managed node: newest messages in, joint velocity commands out.

Callbacks only store messages, in a background thread; the control loop owns the main thread. The
checkpoint is loaded and checked in configure, warmed up in activate, and nothing is published
outside active. When a stream goes stale the robot is told to hold, once, and commands resume with
the stream; a stop is latched until `rearm`. Late ticks are skipped and counted, never queued.
"""

from __future__ import annotations

import contextlib
import gc
import threading
import time
from collections.abc import Callable

import torch
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile, qos_policy_name_from_kind
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import Bool, String
from std_srvs.srv import Trigger

from gato_core.policy import load
from gato_ros.common import cadence, conversion, diagnostics, ingest, paths, realtime, topics
from gato_ros.common.joint_parts import JointParts
from gato_ros.common.stopping import Stop
from gato_ros.policy import parameters as policy_parameters
from gato_ros.policy.control import Control
from gato_ros.policy.drive import MOVING, STOPPED, Drive
from gato_ros.robot.commands import Commander
from gato_ros.safety.freshness import Latest, Sample

Message = JointState | Image | CompressedImage
FAILURE = TransitionCallbackReturn.FAILURE
WAIT = 0.05  # s; how often the control loop looks at what is not an event


class PolicyNode(LifecycleNode):
    """Topics and parameters are tabulated in docs/ros.md."""

    def __init__(self) -> None:
        super().__init__("policy_node")
        self.parameters = policy_parameters.declare_all(self)
        torch.set_num_threads(self.parameters.num_threads)
        self._lock = threading.Lock()  # ticks and transitions exclude each other
        self._drive: Drive | None = None  # while active
        self._stop_reason = ""  # latched, active or not
        self._mismatches: dict[str, str] = {}
        self._latest: Latest = Latest(())
        self._entities: list[tuple[Callable, object]] = []
        self._normal = contextlib.ExitStack()  # closing it ends real-time scheduling
        backwards = JumpThreshold(
            min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=True
        )
        self._jumps = self.get_clock().create_jump_callback(
            backwards, post_callback=self._on_clock_jump
        )
        # a stop is heard in every state, and lasts
        self._subscribe(Bool, topics.STOP, self._on_stop, topics.COMMAND)
        self.create_service(Trigger, "~/stop", self._on_stop_service)
        self.create_service(Trigger, "~/rearm", self._on_rearm)

    # Transitions, called in the background thread.

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Loads the checkpoint and compares it with the robot; fails with a list of differences."""
        try:
            self.control = self.load_control()
        except (ValueError, KeyError, OSError) as error:
            self.get_logger().error(f"not configured: {error}")
            return FAILURE
        self._latest = Latest(self.control.streams)
        self._create_outputs()
        self._create_inputs()
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Warms the policy up, then lets the control loop run."""
        self.control.warm_up()
        self._latest.clear()
        gc.collect()
        gc.freeze()  # what is loaded now lives as long as the process: keep collections short
        self._begin_realtime()  # only now: loading and warming up may take their time
        self._report_at, self._told = 0.0, ""
        result = super().on_activate(state)
        self._drive = Drive(
            self,
            self.parameters,
            self.control,
            self._latest,
            self._commander,
            self._stop_reason,
        )
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Tells the robot to hold, reports once more, and is silent from then on."""
        with self._lock:
            drive, self._drive = self._drive, None
            if drive is not None:
                drive.end()
                self._stop_reason = drive.stop_reason
                self._report(drive, final=True)
                self._status.publish(String(data="inactive"))
                table = cadence.table(drive.report(final=True))
                self.get_logger().info(f"cadence report\n{table}")
        self._normal.close()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._destroy_entities()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Leaves no publisher behind in whatever state it is called."""
        if self._drive is not None:
            self.on_deactivate(state)
        self._normal.close()
        self._destroy_entities()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """After an exception in a transition: holds, and goes back to unconfigured."""
        self.on_shutdown(state)
        return super().on_error(state)

    def _begin_realtime(self) -> None:
        wanted = self.parameters.realtime
        self._granted, self._refused = realtime.begin(wanted, self._normal)
        for line in self._refused:
            self.get_logger().warning(f"going on without real-time scheduling: {line}")

    def load_control(self) -> Control:
        """The checkpoint's policy behind the robot's kinematics.

        Raises FileNotFoundError or ValueError when the checkpoint is missing, damaged, or made for
        another robot than the parameters declare; the message lists the differences.
        """
        parameters = self.parameters
        robot = parameters.robot()
        folder = paths.find(parameters.checkpoint)
        own = parameters.temperature == policy_parameters.CHECKPOINTS_OWN
        temperature = None if own else parameters.temperature
        policy = load(folder, temperature=temperature, seed=parameters.seed)
        if differences := robot.differences(policy.spec):
            lines = "\n  ".join(differences)
            raise ValueError(f"{folder}: the checkpoint is for another robot:\n  {lines}")
        return Control(policy, policy.spec, robot, parameters.safety)

    def _create_outputs(self) -> None:
        parameters = self.parameters
        self._commander = Commander(
            lambda message_type, topic: self._publish_on(message_type, topic, topics.COMMAND),
            parameters.command,
            parameters.gripper_command,
            self.control.robot,
            self.control.spec,
            parameters.arm.base_frame,
        )
        self._diagnostics = self._publish_on(
            DiagnosticArray, topics.DIAGNOSTICS, QoSProfile(depth=10)
        )
        self._status = self._publish_on(String, "~/status", topics.LATCHED)

    def _publish_on(self, message_type: type, topic: str, qos: QoSProfile) -> Publisher:
        events = PublisherEventCallbacks(incompatible_qos=self._warn_of_mismatch(topic))
        publisher = self.create_lifecycle_publisher(
            message_type, topic, qos, event_callbacks=events
        )
        self._entities.append((self.destroy_lifecycle_publisher, publisher))
        return publisher

    def _create_inputs(self) -> None:
        newest, joints = topics.NEWEST_SAMPLE, self._store(ingest.JOINT_STREAM, self._merged())
        inputs = [(JointState, topics.JOINT_STATES, joints, topics.NEWEST_PARTS)]
        image_type, suffix = {
            "raw": (Image, ""),
            "compressed": (CompressedImage, "/compressed"),
        }[self.parameters.image_type]
        for camera in ingest.camera_names(self.control.spec):
            topic = topics.image(camera) + suffix
            inputs.append((image_type, topic, self._store(camera), newest))
        inputs.append((Time, topics.EPISODE_START, self._on_episode_start, topics.LATCHED))
        for arguments in inputs:
            self._entities.append((self.destroy_subscription, self._subscribe(*arguments)))
        service = self.create_service(Trigger, "~/reset", self._on_reset)
        self._entities.append((self.destroy_service, service))

    def _subscribe(self, message_type: type, topic: str, callback: Callable, qos: QoSProfile):
        events = SubscriptionEventCallbacks(incompatible_qos=self._warn_of_mismatch(topic))
        return self.create_subscription(message_type, topic, callback, qos, event_callbacks=events)

    def _destroy_entities(self) -> None:
        for destroy, entity in self._entities:
            destroy(entity)
        self._entities.clear()

    # Callbacks, in the background thread: they store and return.

    def _merged(self) -> Callable[[JointState], JointState]:
        """Merges the joint states of a robot whose parts publish them apart."""
        robot, limits = self.control.robot, self.parameters.limits[ingest.JOINT_STREAM]
        needed = ingest.needed_joints(self.control.spec, robot.gripper)
        joints = {*robot.arm.joints, *(name for names in needed.values() for name in names)}
        return JointParts(joints, limits.stamp or limits.arrival).merged

    def _store(
        self, stream: str, prepare: Callable[[Message], Message] = lambda same: same
    ) -> Callable[[Message], None]:
        def store(message: Message) -> None:
            message = prepare(message)
            stamp = conversion.nanoseconds(message.header.stamp)
            now = self.get_clock().now().nanoseconds
            self._latest.put(stream, Sample(message, stamp, now, time.monotonic_ns()))

        return store

    def _warn_of_mismatch(self, topic: str) -> Callable:
        """What tells of a peer on a topic whose QoS keeps all messages away."""

        def warn(event) -> None:
            policy = qos_policy_name_from_kind(event.last_policy_kind)
            self._mismatches[topic] = str(policy)
            self.get_logger().warning(
                f"{topic}: a peer has an incompatible QoS ({policy}); no message passes between us"
            )
            if topic == topics.STOP:
                self._stop("a publisher of stop cannot reach us: incompatible QoS")

        return warn

    def _begin_episode_at(self, stamp: int) -> None:
        if (drive := self._drive) is not None:
            drive.episode_start = stamp

    def _on_episode_start(self, message: Time) -> None:
        self._begin_episode_at(conversion.nanoseconds(message))

    def _on_reset(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._begin_episode_at(0)
        response.success, response.message = True, "the next tick begins a new episode"
        return response

    def _on_clock_jump(self, _: TimeJump) -> None:
        """The clock went backwards: what is known belongs to another time."""
        self._latest.clear()
        self._begin_episode_at(0)

    # The stop: a hold leaves from the callback itself, whatever the control loop is doing.

    def _stop(self, reason: str) -> None:
        self._stop_reason = self._stop_reason or reason
        if (drive := self._drive) is not None:
            drive.stop(reason)

    def _on_stop(self, message: Bool) -> None:
        if message.data:
            self._stop(f"asked on topic {topics.STOP}")

    def _on_stop_service(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._stop("asked by service")
        response.success, response.message = True, "the robot holds until ~/rearm is called"
        return response

    def _on_rearm(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        drive = self._drive
        reason = drive.stop_reason if drive is not None else self._stop_reason
        response.success = bool(reason)
        response.message = f"armed again after: {reason}" if reason else "was not stopped"
        if reason:
            self._stop_reason = ""
            if drive is not None:
                drive.rearm()
            self.get_logger().warning(response.message)
        return response

    # The control loop, in the main thread.

    def run(self, stop: Stop) -> None:
        """Ticks while active, until `stop`; leaves the robot holding."""
        try:
            while not stop.is_set():
                drive = self._drive
                if drive is None:
                    stop.wait(WAIT)
                    continue
                due = drive.trigger.wait(WAIT)
                with self._lock:
                    if self._drive is drive:
                        drive.tick(due)
                        self._report(drive)
        finally:
            if self._drive is not None:
                self.trigger_deactivate()

    def _report(self, drive: Drive, *, final: bool = False) -> None:
        """Publishes a change of state at once, and all there is to know some times a second."""
        state, reason = drive.state()
        if state != self._told:
            self._told = state
            self._status.publish(String(data=f"{state}: {reason}" if reason else state))
        elif time.monotonic() < self._report_at and not final:
            return
        self._report_at = time.monotonic() + 1 / self.parameters.status_rate
        level = diagnostics.ERROR if state == STOPPED else diagnostics.WARN
        if state == MOVING and not self._mismatches and not self._refused:
            level = diagnostics.OK
        values = {"state": state} | drive.report(final=final)
        values |= {"checkpoint": self.parameters.checkpoint, "qos_mismatches": self._mismatches}
        values["realtime"] = {"granted": self._granted, "refused": self._refused}
        stamp = self.get_clock().now().to_msg()
        summary = reason or "; ".join([state, *self._refused])
        self._diagnostics.publish(
            diagnostics.status_message(self.get_name(), level, summary, values, stamp)
        )
