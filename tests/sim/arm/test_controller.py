import numpy as np
import pytest

from gato_sim.arm import inverse_kinematics
from gato_sim.arm.controller import Controller
from gato_sim.arm.sawyer import JOINT_VELOCITY_LIMITS, WORKSPACE_HIGH, WORKSPACE_LOW
from gato_sim.domains.rgb_stacking.simulation import Simulation

CENTER = np.array([0.6, 0.0, 0.17, 0.0, 1.0, 0.0, 0.0])


@pytest.fixture(scope="module")
def simulation():
    return Simulation(("s0", "s0", "s0"), physics="stable")


def start(simulation, pinch=CENTER):
    """Puts the arm at a pinch pose with the objects out of its way."""
    simulation.reset(np.random.default_rng(0))
    angles = inverse_kinematics.solve(simulation.controller, pinch, np.random.default_rng(0))
    simulation.data.qpos[simulation.elements.arm_qpos] = angles
    simulation.data.act[:7] = angles
    for color, x in zip(("red", "green", "blue"), (0.45, 0.6, 0.75)):
        simulation.place_object(color, np.array([x, 0.35, 0.3, 1, 0, 0, 0]))


def act(simulation, action, num_steps):
    for _ in range(num_steps):
        simulation.command(simulation.controller.ctrl(action, simulation.joint_angles))
        simulation.step()


def test_forward_kinematics_equal_the_scene(simulation):
    controller = Controller()
    for seed in range(3):
        simulation.reset(np.random.default_rng(seed))
        angles = simulation.joint_angles
        np.testing.assert_allclose(controller.pinch_pose(angles), simulation.pinch_pose, atol=1e-9)
        np.testing.assert_allclose(controller.tcp_pose(angles), simulation.tcp_pose, atol=1e-9)


@pytest.mark.parametrize("axis", range(3))
def test_pinch_moves_as_commanded(simulation, axis):
    start(simulation)
    velocity = np.zeros(3)
    velocity[axis] = 0.05
    action = np.append(velocity, [0.0, -255])
    act(simulation, action, 10)  # the joints' servos lag until the speed is reached
    before = simulation.pinch_pose[:3]
    act(simulation, action, 20)
    moved = simulation.pinch_pose[:3] - before
    # The benchmark's damping costs up to a seventh of the speed, away from the robot most.
    assert 0.85 * 0.05 < moved[axis] < 1.02 * 0.05
    assert np.abs(np.delete(moved, axis)).max() < 0.1 * 0.05


def test_yaw_turns_about_the_vertical(simulation):
    start(simulation)
    act(simulation, np.array([0, 0, 0, 0.5, -255]), 10)
    before = simulation.pinch_pose
    act(simulation, np.array([0, 0, 0, 0.5, -255]), 20)
    after = simulation.pinch_pose
    angle = 2 * np.arccos(min(1.0, abs(before[3:] @ after[3:])))
    assert angle == pytest.approx(0.5, rel=0.1)
    np.testing.assert_allclose(after[:3], before[:3], atol=0.01)


@pytest.mark.parametrize("axis, sign", [(0, 1), (0, -1), (1, 1), (1, -1), (2, 1), (2, -1)])
def test_the_workspace_holds_the_pinch_point(simulation, axis, sign):
    start(simulation)
    action = np.array([0.0, 0, 0, 0, -255])
    action[axis] = 0.07 * sign
    act(simulation, action, 60)
    position = simulation.pinch_pose[axis]
    limit = (WORKSPACE_HIGH if sign > 0 else WORKSPACE_LOW)[axis]
    assert abs(position - limit) < 0.01  # it went there, and one step's way beyond at most


def test_commands_keep_the_joint_velocity_limits():
    controller, rng = Controller(), np.random.default_rng(0)
    for _ in range(50):
        angles = rng.uniform(controller.model.jnt_range[:, 0] - 1, 1, 7)
        ctrl = controller.ctrl(rng.uniform(-300, 300, 5), angles)
        assert (np.abs(ctrl[:7]) <= np.array(JOINT_VELOCITY_LIMITS) + 1e-12).all()
        assert abs(ctrl[7]) == 255


@pytest.mark.parametrize(
    "action, angles",
    [(np.zeros(4), np.zeros(7)), (np.zeros(5), np.zeros(6)), (np.full(5, np.nan), np.zeros(7))],
)
def test_malformed_input_is_refused(action, angles):
    with pytest.raises(ValueError, match="expected"):
        Controller().ctrl(action, angles)


def test_inverse_kinematics_reach_the_pose():
    controller, rng = Controller(), np.random.default_rng(0)
    angles = inverse_kinematics.solve(controller, CENTER, rng)
    pose = controller.pinch_pose(angles)
    np.testing.assert_allclose(pose[:3], CENTER[:3], atol=1e-3)
    assert abs(pose[3:] @ CENTER[3:]) > np.cos(1e-3)
    unreachable = np.array([3.0, 0, 0, 0, 1, 0, 0])
    assert inverse_kinematics.solve(controller, unreachable, rng) is None
