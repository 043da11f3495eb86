"""A robot without a watchdog, its sensors, its operator and the policy node's parts, in one process
and in a time of their own: what tests/ros/safety/test_rule.py plays with.

Time goes in steps of 5 ms. After each the rule is held against what is on the wire: the newest
command is young and was made from fresh, plausible inputs, or a hold has left since and is repeated
until the robot stands still or an operator rearmed.
"""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
from builtin_interfaces.msg import Time
from ros_examples import ANGLES, joint_state

from gato_core.policy import StepSeconds
from gato_ros.common import conversion, ingest, topics
from gato_ros.common.clocks import Clocks
from gato_ros.common.ingest import Gripper
from gato_ros.policy.control import Control
from gato_ros.policy.drive import Drive
from gato_ros.policy.inputs import Inputs
from gato_ros.policy.triggers import ClockTrigger, StateTrigger
from gato_ros.robot.commands import Commander, Forms
from gato_ros.robot.limb import Limb
from gato_ros.robot.robot import Robot
from gato_ros.safety.freshness import Limits
from gato_ros.safety.hold import Hold
from gato_ros.safety.joints import JointWatch
from gato_ros.safety.limits import SafetyLimits
from gato_sim.arm.arm import sawyer

MS = 1_000_000
STEP = 5 * MS  # ns
TIMESTEP, MAX_AGE, MAX_PAUSE = 50 * MS, 0.15, 0.5
BRAKING = 0.05  # s in which an arm takes on two thirds of a change of speed
GRACE = 2 * STEP  # for what happens between two steps
CAMERA, SIZE = "camera", 16
ROBOT = Robot(sawyer(), Gripper(), (CAMERA,), SIZE, "whole", TIMESTEP / 1e9)
SPEC = ROBOT.spec()
MAX_SPEED = 1.0  # rad/s that the policy's motions stay below; the arm may do more


class SendError(Exception):
    """What a publisher raises when DDS refuses."""


class Broken(AssertionError):
    """The rule was broken."""


