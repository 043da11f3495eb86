"""Embodiments from training to acting: two at once, and one more beside those that there are."""

import numpy as np
import pytest
import train_examples
from train_examples import SPEC, write

from gato_core import checkpoint
from gato_core.policy import load
from gato_core.spec import Continuous, Spec
from gato_training.config import changed
from gato_training.train import main, train

BLIND = Spec(
    {"joints": Continuous((-1.0, -1.0), (1.0, 1.0), "rad", ("a", "b"))},
    Continuous((-0.07, -255.0), (0.07, 255.0), "mixed", ("x", "grip")),
    0.1,
)


@pytest.fixture
def config(tmp_path):
    own = train_examples.config(tmp_path, write(tmp_path / "seeing"))
    return changed(own, auxiliary=0.0, prompt_fraction=0.0, mirror=0.0)


def last(config):
    return config.folder / "checkpoints/last"


def act(path, name, spec):
    rng = np.random.default_rng(0)
    observation = {
        key: rng.integers(0, 256, m.shape, np.uint8)
        if len(m.shape) == 3
        else rng.uniform(-1, 1, m.shape).astype(np.float32)
        for key, m in spec.observation.items()
    }
    return load(path, embodiment=name).step(observation)


def test_two_robots_train_together_and_each_acts_by_its_name(config, tmp_path):
    folders = (*config.data.folders, write(tmp_path / "blind", BLIND))
    train(changed(config, data=folders, embodiment=("seeing", "blind"), weights=(1.0, 1.0)))
    bodies = checkpoint.embodiments(last(config))
    assert {name: each.spec for name, each in bodies.items()} == {"seeing": SPEC, "blind": BLIND}
    for name, spec in (("seeing", SPEC), ("blind", BLIND)):
        assert act(last(config), name, spec).shape == (2,)
    with pytest.raises(ValueError, match=r"expected one of \['blind', 'seeing'\], got None"):
        load(last(config))


def test_fine_tuning_adds_an_embodiment_beside_those_there_are(config, tmp_path):
    """With options of its own; what was there keeps its own."""
    train(changed(config, steps=1, embodiment=("seeing",)))
    new = changed(
        config, name="new", model=None, init_from=str(last(config)), steps=1,
        data=(write(tmp_path / "blind", BLIND),), embodiment=("blind",), weights=(),
        context_timesteps=1, action_mode="parallel",
    )  # fmt: skip
    train(new)
    before, after = checkpoint.embodiments(last(config)), checkpoint.embodiments(last(new))
    assert after["seeing"] == before["seeing"]
    assert after["blind"].spec == BLIND and after["blind"].action_mode == "parallel"
    assert act(last(new), "seeing", SPEC).shape == act(last(new), "blind", BLIND).shape == (2,)
    assert len(checkpoint.load(last(new)).embodiments) == 2  # golden samples are the new weights'


def test_a_dataset_without_a_name_is_of_the_embodiment_that_it_fits(config):
    train(changed(config, steps=1, embodiment=("seeing",)))
    tuned = changed(config, name="tuned", model=None, init_from=str(last(config)), steps=1)
    train(tuned)
    assert list(checkpoint.embodiments(last(tuned))) == ["seeing"]


def test_a_dataset_that_fits_none_is_refused_with_how_to_add_it(config, tmp_path, capsys):
    train(changed(config, steps=1, embodiment=("seeing",)))
    flags = ["--preset", "finetune", "--init-from", str(last(config)), "--name", "pressed"]
    flags += ["--data", write(tmp_path / "blind", BLIND), "--output", str(tmp_path)]
    assert main(flags) == 1
    error = capsys.readouterr().err
    assert "got none" in error and "seeing:" in error and "--embodiment NAME" in error
    assert main([*flags, "--embodiment", "seeing"]) == 1
    assert "control_timestep: expected 0.05, got 0.1" in capsys.readouterr().err


def test_past_actions_are_hidden_unless_asked_for(config):
    for name, asked, got in (("a", None, False), ("b", True, True)):
        run = changed(config, name=name, steps=1, embodiment=("x",), sees_past_actions=asked)
        train(run)
        assert checkpoint.load(last(run)).embodiment().sees_past_actions == got
