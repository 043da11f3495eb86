"""Demonstrations of robomimic become episodes of a Spec."""

import json

import h5py
import numpy as np
import pytest
from foreign_datasets import robomimic

from gato_core.dataset import Dataset
from gato_core.importers import robomimic as hdf5
from gato_core.importers.robomimic import DemonstrationFile
from gato_core.spec import Continuous, Image, Spec
from gato_ros.bags.convert import ConvertConfig, convert

EEF = Continuous((-1.0,) * 3, (1.0,) * 3, "m", ("x", "y", "z"))
SPEC = Spec(
    {"agentview/pixels": Image(16, 16), "robot0/eef_pos": EEF},
    Continuous((-1.0,) * 2, (1.0,) * 2, "1", ("dx", "grip")),
    0.05,
)


def test_every_demonstration_arrives_in_the_order_of_its_number(tmp_path):
    path = robomimic(tmp_path / "lift.hdf5")
    (tmp_path / "spec.json").write_text(json.dumps(SPEC.to_dict()))
    config = ConvertConfig(path, tmp_path / "out", spec=tmp_path / "spec.json")
    assert convert(config)["episodes"] == 12
    dataset = Dataset(tmp_path / "out")
    assert dataset.lengths.tolist() == [4 + i for i in range(12)]
    assert dataset.successes.tolist() == [i % 3 > 0 for i in range(12)]
    with h5py.File(path) as file:
        for i in range(12):
            demo, episode = file["data"][f"demo_{i}"], dataset.episode(i)
            expected = {"action": demo["actions"], "eef": demo["obs/robot0_eef_pos"]}
            got = {"action": episode.action, "eef": episode.observation["robot0/eef_pos"]}
            for key, value in expected.items():
                np.testing.assert_array_equal(got[key], value[:].astype(np.float32))
            means = demo["obs/agentview_image"][:].reshape(-1, 16, 2, 16, 2, 3).mean((2, 4))
            assert np.abs(episode.observation["agentview/pixels"] - means).max() <= 0.5
            assert episode.task == "Lift"


def test_a_draft_holds_all_cameras_and_vectors(tmp_path):
    spec, warnings = hdf5.draft_spec(DemonstrationFile(robomimic(tmp_path / "lift.hdf5")), 32)
    assert list(spec.observation) == ["agentview/pixels", "robot0_eef_pos"]
    assert (spec.action.num_tokens, spec.control_timestep, warnings) == (2, 0.05, [])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rate": 10}, "expected 20 Hz by the Spec, got 10"),
        ({"keys": ("robot0_eef_pos",)}, r"agentview/pixels: expected one of .*got \['robot0_eef"),
        ({"keys": ("agentview_image",)}, "robot0/eef_pos: expected one of"),
    ],
)
def test_a_file_unlike_the_spec_is_refused(tmp_path, change, words):
    with pytest.raises(ValueError, match=words):
        next(hdf5.episodes(DemonstrationFile(robomimic(tmp_path / "lift.hdf5", **change)), SPEC))


def test_a_truncated_file_is_named(tmp_path):
    path = robomimic(tmp_path / "lift.hdf5")
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ValueError, match="lift.hdf5: expected HDF5, damaged or truncated"):
        DemonstrationFile(path)


def test_nan_is_refused_and_what_came_before_it_stays(tmp_path):
    path = robomimic(tmp_path / "lift.hdf5", nan=True)
    (tmp_path / "spec.json").write_text(json.dumps(SPEC.to_dict()))
    config = ConvertConfig(path, tmp_path / "out", spec=tmp_path / "spec.json")
    with pytest.raises(ValueError, match=r"demo_3.*action: expected finite.*timestep 1 \(grip\)"):
        convert(config)
    assert Dataset(tmp_path / "out").num_episodes == 3
