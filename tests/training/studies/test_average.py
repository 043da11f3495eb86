"""`gato average`: the mean of checkpoints, and which ones it refuses."""

import numpy as np
import pytest
import torch

from gato_core import checkpoint
from gato_core.embodiment import Embodiment
from gato_core.model import Gato, preset
from gato_sim.domains.rgb_stacking.tasks import robot_spec
from gato_sim.evaluate import EvaluateConfig, evaluate
from gato_training.studies.average import AverageConfig, average

DATA = {"path": "a", "triplets": ["train"], "timesteps": 10}


def saved(folder, seed, data=(DATA,), spec=None, name="debug"):
    torch.manual_seed(seed)
    model = Gato(preset(name))
    checkpoint.save(folder, model, Embodiment("robot", spec or robot_spec()), {"data": list(data)})
    return folder


def test_weights_are_the_mean_and_all_data_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["gato average", "--out", "the mean"])  # as gato_core.cli does
    longer, other = DATA | {"timesteps": 20}, DATA | {"path": "b"}
    paths = saved(tmp_path / "x", 0), saved(tmp_path / "y", 1, (longer, other))
    average(AverageConfig(paths, tmp_path / "mean", (1.0, 3.0), temperature=0.5))
    assert checkpoint.load(tmp_path / "mean").embodiment().temperature == 0.5
    x, y, mean = (checkpoint.load(path).model.state_dict() for path in (*paths, tmp_path / "mean"))
    for key in x:
        np.testing.assert_allclose(mean[key], 0.25 * x[key] + 0.75 * y[key], atol=1e-6)
    provenance = checkpoint.load(tmp_path / "mean").provenance
    assert provenance["command"] == "gato average --out 'the mean'"
    assert provenance["data"] == [longer, other]
    assert [part["share"] for part in provenance["averaged"]] == [0.25, 0.75]
    assert "x` | 0.25 |" in (tmp_path / "mean" / "README.md").read_text()


def test_a_mean_with_one_that_saw_test_objects_is_refused_as_that_one_is(tmp_path):
    seen = DATA | {"triplets": ["mastery"]}  # in a folder of the same name, elsewhere
    paths = saved(tmp_path / "x", 0), saved(tmp_path / "y", 1, (seen,))
    average(AverageConfig(paths, tmp_path / "mean"))
    with pytest.raises(ValueError, match="expected skill-mastery for a checkpoint trained on"):
        evaluate(EvaluateConfig(checkpoint=tmp_path / "mean", out=tmp_path))


def test_unlike_checkpoints_and_odd_shares_are_refused(tmp_path):
    paths = saved(tmp_path / "x", 0), saved(tmp_path / "y", 1, spec=robot_spec(()))
    with pytest.raises(ValueError, match="y is unlike .*x:\n.*basket_front_left"):
        average(AverageConfig(paths, tmp_path / "mean"))
    other = saved(tmp_path / "z", 1, name="control-2m")
    with pytest.raises(ValueError, match="z is unlike .*x:\n.*sizes"):
        average(AverageConfig((paths[0], other), tmp_path / "mean"))
    assert not (tmp_path / "mean").exists()
    with pytest.raises(ValueError, match="expected two or more, got 1"):
        AverageConfig(paths[:1], tmp_path / "mean")
    with pytest.raises(ValueError, match="expected 2, got 1"):
        AverageConfig(paths, tmp_path / "mean", (1.0,))
    with pytest.raises(ValueError, match="expected none below 0"):
        AverageConfig(paths, tmp_path / "mean", (1.0, -1.0))
    with pytest.raises(ValueError, match="temperature: expected 0 or more, got -1"):
        AverageConfig(paths, tmp_path / "mean", temperature=-1.0)
    with pytest.raises(ValueError, match="expected none below 0"):
        AverageConfig(paths, tmp_path / "mean", (1.0, float("nan")))