class Process:
    """The parts of one policy node, wired as PolicyNode wires them; see `World` for the fields."""

    def __init__(self, world: World, command: str, trigger: str, hold_after: float) -> None:
        self.world = world
        self.first_motion: int | None = None
        self.held_at: int | None = None  # wall, of the newest hold; None while it moves
        self.sent_at = self.sent_now = 0  # of the newest motion
        self.tick_began = self.hold_began = 0  # wall
        self.must_hold = self.is_silenced = False
        self.is_active = self.is_busy = False
        self.hold_after = round(hold_after * 1e9)
        self._command, self._trigger = command, trigger
        clocks = Clocks(lambda: world.now, lambda: world.wall, lambda: world.is_simulated)
        self.clocks = clocks
        forms = Forms(command, "velocity", ROBOT.arm.joints, ROBOT.gripper, TIMESTEP / 1e9)
        self.commander = Commander(self._publisher, forms)
        self.commander.connect()
        self.joints = JointWatch(ROBOT.arm.joints)
        self.joints.limit(ROBOT.arm.low, ROBOT.arm.high, ROBOT.arm.velocity_limits)
        clock = SimpleNamespace(now=self._ros_now, ros_time_is_active=world.is_simulated)
        clock.create_jump_callback = lambda *_, **__: None
        self._clock = clock
        limb = Limb(self.commander, self.joints, clocks, clock)
        self.hold = Hold(limb, clocks, hold_after, 0.05, MAX_PAUSE, (SendError,))
        self.inputs = Inputs(self.joints, self.hold, clocks)
        self.drive: Drive | None = None
        self._next_poll = self._next_look = 0

    def _ros_now(self) -> SimpleNamespace:
        stamp = conversion.time_message(self.world.now)
        return SimpleNamespace(nanoseconds=self.world.now, to_msg=lambda: stamp)

    def _publisher(self, _: type, topic: str) -> SimpleNamespace:
        return SimpleNamespace(
            topic_name=f"/{topic}",
            publish=lambda message: self.world.hear(self, topic, message),
            get_subscription_count=lambda: 1,
        )

    def activate(self) -> None:
        world = self.world
        limits = Limits(MAX_AGE, world.max_stamp_age, MAX_PAUSE)
        parameters = SimpleNamespace(
            limits={ingest.JOINT_STREAM: limits, CAMERA: limits}, release_after=0.0, max_frozen=0.0
        )
        safety = SafetyLimits(soft_start=0.1, max_jump=5.0)
        control = Control(world.policy, SPEC, ROBOT, safety)
        self.inputs.follow(control.streams, ROBOT.arm.joints, MAX_AGE)
        if self._trigger == "clock":
            trigger = ClockTrigger(self._clock, TIMESTEP / 1e9)
        else:
            awaited = [ingest.JOINT_STREAM] if self._trigger == "joints" else None
            trigger = StateTrigger(self.inputs.latest, TIMESTEP / 1e9, awaited)
        log = SimpleNamespace(
            info=lambda *_, **__: None, warning=lambda *_, **__: None, error=lambda *_, **__: None
        )
        self.hold.open()
        self.is_active = True
        self.drive = Drive(
            parameters, control, self.inputs.latest, self.joints, self.commander, self.hold,
            self.clocks, trigger, lambda: world.rivals, log,
        )  # fmt: skip

    def deactivate(self) -> None:
        """As the transition: the hold first; the drive goes once its tick has ended."""
        self.is_active = False
        self.hold.shut("deactivated")
        if self.first_motion and self.held_at is None and not self.hold.unsent:
            raise Broken("deactivated without a hold")

    def stop(self) -> None:
        self.hold.stop("asked")
        self.must_hold, self.is_silenced = True, False

    def rearm(self) -> None:
        (self.drive.rearm if self.drive else self.hold.rearm)()
        self.is_silenced, self.must_hold = True, False

    def step(self) -> None:
        """What the watchdog and the control loop do at this moment, in either order."""
        doings = [self._watch, self._loop]
        for do in doings[:: -1 if self.world.loop_comes_first else 1]:
            do()

    def _watch(self) -> None:
        world = self.world
        if world.wall >= self._next_poll:
            self._next_poll = world.wall + round(self.hold.poll() * 1e9)

    def _loop(self) -> None:
        world = self.world
        if self.is_busy:
            return
        if not self.is_active:
            self.drive = None
        if self.drive is not None:
            due = self.drive.trigger.wait(0.0)
            if due is not None or world.wall >= self._next_look:
                self._next_look = world.wall + 50 * MS
                self.is_busy, self.tick_began = True, world.wall
                self.drive.tick(due)
                self.is_busy = False


