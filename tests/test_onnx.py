"""An exported checkpoint decides as torch does, past its window, and needs no torch to run."""

import subprocess
import sys

import numpy as np
import pytest
from core_examples import SMALL, episode, observations, random_model, tiny

from gato_core.onnx import OnnxPolicy, export, main
from gato_core.policy import GatoPolicy
from gato_core.tokenizer import Tokenizer

pytest.importorskip("onnx")
CASES = [("rotary", "autoregressive"), ("relative", "autoregressive"), ("rotary", "parallel")]


def act(policy, num_timesteps, seed=0):
    rng = np.random.default_rng(seed)
    return np.stack([policy.step(observations(SMALL, rng)) for _ in range(num_timesteps)])


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def exported(request, tmp_path_factory):
    """A model and the file it was exported to."""
    positions, action_mode = request.param
    model = random_model(tiny(positions, action_mode=action_mode))
    out = tmp_path_factory.mktemp("onnx") / "model.onnx"
    export(model, SMALL, out)
    return model, out


def test_every_token_is_the_one_torch_chooses(exported):
    """200 timesteps, a hundred windows long; then an episode that begins with a prompt."""
    model, out = exported
    torch_policy = GatoPolicy(model, Tokenizer(SMALL, model.config.vocabulary))
    onnx_policy = OnnxPolicy(out, threads=1)
    assert onnx_policy.spec == SMALL
    assert np.array_equal(act(torch_policy, 200), act(onnx_policy, 200))
    for policy in (torch_policy, onnx_policy):
        policy.reset(episode(SMALL, np.random.default_rng(1), 3))
    assert np.array_equal(act(torch_policy, 5, seed=2), act(onnx_policy, 5, seed=2))


def test_exporting_leaves_the_model_acting(exported):
    """It once came back in training mode, where patches take random places in their images."""
    assert not any(module.training for module in exported[0].modules())


def test_the_same_seed_draws_the_same_actions(exported):
    _, out = exported
    first, again, other = (
        act(OnnxPolicy(out, temperature=1.0, seed=seed, threads=1), 4) for seed in (0, 0, 1)
    )
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_it_runs_where_torch_is_not_installed(exported):
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from gato_core.onnx import OnnxPolicy\n"
        f"OnnxPolicy({str(exported[1])!r}, threads=1).reset()"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_another_file_is_refused(tmp_path, exported):
    onnx = pytest.importorskip("onnx")
    with pytest.raises(FileNotFoundError, match="expected an exported checkpoint, got no file"):
        OnnxPolicy(tmp_path / "none.onnx")
    proto = onnx.load(exported[1])
    del proto.metadata_props[:]
    onnx.save(proto, tmp_path / "other.onnx")
    with pytest.raises(ValueError, match="expected a checkpoint exported with .* got None"):
        OnnxPolicy(tmp_path / "other.onnx")


def test_what_is_no_checkpoint_is_not_exported(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gato export", str(tmp_path / "none")])
    assert main() == 1
    assert "expected a checkpoint's config.json, got no file" in capsys.readouterr().err
