"""Sampling: what is drawn is a function of the seed and the batch's number."""

from itertools import islice

import numpy as np
import pytest

from gato_core.dataset import Dataset, DatasetWriter
from gato_core.embodiment import Embodiment
from gato_core.episode import Episode
from gato_core.spec import Continuous, Image, Spec
from gato_core.tokenizer import ACTION_POSITION, Tokenizer
from gato_core.vocab import Vocabulary
from gato_training.data.augment import AUGMENTATIONS, Augmentation, augment
from gato_training.data.side_task import SideTask
from gato_training.sequences import Sampling, Sequences, ahead, few, split

SPEC = Spec(
    {"camera/pixels": Image(16, 16), "joints": Continuous((-1.0,), (1.0,), "rad", ("j",))},
    Continuous((-1.0, -1.0), (1.0, 1.0), "m/s", ("x", "grip")),
    0.05,
)
LENGTHS = [3, 9, 12, 5, 7, 8, 10, 11]
TOKENIZER = Tokenizer(Embodiment("robot", SPEC), Vocabulary(num_text=0))


def write(root, lengths=LENGTHS, failures=(), begin=0, **named) -> Dataset:
    """Each timestep's first action says its episode, its second one the timestep.

    begin: the first seed. named: other fields of the episodes, functions of their number.
    """
    rng = np.random.default_rng(0)
    with DatasetWriter(root, SPEC) as writer:
        for i, length in enumerate(lengths):
            time = np.arange(length)
            episode = Episode(
                {
                    "camera/pixels": rng.integers(0, 256, (length, 16, 16, 3), np.uint8),
                    "joints": np.zeros((length, 1), np.float32),
                },
                np.stack([np.full(length, i / 64), time / 64], 1).astype(np.float32),
                np.zeros(length, np.float32),
                task=f"task {i % 2}",
                source="expert",
                seed=begin + i,
                success=i not in failures,
                privileged={"red": _red(i, time), "pinch": np.ones((length, 7), np.float32)},
            )
            for name, value in named.items():
                setattr(episode, name, value(i))
            writer.add(episode)
    return Dataset(root)


def _red(episode: int, time: np.ndarray) -> np.ndarray:
    """A pose whose x and y tell episode and timestep."""
    pose = np.zeros((len(time), 7), np.float32)
    pose[:, 0], pose[:, 1] = episode, time
    return pose


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Dataset:
    return write(tmp_path_factory.mktemp("data"))


def make(dataset, episodes=None, **options) -> Sequences:
    options = {"context_timesteps": 4, "batch_size": 8, "seed": 0} | options
    return Sequences([dataset], [episodes or range(len(LENGTHS))], TOKENIZER, Sampling(**options))


def assert_same(a, b):
    for name in ("id", "local_position", "target", "patch", "patch_interval"):
        np.testing.assert_array_equal(getattr(a.tokens, name), getattr(b.tokens, name))


def test_batch_depends_on_seed_and_number_alone(dataset):
    options = {"augmentation": AUGMENTATIONS["robot"], "prompt_fraction": 0.5}
    one, two = make(dataset, **options), make(dataset, **options)
    for number in (3, 0, 3):
        assert_same(one.batch(number), two.batch(number))
    assert one.draw(0) != one.draw(1)
    assert one.draw(0) != make(dataset, seed=1).draw(0)


def test_prefetched_equals_direct_from_any_position(dataset):
    sequences = make(dataset)
    for first, depth in ((0, 3), (4, 1), (5, 9)):
        got = list(ahead(sequences.draw, range(first, 8), depth))
        assert got == [sequences.draw(number) for number in range(first, 8)]


def test_error_in_the_background_reaches_the_caller():
    def fail(number):
        raise ValueError("damaged")

    with pytest.raises(ValueError, match="damaged"):
        next(ahead(fail, range(3), 2))


def test_windows_lie_within_their_episode(dataset):
    sequences = make(dataset)
    pieces = [p for number in range(40) for (p,) in sequences.draw(number)]
    for piece in pieces:
        length = LENGTHS[piece.episode]
        assert 0 <= piece.start < piece.stop <= length
        assert piece.stop - piece.start == min(4, length)
    assert {p.episode for p in pieces} == set(range(len(LENGTHS)))
    assert sequences.num_windows == sum(max(length - 3, 1) for length in LENGTHS)


