"""Training's mirror: what it shows is what cameras and gripper would give in the mirrored scene."""

from dataclasses import replace

import demonstration
import numpy as np
import pytest

from gato_core.dataset import Dataset, DatasetWriter
from gato_core.embodiment import Embodiment
from gato_core.spec import Continuous, Image, Spec
from gato_core.tokenizer import Tokenizer
from gato_core.vocab import Vocabulary
from gato_sim.domains.rgb_stacking.simulation import Simulation
from gato_sim.domains.rgb_stacking.tasks import downward
from gato_training.data.mirror import mirror
from gato_training.data.side_task import SideTask
from gato_training.sequences import Sampling, Sequences

LEFT, RIGHT = "basket_front_left/pixels", "basket_front_right/pixels"
JOINTS, PINCH = "sawyer/joints/angle", "sawyer/pinch/pose"


def reflected(pose: np.ndarray) -> np.ndarray:
    """A pose (..., 7), xyz and quaternion wxyz, in the mirror that exchanges y and -y."""
    return pose * [1, -1, 1, 1, -1, 1, -1]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Dataset:
    """Two demonstrations of the simulated robot, the second the first one's later part."""
    root = tmp_path_factory.mktemp("mirror")
    spec, episode = demonstration.load()
    rng = np.random.default_rng(0)
    with DatasetWriter(root, spec) as writer:
        for part in (episode, demonstration.timesteps(episode, 60, len(episode))):
            part.success = True
            shape = (len(part), 7)
            part.privileged = {
                "pinch": part.observation[PINCH].astype(np.float32),
                "red": rng.normal(size=shape).astype(np.float32),
                "blue": rng.normal(size=shape).astype(np.float32),
            }
            writer.add(part)
    return Dataset(root)


def test_the_cameras_see_the_mirrored_scene():
    """Cubes, because their mirror image is a cube: placed mirrored, drawn, and compared."""
    simulation = Simulation(("s0", "s0", "s0"), physics="stable")
    simulation.reset(np.random.default_rng(0))
    turn = np.array([np.cos(0.2), 0, 0, np.sin(0.2)])
    poses = {
        color: np.array([x, y, 0.0748, *turn])
        for color, x, y in (("red", 0.65, 0.08), ("green", 0.56, -0.03), ("blue", 0.6, 0.02))
    }
    drawn = []
    for move in (lambda pose: pose, reflected):
        for color, pose in poses.items():
            simulation.place_object(color, move(pose))
        drawn.append([simulation.render(key.split("/")[0], 64) for key in (LEFT, RIGHT)])
    simulation.close()
    (left, right), (mirrored_left, mirrored_right) = np.array(drawn, int)
    assert np.abs(left - mirrored_left).mean() > 5  # another picture
    assert np.abs(right[:, ::-1] - mirrored_left).mean() < 1
    assert np.abs(left[:, ::-1] - mirrored_right).mean() < 1


def test_numbers_are_those_of_the_mirrored_gripper(dataset):
    episode, before = dataset.episode(0), dataset.episode(0)
    mirror(dataset.spec, [dataset]).reflect(episode)
    seen = episode.observation
    expected = [downward(reflected(pose)) for pose in before.observation[PINCH]]
    np.testing.assert_allclose(seen[PINCH], expected, atol=1e-6)
    np.testing.assert_array_equal(seen[LEFT], before.observation[RIGHT][:, :, ::-1])
    np.testing.assert_array_equal(seen[RIGHT], before.observation[LEFT][:, :, ::-1])
    np.testing.assert_array_equal(episode.action, before.action * np.float32([1, -1, 1, -1, 1]))
    assert seen[JOINTS].dtype == np.float32
    dataset.spec.check_observation({key: value[0] for key, value in seen.items()})


def test_twice_is_the_demonstration_itself_and_joints_follow_the_pose(dataset):
    episode, before = dataset.episode(0), dataset.episode(0)
    for _ in range(2):
        mirror(dataset.spec, [dataset]).reflect(episode)
    for key, value in before.observation.items():
        if key != JOINTS:
            np.testing.assert_array_equal(episode.observation[key], value)
    error = episode.observation[JOINTS] - before.observation[JOINTS]
    assert np.sqrt(np.mean(error**2)) < 0.02  # rad


def test_the_side_task_asks_about_the_mirrored_scene(dataset, tmp_path):
    task = SideTask(("red", "blue"), "pinch", "gripper")
    with DatasetWriter(tmp_path, dataset.spec) as writer:
        for i in range(2):
            episode = dataset.episode(i)
            episode.privileged = {k: reflected(v) for k, v in episode.privileged.items()}
            writer.add(episode)
    mirrored = task.answers(Dataset(tmp_path))
    np.testing.assert_allclose(task.answers(dataset) * task.reflection, mirrored, atol=1e-6)


def make(dataset, share: float) -> Sequences:
    task = SideTask(("red",), "pinch", "gripper")
    sampling = Sampling(1, batch_size=64, seed=0, side_task=task, mirror=share)
    tokenizer = Tokenizer(Embodiment("robot", dataset.spec), Vocabulary(num_text=0))
    return Sequences([dataset], [[0, 1]], tokenizer, sampling)


def test_a_share_of_the_sequences_is_mirrored_with_its_answers(dataset):
    plain, half, every = (make(dataset, share) for share in (0.0, 0.5, 1.0))
    assert half.draw(3) == plain.draw(3)  # the same windows
    turned, originals, all_turned = (
        np.array([episode.observation[PINCH][0, 1] for episode in sequences.episodes(3)])
        for sequences in (half, plain, every)
    )
    np.testing.assert_array_equal(all_turned, -originals)
    is_mirrored = turned != originals
    assert 16 < is_mirrored.sum() < 48
    expected = plain.batch(3).answers.copy()
    expected[is_mirrored] *= half.sampling.side_task.reflection
    np.testing.assert_array_equal(half.batch(3).answers, expected)


def test_a_robot_without_a_mirror_image_is_refused(dataset):
    spec = dataset.spec
    pose, joints = spec.observation[PINCH], spec.observation[JOINTS]
    one_camera = replace(spec, observation={LEFT: Image(64, 64), PINCH: pose})
    with pytest.raises(ValueError, match="image of the other side.*basket_front_left"):
        mirror(one_camera, [dataset])
    with pytest.raises(ValueError, match="one pose"):
        mirror(replace(spec, observation={JOINTS: joints}), [dataset])
    action = Continuous((-1.0,), (1.0,), "rad/s", ("right_j0",))
    with pytest.raises(ValueError, match="expected actions.*right_j0"):
        mirror(Spec(spec.observation, action, spec.control_timestep), [dataset])


def test_numbers_that_do_not_follow_from_the_pose_are_refused(dataset, tmp_path):
    with DatasetWriter(tmp_path, dataset.spec) as writer:
        episode = dataset.episode(0)
        noise = np.random.default_rng(0).normal(scale=0.3, size=episode.observation[JOINTS].shape)
        episode.observation[JOINTS] = noise.astype(np.float32)
        writer.add(episode)
    with pytest.raises(ValueError, match="sawyer/joints/angle to follow.*0.05 rad, got 0.2"):
        mirror(dataset.spec, [Dataset(tmp_path)])
