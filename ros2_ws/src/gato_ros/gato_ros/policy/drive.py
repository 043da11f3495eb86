"""The control loop of the policy node from activate to deactivate: each tick moves or holds.

Its loop runs in the main thread. What leaves passes the Hold, which has a thread of its own.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable

from gato_ros.common import cadence, conversion, ingest
from gato_ros.common.clocks import Clocks
from gato_ros.policy.control import Control
from gato_ros.policy.parameters import PolicyParameters
from gato_ros.policy.triggers import ClockTrigger, Due, StateTrigger
from gato_ros.robot.commands import Commander
from gato_ros.safety.freshness import Latest, Sample, stale_streams
from gato_ros.safety.frozen import FrozenWatch
from gato_ros.safety.hold import Hold
from gato_ros.safety.joints import JointWatch

LIVE_TICKS = 200  # of the newest, for percentiles shown while running
MAX_TEXT = 500  # characters of a problem: messages may bring any string
STOPPED, HOLDING, WAITING, MOVING = "stopped", "holding", "waiting", "moving"


class Drive:
    """Decides at each tick whether the robot moves or holds, and counts both.

    rivals: lines about other nodes on our topics. log: as of a node.
    """

    def __init__(
        self,
        parameters: PolicyParameters,
        control: Control,
        latest: Latest,
        joints: JointWatch,
        commander: Commander,
        hold: Hold,
        clocks: Clocks,
        trigger: StateTrigger | ClockTrigger,
        rivals: Callable[[], list[str]],
        log,
    ) -> None:
        self._parameters, self._control = parameters, control
        self._latest, self._joints = latest, joints
        self._commander, self._hold, self._clocks = commander, hold, clocks
        self.trigger, self._rivals, self._log = trigger, rivals, log
        self.cadence = cadence.Cadence(control.spec.control_timestep)
        self._cpu = cadence.CpuMeter()
        self._num_rejected = 0
        self._counted = dict(hold.counts)  # what was before
        self._watch = FrozenWatch(parameters.max_frozen)
        self._problems: list[str] = []
        self._limiter = control.motion.limiter
        self._limiter.num_clamped = dict.fromkeys(self._limiter.num_clamped, 0)
        self.episode_start: int | None = None  # ns; the policy forgets at the first stamp from it

    # What the loop does.

    def tick(self, due: Due | None) -> None:
        """Moves, holds or waits; `due` is None when no tick is."""
        started, epoch = self._clocks.wall(), self._hold.epoch
        samples = self._latest.snapshot()
        if self._hold.stop_reason:
            return
        problems = self._stale(samples) + self._rivals()
        if problems:
            self._halt(problems)
        elif due is not None:
            self._act(due, samples, started, epoch)

    def _act(self, due: Due, samples: dict[str, Sample], started: int, epoch: int) -> None:
        self._begin_episode(samples)
        was_moving = self._hold.is_moving
        if not was_moving:
            self._control.motion.restart()
            self._watch.restart()
        try:
            command, stages = self._control.step(samples, lambda: self._age(samples))
        except (ValueError, KeyError) as error:
            self._num_rejected += 1
            self._halt([str(error)])
            return
        except Exception as error:
            # nothing is known of the policy's state now: a person must look before it goes on
            self._log.error(traceback.format_exc())
            self.stop(f"the policy failed: {error!r}")
            return
        stages.update(self._wait_for_release(due))
        computed = self._clocks.wall()
        if stale := self._stale(samples):
            self._halt([f"{line}, when the policy had answered" for line in stale])
            return
        stamp = conversion.time_message(samples[ingest.JOINT_STREAM].stamp)
        now, names = conversion.time_message(self._clocks.now()), self._control.spec.action.names
        if not self._hold.move(lambda: self._commander.move(command, names, stamp, now), epoch):
            # it held meanwhile: what was computed goes on from a motion that has ended
            self.cadence.miss(due.num_missed + 1 if was_moving else 0)
            return
        self._problems = []
        if was_moving:  # the way out of a hold is no missed tick
            self.cadence.miss(due.num_missed)
        self._account(due, stages, started, computed)
        timestep = self._control.spec.control_timestep
        if frozen := self._watch.note(samples, command.velocities, timestep):
            self.stop("; ".join(frozen))

    def _wait_for_release(self, due: Due) -> dict[str, float]:
        """Evens out how long the policy takes, if asked to: {"wait": s}."""
        delay = self._parameters.release_after
        if not delay:
            return {}
        early = due.wall / 1e9 + delay - time.monotonic()
        time.sleep(max(0.0, early))
        return {"wait": max(0.0, early)}

    def _account(self, due: Due, stages: dict[str, float], started: int, computed: int) -> None:
        end = self._clocks.wall()
        stages = {"receive": (started - due.wall) / 1e9, **stages}
        stages["publish"] = (end - computed) / 1e9
        self.cadence.tick(end / 1e9, (end - due.wall) / 1e9, stages)

    def _stale(self, samples: dict[str, Sample]) -> list[str]:
        now, wall = self._clocks.now(), self._clocks.wall()
        if now == 0 and self._clocks.is_simulated():
            return ["no /clock yet: use_sim_time is true, and nobody publishes the time"]
        return stale_streams(samples, self._parameters.limits, now, wall) + self._joints.problems(
            wall
        )

    def _age(self, samples: dict[str, Sample]) -> float:
        """s since the joints were measured; since they arrived where stamps are not to be used."""
        sample = samples[ingest.JOINT_STREAM]
        has_stamp = self._parameters.limits[ingest.JOINT_STREAM].stamp > 0
        return (self._clocks.now() - (sample.stamp if has_stamp else sample.arrival)) / 1e9

    def _begin_episode(self, samples: dict[str, Sample]) -> None:
        """Empties the policy's memory at the first observation of an episode."""
        start = self.episode_start
        if start is not None and samples[ingest.JOINT_STREAM].stamp >= start:
            self._control.policy.reset()
            self.episode_start = None

    # What leaves.

    def _halt(self, problems: list[str]) -> None:
        """Holds, and remembers why; the Hold repeats it until the robot stands still."""
        self._problems = problems = [line[:MAX_TEXT] for line in problems]
        text = "; ".join(problems)
        if self._hold.hold(text):
            self._log.warning(f"holding: {text}")
            self.trigger.restart()
        else:
            self._log.info(f"waiting: {text}", throttle_duration_sec=5.0, skip_first=True)

    def stop(self, reason: str) -> str:
        """Holds at once and for good; why no hold could leave, or ""."""
        unsent = self._hold.stop(reason)
        self._log.error(f"stopped: {reason[:MAX_TEXT]}")
        return unsent

    def rearm(self) -> str:
        """Lets the next tick move again, softly, with an empty memory; why it was stopped."""
        self._problems = []
        self.episode_start = 0
        reason = self._hold.rearm()
        self.trigger.restart()
        return reason

    # What is told.

    def state(self) -> tuple[str, str]:
        """One word, and why: (`moving`, ``), (`holding`, `<camera>: arrived 0.3 s ago ...`)."""
        hold = self._hold
        if hold.stop_reason:
            return STOPPED, hold.stop_reason
        if hold.is_moving:
            return MOVING, ""
        reason = "; ".join(self._problems)
        return (HOLDING, reason or hold.reason) if hold.has_moved else (WAITING, reason)

    def report(self, *, final: bool = False) -> dict:
        """Counts, and percentiles of the newest ticks, or of all in the final one; JSON-ready."""
        clamped = self._limiter.num_clamped
        values = self.cadence.report(cadence.NEWEST if final else LIVE_TICKS)
        values |= {name: n - self._counted[name] for name, n in self._hold.counts.items()}
        values |= {"num_rejected": self._num_rejected, "num_implausible": self._joints.num_refused}
        values |= {"num_limited": sum(clamped.values()), "num_clamped": clamped}
        return values | {"cpu_cores": self._cpu.cores()}