def test_every_timestep_is_drawn(dataset):
    seen = set()
    for number in range(60):
        for (piece,) in make(dataset).draw(number):
            seen |= {(piece.episode, t) for t in range(piece.start, piece.stop)}
    assert len(seen) == sum(LENGTHS)


def test_sequence_holds_the_timesteps_it_says(dataset):
    sequences = make(dataset, episodes=[1, 2, 6])
    tokens = sequences.batch(0).tokens
    ids = tokens.id[tokens.target].reshape(8, 4, 2)
    actions = TOKENIZER.decode_action(ids) * 64
    for row, (piece,) in zip(actions, sequences.draw(0), strict=True):
        np.testing.assert_allclose(row[:, 0], piece.episode, atol=0.1)
        np.testing.assert_allclose(row[:, 1], np.arange(piece.start, piece.stop), atol=0.1)


def test_target_is_exactly_the_actions(dataset):
    tokens = make(dataset, episodes=[0, 1]).batch(0).tokens  # episode 0 is shorter: padded
    short = np.array([p.episode == 0 for (p,) in make(dataset, episodes=[0, 1]).draw(0)])
    assert tokens.target.sum(1).tolist() == np.where(short, 3 * 2, 4 * 2).tolist()
    assert (tokens.id[tokens.target] < TOKENIZER.vocabulary.separator).all()


def test_held_out_episodes_are_never_trained_on(dataset):
    (train,), (held,) = split([dataset], 0.3, True)
    assert set(train) | set(held) == set(range(len(LENGTHS))) and not set(train) & set(held)
    assert held
    drawn = {p.episode for n in range(40) for s in make(dataset, train, prompt_fraction=0.5).draw(n)
             for p in s}  # fmt: skip
    assert drawn == set(train)


def test_held_out_stays_held_out_as_the_dataset_grows(tmp_path):
    before = split([write(tmp_path / "few", LENGTHS[:6])], 0.4, True)
    after = split([write(tmp_path / "more", LENGTHS)], 0.4, True)
    assert set(before[1][0]) <= set(after[1][0]) and set(before[0][0]) <= set(after[0][0])


def test_what_a_smaller_share_holds_out_a_larger_one_does_too(dataset):
    """Also the one that is held out for want of others."""
    held = [set(split([dataset], share, True)[1][0]) for share in (0.0, 1e-9, 0.3, 0.6)]
    assert [len(held[0]), len(held[1])] == [0, 1]
    assert held[1] <= held[2] <= held[3] and len(held[3]) < len(LENGTHS)


def test_a_single_episode_is_trained_on(tmp_path):
    assert split([write(tmp_path, LENGTHS[:1])], 1e-9, True) == ([[0]], [[]])


def test_an_initial_state_is_held_out_of_all_datasets_or_of_none(tmp_path):
    """The split once hashed indices: what one collection held out, another trained on."""
    lengths = [4] * 40
    datasets = [
        write(tmp_path / "all", lengths),
        write(tmp_path / "later", lengths[:20], begin=13),  # the same seeds at other places
        write(tmp_path / "two", lengths[:2], begin=5),  # one is held out for want of others
    ]
    train, held = split(datasets, 0.2, True)
    seeds = [
        {(d.tasks[i], d.rows[i]["gato/seed"]) for d, part in zip(datasets, parts) for i in part}
        for parts in (train, held)
    ]
    assert seeds[0] and seeds[1] and not seeds[0] & seeds[1]
    assert sum(map(len, train)) + sum(map(len, held)) == 62
    assert all(held)


def test_failures_are_left_out(tmp_path):
    dataset = write(tmp_path, failures=(1, 4))
    (train,), (held,) = split([dataset], 0.3, True)
    assert not {1, 4} & {*train, *held}
    assert {1, 4} <= {i for (part,) in split([dataset], 0.3, False) for i in part}


