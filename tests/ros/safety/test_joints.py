"""What an arm can have done, and whether it stands."""

import numpy as np
import pytest
from ros_examples import ANGLES, joint_state

from gato_ros.safety.joints import Implausible, JointWatch
from gato_sim.arm.sawyer import JOINT_HIGH, JOINT_LOW, JOINT_NAMES, JOINT_VELOCITY_LIMITS

MS = 1_000_000


def watch() -> JointWatch:
    joints = JointWatch(JOINT_NAMES)
    joints.limit(np.array(JOINT_LOW), np.array(JOINT_HIGH), np.array(JOINT_VELOCITY_LIMITS))
    return joints


def put(joints: JointWatch, angles, time: int) -> None:
    joints.put(joint_state(angles=np.asarray(angles)), time, time)


def test_the_fastest_motion_is_believed_and_degrees_and_zeros_are_not():
    joints, limits = watch(), np.array(JOINT_VELOCITY_LIMITS)
    put(joints, ANGLES, 0)
    put(joints, ANGLES + 0.05 * limits, 50 * MS)
    for wrong in (np.degrees(ANGLES), np.zeros(7)):
        with pytest.raises(Implausible, match="went .* rad in 0.050 s, expected at most"):
            put(joints, wrong, 100 * MS)
    assert joints.num_refused == 2
    assert len(joints.problems(200 * MS)) == 1 and not joints.problems(700 * MS)


def test_out_of_range_is_refused_from_the_first_state_on():
    with pytest.raises(Implausible, match="right_j3 at 69.901 rad, expected -3.044 to 3.044 rad"):
        put(watch(), np.degrees(ANGLES), 0)


def test_an_arm_that_was_moved_while_nobody_heard_is_believed_again():
    joints = watch()
    put(joints, ANGLES, 0)
    put(joints, ANGLES + 1.0, 1000 * MS)
    joints.restart()
    put(joints, ANGLES, 1010 * MS)


def test_a_stamp_from_far_ahead_buys_no_step():
    joints = watch()
    put(joints, ANGLES, 0)
    message = joint_state(angles=ANGLES + np.array([3.0, 0, 0, 0, 0, 0, 0]))
    with pytest.raises(Implausible):
        joints.put(message, 10**18, 50 * MS)


def test_it_stands_only_by_states_that_came_since():
    joints = watch()
    for i in range(20):
        put(joints, ANGLES + 0.01 * min(i, 10), i * 50 * MS)
        if i == 12:
            assert not joints.stands_still(300 * MS), "it moved until a moment ago"
    assert joints.stands_still(700 * MS)
    assert not joints.stands_still(900 * MS), "too short a look"
    assert not joints.stands_still(2000 * MS), "no state since"
    assert joints.angles(950 * MS, 0.1) is not None and joints.angles(2000 * MS, 0.1) is None
