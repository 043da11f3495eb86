import hashlib
import subprocess
import sys

import numpy as np
import pytest

import gato_sim
from gato_sim.domains.rgb_stacking.benchmark import NUM_STEPS


@pytest.fixture(scope="module")
def env():
    return gato_sim.load("rgb_test_triplet1", seed=0, physics="stable")


def trajectory_hash(env, seed, num_steps=20):
    digest = hashlib.sha256()
    timestep, rng = env.reset(seed=seed), np.random.default_rng(0)
    for _ in range(num_steps):
        for key in sorted(timestep.observation):
            digest.update(timestep.observation[key].tobytes())
        timestep = env.step(rng.uniform(-0.07, 0.07, 5))
    return digest.hexdigest()


def test_observations_are_as_specified(env):
    timestep = env.reset()
    spec = env.observation_spec()
    assert timestep.observation.keys() == spec.keys()
    for _ in range(3):
        for key, value in timestep.observation.items():
            spec[key].validate(value)
        env.reward_spec().validate(np.float32(timestep.reward or 0))
        timestep = env.step(np.zeros(5))
    # the 292 numbers that DeepMind's state policies read
    assert sum(value.size for value in timestep.observation.values()) == 292


def test_same_seed_same_episode(env):
    hashes = [trajectory_hash(env, seed) for seed in (1, 2, 1)]
    fresh = gato_sim.load("rgb_test_triplet1", seed=2, physics="stable")
    assert hashes[0] == hashes[2] != hashes[1] == trajectory_hash(fresh, 2)


def test_same_seed_same_episode_with_random_objects():
    """Neither the hash seed of Python nor the episodes before decide which objects appear."""
    env = gato_sim.load("rgb_train_random", seed=5, physics="stable")
    env.reset()
    first = env.triplet, env.simulation.object_poses()["red"]
    env.reset()
    assert env.triplet != first[0]
    env.reset(seed=5)
    assert env.triplet == first[0]
    np.testing.assert_array_equal(env.simulation.object_poses()["red"], first[1])


def test_objects_stay_where_asked():
    env = gato_sim.load("rgb_train_random", seed=5, physics="stable", resample_triplet=False)
    triplet = env.triplet
    env.reset()
    env.reset()
    assert env.triplet == triplet


def test_stacks_hold_the_newest_frame_first(env):
    first = env.reset().observation
    np.testing.assert_array_equal(first["sawyer/pinch/pose"][0], first["sawyer/pinch/pose"][2])
    second = env.step(np.array([0.07, 0, 0, 0, 255])).observation
    for key in first:
        np.testing.assert_array_equal(second[key][1], first[key][0])
    assert second["action/environment"][0, 7] == 255
    assert first["action/environment"][0, 7] == -255  # the no-op step of the reset opens


def test_episode_truncates_after_400_steps(env):
    env.reset()
    env.simulation.step = lambda: None  # time passes in the environment alone
    try:
        for _ in range(NUM_STEPS):
            timestep = env.step(np.zeros(5))
    finally:
        del env.simulation.step
    assert timestep.last() and timestep.discount == 1.0
    assert env.step(np.zeros(5)).first()


def test_policy_observation_fits_the_spec(env):
    spec = gato_sim.robot_spec(cameras=())
    observation = env.reset().observation
    policy = gato_sim.policy_observation(observation, spec)
    spec.check_observation(policy)
    np.testing.assert_array_equal(
        policy["sawyer/joints/angle"], observation["sawyer/joints/angle"][0]
    )
    with pytest.raises(KeyError, match="basket_front_left/pixels"):
        gato_sim.policy_observation(observation, gato_sim.robot_spec())


def test_the_robots_spec_is_53_tokens():
    """Two 64-pixel images of 16 patches, 15 numbers, a separator, five action tokens."""
    assert gato_sim.robot_spec().tokens_per_timestep == 53


