"""Several processes under torchrun learn what one learns, and a run may change their number."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest
import train_examples
from safetensors.torch import load_file

from gato_training.config import TrainConfig, save
from gato_training.processes import Processes
from gato_training.train import check, train

NUM_PROCESSES = 2


def torchrun(config: TrainConfig, folder) -> subprocess.CompletedProcess:
    save(config, folder / "config.json")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc-per-node={NUM_PROCESSES}", train_examples.__file__]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*command, str(folder / "config.json")],
        env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


@pytest.fixture
def config(tmp_path) -> TrainConfig:
    return replace(
        train_examples.config(tmp_path, train_examples.write(tmp_path / "demos")),
        accumulate=NUM_PROCESSES, precision="fp32", final_fraction=1.0, prefetch=1,
    )  # fmt: skip


def assert_same(one: TrainConfig, other: TrainConfig) -> None:
    """Losses to 1e-5, and weights and moments nearly so."""
    expected, got = train_examples.losses(one), train_examples.losses(other)
    assert len(expected) == 4 and got == pytest.approx(expected, abs=1e-5)
    for part in ("model.safetensors", "training_state/state.safetensors"):
        expected, got = (load_file(c.folder / "checkpoints/last" / part) for c in (one, other))
        assert expected.keys() == got.keys()
        for name, value in expected.items():
            assert (got[name] - value).abs().max() < 1e-4, name


def test_two_replicas_learn_what_one_process_learns_and_hand_over_to_it(config, tmp_path):
    """Two steps in two processes and two more in one, against four in one."""
    config = replace(config, dropout=0.1)
    alone, moved = replace(config, name="alone"), replace(config, name="moved")
    train(alone)
    done = torchrun(replace(moved, steps=2), tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("step      1") == 1  # only the first process speaks
    train(replace(moved, resume=True))
    assert_same(alone, moved)


def test_two_shards_go_on_from_what_one_process_left(config, tmp_path):
    """Measurements in between once left a shard's averaged weights whole, and average no more."""
    alone, moved = replace(config, name="alone"), replace(config, name="moved", sharding="fsdp")
    train(alone)
    train(replace(moved, steps=2))
    done = torchrun(replace(moved, resume=True, checkpoint_activations=True), tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert_same(alone, moved)


def test_batches_that_cannot_be_shared_out_are_refused(config):
    with pytest.raises(ValueError, match="accumulate: expected a multiple of the 4 processes"):
        check(config, Processes(num=4))
