"""The baselines: what they learn, what their critic prefers, and that evaluation opens them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import train_examples
from safetensors.torch import load_file, save_file
from train_examples import SPEC

from gato_core import baseline, checkpoint, policy
from gato_core.baseline import Actor, BaselineConfig
from gato_core.data.storage import read_json
from gato_core.dataset import Dataset
from gato_core.spec import Continuous, Discrete, Spec, Text
from gato_core.tools.inspect import inspect
from gato_sim.domains.rgb_stacking.tasks import robot_spec
from gato_sim.evaluate import EvaluateConfig, evaluate
from gato_training.config import changed
from gato_training.studies.baseline import (
    BaselineTrainConfig,
    Learner,
    Transitions,
    main,
    sources,
    train,
)
from gato_training.train import train as train_gato

SMALL = BaselineConfig(channels=(8, 8), width=32, num_components=2)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> str:
    return train_examples.write(tmp_path_factory.mktemp("data") / "demos")


@pytest.fixture
def config(tmp_path, data) -> BaselineTrainConfig:
    return changed(
        BaselineTrainConfig(network=SMALL), data=(data,), output=str(tmp_path), batch_size=16,
        steps=4, save_every=2, log_every=2, return_timesteps=3, held_out=0.2,
    )  # fmt: skip


@pytest.mark.parametrize(("method", "ema"), [("bc", 0.9), ("crr", None)])
def test_four_steps_equal_two_and_two_more(config, method, ema):
    whole = changed(config, method=method, ema=ema, name="whole")
    train(whole)
    parts = changed(whole, name="parts")
    train(changed(parts, steps=2))
    summary = train(changed(parts, resume=True))
    assert summary["finished"]
    for part in ("model.safetensors", "training_state/state.safetensors"):
        one, two = (load_file(c.folder / "checkpoints/last" / part) for c in (whole, parts))
        assert one.keys() == two.keys()
        assert all(torch.equal(one[name], two[name]) for name in one), part


@pytest.mark.parametrize("method", ["bc", "crr"])
def test_an_action_that_follows_from_the_joint_is_learned(config, method):
    config = changed(config, method=method, steps=150, learning_rate=3e-3, save_every=150)
    summary = train(changed(config, augment=None))
    acting = policy.load(summary["checkpoint"])
    for joint in (-0.8, 0.8):
        observation = {"camera/pixels": np.full((16, 16, 3), 128, np.uint8)}
        action = acting.step(observation | {"joints": np.array([joint], np.float32)})
        assert np.sign(action[0]) == np.sign(joint) and np.sign(action[1]) == np.sign(joint)


def test_crr_imitates_what_was_rewarded_and_bc_whatever_was_done():
    """One state, two actions done equally often, one of them rewarded."""
    spec = Spec({"x": Continuous((0.0,), (1.0,), "1", ("x",))},
                Continuous((-1.0,), (1.0,), "1", ("a",)), 0.05)  # fmt: skip
    action = torch.tensor([-0.8, 0.8]).repeat(16)[:, None]
    state = ([], torch.zeros(32, 1))
    reward = 5.0 * (action[:, 0] > 0)
    batch = Transitions(state, action, action, reward, state, torch.zeros(32))
    preferred = {}
    for method in ("bc", "crr"):
        torch.manual_seed(0)
        learner = Learner(spec, BaselineTrainConfig(method, network=SMALL))
        optimizer = torch.optim.Adam([p for p in learner.parameters() if p.requires_grad], 3e-3)
        for _ in range(200):
            optimizer.zero_grad()
            learner(batch)[0].backward()
            optimizer.step()
            learner.follow()
        found = learner.actor(*state)
        preferred[method] = (found.sample((50,)) > 0).float().mean().item()
    assert preferred["bc"] == pytest.approx(0.5, abs=0.15)
    assert preferred["crr"] > 0.8


def first_batch(config: BaselineTrainConfig, **fields) -> Transitions:
    """The first batch of data whose episodes have other fields."""
    dataset = Dataset(config.data.folders[0])
    read = dataset.read

    def other(i, start, stop):
        episode = read(i, start, stop)
        for name, value in fields.items():
            setattr(episode, name, value(episode))
        return episode

    dataset.read = other
    training, _ = sources(changed(config, held_out=0.0, augment=None), [dataset])
    return training.batch(0)


def test_returns_are_sums_of_discounted_rewards_up_to_the_value_that_follows(config):
    """Every timestep is rewarded with 1, so a return tells how many there were."""
    config = changed(config, discount=0.5)
    fields = {"reward": lambda e: np.ones(len(e), np.float32), "terminated": lambda e: True}
    batch = first_batch(config, **fields)
    ended = batch.discount == 0.0
    assert ended.any() and not ended.all()
    torch.testing.assert_close(batch.returns[~ended], 2 * (1 - batch.discount[~ended]))
    assert batch.returns[ended].min() >= 1.0 and batch.returns[ended].max() <= 1.875


def test_an_episode_that_was_cut_off_goes_on_to_be_worth_something(config):
    """Its end once counted as the task's, so a finished stack at the time limit was worth 0."""
    batch = first_batch(changed(config, discount=0.5))
    assert (batch.discount > 0).all()


