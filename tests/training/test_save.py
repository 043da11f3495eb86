"""Saving: whenever it is killed or fails, `last` leads to a checkpoint to go on from."""

import pytest
import train_examples
from killing import killed_at

from gato_core import checkpoint
from gato_core.data.storage import read_json
from gato_training import state
from gato_training.config import changed
from gato_training.run import Run, continue_from, save
from gato_training.run_log.processes import Processes
from gato_training.train import Begun, begin


@pytest.fixture
def begun(tmp_path) -> Begun:
    """After its second update, which it has saved."""
    config = train_examples.config(tmp_path, train_examples.write(tmp_path / "demos"))
    begun = begin(Processes(), changed(config, auxiliary=0.0))
    run = begun.run
    run.learner.model.norm.weight.square().sum().backward()
    run.optimizer.step()
    run.step, run.num_timesteps = 2, 100
    save(run, begun.provenance, {})
    return begun


def what_last_is(run: Run) -> tuple[int, int]:
    """Its step and timesteps, by which these tests tell saves apart; whole, or an error."""
    last = run.config.folder / "checkpoints/last"
    provenance, numbers = checkpoint.load(last).provenance, read_json(last / state.NUMBERS)
    continue_from(run, last)
    assert (last / "README.md").exists()
    assert all(provenance[name] == numbers[name] for name in ("step", "num_timesteps"))
    return numbers["step"], numbers["num_timesteps"]


@pytest.mark.parametrize("step", [2, 4], ids=["saved already", "new"])
def test_a_save_killed_between_any_two_calls_leaves_a_checkpoint_to_go_on_from(begun, step):
    """At a step that was saved already, `last` once led to a folder without its training state."""
    run, provenance, found = begun.run, begun.provenance, []
    for number in range(300):
        if number and found[-1] != (2, 100):
            run.step, run.num_timesteps = 2, 100
            save(run, provenance, {})
        run.step, run.num_timesteps = step, 200
        was_killed = killed_at(number, lambda: save(run, provenance, {}))
        found.append(what_last_is(run))
        if not was_killed:
            break
    assert found[0] == (2, 100) and found[-1] == (step, 200) and len(found) > 25
    assert found == sorted(found)  # from some call on it is the new one


def test_a_save_that_fails_at_a_saved_step_leaves_the_one_before(begun, monkeypatch):
    def full(*_: object) -> None:
        raise OSError("full")

    run, run.num_timesteps = begun.run, 200
    with monkeypatch.context() as patched, pytest.raises(OSError, match="full"):
        patched.setattr(state, "save", full)
        save(run, begun.provenance, {})
    assert what_last_is(run) == (2, 100)
    assert {path.name for path in (run.config.folder / "checkpoints").iterdir()} == {"2", "last"}


def test_what_a_killed_save_left_is_removed_by_the_next(begun):
    folder = begun.run.config.folder / "checkpoints"
    (folder / ".2.abc").mkdir()
    save(begun.run, begun.provenance, {})
    assert {path.name for path in folder.iterdir()} == {"2", "last"}
