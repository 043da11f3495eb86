"""The policy as a managed node: newest messages in, joint velocity commands out.

Callbacks only store messages, in a background thread; the control loop owns the main thread, and
the watchdog of the Hold a third, as long as the process lives. The checkpoint is loaded and checked
in configure, warmed up in activate, and no motion is commanded outside active. A stop is latched
until `rearm`. Late ticks are skipped and counted, never queued.
"""

from __future__ import annotations

import contextlib
import gc
import threading
import time
from collections.abc import Callable
from functools import partial

import torch
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType, JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile, qos_policy_name_from_kind
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import Bool, String
from std_srvs.srv import Trigger

from gato_core import checkpoint
from gato_core.embodiment import fitting
from gato_core.policy import load
from gato_ros.common import (
    cadence,
    conversion,
    diagnostics,
    ingest,
    paths,
    realtime,
    topics,
)
from gato_ros.common.guard import Guarded, explained
from gato_ros.common.stopping import Stop
from gato_ros.policy import parameters as policy_parameters
from gato_ros.policy.control import Control
from gato_ros.policy.drive import MOVING, STOPPED, Drive
from gato_ros.policy.inputs import Inputs
from gato_ros.policy.triggers import ClockTrigger, StateTrigger
from gato_ros.robot.holder import Holder
from gato_ros.safety.buttons import LatchedButtons
from gato_ros.safety.rivals import Rivals

FAILURE = TransitionCallbackReturn.FAILURE
WAIT = 0.05  # s; how often the control loop looks at what is not an event


