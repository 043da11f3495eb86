"""An exported checkpoint decides as torch does, past its window, and needs no torch to run."""

import json
import subprocess
import sys
from pathlib import Path

import demonstration
import numpy as np
import pytest
import torch
from core_examples import SMALL, body, episode, random_model, tiny

from gato_core import checkpoint
from gato_core.deploy.onnx import choose_providers, export, load, main
from gato_core.deploy.packed import pack
from gato_core.model import Gato, preset
from gato_core.policy import GatoPolicy
from gato_core.tokenizer import Tokenizer

pytest.importorskip("onnx")
CASES = [
    ("rotary", "autoregressive", True),
    ("relative", "hidden", False),
    ("rotary", "parallel", False),
    ("relative", "parallel", True),
]
SHIPPED = Path(__file__).parents[3] / "checkpoints/control"
CPU = ["CPUExecutionProvider"]


def act(policy, stream):
    return np.stack([policy.step(observation) for observation in stream])


@pytest.fixture(scope="module")
def seen():
    """A real robot's Spec and a demonstration."""
    return demonstration.load()


@pytest.fixture(scope="module", params=CASES, ids=str)
def exported(request, tmp_path_factory, seen):
    """A model, the file it was exported to, and whether prompts are kept."""
    positions, kind, keep_prompt = request.param
    model, embodiment = random_model(tiny(positions)), body(kind, seen[0], context_timesteps=4)
    out = tmp_path_factory.mktemp("onnx") / "model.onnx"
    export(model, embodiment, out, keep_prompt=keep_prompt)
    return model, out, keep_prompt, Tokenizer(embodiment, model.config.vocabulary)


def test_every_token_is_the_one_torch_chooses(exported, seen):
    """On 200 timesteps of a demonstration, fifty windows; then in an episode with a prompt."""
    model, out, keep_prompt, tokenizer = exported
    spec, shown = seen
    onnx_policy = load(out, threads=1, providers=CPU)
    assert onnx_policy.spec == spec
    policies = GatoPolicy.of(model, tokenizer, keep_prompt=keep_prompt), onnx_policy
    for prompt, num in ((None, 200), (demonstration.timesteps(shown, 90, 93), 20)):
        actions = []
        for policy in policies:
            policy.reset(prompt)
            actions.append(act(policy, demonstration.observations(shown, num)))
        assert np.array_equal(*actions)
        assert len(np.unique(actions[0], axis=0)) > 5


def test_the_shipped_policy_decides_alike_however_it_is_run(tmp_path, seen):
    """Packed, or by ONNX Runtime: 99 of 100 tokens, as trained logits lie close.

    Where this says that the Specs differ, record anew: tests/demonstration.py tells how.
    """
    loaded = checkpoint.load(SHIPPED)
    spec, shown = seen
    tokenizer = loaded.tokenizer()
    assert tokenizer.spec.differences(spec) == []
    export(loaded.model, tokenizer.embodiment, tmp_path / "control.onnx")
    policies = [
        GatoPolicy.of(loaded.model, tokenizer, temperature=0.0),
        GatoPolicy.of(pack(checkpoint.load(SHIPPED).model), tokenizer, temperature=0.0),
        load(tmp_path / "control.onnx", temperature=0.0, threads=1, providers=CPU),
    ]
    stream = demonstration.observations(shown, 200)
    expected, *others = (act(policy, stream) for policy in policies)
    for got in others:
        assert np.mean(got == expected) >= 0.99


def test_robots_in_lock_step_are_exported_together(tmp_path, seen):
    """One of them begins anew with a prompt meanwhile."""
    spec, shown = seen
    model = random_model(tiny())
    embodiment = body(spec=spec)
    export(model, embodiment, tmp_path / "two.onnx", num_robots=2)
    tokenizer = Tokenizer(embodiment, model.config.vocabulary)
    together = load(tmp_path / "two.onnx", threads=1, providers=CPU)
    alone = [GatoPolicy.of(model, tokenizer) for _ in range(2)]
    stream = demonstration.observations(shown, 60)
    for t in range(30):
        if t == 10:
            prompt = demonstration.timesteps(shown, 90, 93)
            together.reset(prompt, robot=1)
            alone[1].reset(prompt)
        now = stream[t], stream[30 + t]
        expected = [policy.step(observation) for policy, observation in zip(alone, now)]
        assert np.array_equal(together.step_together(now), expected)


