"""Datasets on disk: what is written is read back, and damage is named."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dataset_examples import SPEC, assert_equal, make_episode, write

from gato_core.dataset import Dataset, DatasetWriter
from gato_core.spec import Image, Spec


@pytest.mark.parametrize("memory_gb", [8.0, 30e-6, 0.0], ids=["all", "encoded", "nothing"])
def test_what_is_written_is_read_bit_for_bit(tmp_path, memory_gb):
    """Whether decoded frames, encoded frames or nothing fit in memory."""
    write(tmp_path, range(5), episodes_per_file=2)
    dataset = Dataset(tmp_path, memory_gb=memory_gb)
    assert dataset.spec == SPEC
    assert dataset.lengths.tolist() == [5, 6, 7, 8, 9]
    for seed in (3, 0, 4, 3):
        expected = make_episode(seed, 5 + seed)
        part = dataset.read(seed, 2, 4)
        np.testing.assert_array_equal(
            part.observation["right/pixels"], expected.observation["right/pixels"][2:4]
        )
        assert_equal(dataset.episode(seed), expected)
        assert_equal(dataset.episode(seed), expected)


def test_what_was_done_instead_of_the_label_and_whether_the_task_ended_are_kept(tmp_path):
    one, two = make_episode(0, 5), make_episode(1, 6)
    one.executed, two.executed, two.terminated = one.action / 2, two.action * 0, True
    with DatasetWriter(tmp_path, SPEC) as writer:
        writer.add(one)
        writer.add(two)
        with pytest.raises(ValueError, match="executed: expected actions as in .*, got none"):
            writer.add(make_episode(2, 5))
    dataset = Dataset(tmp_path)
    np.testing.assert_array_equal(dataset.read(0, 1, 4).executed, one.action[1:4] / 2)
    np.testing.assert_array_equal(dataset.episode(1).executed, two.executed)
    assert [dataset.episode(i).terminated for i in range(2)] == [False, True]


def test_the_task_of_earlier_collections_is_read_too(tmp_path):
    """They had object ids in `gato/task`, and the task in LeRobot's column alone."""
    write(tmp_path, range(4))
    path = tmp_path / "meta/episodes/chunk-000/file-000.parquet"
    table = pq.read_table(path)
    place = table.schema.get_field_index("gato/task")
    ids = pa.array(["r3,s0,b2", "s0,g5,b6", "r5,g2,b3", "r6,g3,b5"])
    pq.write_table(table.set_column(place, "gato/task", ids), path)
    dataset = Dataset(tmp_path)
    expected = ["task 0", "task 1", "task 0", "task 1"]
    assert [row["gato/task"] for row in dataset.rows] == expected
    assert [dataset.episode(i).task for i in range(4)] == expected


def test_reading_gives_arrays_of_its_own(tmp_path):
    write(tmp_path, [1])
    dataset = Dataset(tmp_path)
    first = dataset.episode(0)
    first.observation["left/pixels"][:] = 0
    first.action[:] = 0
    assert_equal(dataset.episode(0), make_episode(1, 6))


def test_killed_writer_loses_only_what_was_not_flushed(tmp_path):
    write(tmp_path, range(4), episodes_per_file=2)
    # as a writer killed between its data file and info.json leaves the folder
    for folder in ("data", "meta/episodes"):
        (tmp_path / folder / "chunk-000/file-002.parquet").write_bytes(b"half a file")
    (tmp_path / "data/chunk-000/file-003.parquet.tmp").write_bytes(b"half a file")
    assert Dataset(tmp_path).num_episodes == 4
    with DatasetWriter(tmp_path, SPEC, episodes_per_file=2) as writer:
        assert writer.seeds == [0, 1, 2, 3]
        for seed in range(4, 7):
            writer.add(make_episode(seed, 5 + seed))
    dataset = Dataset(tmp_path)
    assert dataset.num_episodes == 7
    for seed in range(7):
        assert_equal(dataset.episode(seed), make_episode(seed, 5 + seed))
    assert len(list(tmp_path.glob("data/*/*"))) == 4


def test_resumed_equals_uninterrupted(tmp_path):
    write(tmp_path / "one", range(6), episodes_per_file=2)
    write(tmp_path / "two", range(2), episodes_per_file=2)
    write(tmp_path / "two", range(2, 6), episodes_per_file=2)
    files = [p.relative_to(tmp_path / "one") for p in (tmp_path / "one").rglob("*.parquet")]
    assert len(files) == 7
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    info = [json.loads((tmp_path / name / "meta/info.json").read_text()) for name in ("one", "two")]
    assert info[0] == info[1]


