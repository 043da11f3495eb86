"""A person moves the robot by keyboard or joystick, through the topics that a policy uses.

Each new joint state is answered with one action, so what is recorded looks like a policy's run. The
same limits hold as for a policy, and a stop is latched until it is cleared.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from functools import partial

import numpy as np
from builtin_interfaces.msg import Time
from rclpy.node import Node
from sensor_msgs.msg import JointState, Joy
from std_msgs.msg import Bool, String
from std_srvs.srv import Trigger

from gato_ros.common import topics
from gato_ros.common.ingest import Gripper
from gato_ros.common.reading import joint_positions
from gato_ros.common.stopping import Stop
from gato_ros.policy.control import Command
from gato_ros.robot.commands import Commander
from gato_ros.robot.robot import Robot
from gato_ros.safety.limits import Limiter, SafetyLimits
from gato_ros.teleop import devices, terminal
from gato_ros.teleop import parameters as teleop_parameters
from gato_sim.arm.arm import sawyer
from gato_sim.arm.controller import Controller
from gato_sim.domains.rgb_stacking.tasks import robot_spec

WAIT = 0.05  # s
LINE_PERIOD = 0.2  # s between lines on the terminal
MAX_SILENCE = 0.5  # s without a joint state until a person is told


class TeleopNode(Node):
    """Topics, services and parameters are tabulated in docs/recording.md."""

    def __init__(self) -> None:
        super().__init__("teleop")
        parameters = teleop_parameters.declare_all(self)
        self._device = parameters.device
        self._keyboard = devices.Keyboard(parameters.speeds)
        self._joystick = devices.Joystick(parameters.speeds, parameters.buttons)
        self._source = self._keyboard if self._device == "keyboard" else self._joystick
        self._robot = Robot(sawyer(), Gripper(), (), 64, "whole", 1 / parameters.control_rate)
        self._spec = robot_spec(())
        self._controller = Controller(self._robot.arm, self._robot.control_timestep)
        self._limiter = Limiter(self._controller, SafetyLimits(), self._robot.control_timestep)
        create = partial(self.create_publisher, qos_profile=topics.COMMAND)
        self._commander = Commander(
            create,
            parameters.command,
            "velocity",
            self._robot,
            self._spec,
            "base",
            source=self._device,
        )
        self._arrived = threading.Condition()
        self._state: JointState | None = None
        self._is_stopped = False
        self._words = ""
        self._recorder, self._episode = {}, {}
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

    # Callbacks, in the background thread.

    def _on_state(self, message: JointState) -> None:
        if set(message.name).isdisjoint(self._robot.arm.joints):
            return  # the gripper's alone
        with self._arrived:
            self._state = message
            self._arrived.notify_all()

    def _on_episode(self, _: Time) -> None:
        self._source.restart()

    def _on_stop(self, message: Bool) -> None:
        self._is_stopped |= message.data

    def _on_rearm(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._is_stopped, response.success = False, True
        return response

    def _on_joy(self, message: Joy) -> None:
        try:
            self._joystick.put(message.axes, message.buttons, time.monotonic())
        except ValueError as error:
            self.get_logger().error(str(error), throttle_duration_sec=2.0)

    def _on_recorder(self, message: String) -> None:
        self._recorder = json.loads(message.data)

    def _on_report(self, message: String) -> None:
        self._episode = json.loads(message.data)

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
            self._is_stopped = False

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
        with terminal.keys(self._on_key) if by_keys else contextlib.nullcontext():
            if by_keys:
                print(devices.HELP, flush=True)
            last = None
            shown = heard = time.monotonic()
            while not stop.is_set():
                state = self._next_state()
                now = time.monotonic()
                if state is not None:
                    heard, last = now, self._answer(state) or last
                if by_keys and now - shown > LINE_PERIOD:
                    shown = now
                    print(f"\r\033[K{self._line(now - heard)}", end="", flush=True)
            if last is not None:
                self._commander.hold(last.angles, self.get_clock().now().to_msg())
        print()

    def _next_state(self) -> JointState | None:
        with self._arrived:
            self._arrived.wait_for(lambda: self._state is not None, WAIT)
            state, self._state = self._state, None
            return state

    def _answer(self, state: JointState) -> Command | None:
        """Publishes what the person asks for now; None when that is nothing yet."""
        action = self._source.action(time.monotonic())
        if action is None:
            return None
        if self._is_stopped:
            action[:4] = 0.0
        try:
            angles = joint_positions(state, self._robot.arm.joints)
        except ValueError as error:
            self.get_logger().error(str(error), throttle_duration_sec=2.0)
            return None
        ctrl = self._controller.ctrl(action, angles)
        # whoever lets go expects the elbow, too, to stand still
        wanted = ctrl[:-1] if action[:4].any() else np.zeros(len(angles))
        velocities = self._limiter.limit(wanted, angles)
        twist = self._controller.tcp_jacobian(angles) @ velocities
        command = Command(velocities, float(ctrl[-1]), twist, angles, action, {})
        self._commander.move(command, state.header.stamp, self.get_clock().now().to_msg())
        return command

    def _line(self, silence: float) -> str:
        """What goes on, for a terminal."""
        if silence > MAX_SILENCE:
            return f"no joint states for {silence:.0f} s"
        if self._is_stopped:
            return "stopped: c clears it"
        recorder, episode = self._recorder, self._episode
        parts = [f"step {episode['step']}/{episode['num_steps']}"] if episode else []
        if episode.get("success_end"):
            parts.append("STACKED")
        if recorder:
            is_recording = recorder["state"] == "recording"
            parts.append(f"recording {recorder['seconds']:.1f} s" if is_recording else "idle")
        return " | ".join([*parts, self._words])[:100]
