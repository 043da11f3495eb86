"""Arm and gripper that publish their joint states apart, merged as they come."""

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from sensor_msgs.msg import JointState
from std_msgs.msg import Header

from gato_ros.common.joint_parts import JointParts
from gato_ros.common.reading import joint_values

ARM, HAND = ["a", "b"], ["finger"]


def joints(names, position, milliseconds, **fields):
    stamp = Time(sec=milliseconds // 1000, nanosec=milliseconds % 1000 * 1_000_000)
    return JointState(header=Header(stamp=stamp), name=names, position=position, **fields)


def parts() -> JointParts:
    return JointParts([*ARM, *HAND], max_age=0.15)


def test_a_message_with_all_joints_passes_untouched():
    whole = joints(["finger", "b", "other", "a"], [0.0] * 4, 100)
    assert parts().merged(whole) is whole


def test_parts_are_merged_by_name_with_the_arms_stamp():
    merge = parts()
    merge.merged(joints(ARM, [1.0, 2.0], 100, velocity=[0.1, 0.2]))
    got = merge.merged(joints(HAND, [3.0], 107))
    np.testing.assert_array_equal(joint_values(got, ["finger", "a", "b"], "position"), [3, 1, 2])
    np.testing.assert_array_equal(joint_values(got, ARM, "velocity"), [0.1, 0.2])
    assert got.header.stamp.nanosec == 100_000_000
    with pytest.raises(ValueError, match=r"NaN or infinity in \['finger'\]"):
        joint_values(got, HAND, "velocity")  # which the hand does not say
    got = merge.merged(joints(ARM, [4.0, 5.0], 120))
    np.testing.assert_array_equal(joint_values(got, ["finger", "a", "b"], "position"), [3, 4, 5])
    assert got.header.stamp.nanosec == 120_000_000


def test_a_part_that_falls_silent_is_missing():
    merge = parts()
    merge.merged(joints(HAND, [3.0], 100))
    assert "finger" in merge.merged(joints(ARM, [1.0, 2.0], 250)).name
    got = merge.merged(joints(ARM, [1.0, 2.0], 251))
    with pytest.raises(ValueError, match=r"\['finger'\] missing"):
        joint_values(got, HAND, "position")


def test_what_was_said_before_the_clock_went_back_is_forgotten():
    merge = parts()
    merge.merged(joints(HAND, [3.0], 5000))
    merge.merged(joints(ARM, [1.0, 2.0], 5000))
    assert merge.merged(joints(ARM, [7.0, 8.0], 10)).name == ARM
    got = merge.merged(joints(HAND, [9.0], 12))
    np.testing.assert_array_equal(joint_values(got, ["finger", "a"], "position"), [9, 7])


def test_the_newer_word_counts_where_two_parts_name_a_joint():
    merge = parts()
    merge.merged(joints(["a", "b", "rail"], [1.0, 2.0, 0.0], 100))
    got = merge.merged(joints(["b", "finger"], [5.0, 6.0], 110))
    assert joint_values(got, ["a", "b", "finger"], "position").tolist() == [1, 5, 6]


def test_a_malformed_part_comes_back_to_be_refused():
    broken = joints(ARM, [1.0], 100)
    assert parts().merged(broken) is broken
