"""The policy node in simulated time: a clock that jumps, and a node that is killed in motion."""

import threading

import numpy as np
import pytest
import ros_examples
from diagnostic_msgs.msg import DiagnosticArray
from ros_examples import ACTIVATE, CAMERAS, CONFIGURE
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray

from gato_ros.common import conversion, diagnostics, topics

pytestmark = pytest.mark.alone  # holds within tenths of a second

SECOND = 1_000_000_000
STEP = SECOND // 20


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return ros_examples.save_checkpoint(tmp_path_factory.mktemp("policy") / "debug")


class JumpyRobot:
    """Sensors and /clock at 20 Hz of wall time.

    clock_offset, sensor_offset: ns by which what it says is away from an even flow of time.
    """

    def __init__(self, robot: ros_examples.Probe) -> None:
        self._robot, self._now, self._end = robot, 1000 * SECOND, threading.Event()
        self.clock_offset = self.sensor_offset = 0
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        rng = np.random.default_rng(0)
        while not self._end.wait(0.05):
            self._now += STEP
            stamp = conversion.time_message(self._now + self.sensor_offset)
            for camera in CAMERAS:
                image = conversion.image_message(64, 64, camera)
                pixels = rng.integers(0, 8, (64, 64, 3), np.uint8)
                conversion.fill_image(image, pixels, stamp)
                self._robot.publish(image, topics.image(camera))
            angles = ros_examples.ANGLES + rng.uniform(-1e-4, 1e-4, 7)
            self._robot.publish(ros_examples.joint_state(stamp, angles), topics.JOINT_STATES)
            clock = conversion.time_message(self._now + self.clock_offset)
            self._robot.publish(Clock(clock=clock), topics.CLOCK)


def test_a_clock_that_jumps_either_way_holds_the_robot_until_its_sensors_follow(
    checkpoint, tmp_path
):
    with (
        ros_examples.environment(),
        ros_examples.odd_policy_process(checkpoint, tmp_path / "log.txt", use_sim_time=True),
        ros_examples.probe() as probe,
        JumpyRobot(probe) as robot,
    ):
        commands = probe.listen(Float64MultiArray, topics.ARM_VELOCITY)
        reports = probe.listen(DiagnosticArray, topics.DIAGNOSTICS)
        assert probe.transition(CONFIGURE) and probe.transition(ACTIVATE)
        for seconds in (500, -300):
            probe.wait(lambda: commands and any(commands[-1].data), "motion")
            robot.clock_offset = seconds * SECOND
            probe.wait(lambda: not any(commands[-1].data), "a hold")
            robot.sensor_offset = robot.clock_offset
        probe.wait(lambda: any(commands[-1].data), "motion in the new time")
        report = diagnostics.values_of(reports[-1], "policy_node")
        assert report["num_missed"] < 100, "a jump is no missed tick"
        probe.node.create_publisher(Clock, topics.CLOCK, 1)  # as of a robot in another namespace
        words = "/clock: expected 1 publisher, got"
        probe.wait(
            lambda: words in diagnostics.values_of(reports[-1], "policy_node")["message"], words
        )


def test_a_robot_stops_within_a_tenth_of_a_second_of_its_killed_policy(checkpoint, tmp_path):
    """Its watchdog does: no command within 0.1 s of its time, then zero."""
    sim = {"physics": "stable", "seed": 7}
    with (
        ros_examples.environment(),
        ros_examples.node_process("sim_node", tmp_path / "sim.txt", sim),
        # the robot may hear commands late (discovery): that it rests meanwhile shall stop nothing
        ros_examples.odd_policy_process(
            checkpoint,
            tmp_path / "policy.txt",
            use_sim_time=True,
            status=-9,
            safety__max_frozen=0.0,
        ) as policy,
        ros_examples.probe() as probe,
    ):
        states = probe.listen(JointState, topics.JOINT_STATES)
        actions = probe.listen(JointState, topics.ACTION)
        assert probe.transition(CONFIGURE) and probe.transition(ACTIVATE)
        probe.wait(lambda: len(actions) > 3 and is_moving(states), "motion")
        policy.kill()
        policy.wait()
        num_states = len(states)
        probe.wait(lambda: len(states) > num_states + 20, "a second of states")
        # what it sent last may have answered an old state: count from its death, not from that.
        # the arm's servos need about 0.15 s for a change of speed
        dead = stamp(states[num_states + 1])
        later = [s for s in states if stamp(s) > dead + 0.1 * SECOND + 0.3 * SECOND]
        assert later and max(speed(state) for state in later) < 0.01


def stamp(state: JointState) -> int:
    return conversion.nanoseconds(state.header.stamp)


def is_moving(states: list[JointState]) -> bool:
    """Twice in a row; a robot that awaits the first command of an episode has a speed but rests."""
    if len(states) < 3:
        return False
    positions = np.array([state.position[:7] for state in states[-3:]])
    steps = np.abs(np.diff(positions, axis=0)).max(axis=1)
    return bool((steps > 1e-4).all()) and speed(states[-1]) > 0.03


def speed(state: JointState) -> float:
    return float(np.abs(state.velocity[:7]).max())
