"""How commands leave: softly, from one another, and held where they were."""

from types import SimpleNamespace

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from ros_examples import ANGLES

from gato_ros.common import topics
from gato_ros.common.ingest import Gripper
from gato_ros.robot.commands import Commander, Forms, Turn
from gato_ros.robot.motion import Command
from gato_sim.arm.sawyer import JOINT_NAMES

TIMESTEP = 0.05


def commander(**forms) -> tuple[Commander, dict]:
    wire: dict[str, list] = {}

    def create(_: type, topic: str) -> SimpleNamespace:
        return SimpleNamespace(publish=wire.setdefault(topic, []).append, topic_name=topic)

    usual = {"arm": "trajectory", "gripper": "position", "joints": JOINT_NAMES}
    usual |= {"finger": Gripper(), "timestep": TIMESTEP}
    made = Commander(create, Forms(**usual | forms))
    made.connect()
    return made, wire


def command(angles=ANGLES, speed=0.5, gripper=255.0, **more) -> Command:
    return Command(np.full(7, speed), gripper, np.zeros(6), angles, np.zeros(5), **more)


def send(made: Commander, one: Command) -> None:
    made.move(one, ("x", "y", "z", "yaw", "gripper"), Time(), Time())


def test_a_trajectory_is_held_at_its_target_and_goes_on_from_there():
    made, wire = commander()
    for i in range(5):  # the arm lags by a control timestep or two
        send(made, command(ANGLES + 0.025 * max(0, i - 2), is_first=i == 0))
    target = np.array(wire[topics.ARM_TRAJECTORY][-1].points[0].positions)
    stale = ANGLES + 0.025
    for _ in range(3):
        made.hold(stale, Time())
        point = wire[topics.ARM_TRAJECTORY][-1].points[0]
        np.testing.assert_allclose(point.positions, target)
        assert not np.any(point.velocities)
        slope = np.abs(target - stale).max() / (point.time_from_start.nanosec / 1e9)
        assert slope <= 0.5 + 1e-9
    send(made, command(target - 0.01, is_first=True))
    going_on = np.array(wire[topics.ARM_TRAJECTORY][-1].points[0].positions)
    np.testing.assert_allclose(going_on, target + 0.025)
    assert all(m.header.stamp == Time() for m in wire[topics.ARM_TRAJECTORY])


def test_an_arm_that_somebody_else_moved_is_neither_pulled_back_nor_led_from_afar():
    made, wire = commander()
    send(made, command(is_first=True))
    made.hold(ANGLES, Time())
    elsewhere = ANGLES + 0.4
    made.hold(elsewhere, Time(), from_rest=True)
    np.testing.assert_allclose(wire[topics.ARM_TRAJECTORY][-1].points[0].positions, elsewhere)
    send(made, command(ANGLES, is_first=True))
    start = np.array(wire[topics.ARM_TRAJECTORY][-1].points[0].positions)
    np.testing.assert_allclose(start, ANGLES + 0.025)
    with pytest.raises(ValueError, match="expected angles to hold at"):
        made.hold(None, Time(), from_rest=True)


def test_a_gripper_begins_softly_in_both_forms():
    made, wire = commander(gripper="velocity")
    send(made, command(softness=0.25))
    assert wire[topics.GRIPPER_VELOCITY][-1].data[0] == pytest.approx(0.2)
    made, wire = commander()
    for softness, expected in ((0.25, 0.35), (0.5, 0.5), (1.0, 0.8)):
        send(made, command(softness=softness, finger=0.2))
        assert wire[topics.GRIPPER_POSITION][-1].data[0] == pytest.approx(expected)


def test_a_gripper_turns_round_once_that_was_asked_for_long_enough():
    """On images of noise it switched 48 times in 15 s."""
    turn = Turn(settle=0.2, timestep=TIMESTEP)
    asked = [255, -255, -255, 255, -255, -255, -255, -255, -255, 255]
    assert [turn.ask(one) for one in asked] == [255] * 7 + [-255] * 3
    rng = np.random.default_rng(0)
    turn = Turn(settle=0.2, timestep=TIMESTEP)
    answers = [turn.ask(255.0 if up else -255.0) for up in rng.random(300) < 0.7]
    assert np.count_nonzero(np.diff(answers)) <= 6
    assert Turn(settle=0.0, timestep=TIMESTEP).ask(-255) == -255
