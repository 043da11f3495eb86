"""gato bench: its observations fit any robot, and its roofline counts what a step must do."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from core_examples import SMALL, body, tiny

from gato_core.model import Gato, preset
from gato_core.spec import Discrete, Spec, Text
from gato_core.tokenizer import Tokenizer
from gato_core.tools.bench import BenchConfig, made_up, main, robot
from gato_core.tools.roofline import Machine, Pass, passes
from gato_core.vocab import Vocabulary


def test_made_up_observations_fit_the_spec():
    mixed = Spec(
        {**SMALL.observation, "buttons": Discrete(3, ("a", "b")), "task": Text(4)},
        SMALL.action,
        0.05,
    )
    for spec in (SMALL, mixed, robot(64)):
        spec.check_observation(made_up(spec, np.random.default_rng(0)))


def test_made_up_words_are_of_any_vocabulary():
    """They were below 1,000, which a small vocabulary has not."""
    spec = Spec({"task": Text(64)}, SMALL.action, 0.05)
    observation = made_up(spec, np.random.default_rng(0))
    Tokenizer(body(spec=spec), Vocabulary(num_text=300)).encode_observation(observation)


def test_a_pass_takes_as_long_as_its_slower_half():
    machine = Machine(bandwidth=10.0, flops=100.0)
    assert Pass(flops=200.0, num_bytes=5.0).seconds(machine) == 2.0
    assert Pass(flops=50.0, num_bytes=30.0).seconds(machine) == 3.0


def test_autoregression_costs_passes_and_little_arithmetic():
    in_turn = passes(Gato(tiny()), body())
    (at_once,) = passes(Gato(tiny()), body("parallel"))
    assert len(in_turn) == SMALL.num_action_tokens
    assert at_once.num_bytes < sum(each.num_bytes for each in in_turn)
    assert at_once.flops == pytest.approx(sum(each.flops for each in in_turn), rel=0.1)


def test_a_step_costs_twice_its_weights_for_each_token():
    """Attention and patches come on top: between a tenth and the same again at these sizes."""
    model, spec = Gato(preset("control-5m")), robot(64)
    weights = sum(p.numel() for block in model.blocks for p in block.parameters() if p.dim() == 2)
    flops = sum(each.flops for each in passes(model, body(spec=spec)))
    assert 1.1 < flops / (2 * weights * spec.tokens_per_timestep) < 2.0


def test_the_last_line_is_json():
    command = "--presets debug --context-timesteps 2 --num-steps 2 --dtypes float32"
    result = subprocess.run(
        [sys.executable, "-m", "gato_core.tools.bench", *command.split()],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout.splitlines()[-1])
    assert {"cpu", "torch", "threads", "commit"} <= found.keys()
    assert [row["action_mode"] for row in found["ms"]] == ["autoregressive", "parallel"]


def test_what_runs_on_a_gpu_goes_the_same_way_on_a_cpu():
    """All but the capture: the eager step and the one on static buffers decide alike."""
    command = "--device cpu --presets debug --image-size 32 --num-steps 2 --context-timesteps 2"
    program = Path(__file__).parents[3] / "bench/gpu.py"
    result = subprocess.run(
        [sys.executable, str(program), *command.split()], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout.splitlines()[-1])
    assert found["gb_per_s"] > 0 and found["gflop_per_s"] > 0
    assert [row["agreement"] for row in found["rows"]] == [1.0] * 4
    for row in found["rows"]:
        assert 0 < row["roofline_ms"] < row["ms"]["p50"]
    last = found["rows"][-1]
    assert last["action_mode"] == "parallel" and last["bytes_to_device"] > 2 * 32 * 32 * 3


def test_what_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="preset: expected one of .* got 'huge'"):
        BenchConfig(presets=("huge",))
    for change, message in (
        ({"dtypes": ("int8",)}, "dtypes: expected .* got 'int8'"),
        ({"action_modes": ("fast",)}, "action_mode: expected one of .* got 'fast'"),
        ({"context_timesteps": 0}, "context_timesteps: expected >= 1, got 0"),
        ({"image_size": 70}, "Image height: expected a positive multiple of 16, got 70"),
        ({"image_size": 512}, "observation: expected at most 511 tokens a timestep, got 2063"),
        ({"num_steps": 0}, "num_steps: expected >= 1, got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            BenchConfig(**change)


def test_a_missing_checkpoint_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gato bench", "--checkpoint", str(tmp_path)])
    assert main() == 1
    assert "expected a checkpoint's config.json, got no file" in capsys.readouterr().err
