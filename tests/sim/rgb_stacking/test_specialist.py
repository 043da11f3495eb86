"""DeepMind's state policies, and the interface a file of them must have."""

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import gato_sim
from gato_sim.domains.rgb_stacking import observation
from gato_sim.domains.rgb_stacking.specialist import Specialist, file
from gato_sim.evaluate import EvaluateConfig, evaluate


@pytest.fixture(scope="module")
def env():
    env = gato_sim.load("rgb_test_triplet1", seed=0, physics="stable")
    env.reset()
    return env


def write_policy(folder, logits):
    """A network with the released inputs whose outputs are constants."""
    types = {np.uint8: TensorProto.UINT8, np.float32: TensorProto.FLOAT}
    inputs = [
        helper.make_tensor_value_info(
            f"timestep_observation_{key.replace('/', '_')}:0", types[dtype], [1, depth, *shape]
        )
        for key, (shape, depth, dtype) in observation.STATE.items()
    ]
    values = {
        "loc": ([1, 4], [0.5, -0.5, 0.0, 1.0]),
        "scale": ([1, 4], [0.0] * 4),
        "vmin": ([1, 1], [-1.0]),
        "vmax": ([1, 1], [1.0]),
        "logits": ([1, 1, 2], logits),
    }
    nodes = [
        helper.make_node(
            "Constant", [], [name], value=helper.make_tensor(name, TensorProto.FLOAT, *value)
        )
        for name, value in values.items()
    ]
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, (shape, _) in values.items()
    ]
    graph = helper.make_graph(nodes, "policy", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "mpo_state_rgb_test_triplet1.onnx")


@pytest.mark.parametrize("logits, gripper", [([0.0, 99.0], 255), ([99.0, 0.0], -255)])
def test_outputs_become_the_benchmarks_action(env, tmp_path, logits, gripper):
    write_policy(tmp_path, logits)
    action = Specialist(env, tmp_path, seed=0).step({})
    np.testing.assert_allclose(action, [0.035, -0.035, 0.0, 1.0, gripper], rtol=1e-6)


def test_other_objects_and_missing_files_are_answered_with_what_is_expected(tmp_path):
    with pytest.raises(ValueError, match="expected a test triplet .* got s0,s0,s0"):
        file(tmp_path, ("s0", "s0", "s0"))
    with pytest.raises(FileNotFoundError, match="expected .*triplet5.onnx.*rgb_stacking"):
        file(tmp_path, ("r2", "g6", "s0"))


def test_specialists_are_refused_where_the_claim_is_generalization(tmp_path):
    config = EvaluateConfig(policy="specialist", specialists=tmp_path, out=tmp_path)
    with pytest.raises(ValueError, match="expected skill-mastery .* got skill-generalization"):
        evaluate(config)
    with pytest.raises(ValueError, match="--specialists FOLDER"):
        EvaluateConfig(policy="specialist")


def test_the_released_policy_stacks(env, tmp_path):
    """Needs DeepMind's files, which are not part of the project: GATO_SPECIALISTS names them."""
    folder = os.environ.get("GATO_SPECIALISTS")
    if folder is None:
        pytest.skip("GATO_SPECIALISTS is unset: no folder with DeepMind's policies")
    config = EvaluateConfig(
        policy="specialist",
        specialists=Path(folder),
        suite=("rgb_test_triplet1",),
        physics="stable",
        episodes=4,
        workers=0,
        videos=0,
        out=tmp_path,
    )
    assert evaluate(config)["all"]["success_end"]["successes"] >= 2
