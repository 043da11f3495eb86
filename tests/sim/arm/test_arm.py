"""Arms from their description, led by the controller that leads the Sawyer."""

from pathlib import Path

import numpy as np
import pytest

from gato_sim.arm import arm
from gato_sim.arm.controller import Controller

URDF = Path(__file__).parents[3] / "config/example_arm.urdf"
JOINTS = (
    *("shoulder_pan", "shoulder_lift", "upper_arm_roll", "elbow"),
    *("forearm_roll", "wrist_bend", "wrist_roll"),
)
REST = np.array([0.0, 0.6, 0.0, 1.5, 0.0, 1.0416, 0.0])  # the gripper points down
SIX_JOINTS = """<mujoco><asset><mesh name="m" file="none.stl"/></asset><worldbody>
  <body pos="0 0 .1" gravcomp="1"><joint name="a" axis="0 0 1"/><geom type="mesh" mesh="m"/>
  <body pos="0 0 .2"><joint name="b" axis="0 1 0" range="-120 120"/>
  <body pos="0 0 .4"><joint name="c" axis="0 1 0" range="-150 150"/>
  <body pos="0 0 .2"><joint name="d" axis="0 0 1"/>
  <body pos="0 0 .2"><joint name="e" axis="0 1 0" range="-120 120"/>
  <body pos="0 0 .1" name="hand"><joint name="f" axis="0 0 1"/>
    <site name="tip" pos="0 0 .1"/>
    <body><joint name="finger" type="slide" range="0 .04"/><geom size=".01"/></body>
  </body></body></body></body></body></body>
  </worldbody><actuator><position joint="finger"/></actuator>
  <keyframe><key qpos="0 0 0 0 0 0 .04"/></keyframe></mujoco>"""


def example(**options) -> arm.Arm:
    return arm.from_file(URDF, JOINTS, "pinch", rest_angles=REST.tolist(), **options)


def move(controller: Controller, angles: np.ndarray, action: list[float]) -> np.ndarray:
    """Joint angles after half a second of a perfect robot."""
    for _ in range(10):
        angles = angles + 0.05 * controller.ctrl(np.array(action), angles)[:-1]
    return angles


@pytest.mark.parametrize("axis", range(3))
def test_a_described_arm_moves_as_commanded_and_keeps_pointing_down(axis):
    controller = Controller(example())
    action = [0.0, 0.0, 0.0, 0.0, 1.0]
    action[axis] = 0.05
    before = controller.pinch_pose(REST)
    angles = move(controller, REST, action)
    after = controller.pinch_pose(angles)
    moved = after[:3] - before[:3]
    assert 0.8 * 0.025 < moved[axis] < 1.05 * 0.025
    assert np.abs(np.delete(moved, axis)).max() < 0.003
    assert abs(after[3:] @ [0, 0, 1, 0]) > 0.999


def test_joint_names_and_not_their_order_in_the_file_decide():
    order = [3, 0, 6, 1, 5, 2, 4]
    shuffled = arm.from_file(URDF, [JOINTS[i] for i in order], "pinch", rest_angles=REST[order])
    action = np.array([0.03, -0.02, 0.01, 0.4, -1.0])
    straight, other = Controller(example()), Controller(shuffled)
    angles = REST + 0.1
    np.testing.assert_array_equal(other.pinch_pose(angles[order]), straight.pinch_pose(angles))
    got, expected = other.ctrl(action, angles[order]), straight.ctrl(action, angles)
    np.testing.assert_allclose(got[:7], expected[:7][order], atol=1e-12)
    assert shuffled.velocity_limits.tolist() == example().velocity_limits[order].tolist()


def test_mjcf_with_fingers_and_missing_meshes_gives_the_arm_alone(tmp_path):
    file = tmp_path / "six.xml"
    file.write_text(SIX_JOINTS)
    six = arm.from_file(file, "abcdef", "tip", "hand", velocity_limits=[1.0] * 6)
    angles = np.array([0.0, 0.9, 1.2, 0.0, np.pi - 2.1, 0.0])
    controller = Controller(six)
    flange = [
        0.4 * np.sin(0.9) + 0.4 * np.sin(2.1),
        0,
        0.3 + 0.4 * np.cos(0.9) + 0.4 * np.cos(2.1) - 0.1,
    ]
    np.testing.assert_allclose(controller.tcp_pose(angles)[:3], flange, atol=1e-9)
    np.testing.assert_allclose(
        controller.pinch_pose(angles)[:3], np.subtract(flange, [0, 0, 0.1]), atol=1e-9
    )
    assert six.high.tolist() == pytest.approx(
        [np.inf, np.radians(120), np.radians(150), np.inf, np.radians(120), np.inf]
    )
    assert controller.ctrl(np.zeros(5), angles).shape == (7,)


def test_what_a_description_lacks_is_named(tmp_path):
    six = tmp_path / "six.xml"
    six.write_text(SIX_JOINTS)
    broken = tmp_path / "broken.urdf"
    broken.write_text("<robot><link/></robot")
    cases = (
        (URDF, JOINTS, "tool0", {}, "expected a frame of .*flange.*, got 'tool0'"),
        (URDF, (*JOINTS[:6], "j7"), "pinch", {}, r"to be .*'j7'\], got .*'wrist_roll'\]"),
        (URDF, JOINTS[:5], "link5", {}, "at least 6"),
        (six, "abcdef", "tip", {}, "velocity_limits: expected 6 numbers above 0.0 .* got"),
        (URDF, JOINTS, "pinch", {"rest_angles": [0.0] * 6}, "rest_angles: expected 7"),
        (broken, JOINTS, "pinch", {}, "expected URDF or MJCF"),
    )
    for path, joints, frame, options, words in cases:
        with pytest.raises(ValueError, match=words):
            arm.from_file(path, joints, frame, **options)
    with pytest.raises(FileNotFoundError, match="nowhere.urdf: expected a URDF or MJCF"):
        arm.from_file(tmp_path / "nowhere.urdf", JOINTS, "pinch")
