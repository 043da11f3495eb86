"""What no command may do, whatever the policy answers."""

import numpy as np
import pytest
from sensor_msgs.msg import JointState

from gato_ros.safety.freshness import Sample
from gato_ros.safety.frozen import FrozenWatch
from gato_ros.safety.limits import CLAMPS, Limiter, SafetyLimits
from gato_sim.arm import inverse_kinematics
from gato_sim.arm.arm import sawyer
from gato_sim.arm.controller import Controller

STEP = 0.05
ARM = sawyer()
CONTROLLER = Controller(ARM)
CENTER = inverse_kinematics.solve(  # of the workspace
    CONTROLLER, np.array([0.6, 0.0, 0.17, 0.0, 1.0, 0.0, 0.0]), np.random.default_rng(0)
)


def limiter(**limits: float) -> Limiter:
    return Limiter(CONTROLLER, SafetyLimits(**limits), STEP)


def test_random_commands_keep_every_limit_and_each_cut_is_counted():
    safe = limiter(max_jump=0.5, position_margin=0.05)
    rng = np.random.default_rng(0)
    last = np.zeros(7)
    for _ in range(300):
        angles = rng.uniform(ARM.low, ARM.high)
        velocities = safe.limit(rng.uniform(-6, 6, 7), angles)
        room = np.maximum(ARM.high - 0.05 - angles, 0), np.maximum(angles - ARM.low - 0.05, 0)
        assert (np.abs(velocities) <= ARM.velocity_limits + 1e-9).all()
        assert (velocities * STEP <= room[0] + 1e-9).all()
        assert (-velocities * STEP <= room[1] + 1e-9).all()
        pinch = CONTROLLER.pinch_pose(angles)[:3]
        moved = CONTROLLER.pinch_jacobian(angles)[:3] @ velocities * STEP
        high = np.maximum(ARM.workspace_high + 0.03 - pinch, 0)
        low = np.maximum(pinch - ARM.workspace_low + 0.03, 0)
        assert (moved <= high + 1e-9).all() and (-moved <= low + 1e-9).all()
        assert (np.abs(velocities) <= np.abs(last) + 0.5 + 1e-9).all()
        last = velocities
    assert all(safe.num_clamped[name] for name in ("jump", "position", "workspace"))


def test_what_is_within_limits_is_left_as_it_is():
    safe = limiter()
    for seed in range(20):
        velocities = np.random.default_rng(seed).uniform(-0.05, 0.05, 7)
        assert safe.limit(velocities, CENTER).tolist() == velocities.tolist()
    assert safe.num_clamped == dict.fromkeys(CLAMPS, 0)


def test_excess_speed_keeps_its_direction():
    fast = np.array([9.0, -1.0, 0.5, 0, 0, 0, 0.25])
    slowed = limiter(workspace_margin=1.0).limit(fast, CENTER)
    np.testing.assert_allclose(slowed / slowed[0], fast / fast[0])
    assert slowed[0] == pytest.approx(ARM.velocity_limits[0])


def test_at_the_border_of_the_workspace_the_arm_slides_along_it():
    edge = limiter(workspace_margin=0.0)
    angles = CENTER
    pinch = CONTROLLER.pinch_pose(angles)[:3]
    box = np.stack([pinch - [0.1, 0.1, 0.0], pinch + [0.1, 0.1, 0.1]])  # at its floor
    low, high = ARM.workspace_low.copy(), ARM.workspace_high.copy()
    try:
        ARM.workspace_low[:], ARM.workspace_high[:] = box
        jacobian = CONTROLLER.pinch_jacobian(angles)
        down_and_left = np.linalg.pinv(jacobian) @ [0, 0.05, -0.05, 0, 0, 0]
        moved = jacobian[:3] @ edge.limit(down_and_left, angles)
        assert moved[2] == pytest.approx(0, abs=1e-9) and moved[1] > 0.03
        up = np.linalg.pinv(jacobian) @ [0, 0, 0.05, 0, 0, 0]
        assert (edge.limit(up, angles) == up).all()
    finally:
        ARM.workspace_low[:], ARM.workspace_high[:] = low, high


def test_a_soft_start_grows_to_full_speed_and_starts_anew_after_a_hold():
    soft = limiter(soft_start=0.2)
    asked = np.full(7, 0.1)
    for _ in range(2):
        shares = [soft.limit(asked, CENTER)[0] / 0.1 for _ in range(6)]
        assert shares == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1])
        soft.restart()


def test_nan_and_infinity_are_refused():
    for bad in (np.nan, np.inf):
        with pytest.raises(ValueError, match="expected finite"):
            limiter().limit(np.full(7, bad), CENTER)


def test_a_stream_is_frozen_only_if_it_stays_the_same_while_the_arm_is_told_to_move():
    watch = FrozenWatch(0.2)

    def told(position: float, speed: float) -> list[str]:
        sample = Sample(JointState(position=[position]), 0, 0, 0)
        return watch.note({"joint_states": sample}, np.array([speed]), STEP)

    assert not any(told(1.0, 0.0) for _ in range(20))  # standing still is no fault
    assert not any(told(i * 1e-9, 0.5) for i in range(20))
    lines = [told(1.0, 0.5) for _ in range(6)]
    assert lines[-1] == ["joint_states: the same for 0.25 s of motion, expected at most 0.2 s"]
    assert not any(lines[:-1])


@pytest.mark.parametrize("age", [0.0, 0.05, 0.1, 0.15])
def test_an_old_state_keeps_the_arm_from_its_limit_all_the_same(age):
    """At 1.5 rad/s states 50, 100 and 150 ms old passed the hard limit by up to 0.18 rad."""
    safe = limiter(workspace_margin=10.0)
    high = ARM.high
    truth = np.array(ARM.rest_angles)
    truth[0] = high[0] - 0.6
    wanted = np.zeros(7)
    wanted[0] = 1.5
    past = [truth.copy()] * (round(age / STEP) + 1)
    for _ in range(40):
        seen = past[-1 - round(age / STEP)]
        truth = truth + STEP * safe.limit(wanted, seen, age)
        past.append(truth)
        assert truth[0] <= high[0] + 1e-9
    assert truth[0] > high[0] - 0.2, "and it may come near"