class PolicyNode(Guarded, LifecycleNode):
    """Topics and parameters are tabulated in docs/ros.md."""

    _holder: Holder | None = None  # rclpy destroys nodes that were never complete

    def __init__(self) -> None:
        super().__init__("policy_node")
        self.parameters = policy_parameters.declare_all(self)
        torch.set_num_threads(self.parameters.num_threads)
        self.keep_clock()
        self._lock = threading.Lock()  # ticks and transitions exclude each other
        self._drive: Drive | None = None  # while active
        self._told = ""
        self._mismatches: dict[str, str] = {}
        self._entities: list[tuple[Callable, object]] = []
        self._normal = contextlib.ExitStack()  # closing it ends real-time scheduling
        backwards = JumpThreshold(
            min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=True
        )
        self._jumps = self.get_clock().create_jump_callback(
            backwards, post_callback=self._on_clock_jump
        )
        self._create_hold()
        # a stop is heard in every state, and lasts
        self._subscribe(Bool, topics.STOP, self._on_stop, topics.COMMAND)
        self._subscribe(
            JointState, topics.JOINT_STATES, self._inputs.put_joints, topics.NEWEST_PARTS
        )
        self.create_service(Trigger, "~/stop", self._on_stop_service)
        self.create_service(Trigger, "~/rearm", self._on_rearm)

    def _create_hold(self) -> None:
        """What holds the robot in every state: the node may have been killed in motion before."""
        parameters = self.parameters
        self._holder = holder = Holder(
            self,
            lambda message_type, topic: self._publish_on(message_type, topic, topics.COMMAND),
            parameters.forms(),
            hold_after=parameters.hold_after,
            max_pause=max(limits.wall for limits in parameters.limits.values()),
            tell=self._on_expired,
        )
        self._clocks, self._commander = holder.clocks, holder.commander
        self._joints, self._hold = holder.joints, holder.hold
        self._inputs = Inputs(self._joints, self._hold, self._clocks)
        self._is_needed = False  # the publishers of commands, by the state of the node
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._buttons = LatchedButtons(self, self._on_stop)
        clock = self.resolve_topic_name(topics.CLOCK)
        self._clock_rivals = Rivals(self, tuple, lambda: {clock: 1})
        self._warnings: list[str] = []
        self.create_timer(WAIT, self._look_around, clock=steady)

    def _look_around(self) -> None:
        self._buttons.look()
        self._let_go()
        if self._clocks.is_simulated() and (lines := self._clock_rivals()) != self._warnings:
            self._warnings = list(lines)
            for line in lines:
                self.get_logger().warning(line)

    def _let_go(self) -> None:
        """Leaves no publisher of commands where none is needed, once the robot stands still."""
        if self._commander.is_connected and not self._is_needed and self._hold.is_resting:
            for publisher in self._commander.disconnect():
                self.destroy_publisher(publisher)

    def destroy_node(self) -> None:
        if self._holder is not None:
            self._holder.end()
        super().destroy_node()

    # Transitions, called in the background thread.

    @explained
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Loads the checkpoint and compares it with the robot; fails with a list of differences."""
        try:
            self.control = self.load_control()
        except (ValueError, KeyError, OSError) as error:
            self.get_logger().error(f"not configured: {error}")
            return FAILURE
        self._instruct(self.parameters.instruction)
        self._follow_inputs()
        arm = self.control.robot.arm
        self._joints.limit(arm.low, arm.high, arm.velocity_limits)
        self._create_outputs()
        self._create_inputs()
        return super().on_configure(state)

    def _follow_inputs(self) -> None:
        robot, limits = self.control.robot, self.parameters.limits[ingest.JOINT_STREAM]
        needed = ingest.needed_joints(self.control.spec, robot.gripper)
        joints = {*robot.arm.joints, *(name for names in needed.values() for name in names)}
        self._inputs.follow(self.control.streams, joints, limits.stamp or limits.arrival)

    @explained
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Warms the policy up, then lets the control loop run."""
        self.control.warm_up()
        self._inputs.latest.clear()
        gc.collect()
        gc.freeze()  # what is loaded now lives as long as the process: keep collections short
        self._begin_realtime()  # only now: loading and warming up may take their time
        self._report_at, self._told = 0.0, ""
        result = super().on_activate(state)
        timestep = self.control.spec.control_timestep
        self._hold.open()
        self._drive = Drive(
            self.parameters,
            self.control,
            self._inputs.latest,
            self._joints,
            self._commander,
            self._hold,
            self._clocks,
            self._trigger(timestep),
            Rivals(self, self._command_topics, self._sensor_topics),
            self.get_logger(),
        )
        return result

    def _trigger(self, timestep: float) -> ClockTrigger | StateTrigger:
        if self.parameters.trigger == "clock":
            return ClockTrigger(self.get_clock(), timestep)
        awaited = [ingest.JOINT_STREAM] if self.parameters.trigger == "joints" else None
        return StateTrigger(self._inputs.latest, timestep, awaited)

    def _command_topics(self) -> tuple[str, ...]:
        return self._commander.topics() if self.parameters.sole_commander else ()

    def _sensor_topics(self) -> dict[str, int]:
        """How many may publish on each: an arm and its gripper may do so apart."""
        if not self.parameters.sole_sensors:
            return {}
        return dict.fromkeys(self._sensors, 1) | {self._sensors[0]: self._inputs.num_parts}

    @explained
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Holds the robot, whatever the policy is computing; reports once more."""
        self._hold.shut("deactivated")
        with self._lock:
            drive, self._drive = self._drive, None
            if drive is not None:
                self._report(drive, final=True)
                self._status.publish(String(data="inactive"))
                table = cadence.table(drive.report(final=True))
                self.get_logger().info(f"cadence report\n{table}")
        self._normal.close()
        return super().on_deactivate(state)

    @explained
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._destroy_entities()
        return super().on_cleanup(state)

    @explained
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
        if not self.get_parameter("use_sim_time").value:
            parameters.refuse_abrupt()
        robot = parameters.robot()
        folder = paths.find(parameters.checkpoint)
        own = parameters.temperature == policy_parameters.CHECKPOINTS_OWN
        temperature = None if own else parameters.temperature
        try:
            bodies = checkpoint.embodiments(folder)
            name = parameters.embodiment or fitting(bodies, robot.differences)
        except ValueError as error:
            raise ValueError(f"{folder}: the checkpoint is for another robot: {error}") from error
        options = {"temperature": temperature, "seed": parameters.seed}
        policy = load(folder, embodiment=name, **options)
        if differences := robot.differences(policy.spec):
            lines = "\n  ".join(differences)
            raise ValueError(f"{folder}: {name} is another robot:\n  {lines}")
        return Control(policy, policy.spec, robot, parameters.safety, parameters.min_contrast)

    def _create_outputs(self) -> None:
        self._is_needed = True
        self._commander.connect()
        self._diagnostics = self._report_on(
            DiagnosticArray, topics.DIAGNOSTICS, QoSProfile(depth=10)
        )
        self._status = self._report_on(String, "~/status", topics.LATCHED)

    def _publish_on(self, message_type: type, topic: str, qos: QoSProfile) -> Publisher:
        """A publisher of commands: it must hold in every state, so it is no lifecycle publisher."""
        events = PublisherEventCallbacks(incompatible_qos=self._warn_of_mismatch(topic))
        return self.create_publisher(message_type, topic, qos, event_callbacks=events)

    def _report_on(self, message_type: type, topic: str, qos: QoSProfile) -> Publisher:
        events = PublisherEventCallbacks(incompatible_qos=self._warn_of_mismatch(topic))
        publisher = self.create_lifecycle_publisher(
            message_type, topic, qos, event_callbacks=events
        )
        self._entities.append((self.destroy_lifecycle_publisher, publisher))
        return publisher

    def _create_inputs(self) -> None:
        newest = topics.NEWEST_SAMPLE
        inputs = []
        image_type, suffix = {
            "raw": (Image, ""),
            "compressed": (CompressedImage, "/compressed"),
        }[self.parameters.image_type]
        for camera in ingest.camera_names(self.control.spec):
            topic = topics.image(camera) + suffix
            inputs.append((image_type, topic, partial(self._inputs.put, camera), newest))
        streams = (topics.JOINT_STATES, *(topic for _, topic, *_ in inputs))
        self._sensors = [self.resolve_topic_name(topic) for topic in streams]
        inputs.append((Time, topics.EPISODE_START, self._on_episode_start, topics.LATCHED))
        if ingest.is_told(self.control.spec):
            inputs.append((String, topics.INSTRUCTION, self._on_instruction, topics.LATCHED))
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
        self._is_needed = False
        self._let_go()

    # Callbacks, in the background thread: they store and return.

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
        stamp = conversion.stamp(message)
        self._joints.restart()  # an episode may begin with the arm elsewhere
        self._begin_episode_at(stamp)

    def _on_instruction(self, message: String) -> None:
        """Other words are another task: the policy forgets the one before."""
        if message.data.strip() != self.control.instruction:
            self._instruct(message.data)
            self._begin_episode_at(0)

    def _instruct(self, words: str) -> None:
        if cut := self.control.tell(words):
            self.get_logger().warning(f"instruction: {cut}")

    def _on_reset(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._begin_episode_at(0)
        response.success, response.message = True, "the next tick begins a new episode"
        return response

    def _on_clock_jump(self, _: TimeJump) -> None:
        """The clock went backwards: what is known belongs to another time."""
        self._inputs.forget()
        self._begin_episode_at(0)

    # The stop: a hold leaves from the callback itself, whatever the control loop is doing.

    def _stop(self, reason: str) -> str:
        """Holds until `rearm`, in every state; why no hold reached the robot, or ""."""
        is_news = not self._hold.stop_reason
        unsent = self._holder.stop(reason)
        if is_news:
            self.get_logger().error(f"stopped: {reason}")
        return unsent

    def _on_stop(self, message: Bool) -> None:
        if message.data:
            self._stop(f"asked on topic {topics.STOP}")

    def _on_stop_service(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        unsent = self._stop("asked by service")
        response.success, response.message = not unsent, "the robot holds until ~/rearm is called"
        if unsent:
            response.message = f"no hold has reached the robot, and it is tried again: {unsent}"
        return response

    def _on_rearm(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        drive = self._drive
        reason = drive.rearm() if drive is not None else self._hold.rearm()
        response.success = bool(reason)
        response.message = f"armed again after: {reason}" if reason else "was not stopped"
        if reason:
            self.get_logger().warning(response.message)
        return response

    def on_failure(self, words: str) -> None:
        """A callback failed and the process will end."""
        self._hold.stop(words)

    def on_failed_transition(self, words: str) -> None:
        self._hold.shut(words)

    def _on_expired(self, reason: str) -> None:
        """The watchdog held, in its thread: the control loop may hang."""
        self.get_logger().warning(f"holding: {reason}")
        if self._drive is not None:
            self._tell(f"holding: {reason}")

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
            self._end()

    def _end(self) -> None:
        """Leaves the robot holding, and at rest if that can be seen in time."""
        self._hold.shut("the process ends")
        if self._drive is not None:
            self.trigger_deactivate()
        self._holder.settle()

    def _tell(self, state: str) -> None:
        if state != self._told:
            self._told = state
            self._status.publish(String(data=state))

    def _report(self, drive: Drive, *, final: bool = False) -> None:
        """Publishes a change of state at once, and all there is to know some times a second."""
        state, reason = drive.state()
        is_news = state != self._told.partition(":")[0]
        if is_news:
            self._tell(f"{state}: {reason}" if reason else state)
        elif time.monotonic() < self._report_at and not final:
            return
        self._report_at = time.monotonic() + 1 / self.parameters.status_rate
        level = diagnostics.ERROR if state == STOPPED else diagnostics.WARN
        warnings = [*self._refused, *self._warnings] if state == MOVING else []
        if state == MOVING and not self._mismatches and not warnings:
            level = diagnostics.OK
        if final:
            state, reason = "inactive", ""
        values = {"state": state} | drive.report(final=final)
        values |= {"checkpoint": self.parameters.checkpoint, "qos_mismatches": self._mismatches}
        values["warnings"] = self._warnings
        values["realtime"] = {"granted": self._granted, "refused": self._refused}
        stamp = self.get_clock().now().to_msg()
        summary = reason or "; ".join([state, *warnings])
        self._diagnostics.publish(
            diagnostics.status_message(self.get_name(), level, summary, values, stamp)
        )
