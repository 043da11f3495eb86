"""What goes wrong while training: full disks, signals, checkpoints and data of other times."""

import contextlib
import json
import resource
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
import train_examples
from safetensors.torch import load_file, save_file
from train_examples import SPEC, losses

from gato_core import checkpoint
from gato_core.spec import Continuous, Spec
from gato_training.config import TrainConfig, changed, save
from gato_training.train import main, train


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> str:
    return train_examples.write(tmp_path_factory.mktemp("data") / "demos")


@pytest.fixture
def config(tmp_path, data) -> TrainConfig:
    return train_examples.config(tmp_path, data)


@contextlib.contextmanager
def full_disk(num_bytes: int):
    """Files cannot grow beyond a size: the error of a disk that is full, at the same places."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


# the network's weights are 1.2 MB, the training state is 4.7 MB
@pytest.mark.parametrize("room", [100_000, 2_000_000])
def test_full_disk_leaves_the_last_checkpoint_whole_and_the_run_goes_on_later(config, room):
    interrupted = changed(config, resume=True)
    train(changed(interrupted, steps=2))
    last = interrupted.folder / "checkpoints/last"
    before = load_file(last / "model.safetensors")
    with full_disk(room), pytest.raises(OSError):
        train(interrupted)
    assert checkpoint.load(last).provenance["step"] == 2
    after = load_file(last / "model.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not list((interrupted.folder / "checkpoints").glob(".*.*"))
    assert train(interrupted)["step"] == 4


def test_ctrl_c_ends_with_a_checkpoint_and_resuming_equals_one_run(config, tmp_path):
    config = changed(
        config, steps=100_000, save_every=100_000, evaluate_every=100_000, final_fraction=1.0
    )
    save(config, tmp_path / "config.json")
    command = [sys.executable, "-u", train_examples.__file__, str(tmp_path / "config.json")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if line.startswith("step"):
                process.send_signal(signal.SIGINT)
                break
        summary = json.loads(process.stdout.read().splitlines()[-1])
    assert process.returncode == 0 and not summary["finished"]
    step = summary["step"]
    whole = changed(config, name="whole", steps=step + 1)
    assert checkpoint.load(summary["checkpoint"]).provenance["step"] == step
    train(changed(config, resume=True, steps=step + 1))
    train(whole)
    # the schedules differ by a cosine over 100,000 steps: nothing yet
    assert losses(config) == pytest.approx(losses(whole), abs=1e-4)


def edit(folder, change) -> None:
    content = json.loads((folder / "config.json").read_text())
    change(content)
    (folder / "config.json").write_text(json.dumps(content))


def test_first_version_s_checkpoint_is_fine_tuned_and_resumed(config):
    """It had no kind, no action_position, kept generators, and did not average the side task."""
    train(changed(config, steps=2))
    last = config.folder / "checkpoints/last"
    edit(last, lambda content: (content.pop("kind"), content["model"].pop("action_position")))
    edit(last, lambda content: content["provenance"]["train"].update(keep=2))  # num_checkpoints
    path = last / "training_state/state.safetensors"
    state = {k: v for k, v in load_file(path).items() if not k.startswith("average/")}
    save_file(state | {"generator/cpu": torch.get_rng_state()}, path)
    tuned = changed(config, name="tuned", model=None, init_from=str(last), steps=1)
    assert train(tuned)["step"] == 1
    assert train(changed(config, resume=True))["step"] == 4


def test_checkpoint_of_a_later_version_is_refused_with_the_reason(config, capsys):
    train(changed(config, steps=1))
    last = config.folder / "checkpoints/last"
    flags = ["--preset", "finetune", "--data", *config.data.folders, "--output", config.output]
    sound = (last / "config.json").read_text()
    for change, reason in [
        (lambda content: content.update(format_version=3), "expected format_version 2, got 3"),
        (lambda content: content["model"].update(num_experts=4), "num_experts"),
        (lambda content: content.update(kind="diffusion"), "expected kind 'gato'"),
    ]:
        (last / "config.json").write_text(sound)
        edit(last, change)
        assert main([*flags, "--name", "tuned", "--init-from", str(last)]) == 1
        assert reason in capsys.readouterr().err


TWO = Continuous((-1.0, -1.0), (1.0, 1.0), "rad", ("j", "k"))


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"observation": {"joints": SPEC.observation["joints"]}}, "camera/pixels"),
        ({"observation": {**SPEC.observation, "joints": TWO}}, "joints"),
        ({"action": replace(SPEC.action, unit="m")}, "unit"),
        ({"action": replace(SPEC.action, names=("grip", "x"))}, "names"),
        ({"control_timestep": 0.1}, "control_timestep"),
    ],
)
def test_data_of_another_robot_are_refused_with_the_difference(
    config, tmp_path, changes, difference
):
    """A missing camera, another joint, unit, order or rate, in the second of two datasets."""
    fields = {"observation": SPEC.observation, "action": SPEC.action, "control_timestep": 0.05}
    other = train_examples.write(tmp_path / "other", Spec(**fields | changes), num_episodes=1)
    with pytest.raises(ValueError, match=difference):
        train(changed(config, data=(*config.data.folders, other)))
    assert not config.folder.exists()