def test_prompts_are_quarter_of_sequences_half_of_them_ends(dataset):
    """Paper, section 2.4."""
    sequences = make(dataset, batch_size=2000, prompt_fraction=0.25, prompt_timesteps=2)
    drawn = sequences.draw(0)
    prompted = [s for s in drawn if len(s) == 2]
    assert 0.22 < len(prompted) / len(drawn) < 0.28
    ends = [p.stop == LENGTHS[p.episode] for p, _ in prompted]
    assert 0.5 < np.mean(ends) < 0.75  # half, and the uniform ones that happen to be ends
    for prompt, window in prompted:
        assert prompt.episode != window.episode
        assert prompt.episode % 2 == window.episode % 2  # the same task
        assert prompt.stop - prompt.start + window.stop - window.start <= 4


def test_prompts_reach_their_share_where_tasks_once_named_the_objects(tmp_path):
    """Objects differ from episode to episode: a prompt of the same ones hardly ever existed."""
    objects = {
        "task": lambda i: f"r{i},g{i},b{i}",
        "info": lambda i: {"objects": f"r{i},g{i},b{i}"},
    }
    dataset = write(tmp_path, **objects)
    for row in dataset.rows:
        row["tasks"] = ["stack red on blue"]  # as LeRobot's column says in such datasets
    drawn = make(dataset, batch_size=2000, prompt_fraction=0.25, prompt_timesteps=2).draw(0)
    assert 0.22 < np.mean([len(pieces) == 2 for pieces in drawn]) < 0.28


def test_prompt_share_is_reached_beside_tasks_shown_once_or_refused(tmp_path):
    """Six of eight episodes have a task of their own."""
    dataset = write(tmp_path, [8] * 8, task=lambda i: f"task {max(i, 1)}")
    drawn = make(dataset, batch_size=4000, prompt_fraction=0.2, prompt_timesteps=2).draw(0)
    assert 0.18 < np.mean([len(pieces) == 2 for pieces in drawn]) < 0.22
    with pytest.raises(ValueError, match="prompt_fraction: expected at most 0.25, .*, got 0.3"):
        make(dataset, prompt_fraction=0.3, prompt_timesteps=2)


def test_held_out_episodes_are_prompted_by_others_where_there_are_any(dataset):
    sampling = Sampling(4, 200, 0, prompt_fraction=0.5)
    held = Sequences([dataset], [[1, 2]], TOKENIZER, sampling, prompts=[[0, 4, 6]])
    drawn = held.draw(0)
    prompted = [pieces for pieces in drawn if len(pieces) == 2]
    assert prompted
    assert {(p.episode, window.episode) for p, window in prompted} <= {(0, 2), (4, 2), (6, 2)}


def test_past_timesteps_show_what_was_done_and_labels_stay(tmp_path):
    """With noise on what was executed, they once showed labels that nobody had carried out."""

    def half(i: int) -> np.ndarray:
        return np.full((LENGTHS[i], 2), -0.5, np.float32)

    dataset, plain = write(tmp_path / "a", executed=half), write(tmp_path / "b")
    for options in ({}, {"prompt_fraction": 0.5}):
        sequences = make(dataset, **options)
        batch, expected = sequences.batch(0), make(plain, **options).batch(0)
        np.testing.assert_array_equal(batch.labels, expected.labels)
        actions = expected.tokens.local_position == ACTION_POSITION
        np.testing.assert_array_equal(batch.tokens.id[~actions], expected.tokens.id[~actions])
        for ids, is_action, episode in zip(batch.tokens.id, actions, sequences.episodes(0)):
            shown = TOKENIZER.decode_action(ids[is_action].reshape(-1, 2))
            np.testing.assert_allclose(shown[:-1], -0.5, atol=1e-2)
            np.testing.assert_allclose(shown[-1], episode.action[-1], atol=1e-2)


def test_prompt_that_fills_the_context_is_refused(dataset):
    with pytest.raises(ValueError, match="prompt_timesteps: expected 1..3"):
        make(dataset, prompt_fraction=0.25, prompt_timesteps=4)