class Policy:
    """Moves up and down at will; `mode` says how it misbehaves."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.seconds = StepSeconds(0.0, 0.0)
        self.mode, self.seconds_taken, self.event = "steady", 0.0, None
        self.event_at = 0.5  # of the time taken

    def reset(self, prompt=None) -> None:
        """It has no memory."""

    def step(self, observation) -> np.ndarray:
        if self.seconds_taken:
            taken, self.seconds_taken = self.seconds_taken, 0.0
            if self.event is not None:
                self._world.run(taken * self.event_at)
                event, self.event = self.event, None
                event()
                taken *= 1 - self.event_at
            self._world.run(taken)
        if self.mode == "raise":
            raise RuntimeError("out of memory, for example")
        # up and down by turns, so that no limit of the workspace lets the arm rest
        up = 0.05 if self._world.wall // (1000 * MS) % 2 else -0.05
        return np.array([np.nan if self.mode == "nan" else 0.03, 0.0, up, 0.2, -255.0])


class World:
    """The stand-in robot goes on with the last command for ever.

    wall, now: ns of the two clocks. joints_fault, image_fault: what is wrong with a stream.
    rivals: lines about other nodes. send_errors: publications yet to fail.
    """

    def __init__(
        self,
        *,
        is_simulated: bool = False,
        command: str = "velocity",
        trigger: str = "state",
        hold_after: float = 0.1,
        max_stamp_age: float = 0.15,
    ) -> None:
        self.wall, self.now = 1000 * 1000 * MS, 5000 * 1000 * MS
        self.is_simulated, self.max_stamp_age = is_simulated, max_stamp_age
        self.rate = 1  # of the node's clock
        self.joints_fault = self.image_fault = "none"
        self.rivals: list[str] = []
        self.send_errors = 0
        self.angles, self.velocities = ANGLES.copy(), np.zeros(7)
        self.commanded = np.zeros(7)
        self.is_frozen = False  # SIGSTOP
        self.loop_comes_first = False  # before the watchdog, where both are due
        self.num_steps = self.num_motions = self.num_holds = 0
        self._truth: dict[int, tuple[int, np.ndarray]] = {}  # by stamp: when measured, angles
        self._image_at = self._lied_at = self.wall
        self._failed_at = self._jumped_at = 0
        self._next_state = self.wall
        self._late: list[tuple[int, str, object]] = []
        self._kept: dict[str, object] = {}
        self._image = conversion.image_message(SIZE, SIZE, CAMERA)
        self._options = (command, trigger, hold_after)
        self.policy = Policy(self)
        self.process: Process | None = None
        self.start()

    # The operator.

    def start(self) -> None:
        self.process = Process(self, *self._options)

    def kill(self) -> None:
        """Nothing is sent, and the robot goes on."""
        self.process, self.policy.seconds_taken = None, 0.0

    # Time.

    def run(self, seconds: float) -> None:
        for _ in range(max(1, round(seconds * 1e9 / STEP))):
            self._step()

    def jump(self, seconds: float) -> None:
        """The node's clock jumps; backwards, the node forgets what it knew."""
        self.now += round(seconds * 1e9)
        self._jumped_at = self.wall
        if seconds < 0 and self.process is not None:
            self.process.inputs.forget()

    def _step(self) -> None:
        self.wall += STEP
        self.now += STEP * self.rate
        self.num_steps += 1
        dt = STEP / 1e9
        self.velocities += (self.commanded - self.velocities) * min(1.0, dt / BRAKING)
        self.angles = self.angles + self.velocities * dt
        self._sense()
        if self.process is not None and not self.is_frozen:
            self.process.step()
        self._check()

    # The sensors.

    def _sense(self) -> None:
        due = [late for late in self._late if late[0] <= self.wall]
        self._late = [late for late in self._late if late[0] > self.wall]
        for _, stream, message in due:
            self._deliver(stream, message)
        if self.wall < self._next_state:
            return
        self._next_state += TIMESTEP
        stamp = conversion.time_message(self.now)
        joints = joint_state(stamp, self.angles)
        self._truth[self.now] = self.wall, self.angles
        self._say(ingest.JOINT_STREAM, joints, self.joints_fault)
        self._image = conversion.image_message(SIZE, SIZE, CAMERA)
        self._image.header.stamp = stamp
        self._say(CAMERA, self._image, self.image_fault)
        if self.joints_fault == "doubled":
            self._lied_at = self.wall
            lie = joint_state(conversion.time_message(self.now + MS), np.zeros(7))
            self._deliver(ingest.JOINT_STREAM, lie)

    def _say(self, stream: str, message, fault: str) -> None:
        if fault == "silent":
            return
        if fault in ("frozen stamp", "frozen content"):
            first = self._kept.setdefault(stream + fault, message)
            if fault == "frozen content":
                stamp, message = message.header.stamp, first
                message.header.stamp = stamp
                self._lied_at = self.wall
            else:
                message = first
        else:
            self._kept.clear()
        if fault == "degrees":
            message.position = [*np.degrees(message.position[:7]).tolist(), 0.2]
        if fault == "nan":
            message.position[2] = math.nan
        if fault == "missing":
            message.name[0] = "shoulder"
        if fault == "encoding":
            message.encoding = "yuv422"
        if fault.startswith("delayed"):
            delay = round(float(fault.split()[1]) * 1e9)
            self._late.append((self.wall + delay, stream, message))
            return
        self._deliver(stream, message)

    def _deliver(self, stream: str, message) -> None:
        if stream == CAMERA:
            self._image_at = self.wall
        process = self.process
        if process is None or self.is_frozen:
            return
        try:
            if stream == CAMERA:
                process.inputs.put(stream, message)
            else:
                process.inputs.put_joints(message)
        except ValueError:
            pass  # refused, as the guard does

    # The wire.

    def hear(self, process: Process, topic: str, message) -> None:
        if self.send_errors > 0:
            self.send_errors -= 1
            self._failed_at = self.wall
            raise SendError("cannot publish data")
        if topic == topics.ACTION:
            self._check_inputs(message.header.stamp)
        if topic not in (topics.ARM_VELOCITY, topics.ARM_TRAJECTORY):
            return
        velocities = message.data if topic == topics.ARM_VELOCITY else message.points[0].velocities
        self.commanded = np.array(velocities)
        if self.commanded.any():
            self.num_motions += 1
            if not process.is_active:
                raise Broken("motion outside active")
            if process.hold.stop_reason or process.must_hold:
                raise Broken("motion after a stop")
            if process.hold_began > process.tick_began:
                raise Broken("an answer to a state from before a hold")
            if process.first_motion and process.held_at is None:
                self._check_age(process)
            process.first_motion = process.first_motion or self.wall
            process.held_at, process.is_silenced = None, False
            process.sent_at, process.sent_now = self.wall, self.now
        else:
            self.num_holds += 1
            if process.held_at is None:
                process.hold_began = self.wall
            process.held_at = self.wall
        if np.abs(self.commanded).max() > 3.0:
            raise Broken(f"out of limits: {self.commanded}")

    def _check_inputs(self, stamp: Time) -> None:
        """The state that was answered is fresh and true, and so is the newest image."""
        nanoseconds = conversion.nanoseconds(stamp)
        if nanoseconds not in self._truth:
            raise Broken("a command answers a state that never was")
        measured, _ = self._truth[nanoseconds]
        stamps_count = self.max_stamp_age > 0 and self.rate == 1
        if stamps_count and self.wall - measured > MAX_AGE * 1e9 + GRACE:
            raise Broken(f"a command answers a state {(self.wall - measured) / 1e6:.0f} ms old")
        oldest = MAX_PAUSE if self.is_simulated else MAX_AGE
        if self.wall - self._image_at > oldest * 1e9 + GRACE:
            raise Broken("a command answers an image that is too old")
        if self.rivals and self.process.drive is not None and not self.process.is_busy:
            raise Broken("a command beside a rival's")

    # The rule.

    def _check(self) -> None:
        process = self.process
        if process is None or self.is_frozen:
            return
        if process.first_motion is None and not process.must_hold:
            return
        if process.held_at is None:
            self._check_age(process)
        elif not process.is_silenced and not self._stands(process):
            self._check_repeated(process)

    def _check_age(self, process: Process) -> None:
        if process.must_hold:
            if process.hold.unsent:  # the operator was told that it could not
                return
            raise Broken("a stop without a hold")
        silence = self.wall - process.sent_at
        most = process.hold_after
        if self.is_simulated:
            age = self.now - process.sent_now
            if 0 <= age <= most + TIMESTEP:
                most = max(most, round(MAX_PAUSE * 1e9))
            elif self.wall - self._jumped_at <= GRACE:
                return
            else:
                most += TIMESTEP
        if silence > most + GRACE and not self._cannot_send():
            raise Broken(f"the newest command is {silence / 1e6:.0f} ms old and no hold has left")

    def _check_repeated(self, process: Process) -> None:
        silence = self.wall - process.held_at
        if silence > TIMESTEP + GRACE + 5 * STEP and not self._cannot_send():
            raise Broken(f"the hold was not repeated for {silence / 1e6:.0f} ms, and it moves on")

    def _cannot_send(self) -> bool:
        """Whether DDS refuses, or did until a moment ago."""
        return self.send_errors > 0 or self.wall - self._failed_at <= 2 * GRACE

    def _stands(self, process: Process) -> bool:
        """Whether it stands, or its sensors say so falsely."""
        lied = self.wall - self._lied_at < 1e9
        return lied or bool(np.abs(self.velocities).max() < 0.02)