def test_accelerators_come_first_where_they_are_present():
    """As ONNX Runtime lists what it was built with."""
    tensorrt, cuda, cpu = "TensorrtExecutionProvider", "CUDAExecutionProvider", CPU[0]
    assert choose_providers([tensorrt, cuda, cpu]) == [tensorrt, cuda, cpu]
    assert choose_providers([cpu, "AzureExecutionProvider", cuda]) == [cuda, cpu]
    assert choose_providers(["AzureExecutionProvider", cpu]) == [cpu]
    assert choose_providers([cuda, cpu], [cpu]) == [cpu]
    with pytest.raises(ValueError, match=r"expected some of \['CPU.*got \['CUDA"):
        choose_providers([cpu], [cuda])


def test_exporting_leaves_the_model_acting(exported):
    """It once came back in training mode, where patches take random places in their images."""
    assert not any(module.training for module in exported[0].modules())


def test_the_same_seed_draws_the_same_actions(exported, seen):
    stream = demonstration.observations(seen[1], 4)
    first, again, other = (
        act(load(exported[1], temperature=1.0, seed=seed, threads=1), stream) for seed in (0, 0, 1)
    )
    assert np.array_equal(first, again) and not np.array_equal(first, other)


@pytest.mark.parametrize("exported", CASES[:1], indirect=True)
def test_it_runs_where_torch_is_not_installed(exported):
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from gato_core.policy import load\n"
        f"load({str(exported[1])!r}, runtime='onnx').reset()"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("exported", CASES[:1], indirect=True)
def test_what_does_not_fit_is_refused_before_anything_is_remembered(exported, seen):
    """A prompt that leaves no room, one of another robot, and a value that is no number."""
    spec, shown = seen
    policy = load(exported[1], threads=1)
    good = demonstration.observations(shown, 3)
    expected = act(policy, good)
    with pytest.raises(ValueError, match="prompt: expected fewer timesteps .* context's 4, got 4"):
        policy.reset(demonstration.timesteps(shown, 0, 4))
    with pytest.raises(ValueError, match=r"action: expected \(2, 5\), got \(2, 3\)"):
        policy.reset(episode(SMALL, np.random.default_rng(0), 2))
    policy.reset()
    policy.step(good[0])
    with pytest.raises(ValueError, match=r"sawyer/joints/angle: .*NaN or infinity in \['right_j0'"):
        policy.step(good[1] | {"sawyer/joints/angle": np.full(7, np.nan, np.float32)})
    assert np.array_equal(act(policy, good[1:]), expected[1:])


@pytest.mark.parametrize("exported", CASES[:1], indirect=True)
def test_another_file_is_refused(tmp_path, exported):
    onnx = pytest.importorskip("onnx")
    with pytest.raises(FileNotFoundError, match="expected an exported checkpoint, got no file"):
        load(tmp_path / "none.onnx")
    proto = onnx.load(exported[1])
    del proto.metadata_props[:]
    onnx.save(proto, tmp_path / "other.onnx")
    with pytest.raises(ValueError, match="expected a checkpoint exported with .* got None"):
        load(tmp_path / "other.onnx")


def test_the_command_proves_what_it_exports(tmp_path, monkeypatch, capsys):
    """Cameras of different sizes, neither of them square as a whole."""
    model = random_model(tiny())
    checkpoint.save(tmp_path / "small", model, body(), {})
    words = [str(tmp_path / "small"), "--out", str(tmp_path / "small.onnx"), "--keep-prompt"]
    monkeypatch.setattr(sys, "argv", ["gato export", *words])
    assert main() == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["agreement"] == 1.0
    assert found["bytes"] == (tmp_path / "small.onnx").stat().st_size


def test_weights_beyond_a_protobuf_are_refused(tmp_path):
    with torch.device("meta"):
        model = Gato(preset("1.2b"))
    with pytest.raises(ValueError, match="expected weights of at most 2 GB, got 4.7 GB"):
        export(model, body(), tmp_path / "large.onnx")


def test_what_is_no_checkpoint_is_not_exported(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gato export", str(tmp_path / "none")])
    assert main() == 1
    assert "expected a checkpoint's config.json, got no file" in capsys.readouterr().err


def test_a_file_is_of_one_embodiment_and_says_which(exported):
    assert load(exported[1], embodiment="a body", threads=1).embodiment.name == "a body"
    with pytest.raises(
        ValueError, match=r"embodiment: expected one of \['a body'\], got 'another'"
    ):
        load(exported[1], embodiment="another", threads=1)