def test_weights_say_how_often_a_dataset_is_drawn(dataset):
    sampling = Sampling(context_timesteps=4, batch_size=2000, seed=0, weights=(3.0, 1.0))
    sequences = Sequences([dataset] * 2, [range(8)] * 2, TOKENIZER, sampling)
    share = np.mean([piece.dataset for (piece,) in sequences.draw(0)])
    assert 0.22 < share < 0.28


def test_each_timestep_comes_with_its_own_answer(dataset):
    sequences = make(dataset, side_task=SideTask(("red",), "pinch"), prompt_fraction=0.5)
    batch, read = sequences.batch(0), sequences.episodes(0)
    action = np.concatenate([episode.action for episode in read])
    assert batch.answers.shape == (batch.num_timesteps, 3)
    np.testing.assert_allclose(batch.answers + 1, np.pad(action * 64, ((0, 0), (0, 1))), atol=1e-5)


def test_missing_privileged_poses_are_named(dataset):
    with pytest.raises(ValueError, match="privileged.blue"):
        make(dataset, side_task=SideTask(("blue",), "pinch"))


def test_augmentation_moves_all_timesteps_alike():
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    images = np.stack([image] * 3)
    moved = set()
    for seed in range(100):
        got = augment(images, np.random.default_rng(seed), Augmentation(shift=2))
        assert (got == got[0]).all()
        for row in range(2, 7):
            for column in range(2, 7):
                if (got[0][4:12, 4:12] == image[row : row + 8, column : column + 8]).all():
                    moved.add((row, column))
    assert len(moved) == 25


def test_no_augmentation_changes_nothing():
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), np.uint8)
    got = augment(images, np.random.default_rng(0), Augmentation())
    np.testing.assert_array_equal(got, images)


def test_colors_vary_about_the_original():
    images = np.full((1, 4, 4, 3), 128, np.uint8)
    rngs = islice(map(np.random.default_rng, range(100)), 100)
    levels = [augment(images, rng, Augmentation(color=0.2)).mean() for rng in rngs]
    assert 120 < np.mean(levels) < 136 and np.std(levels) > 3


def test_blur_and_crops_keep_the_size_and_change_all_timesteps_alike():
    image = np.random.default_rng(0).integers(0, 256, (16, 32, 3), np.uint8)
    for limits in (Augmentation(crop=0.3), Augmentation(blur=1.0), AUGMENTATIONS["robot"]):
        got = augment(np.stack([image] * 2), np.random.default_rng(1), limits)
        assert got.shape == (2, 16, 32, 3) and got.dtype == np.uint8
        assert (got[0] == got[1]).all() and (got[0] != image).any()


def test_crop_enlarges_and_blur_smooths():
    columns = np.tile(np.arange(0, 256, 8, np.uint8)[:, None], (1, 32, 1, 3))
    steep = np.abs(np.diff(columns[0].astype(int), axis=1)).mean()
    rngs = [np.random.default_rng(seed) for seed in range(20)]
    cropped = [augment(columns, rng, Augmentation(crop=0.5))[0].astype(int) for rng in rngs]
    assert np.mean([np.abs(np.diff(image, axis=1)).mean() for image in cropped]) < 0.9 * steep
    noise = rngs[0].integers(0, 256, (1, 32, 32, 3), np.uint8)
    assert augment(noise, np.random.default_rng(0), Augmentation(blur=2.0)).std() < noise.std()


def test_fewer_episodes_are_among_more_in_a_series():
    """Appendix E: 1, 3, 5, 10, ... nested, drawn three times."""
    episodes = [list(range(0, 20, 2)), list(range(7))]
    for series in range(3):
        nested = [few(episodes, number, series) for number in (1, 3, 10, 17)]
        for number, less, more in zip((1, 3, 10), nested, nested[1:]):
            assert sum(map(len, less)) == number
            assert all(set(a) <= set(b) for a, b in zip(less, more))
        assert nested[-1] == episodes
    assert few(episodes, 5, 0) != few(episodes, 5, 1)
    with pytest.raises(ValueError, match="few_shot: expected at most the 17"):
        few(episodes, 18, 0)