def test_the_robots_spec_needs_no_simulator():
    """A node on a real robot reads the Spec where MuJoCo has no business."""
    code = "import gato_sim, sys; gato_sim.robot_spec(); sys.exit('mujoco' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_observed_poses_lie_within_the_specs_limits(env):
    spec = gato_sim.robot_spec(cameras=()).observation
    for seed in range(3):
        policy = gato_sim.policy_observation(
            env.reset(seed=seed).observation, gato_sim.robot_spec(cameras=())
        )
        assert policy.keys() == spec.keys() and spec
        for key, value in policy.items():
            assert (value >= spec[key].low).all() and (value <= spec[key].high).all()


@pytest.mark.parametrize(
    "change, message",
    [
        ({"task": "rgb_test_triplet9"}, "rgb_train_random"),
        ({"task": "r3,s0,nothing"}, "r3"),
        ({"physics": "quick"}, "benchmark"),
        ({"cameras": ("wrist",)}, "basket_front_left"),
        ({"cameras": ("basket_front_left",) * 2}, "distinct"),
        ({"cameras": "basket_front_left"}, "expected a tuple .* got 'basket_front_left'"),
        ({"image_size": 65}, "multiple of 16"),
        ({"image_size": 1024}, "16 to 512 pixels, got 1024"),
        ({"image_size": "64"}, "16 to 512 pixels, got '64'"),
    ],
)
def test_unknown_names_are_answered_with_the_valid_ones(change, message):
    with pytest.raises(ValueError, match=message):
        gato_sim.load(**{"task": "rgb_test_triplet1", "seed": 0} | change)


@pytest.mark.parametrize("action", [np.zeros(4), np.full(5, np.nan), np.zeros((1, 5))])
def test_malformed_actions_are_refused_before_anything_moves(env, action):
    env.reset()
    before = env.simulation.data.time
    with pytest.raises(ValueError, match="action"):
        env.step(action)
    assert env.simulation.data.time == before


def test_settled_objects_stay_at_rest(env):
    env.reset(seed=3)
    before = env.simulation.object_poses()
    for _ in range(20):
        env.step(np.zeros(5))
    for color, pose in env.simulation.object_poses().items():
        assert np.linalg.norm(pose[:3] - before[color][:3]) < 2e-4  # m in one second


def test_restore_continues_the_same_trajectory(env):
    env.reset(seed=4)
    simulation, ctrl = env.simulation, np.array([0.1, 0.1, -0.1, 0.2, 0, 0.1, 0.3, 255])
    simulation.command(ctrl)
    snapshot = simulation.snapshot()
    ends = []
    for _ in range(2):
        simulation.restore(snapshot)
        for _ in range(10):
            simulation.step()
        ends.append((simulation.data.qpos.copy(), simulation.gripper_velocity, simulation.time))
    np.testing.assert_array_equal(ends[0][0], ends[1][0])
    assert ends[0][1:] == ends[1][1:]
    with pytest.raises(ValueError, match="triplet"):
        gato_sim.Simulation(("s0", "s0", "s0"), physics="stable").restore(snapshot)


def test_benchmark_physics_runs_an_episodes_start():
    env = gato_sim.load("rgb_test_triplet2", seed=0, physics="benchmark")
    timestep = env.reset()
    assert np.isfinite(timestep.observation["wrist/force"]).all()
    # gravity is compensated, so the arm neither sinks nor drifts
    before = env.simulation.joint_angles
    env.step(np.zeros(5))
    assert np.abs(env.simulation.joint_angles - before).max() < 0.02


def test_the_policys_pinch_quaternion_never_jumps():
    """Its sign followed w, which is near 0 in a gripper that points down: two tokens were noise."""
    env = gato_sim.load("rgb_test_triplet1", seed=2, physics="stable")
    spec = gato_sim.robot_spec(cameras=())
    poses = []
    for seed in range(3):
        timestep = env.reset(seed=seed)
        for yaw_rate in np.repeat([1.0, -1.0], 25):
            seen = gato_sim.policy_observation(timestep.observation, spec)
            poses.append(seen["sawyer/pinch/pose"])
            timestep = env.step(np.array([0, 0, 0, yaw_rate, -255.0], np.float32))
    assert min(pose[4] for pose in poses) > 0.5
    assert np.ptp([pose[3] for pose in poses]) < 0.2
