"""Datasets keep words, not the ids of some vocabulary: LeRobot's strings and its tasks."""

import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from dataset_examples import SPEC, make_episode
from foreign_datasets import foreign, robomimic

from gato_core.data.folder import EpisodeFiles
from gato_core.dataset import Dataset, DatasetWriter
from gato_core.importers import lerobot
from gato_core.importers.robomimic import DemonstrationFile, draft_spec, episodes
from gato_core.spec import Continuous, Spec, Text

TOLD = replace(SPEC, observation={**SPEC.observation, "instruction": Text(8)})
JOINTS = Continuous((-9.0,) * 2, (9.0,) * 2, "rad", ("shoulder", "elbow"))
SAID = ["lift the red block"] * 4 + ["öffne den Greifer 🤖"] * 3


def told_episode(seed=0, said=SAID):
    episode = make_episode(seed, len(said))
    episode.observation["instruction"] = np.array(said, object)
    return episode


def test_words_are_read_as_they_were_said(tmp_path):
    """Also where they change within an episode, and from a window of it."""
    with DatasetWriter(tmp_path, TOLD) as writer:
        writer.add(told_episode())
        writer.add(told_episode(1, np.array(["go"] * 5)))  # numpy's own strings
    for memory_gb in (8.0, 0.0):
        dataset = Dataset(tmp_path, memory_gb=memory_gb)
        assert dataset.episode(0).observation["instruction"].tolist() == SAID
        assert dataset.read(0, 3, 5).observation["instruction"].tolist() == SAID[3:5]
        assert dataset.episode(1).observation["instruction"].tolist() == ["go"] * 5


def test_words_are_a_feature_as_lerobot_has_them(tmp_path):
    """A string of shape (1,), without statistics, which LeRobot computes of numbers alone."""
    with DatasetWriter(tmp_path, TOLD) as writer:
        writer.add(told_episode())
    info = json.loads((tmp_path / "meta/info.json").read_text())
    feature = {"dtype": "string", "shape": [1], "names": None}
    assert info["features"]["observation.instruction"] == feature
    table = pq.read_table(tmp_path / "data/chunk-000/file-000.parquet")
    assert table["observation.instruction"].to_pylist() == SAID
    described = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert described["observation.instruction"] == {"dtype": "string", "_type": "Value"}
    assert "observation.instruction" not in json.loads((tmp_path / "meta/stats.json").read_text())


def test_ids_are_refused(tmp_path):
    """No one could tell of which vocabulary they are."""
    episode = told_episode()
    episode.observation["instruction"] = np.zeros((7, 8), np.int64)
    with DatasetWriter(tmp_path, TOLD) as writer:
        with pytest.raises(ValueError, match="instruction: expected strings, .*, got int64"):
            writer.add(episode)


def test_a_column_of_numbers_is_no_words(tmp_path):
    with DatasetWriter(tmp_path, TOLD) as writer:
        writer.add(told_episode())
    file = tmp_path / "data/chunk-000/file-000.parquet"
    table = pq.read_table(file)
    place = table.schema.get_field_index("observation.instruction")
    pq.write_table(table.set_column(place, "observation.instruction", table["frame_index"]), file)
    with pytest.raises(ValueError, match="observation.instruction: expected strings, got int64"):
        Dataset(tmp_path).episode(0)


def test_lerobots_task_is_the_instruction(tmp_path):
    """Converted, and read in place; no column of the folder holds it."""
    spec = Spec({"arm": JOINTS, "instruction": Text(8)}, JOINTS, 0.1)
    root = foreign(tmp_path)
    first = next(lerobot.episodes(EpisodeFiles(root), spec))
    assert first.observation["instruction"].tolist() == ["fold"] * len(first)
    first.check(spec)
    (root / "gato.json").write_text(json.dumps({"version": 1, "spec": spec.to_dict()}))
    read = Dataset(root).read(1, 2, 4)
    assert read.observation["instruction"].tolist() == ["fold", "fold"]


def test_robomimics_task_is_the_instruction(tmp_path):
    path = tmp_path / "lift.hdf5"
    robomimic(path)
    with DemonstrationFile(path) as file:
        drafted, _ = draft_spec(file, 16)
        spec = replace(drafted, observation={**drafted.observation, "instruction": Text(8)})
        first = next(episodes(file, spec))
        assert first.observation["instruction"].tolist() == [file.task] * len(first)
        assert file.task
