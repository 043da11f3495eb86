"""The control loop of the policy node from activate to deactivate: each tick moves or holds.

Its loop runs in the main thread; `stop` may come from any thread, also while the policy computes.
"""

from __future__ import annotations

import threading
import time
import traceback

from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node

from gato_ros.common import cadence, conversion, ingest
from gato_ros.policy.control import Command, Control
from gato_ros.policy.parameters import PolicyParameters
from gato_ros.policy.triggers import ClockTrigger, Due, StateTrigger
from gato_ros.robot.commands import Commander
from gato_ros.safety.freshness import Latest, Sample, stale_streams
from gato_ros.safety.frozen import FrozenWatch

RCLError = rclpy_implementation.RCLError
LIVE_TICKS = 200  # of the newest, for percentiles shown while running
MAX_TEXT = 500  # characters of a problem: messages may bring any string
STOPPED, HOLDING, WAITING, MOVING = "stopped", "holding", "waiting", "moving"


class Drive:
    """Decides at each tick whether the robot moves or holds, and counts both.

    Whoever sends a command owns `_sending`, so nothing but a hold leaves after a stop.
    """

    def __init__(
        self,
        node: Node,
        parameters: PolicyParameters,
        control: Control,
        latest: Latest,
        commander: Commander,
        stop_reason: str,
    ) -> None:
        self._node, self._parameters, self._control = node, parameters, control
        self._latest, self._commander = latest, commander
        timestep = control.spec.control_timestep
        if parameters.trigger == "clock":
            self.trigger = ClockTrigger(node.get_clock(), timestep)
        else:
            awaited = [ingest.JOINT_STREAM] if parameters.trigger == "joints" else None
            self.trigger = StateTrigger(latest, timestep, awaited)
        self.cadence = cadence.Cadence(timestep)
        self._cpu = cadence.CpuMeter()
        self._counts = {"num_holds": 0, "num_rejected": 0, "num_unsent": 0, "num_stops": 0}
        self._watch = FrozenWatch(parameters.max_frozen)
        self._sending = threading.Lock()
        self._stop_reason = stop_reason
        self._problems: list[str] = []
        self._is_moving = False
        self._last: Command | None = None
        control.limiter.num_clamped = dict.fromkeys(control.limiter.num_clamped, 0)
        self.episode_start: int | None = None  # ns; the policy forgets at the first stamp from it

    # What the loop does.

    def tick(self, due: Due | None) -> None:
        """Moves, holds or waits; `due` is None when no tick is."""
        started = time.monotonic_ns()
        samples = self._latest.snapshot()
        if self._stop_reason:
            return
        problems = self._stale(samples) + self._rivals()
        if problems:
            self._hold(problems)
        elif due is not None:
            self._act(due, samples, started)

    def _act(self, due: Due, samples: dict[str, Sample], started: int) -> None:
        self._begin_episode(samples)
        was_moving = self._is_moving
        if not was_moving:
            self._control.limiter.restart()
            self._watch.restart()
        try:
            command = self._control.step(samples)
        except (ValueError, KeyError) as error:
            self._counts["num_rejected"] += 1
            self._hold([str(error)])
            return
        except Exception as error:
            # nothing is known of the policy's state now: a person must look before it goes on
            self._node.get_logger().error(traceback.format_exc())
            self.stop(f"the policy failed: {error!r}")
            return
        command.stages.update(self._wait_for_release(due))
        computed = time.monotonic_ns()
        if stale := self._stale(samples):
            self._hold([f"{line}, when the policy had answered" for line in stale])
            return
        if not self._move(command, samples[ingest.JOINT_STREAM].stamp):
            return
        if was_moving:  # the way out of a hold is no missed tick
            self.cadence.miss(due.num_missed)
        self._account(due, command, started, computed)
        if frozen := self._watch.note(
            samples, command.velocities, self._control.spec.control_timestep
        ):
            self.stop("; ".join(frozen))

    def _wait_for_release(self, due: Due) -> dict[str, float]:
        """Evens out how long the policy takes, if asked to: {"wait": s}."""
        delay = self._parameters.release_after
        if not delay:
            return {}
        early = due.wall / 1e9 + delay - time.monotonic()
        time.sleep(max(0.0, early))
        return {"wait": max(0.0, early)}

    def _account(self, due: Due, command: Command, started: int, computed: int) -> None:
        end = time.monotonic_ns()
        stages = {"receive": (started - due.wall) / 1e9, **command.stages}
        stages["publish"] = (end - computed) / 1e9
        self.cadence.tick(end / 1e9, (end - due.wall) / 1e9, stages)

    def _stale(self, samples: dict[str, Sample]) -> list[str]:
        now, wall = self._node.get_clock().now().nanoseconds, time.monotonic_ns()
        return stale_streams(samples, self._parameters.limits, now, wall)

    def _rivals(self) -> list[str]:
        """Other nodes that command the same robot; also those that exist but are silent."""
        node, problems = self._node, []
        if not self._parameters.sole_commander:
            return problems
        for topic in self._commander.topics():
            if node.count_publishers(topic) > 1:
                infos = node.get_publishers_info_by_topic(topic)
                names = [f"{info.node_namespace.rstrip('/')}/{info.node_name}" for info in infos]
                if (own := node.get_fully_qualified_name()) in names:
                    names.remove(own)
                problems.append(f"{topic}: also commanded by {', '.join(names)}")
        return problems

    def _begin_episode(self, samples: dict[str, Sample]) -> None:
        """Empties the policy's memory at the first observation of an episode."""
        start = self.episode_start
        if start is not None and samples[ingest.JOINT_STREAM].stamp >= start:
            self._control.policy.reset()
            self.episode_start = None

    # What leaves.

    def _move(self, command: Command, stamp: int) -> bool:
        """Whether the command left: not after a stop."""
        with self._sending:
            if self._stop_reason:
                return False
            now = self._node.get_clock().now().to_msg()
            self._last, self._is_moving, self._problems = command, True, []
            try:
                self._commander.move(command, conversion.time_message(stamp), now)
            except RCLError as error:
                self._note_unsent(error)
                return False
            return True

    def _hold(self, problems: list[str]) -> None:
        """Tells the robot to hold, once; its own watchdog and controller keep it there."""
        self._problems = problems = [line[:MAX_TEXT] for line in problems]
        text = "; ".join(problems)
        log = self._node.get_logger()
        if not self._is_moving:
            log.info(f"waiting: {text}", throttle_duration_sec=5.0, skip_first=True)
            return
        log.warning(f"holding: {text}")
        self._counts["num_holds"] += 1
        self.trigger.restart()
        with self._sending:
            self._send_hold()

    def stop(self, reason: str) -> None:
        """Holds at once and for good. Thread-safe; returns after the hold has left."""
        with self._sending:
            if not self._stop_reason:
                self._stop_reason = reason[:MAX_TEXT]
                self._counts["num_stops"] += 1
            self._send_hold()
        self._node.get_logger().error(f"stopped: {self._stop_reason}")

    def rearm(self) -> None:
        """Lets the next tick move again, softly, with an empty memory."""
        with self._sending:
            self._stop_reason, self._problems = "", []
            self.episode_start = 0
            self.trigger.restart()

    def end(self) -> None:
        """Leaves the robot holding."""
        with self._sending:
            if self._is_moving:
                self._send_hold()

    def _send_hold(self) -> None:
        self._is_moving = False
        if self._last is None:
            return  # it was never moved
        try:
            self._commander.hold(self._measured(), self._node.get_clock().now().to_msg())
        except RCLError as error:
            self._note_unsent(error)

    def _measured(self):
        """The newest joint angles that make sense."""
        sample = self._latest.snapshot().get(ingest.JOINT_STREAM)
        try:
            return self._control.angles(sample.message) if sample else self._last.angles
        except ValueError:
            return self._last.angles

    def _note_unsent(self, error: Exception) -> None:
        self._counts["num_unsent"] += 1
        self._node.get_logger().error(f"command not sent: {error}", throttle_duration_sec=2.0)

    # What is told.

    @property
    def stop_reason(self) -> str:
        return self._stop_reason

    def state(self) -> tuple[str, str]:
        """One word, and why: (`moving`, ``), (`holding`, `<camera>: arrived 0.3 s ago ...`)."""
        if self._stop_reason:
            return STOPPED, self._stop_reason
        if self._is_moving:
            return MOVING, ""
        return (WAITING if self._last is None else HOLDING), "; ".join(self._problems)

    def report(self, *, final: bool = False) -> dict:
        """Counts, and percentiles of the newest ticks, or of all in the final one; JSON-ready."""
        clamped = self._control.limiter.num_clamped
        values = self.cadence.report(cadence.NEWEST if final else LIVE_TICKS)
        values |= self._counts | {"num_limited": sum(clamped.values()), "num_clamped": clamped}
        return values | {"cpu_cores": self._cpu.cores()}
