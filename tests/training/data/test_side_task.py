import numpy as np
import pytest
import torch
from train_examples import SPEC, config, write

from gato_core.dataset import Dataset, DatasetWriter
from gato_training.config import changed
from gato_training.data.side_task import TURN_SCALE, SideTask, next_changes
from gato_training.loss import auxiliary_loss
from gato_training.train import train


def down(yaw):
    """Quaternion wxyz of a gripper that points down, its x axis turned by yaw."""
    return np.array([0.0, np.cos(yaw / 2), np.sin(yaw / 2), 0.0], np.float32)


@pytest.fixture
def dataset(tmp_path):
    """Two episodes of a gripper that moves 1 cm a step, turns by 0.1 rad, and closes at step 3."""
    source = Dataset(write(tmp_path / "source", num_episodes=2, num_steps=6))
    with DatasetWriter(tmp_path / "data", SPEC) as writer:
        for episode in map(source.episode, range(2)):
            steps = np.arange(6, dtype=np.float32)
            pinch = np.zeros((6, 7), np.float32)
            pinch[:, 0] = 0.01 * steps
            pinch[:, 3:] = [down(0.1 * step) for step in steps]
            episode.privileged["pinch"] = pinch
            episode.action[:, 1] = np.where(steps < 3, -255, 255)
            writer.add(episode)
    return Dataset(tmp_path / "data")


def test_the_next_change_of_sign_lies_ahead_and_the_last_step_stands_for_none():
    signal = np.array([-1.0, -1.0, 2.0, 3.0, -1.0, -1.0])
    np.testing.assert_array_equal(next_changes(signal), [2, 2, 4, 4, 5, 5])
    np.testing.assert_array_equal(next_changes(-signal), [2, 2, 4, 4, 5, 5])
    np.testing.assert_array_equal(next_changes(np.ones(3)), [2, 2, 2])


def test_objects_and_the_next_goal_are_told_from_the_gripper(dataset):
    answers = SideTask(("red",), "pinch", "grip").answers(dataset)
    assert answers.shape == (12, 8)
    red = np.concatenate([dataset.episode(i).privileged["red"][:, :3] for i in range(2)])
    pinch = np.tile(dataset.episode(0).privileged["pinch"][:, :3], (2, 1))
    np.testing.assert_allclose(answers[:, :3], red - pinch, atol=1e-6)
    ahead = np.array([3, 2, 1, 2, 1, 0] * 2)  # steps to the goal: closing, then the end
    np.testing.assert_allclose(answers[:, 3:6], 0.01 * ahead[:, None] * [1, 0, 0], atol=1e-6)
    turn = TURN_SCALE * np.stack([np.cos(0.2 * ahead), np.sin(0.2 * ahead)], 1)
    np.testing.assert_allclose(answers[:, 6:], turn, atol=1e-6)


def test_episodes_that_end_before_the_gripper_acts_teach_all_but_the_goal(dataset, tmp_path):
    """Beginnings are demonstrations too, but nobody knows where they would have led."""
    with DatasetWriter(tmp_path / "cut", SPEC) as writer:
        whole, cut = dataset.episode(0), dataset.episode(1)
        cut.action[:, 1] = -255
        writer.add(whole)
        writer.add(cut)
    answers = SideTask(("red",), "pinch", "grip").answers(Dataset(tmp_path / "cut"))
    assert np.isfinite(answers[:6]).all() and np.isfinite(answers[:, :3]).all()
    assert np.isnan(answers[6:, 3:]).all()


def test_what_is_not_known_moves_nothing():
    """Neither the loss nor its gradient, which a NaN would spoil wherever it is masked late."""
    got = torch.zeros(2, 3, requires_grad=True)
    known = torch.tensor([[0.1, 0.2, 0.3], [0.1, 0.2, 0.3]])
    some = known.clone()
    some[1, 1:] = torch.nan
    auxiliary_loss(got, some).backward()
    assert (got.grad[1, 1:] == 0).all() and (got.grad[0] < 0).all() and got.grad[1, 0] < 0
    torch.testing.assert_close(
        auxiliary_loss(got, some), auxiliary_loss(got[some == known], known[some == known])
    )
    assert auxiliary_loss(got, torch.full((2, 3), torch.nan)).item() == 0


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (SideTask(("yellow",), "pinch"), "privileged.yellow: expected a pose of 7 numbers, got"),
        (SideTask(("red",), "pinch", "gripper"), "expected an action 'gripper', got .*'grip'"),
    ],
)
def test_what_a_dataset_cannot_answer_is_named(dataset, task, message):
    with pytest.raises(ValueError, match=message):
        task.answers(dataset)


def test_training_reports_how_far_the_goal_is_missed(tmp_path):
    data = write(tmp_path / "data")
    measured = train(changed(config(tmp_path, data), name="run", auxiliary_trigger="grip"))
    assert 0 < measured["held_out/goal_error"] < 1
    assert 0 < measured["held_out/position_error"] < 1
