"""The rule of the hold, under random sequences of faults: see tests/hold_world.py.

Each draw is a way in which a day with a robot goes on: streams cut, delayed, frozen, doubled;
clocks that jump and pause; a policy that is slow, raises, hangs; a node stopped, rearmed,
deactivated, suspended by a signal, killed and started again.
"""

from hold_world import World
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

SECONDS = st.integers(1, 80).map(lambda n: n / 200)  # up to 0.4 s
LONG = st.integers(1, 8).map(lambda n: n / 10)
NUM_EXAMPLES, NUM_STEPS = 250, 40  # 10,000 draws; some 40 steps of 5 ms each


class Day(RuleBasedStateMachine):
    @initialize(
        is_simulated=st.booleans(),
        command=st.sampled_from(["velocity", "trajectory"]),
        trigger=st.sampled_from(["state", "joints", "clock"]),
        hold_after=st.sampled_from([0.06, 0.1, 0.3]),
        max_stamp_age=st.sampled_from([0.15, 0.0]),
    )
    def begin(self, **options) -> None:
        self.world = World(**options)
        self.world.process.activate()
        self.world.run(0.3)

    @property
    def process(self):
        return self.world.process

    @rule(seconds=SECONDS)
    def go_on(self, seconds: float) -> None:
        self.world.run(seconds)

    @rule()
    def recover(self) -> None:
        """All is well for a while."""
        world = self.world
        world.joints_fault = world.image_fault = "none"
        world.rivals, world.send_errors, world.rate = [], 0, 1
        world.policy.mode = "steady"
        world.run(0.4)

    @rule(
        fault=st.sampled_from(
            ["silent", "frozen stamp", "frozen content", "delayed 0.06", "delayed 0.4", "doubled",
             "degrees", "nan", "missing"]
        ),
        seconds=SECONDS,
    )  # fmt: skip
    def spoil_joints(self, fault: str, seconds: float) -> None:
        self.world.joints_fault = fault
        self.world.run(seconds)

    @rule(
        fault=st.sampled_from(
            ["silent", "frozen stamp", "frozen content", "delayed 0.06", "delayed 0.4", "encoding"]
        ),
        seconds=SECONDS,
    )
    def spoil_images(self, fault: str, seconds: float) -> None:
        self.world.image_fault = fault
        self.world.run(seconds)

    @rule(mode=st.sampled_from(["steady", "raise", "nan"]), seconds=SECONDS)
    def change_policy(self, mode: str, seconds: float) -> None:
        self.world.policy.mode = mode
        self.world.run(seconds)

    @precondition(lambda self: self.process is not None)
    @rule(
        seconds=LONG,
        event=st.sampled_from([None, "stop", "rearm", "deactivate", "jump", "rival"]),
        at=st.sampled_from([0.1, 0.5]),
        then=SECONDS,
    )
    def hang(self, seconds: float, event: str | None, at: float, then: float) -> None:
        """The policy takes long, and something happens meanwhile."""
        world = self.world
        events = {
            "stop": self.process.stop,
            "rearm": self.process.rearm,
            "deactivate": self.process.deactivate,
            "jump": lambda: world.jump(-1.0),
            "rival": lambda: world.rivals.append("somebody else"),
        }
        world.policy.event = events.get(event)
        world.policy.seconds_taken, world.policy.event_at = seconds, at
        world.run(then)
        world.policy.event, world.policy.seconds_taken = None, 0.0

    @rule(seconds=st.sampled_from([-2.0, -0.1, 0.1, 2.0]), then=SECONDS)
    def jump(self, seconds: float, then: float) -> None:
        self.world.jump(seconds)
        self.world.run(then)

    @rule(seconds=LONG)
    def pause_clock(self, seconds: float) -> None:
        self.world.rate = 0 if self.world.is_simulated else 1
        self.world.run(seconds)
        self.world.rate = 1

    @rule(seconds=SECONDS)
    def meet_rival(self, seconds: float) -> None:
        self.world.rivals = ["/commands: also commanded by /other"]
        self.world.run(seconds)

    @rule(num=st.integers(1, 8), seconds=SECONDS)
    def refuse_messages(self, num: int, seconds: float) -> None:
        self.world.send_errors = num
        self.world.run(seconds)

    @precondition(lambda self: self.process is not None)
    @rule(seconds=SECONDS)
    def stop(self, seconds: float) -> None:
        self.process.stop()
        self.world.run(seconds)

    @precondition(lambda self: self.process is not None)
    @rule(seconds=SECONDS)
    def rearm(self, seconds: float) -> None:
        self.process.rearm()
        self.world.run(seconds)

    @precondition(lambda self: self.process is not None and self.process.is_active)
    @rule(seconds=SECONDS)
    def deactivate(self, seconds: float) -> None:
        self.process.deactivate()
        self.world.run(seconds)

    @precondition(lambda self: self.process is not None and not self.process.is_active)
    @rule(seconds=SECONDS)
    def activate(self, seconds: float) -> None:
        self.process.activate()
        self.world.run(seconds)

    @rule(seconds=LONG, then=SECONDS, loop_comes_first=st.booleans())
    def freeze(self, seconds: float, then: float, loop_comes_first: bool) -> None:
        """SIGSTOP, then SIGCONT."""
        self.world.is_frozen, self.world.loop_comes_first = True, loop_comes_first
        self.world.run(seconds)
        self.world.is_frozen = False
        self.world.run(then)

    @rule(seconds=SECONDS, stopped=st.booleans(), then=SECONDS)
    def kill(self, seconds: float, stopped: bool, then: float) -> None:
        """SIGKILL, then a new process, which may be stopped before anything else."""
        world = self.world
        world.kill()
        world.run(seconds)
        world.start()
        if stopped:
            self.process.stop()
            world.run(then)
            self.process.rearm()
        self.process.activate()
        world.run(then)


def test_the_rule_holds_under_random_sequences_of_faults():
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(
        Day,
        settings=settings(
            max_examples=NUM_EXAMPLES,
            stateful_step_count=NUM_STEPS,
            deadline=None,
            derandomize=True,
            phases=[Phase.explicit, Phase.generate],  # to shrink a day takes minutes
            suppress_health_check=list(HealthCheck),
        ),
    )