def test_lerobot_indices_are_consistent(tmp_path):
    """Row `index` is the row's place over all files; LeRobot reads rows by place."""
    write(tmp_path, range(5), episodes_per_file=2)
    tables = [pq.read_table(path) for path in sorted(tmp_path.glob("data/*/*.parquet"))]
    index = np.concatenate([table["index"].to_numpy() for table in tables])
    assert index.tolist() == list(range(5 + 6 + 7 + 8 + 9))
    frame = np.concatenate([table["frame_index"].to_numpy() for table in tables])
    time = np.concatenate([table["timestamp"].to_numpy() for table in tables])
    np.testing.assert_allclose(time, frame / 20, atol=1e-6)
    info = json.loads((tmp_path / "meta/info.json").read_text())
    assert set(info["features"]) == set(tables[0].column_names)
    assert info["features"]["observation.state"]["names"] == [
        "arm/joints/j0", "arm/joints/j1", "gripper/angle",
    ]  # fmt: skip


def test_statistics_are_those_of_all_timesteps(tmp_path):
    write(tmp_path, range(5), episodes_per_file=2)
    every = json.loads((tmp_path / "meta/stats.json").read_text())
    stats, episodes = every["action"], [make_episode(seed, 5 + seed) for seed in range(5)]
    action = np.concatenate([episode.action for episode in episodes])
    np.testing.assert_allclose(stats["mean"], action.mean(0), atol=1e-6)
    np.testing.assert_allclose(stats["std"], action.std(0), atol=1e-5)
    np.testing.assert_allclose(stats["min"], action.min(0), atol=1e-6)
    np.testing.assert_allclose(stats["max"], action.max(0), atol=1e-6)
    assert stats["count"] == [len(action)]
    pixels = np.concatenate([e.observation["left/pixels"][:, ::4, ::4] for e in episodes]) / 255
    picture = every["observation.images.left"]
    np.testing.assert_allclose(picture["mean"], pixels.mean((0, 1, 2)).reshape(3, 1, 1), atol=1e-6)
    np.testing.assert_allclose(picture["std"], pixels.std((0, 1, 2)).reshape(3, 1, 1), atol=1e-5)


def test_other_spec_is_refused_with_its_differences(tmp_path):
    write(tmp_path, [0])
    other = Spec(SPEC.observation | {"left/pixels": Image(32, 32)}, SPEC.action, 0.1)
    with pytest.raises(ValueError, match=r"(?s)control_timestep: expected 0.05.*left/pixels"):
        DatasetWriter(tmp_path, other)


def test_two_writers_are_refused(tmp_path):
    with DatasetWriter(tmp_path, SPEC):
        with pytest.raises(RuntimeError, match="another process"):
            DatasetWriter(tmp_path, SPEC)


def test_truncated_file_is_named(tmp_path):
    write(tmp_path, range(4), episodes_per_file=2)
    path = tmp_path / "data/chunk-000/file-001.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="file-001.parquet.*truncated"):
        Dataset(tmp_path)


def test_missing_file_is_named(tmp_path):
    write(tmp_path, range(4), episodes_per_file=2)
    (tmp_path / "data/chunk-000/file-001.parquet").unlink()
    with pytest.raises(FileNotFoundError, match="file-001.parquet"):
        Dataset(tmp_path)


def test_damaged_image_is_named(tmp_path):
    write(tmp_path, [0])
    path = tmp_path / "data/chunk-000/file-000.parquet"
    data = path.read_bytes()
    start = data.index(b"\x89PNG") + 40
    path.write_bytes(data[:start] + bytes(60) + data[start + 60 :])
    with pytest.raises(ValueError, match="episode 0"):
        Dataset(tmp_path).episode(0)


@pytest.mark.parametrize("name", ["action", "reward", "red"])
def test_nan_is_refused_before_it_is_written(tmp_path, name):
    episode = make_episode(0)
    (episode.privileged if name == "red" else vars(episode))[name][3] = np.nan
    with DatasetWriter(tmp_path, SPEC) as writer:
        with pytest.raises(ValueError, match=name):
            writer.add(episode)
    assert not (tmp_path / "meta/info.json").exists()
