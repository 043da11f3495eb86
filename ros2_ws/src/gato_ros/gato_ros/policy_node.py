"""The policy as a managed node: newest messages in, joint velocity commands out.

Callbacks only store messages, in a background thread; the control loop owns the main thread. The
checkpoint is loaded and checked in configure, warmed up in activate, and nothing is published
outside active. When a stream goes stale the robot is told to hold, once, and commands resume with
the stream. Late ticks are skipped and counted, never queued.
"""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable

import numpy as np
import torch
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from gato_core.policy import GatoPolicy
from gato_ros import (
    cadence,
    conversion,
    diagnostics,
    ingest,
    paths,
    policy_parameters,
    topics,
)
from gato_ros.control import Control
from gato_ros.freshness import Latest, Sample, stale_streams
from gato_ros.stopping import Stop
from gato_ros.triggers import ClockTrigger, Due, StateTrigger

Message = JointState | Image | CompressedImage
FAILURE = TransitionCallbackReturn.FAILURE
RCLError = rclpy_implementation.RCLError
WAIT = 0.05  # s; how often the control loop looks at what is not an event
LIVE_TICKS = 200  # of the newest, for percentiles shown while running
COUNTS = ("num_holds", "num_rejected", "num_limited", "num_unsent")


class PolicyNode(LifecycleNode):
    """Topics and parameters are tabulated in docs/ros.md."""

    def __init__(self) -> None:
        super().__init__("policy_node")
        self.parameters = policy_parameters.declare_all(self)
        torch.set_num_threads(self.parameters.num_threads)
        self._lock = threading.Lock()  # ticks and transitions exclude each other
        self._active = False
        self._latest: Latest = Latest(())
        self._episode_start: int | None = None  # ns; the policy forgets at the first stamp from it
        self._entities: list[tuple[Callable, object]] = []
        backwards = JumpThreshold(
            min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=True
        )
        self._jumps = self.get_clock().create_jump_callback(
            backwards, post_callback=self._on_clock_jump
        )

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
        timestep = self.control.spec.control_timestep
        clock_driven = self.parameters.trigger == "clock"
        self._trigger = (
            ClockTrigger(self.get_clock(), timestep)
            if clock_driven
            else StateTrigger(self._latest, timestep)
        )
        self.cadence = cadence.Cadence(timestep)
        self._cpu = cadence.CpuMeter()
        self._counts = dict.fromkeys(COUNTS, 0)
        self._problems: list[str] = []
        self._moving = False
        self._angles = np.zeros(7)
        self._report_at = 0.0
        result = super().on_activate(state)
        self._active = True
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Tells the robot to hold, reports once more, and is silent from then on."""
        with self._lock:
            self._active = False
            if self._moving:
                self._publish(np.zeros(8), self._angles)
            self._report(final=True)
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._destroy_entities()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Leaves no publisher behind in whatever state it is called."""
        if self._active:
            self.on_deactivate(state)
        self._destroy_entities()
        return super().on_shutdown(state)

    def load_control(self) -> Control:
        """The checkpoint's policy behind the robot's kinematics.

        Raises FileNotFoundError or ValueError when the checkpoint is missing, damaged, or made for
        another robot than the parameters declare; the message lists the differences.
        """
        parameters = self.parameters
        folder = paths.find(parameters.checkpoint)
        policy = GatoPolicy.load(folder, temperature=parameters.temperature, seed=parameters.seed)
        differences = parameters.robot_spec().differences(policy.spec)
        if differences:
            lines = "\n  ".join(differences)
            raise ValueError(f"{folder}: the checkpoint is for another robot:\n  {lines}")
        return Control(policy, policy.spec, parameters.gripper_joint)

    def _create_outputs(self) -> None:
        arm_type, arm_topic = {
            "velocity": (Float64MultiArray, topics.ARM_VELOCITY),
            "trajectory": (JointTrajectory, topics.ARM_TRAJECTORY),
        }[self.parameters.command]
        create = self.create_lifecycle_publisher
        self._arm = create(arm_type, arm_topic, topics.COMMAND)
        self._gripper = create(Float64MultiArray, topics.GRIPPER_VELOCITY, topics.COMMAND)
        self._diagnostics = create(DiagnosticArray, topics.DIAGNOSTICS, 10)
        for publisher in (self._arm, self._gripper, self._diagnostics):
            self._entities.append((self.destroy_lifecycle_publisher, publisher))

    def _create_inputs(self) -> None:
        newest = topics.NEWEST_SAMPLE
        inputs = [(JointState, topics.JOINT_STATES, self._store(ingest.JOINT_STREAM), newest)]
        image_type, suffix = {
            "raw": (Image, ""),
            "compressed": (CompressedImage, "/compressed"),
        }[self.parameters.image_type]
        for camera in ingest.camera_names(self.control.spec):
            topic = topics.image(camera) + suffix
            inputs.append((image_type, topic, self._store(camera), newest))
        inputs.append((Time, topics.EPISODE_START, self._on_episode_start, topics.LATCHED))
        for arguments in inputs:
            self._entities.append((self.destroy_subscription, self.create_subscription(*arguments)))
        service = self.create_service(Trigger, "~/reset", self._on_reset)
        self._entities.append((self.destroy_service, service))

    def _destroy_entities(self) -> None:
        for destroy, entity in self._entities:
            destroy(entity)
        self._entities.clear()

    # Callbacks, in the background thread: they store and return.

    def _store(self, stream: str) -> Callable[[Message], None]:
        def store(message: Message) -> None:
            stamp = conversion.nanoseconds(message.header.stamp)
            now = self.get_clock().now().nanoseconds
            self._latest.put(stream, Sample(message, stamp, now, time.monotonic_ns()))

        return store

    def _on_episode_start(self, message: Time) -> None:
        self._episode_start = conversion.nanoseconds(message)

    def _on_reset(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._episode_start = 0
        response.success, response.message = True, "the next tick begins a new episode"
        return response

    def _on_clock_jump(self, _: TimeJump) -> None:
        """The clock went backwards: what is known belongs to another time."""
        self._latest.clear()
        self._episode_start = 0

    # The control loop, in the main thread.

    def run(self, stop: Stop) -> None:
        """Ticks while active, until `stop`; leaves the robot holding."""
        try:
            while not stop.is_set():
                if not self._active:
                    stop.wait(WAIT)
                    continue
                due = self._trigger.wait(WAIT)
                with self._lock:
                    if self._active:
                        self._tick(due)
        finally:
            if self._active:
                self.trigger_deactivate()

    def _tick(self, due: Due | None) -> None:
        now, wall = self.get_clock().now().nanoseconds, time.monotonic_ns()
        samples = self._latest.snapshot()
        streams, limits = self._latest.streams, self.parameters.limits
        stale = stale_streams(samples, streams, now, wall, limits)
        if stale:
            self._hold(stale)
        elif due is not None:
            self._act(due, samples, wall)
        self._report()

    def _act(self, due: Due, samples: dict[str, Sample], started: int) -> None:
        self._begin_episode(samples)
        try:
            command = self.control.step(samples)
        except (ValueError, KeyError) as error:
            self._counts["num_rejected"] += 1
            self._hold([str(error)])
            return
        computed = time.monotonic_ns()
        self._angles = command.angles
        self._publish(command.ctrl, command.angles)
        end = time.monotonic_ns()
        self._moving, self._problems = True, []
        self._counts["num_limited"] += command.was_limited
        stages = {"receive": (started - due.wall) / 1e9, **command.stages}
        self.cadence.miss(due.num_missed)
        self.cadence.tick(
            end / 1e9, (end - due.wall) / 1e9, stages | {"publish": (end - computed) / 1e9}
        )

    def _begin_episode(self, samples: dict[str, Sample]) -> None:
        """Empties the policy's memory at the first observation of an episode."""
        start = self._episode_start
        if start is not None and samples[ingest.JOINT_STREAM].stamp >= start:
            self.control.policy.reset()
            self._episode_start = None

    def _hold(self, problems: list[str]) -> None:
        """Commands zero velocity once; the robot's own watchdog and controller keep it there."""
        self._problems = problems
        text = "; ".join(problems)
        if not self._moving:
            self.get_logger().info(f"waiting: {text}", throttle_duration_sec=5.0, skip_first=True)
            return
        self.get_logger().warning(f"holding: {text}")
        self._moving = False
        self._counts["num_holds"] += 1
        self._trigger.restart()
        self._publish(np.zeros(8), self._angles)

    def _publish(self, ctrl: np.ndarray, angles: np.ndarray) -> None:
        velocities = ctrl[:7]
        if self.parameters.command == "velocity":
            arm = conversion.velocity_message(velocities)
        else:
            spec = self.control.spec
            stamp = self.get_clock().now().to_msg()
            arm = conversion.trajectory_message(
                ingest.arm_joints(spec), angles, velocities, spec.control_timestep, stamp
            )
        finger = conversion.velocity_message([ingest.finger_velocity(ctrl[7])])
        try:
            self._gripper.publish(finger)
            self._arm.publish(arm)
        except RCLError as error:
            self._counts["num_unsent"] += 1
            self.get_logger().error(f"command not sent: {error}", throttle_duration_sec=2.0)

    def _report(self, *, final: bool = False) -> None:
        """Publishes the state a few times a second; the final one is over all ticks."""
        now = time.monotonic()
        if now < self._report_at and not final:
            return
        self._report_at = now + 1 / self.parameters.status_rate
        level = diagnostics.WARN if self._problems else diagnostics.OK
        summary = "; ".join(self._problems) or ("moving" if self._moving else "waiting")
        values = self.cadence.report(cadence.NEWEST if final else LIVE_TICKS)
        values |= self._counts | {"cpu_cores": self._cpu.cores()}
        values |= {"checkpoint": self.parameters.checkpoint}
        stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(
            diagnostics.status_message(self.get_name(), level, summary, values, stamp)
        )
