"""A person moves the robot by keyboard or joystick, through the topics that a policy uses.

Each new joint state is answered with one action, so what is recorded looks like a policy's run. The
same limits hold as for a policy, and a stop is latched until it is cleared.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from functools import partial

from builtin_interfaces.msg import Time
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from sensor_msgs.msg import JointState, Joy
from std_msgs.msg import Bool, String
from std_srvs.srv import Trigger

from gato_ros.common import conversion, reports, topics
from gato_ros.common.guard import Guarded
from gato_ros.common.ingest import Gripper
from gato_ros.common.joint_parts import JointParts
from gato_ros.common.reading import joint_values
from gato_ros.common.stopping import Stop
from gato_ros.robot.commands import Forms
from gato_ros.robot.holder import Holder
from gato_ros.robot.motion import Motion
from gato_ros.robot.robot import Robot
from gato_ros.safety.buttons import LatchedButtons
from gato_ros.safety.joints import Implausible
from gato_ros.safety.limits import SafetyLimits
from gato_ros.safety.rivals import Rivals
from gato_ros.teleop import devices, terminal
from gato_ros.teleop import parameters as teleop_parameters
from gato_sim.arm.arm import sawyer
from gato_sim.domains.rgb_stacking.tasks import robot_spec

WAIT = 0.05  # s
LINE_PERIOD = 0.2  # s between lines on the terminal
MAX_SILENCE = 0.5  # s without a joint state until a person is told
MAX_PAUSE = 2.0  # s that a simulated clock may stand still


class TeleopNode(Guarded, Node):
    """Topics, services and parameters are tabulated in docs/recording.md."""

    _holder: Holder | None = None  # rclpy destroys nodes that were never complete

    def __init__(self) -> None:
        super().__init__("teleop")
        self.parameters = parameters = teleop_parameters.declare_all(self)
        self.keep_clock()
        self._device = parameters.device
        self._keyboard = devices.Keyboard(parameters.speeds)
        self._joystick = devices.Joystick(parameters.speeds, parameters.buttons)
        self._source = self._keyboard if self._device == "keyboard" else self._joystick
        self._robot = Robot(sawyer(), Gripper(), (), 64, "whole", 1 / parameters.control_rate)
        self._names = robot_spec(()).action.names
        self._motion = Motion(self._robot, SafetyLimits(soft_start=parameters.soft_start))
        self._arrived = threading.Condition()
        self._state: tuple[JointState, int] | None = None  # and when it arrived, monotonic ns
        self._words = ""
        self._recorder, self._episode = {}, {}
        self._create_hold()
        self.create_subscription(
            JointState, topics.JOINT_STATES, self._on_state, topics.NEWEST_PARTS
        )
        self.create_subscription(Time, topics.EPISODE_START, self._on_episode, topics.LATCHED)
        self.create_subscription(Bool, topics.STOP, self._on_stop, topics.COMMAND)
        self.create_subscription(Joy, topics.JOY, self._on_joy, topics.NEWEST_SAMPLE)
        self.create_subscription(String, topics.RECORDER, self._on_recorder, topics.LATCHED)
        self.create_subscription(String, topics.EPISODE, self._on_report, topics.LATCHED)
        self.create_service(Trigger, "~/rearm", self._on_rearm)
        self._requests = {
            name: self.create_client(Trigger, name)
            for name in ("recorder/start", "recorder/stop", "recorder/discard", "sim_node/reset")
        }

    def _create_hold(self) -> None:
        """What holds the robot, whatever the loop, the person and the streams do."""
        parameters, arm = self.parameters, self._robot.arm
        forms = Forms(
            parameters.command,
            "velocity",
            arm.joints,
            self._robot.gripper,
            self._robot.control_timestep,
        )
        self._holder = holder = Holder(
            self,
            partial(self.create_publisher, qos_profile=topics.COMMAND),
            forms,
            hold_after=parameters.hold_after,
            max_pause=MAX_PAUSE,
            source=self._device,
        )
        self._clocks, self._commander = holder.clocks, holder.commander
        self._joints, self._hold = holder.joints, holder.hold
        self._parts = JointParts({*arm.joints, self._robot.gripper.joint}, MAX_SILENCE)
        self._joints.limit(arm.low, arm.high, arm.velocity_limits)
        self._commander.connect()
        self._hold.open()
        states = self.resolve_topic_name(topics.JOINT_STATES)
        self._rivals = Rivals(self, tuple, lambda: {states: self._parts.num_parts})
        self._buttons = LatchedButtons(self, self._on_stop)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(WAIT, self._buttons.look, clock=steady)

    def destroy_node(self) -> None:
        if self._holder is not None:
            self._holder.end()
        super().destroy_node()

    # Callbacks, in the background thread. What stops the robot does so here, not in the loop.

    def _on_state(self, message: JointState) -> None:
        is_of_arm = not set(message.name).isdisjoint(self._robot.arm.joints)
        message = self._parts.merged(message)
        if not is_of_arm:
            return  # it is the gripper's, and answered with the arm's next
        wall = self._clocks.wall()
        try:
            self._joints.put(message, conversion.stamp(message.header.stamp), wall)
        except Implausible as error:
            self._hold.hold(str(error))
            raise
        with self._arrived:
            self._state = message, wall
            self._arrived.notify_all()

    def _on_episode(self, _: Time) -> None:
        self._joints.restart()  # the arm may begin elsewhere
        self._source.restart()

    def _on_stop(self, message: Bool) -> None:
        if message.data:
            self._hold.stop(f"asked on topic {topics.STOP}")

    def _on_rearm(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._hold.rearm()
        response.success = True
        return response

    def _on_joy(self, message: Joy) -> None:
        if self._joystick.put(message.axes, message.buttons, time.monotonic()):
            self._hold.hold("the dead-man button was let go")

    def _on_recorder(self, message: String) -> None:
        self._recorder = reports.read(message.data, lambda r: _parts(r, {}))

    def _on_report(self, message: String) -> None:
        self._episode = reports.read(message.data, lambda r: _parts({}, r))

    def on_failure(self, words: str) -> None:
        """A callback failed and the process will end."""
        self._hold.stop(words)

    def _on_key(self, key: str) -> None:
        if self._source.press(key, time.monotonic()):
            return
        if key == "\n":
            is_recording = self._recorder.get("state") == "recording"
            self._call("recorder/stop" if is_recording else "recorder/start")
        elif key in ("\x7f", "\b"):
            self._call("recorder/discard")
            self._call("sim_node/reset")
        elif key == "n":
            self._call("sim_node/reset")
        elif key == "c":
            self._hold.rearm()

    def _call(self, name: str) -> None:
        client = self._requests[name]
        if not client.service_is_ready():
            self._words = f"{name}: nobody offers it"
            return

        def answered(future) -> None:
            self._words = future.result().message.replace("\n", "; ")

        client.call_async(Trigger.Request()).add_done_callback(answered)

    # The loop, in the main thread.

    def run(self, stop: Stop) -> None:
        """Answers joint states until `stop`; leaves the robot holding."""
        by_keys = self._device == "keyboard"
        try:
            with terminal.keys(self._on_key, stop) if by_keys else contextlib.nullcontext():
                if by_keys:
                    print(devices.HELP, flush=True)
                self._loop(stop, by_keys)
        finally:
            self._hold.shut("the process ends")
            self._holder.settle()
        print()

    def _loop(self, stop: Stop, by_keys: bool) -> None:
        shown = heard = time.monotonic()
        while not stop.is_set():
            state = self._next_state()
            now = time.monotonic()
            if state is not None:
                heard = now
                self._answer(*state)
            if by_keys and now - shown > LINE_PERIOD:
                shown = now
                print(f"\r\033[K{self._line(now - heard)}", end="", flush=True)

    def _next_state(self) -> tuple[JointState, int] | None:
        with self._arrived:
            self._arrived.wait_for(lambda: self._state is not None, WAIT)
            state, self._state = self._state, None
            return state

    def _answer(self, state: JointState, arrived: int) -> None:
        """Publishes what the person asks for now, unless that is nothing yet."""
        epoch = self._hold.epoch
        age = (self._clocks.wall() - arrived) / 1e9
        if age > self.parameters.hold_after:
            return  # the loop was held up: the next state is better
        if problems := [*self._joints.problems(self._clocks.wall()), *self._rivals()]:
            self._words = problems[0]
            self._hold.hold(problems[0])
            return
        if not self._hold.is_moving:
            self._motion.restart()
        self._source.find_gripper(self._is_closed(state))
        action = self._source.action(time.monotonic())
        if action is None:
            return
        # whoever lets go expects the elbow, too, to stand still
        command = self._motion.command(action, state, age, at_rest=not action[:4].any())
        if not self._source.has_gripped:  # the gripper stays as it is until asked
            command = dataclasses.replace(command, gripper=0.0)
        now = self.get_clock().now().to_msg()
        self._hold.move(
            lambda: self._commander.move(command, self._names, state.header.stamp, now), epoch
        )

    def _is_closed(self, state: JointState) -> bool:
        gripper = self._robot.gripper
        try:
            position = joint_values(state, [gripper.joint], "position")[0]
        except ValueError:  # it is not among the joints
            return False
        return abs(position - gripper.closed) < abs(position - gripper.open)

    def _line(self, silence: float) -> str:
        """What goes on, for a terminal."""
        if silence > MAX_SILENCE:
            return f"no joint states for {silence:.0f} s"
        if reason := self._hold.stop_reason:
            return f"stopped: c clears it ({reason})"[:100]
        return " | ".join([*_parts(self._recorder, self._episode), self._words])[:100]


def _parts(recorder: dict, episode: dict) -> list[str]:
    """What the robot and the recorder say of themselves, in words."""
    parts = [f"step {episode['step']}/{episode['num_steps']}"] if episode else []
    if episode.get("success_end"):
        parts.append("STACKED")
    if recorder:
        is_recording = recorder["state"] == "recording"
        parts.append(f"recording {recorder['seconds']:.1f} s" if is_recording else "idle")
    return parts