def test_a_critic_learns_of_what_was_done_and_the_actor_of_the_label(config):
    batch = first_batch(config, executed=lambda e: np.zeros_like(e.action))
    assert (batch.executed == 0).all() and (batch.action != 0).any()
    learner = Learner(SPEC, changed(config, method="crr"))
    learner(batch)[1]["critic"].backward()
    seen = []
    learner.critic.register_forward_hook(lambda _, inputs, value: seen.append(inputs[1]))
    learner(batch)
    assert torch.equal(seen[-1], batch.executed)  # its loss
    assert torch.equal(seen[-2], batch.action)  # what the label is worth


def test_options_of_gato_alone_are_refused(config):
    with pytest.raises(ValueError, match="auxiliary: expected 0, for a baseline has none, got 1"):
        changed(config, auxiliary=1.0)


def test_scaling_keeps_the_units_and_discrete_values_are_told_apart():
    spec = Spec({"mode": Discrete(3, ("m",)), "x": Continuous((0.0,), (4.0,), "m", ("x",))},
                Continuous((-2.0,), (2.0,), "m/s", ("v",)), 0.05)  # fmt: skip
    inputs = {"mode": np.array([[2], [0]]), "x": np.array([[1.0], [9.0]], np.float32)}
    images, values = baseline.to_inputs(spec, inputs)
    assert images == [] and values.tolist() == [[0, 0, 1, -0.5], [1, 0, 0, 1.0]]
    value = np.array([[1.5]], np.float32)
    np.testing.assert_allclose(
        baseline.unscaled(spec.action, baseline.scaled(spec.action, value)), value
    )


def test_each_kind_of_checkpoint_is_opened_or_refused_by_its_kind(config, tmp_path):
    actor = Actor(SPEC, SMALL)
    baseline.save(tmp_path / "bc", "bc", actor, {"step": 1})
    assert checkpoint.kind(tmp_path / "bc") == "bc"
    with pytest.raises(ValueError, match="expected kind 'gato', got 'bc'"):
        checkpoint.load(tmp_path / "bc")
    gato = train_examples.config(tmp_path, config.data.folders[0])
    train_gato(changed(gato, steps=1))
    assert type(policy.load(gato.folder / "checkpoints/last")).__name__ == "GatoPolicy"
    weights = load_file(tmp_path / "bc/model.safetensors")
    save_file({k: v + 0.1 for k, v in weights.items()}, tmp_path / "bc/model.safetensors")
    with pytest.raises(ValueError, match="SHA-256"):
        policy.load(tmp_path / "bc")


def test_a_checkpoint_says_what_made_it(config):
    train(changed(config, steps=2, save_every=2))
    made = read_json(config.folder / "checkpoints/last/config.json")["provenance"]
    assert made["step"] == 2 and made["seconds"] > 0
    assert made["train"]["batch_size"] == config.data.batch_size
    dataset = Dataset(config.data.folders[0])
    (part,) = made["data"]
    assert (part["path"], part["episodes"]) == (config.data.folders[0], dataset.num_episodes)
    assert part["timesteps"] == dataset.num_timesteps
    assert made["versions"]["torch"] == torch.__version__
    assert "1 threads" in made["machine"] and {"commit", "command"} <= made.keys()


def test_a_baseline_resumed_on_other_data_or_options_is_refused(config, tmp_path):
    train(changed(config, steps=1))
    other = train_examples.write(tmp_path / "other")
    with pytest.raises(ValueError, match="data: expected .* as before"):
        train(changed(config, steps=2, data=(other,), resume=True))
    with pytest.raises(ValueError, match="discount: expected 0.99 as before, got 0.5"):
        train(changed(config, steps=2, discount=0.5, resume=True))


def test_evaluation_and_inspection_open_a_baseline(tmp_path):
    baseline.save(tmp_path / "crr", "crr", Actor(robot_spec(), SMALL), {"step": 1})
    quick = {"physics": "stable", "max_steps": 4, "workers": 0, "videos": 0, "episodes": 1}
    config = EvaluateConfig(tmp_path / "crr", suite=("selection",), out=tmp_path, **quick)
    assert evaluate(config)["num_episodes"] == 1
    found = inspect(tmp_path / "crr")
    assert found["sound"] and found["network"] == "crr" and found["components"] == 2


def test_words_and_discrete_actions_are_refused():
    with pytest.raises(ValueError, match="words: expected no text"):
        Actor(replace(SPEC, observation={"words": Text(3)}), SMALL)
    with pytest.raises(ValueError, match="action: expected Continuous"):
        Actor(replace(SPEC, action=Discrete(3, ("a",))), SMALL)


def test_bad_flags_end_with_a_message(tmp_path, capsys):
    assert main(["--data", str(tmp_path / "none")]) == 1
    assert "none" in capsys.readouterr().err
    assert main(["--data", "x", "--augment", "nonsense"]) == 1
    assert "nonsense" in capsys.readouterr().err
