"""Movement in numbers: idle beginnings, standing still, and jumps that are no habit."""

import numpy as np

from gato_core.data.motion import Jump, first_motion, jumps, standing
from gato_core.spec import Continuous, Discrete

ARM = Continuous((-1.0, -1.0), (1.0, 1.0), "rad", ("a", "b"))
MODE = Discrete(4, ("phase",))


def test_motion_begins_where_a_value_leaves_its_first_by_a_share_of_the_limits():
    values = np.zeros((10, 2))
    values[3:, 1] = 0.019  # of a range of 2: less than one hundredth
    assert first_motion([("arm", ARM, values)], 0.01) == 10
    values[6:, 1] = 0.021
    assert first_motion([("arm", ARM, values)], 0.01) == 6
    mode = np.zeros((10, 1), int)
    mode[4:] = 1
    assert first_motion([("arm", ARM, values), ("mode", MODE, mode)], 0.01) == 4


def test_standing_still_is_counted_within_episodes():
    """The first timestep of an episode is no step from the last one of another."""
    values = np.array([0, 0, 0, 0.5, 0.9, 0.9, 0.9, 0.8])[:, None] * [1, 1]
    shares = standing([("arm", ARM, values)], np.array([4, 8]))
    assert shares.tolist() == [2 / 3, 2 / 3]
    assert standing([("arm", ARM, values[:1])], np.array([1])).tolist() == [0.0]


def test_a_jump_is_told_with_its_place_and_a_habit_is_not():
    rng = np.random.default_rng(0)
    values = np.cumsum(rng.normal(size=(4000, 2)) * 1e-3, 0).clip(-0.4, 0.4)
    values[:, 1] = np.arange(4000) // 20 % 2  # a gripper
    values[2500:3000, 0] += 0.5
    ends = np.array([2400, 3000, 4000])
    (found,) = jumps([("arm", ARM, values)], ends)
    assert (found.episode, found.timestep, found.dimension) == (1, 100, "arm/a")
    assert isinstance(found, Jump) and found.after - found.before > 0.4
