"""Several processes under torchrun learn what one learns, and a run may change their number."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import train_examples
from safetensors.torch import load_file
from train_examples import write_documents

from gato_training.config import TrainConfig, changed, save
from gato_training.run_log.processes import Processes
from gato_training.train import check, train

NUM_PROCESSES = 2


def torchrun(folder, *configs: TrainConfig) -> subprocess.CompletedProcess:
    """Trains one after the other in two processes."""
    paths = [str(folder / f"{number}.json") for number in range(len(configs))]
    for config, path in zip(configs, paths):
        save(config, Path(path))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc-per-node={NUM_PROCESSES}", train_examples.__file__, *paths]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


@pytest.fixture
def config(tmp_path) -> TrainConfig:
    return changed(
        train_examples.config(tmp_path, train_examples.write(tmp_path / "demos")),
        accumulate=NUM_PROCESSES, precision="fp32", final_fraction=1.0, prefetch=1,
    )  # fmt: skip


def test_two_processes_learn_what_one_learns_and_the_run_moves_between_them(config, tmp_path):
    """Two steps with replicas, two with shards and two alone, against six alone: to 1e-5.

    Measurements in between once left a shard's averaged weights whole, and average no more.
    """
    config = changed(config, dropout=0.1, steps=6)
    alone, moved = changed(config, name="alone"), changed(config, name="moved", resume=True)
    train(alone)
    shards = changed(moved, sharding="fsdp", checkpoint_activations=True)
    done = torchrun(tmp_path, changed(moved, steps=2), changed(shards, steps=4))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("step      1") == 1  # only the first process speaks
    train(moved)
    expected, got = train_examples.losses(alone), train_examples.losses(moved)
    assert len(expected) == 6 and got == pytest.approx(expected, abs=1e-5)
    for part in ("model.safetensors", "training_state/state.safetensors"):
        expected, got = (load_file(c.folder / "checkpoints/last" / part) for c in (alone, moved))
        assert expected.keys() == got.keys()
        for name, value in expected.items():
            assert (got[name] - value).abs().max() < 1e-4, name


def test_two_processes_learn_what_one_learns_of_robot_and_documents(config, tmp_path):
    """Each process may meet another source, and leave unused what the other one needs."""
    documents = write_documents(tmp_path / "documents")
    data = (*config.data.folders, documents)
    config = changed(config, data=data, weights=(1.0, 1.0), steps=5, accumulate=4, held_out=0.0)
    alone, shared = changed(config, name="alone"), changed(config, name="shared")
    train(alone)
    done = torchrun(tmp_path, shared, changed(shared, name="shards", sharding="fsdp"))
    assert done.returncode == 0, done.stdout + done.stderr
    expected = load_file(alone.folder / "checkpoints/last/model.safetensors")
    for name in ("shared", "shards"):
        run = changed(config, name=name)
        assert train_examples.losses(run) == pytest.approx(train_examples.losses(alone), abs=1e-4)
        got = load_file(run.folder / "checkpoints/last/model.safetensors")
        for key, value in expected.items():
            assert (got[key] - value).abs().max() < 1e-4, (name, key)


def test_batches_that_cannot_be_shared_out_are_refused(config):
    with pytest.raises(ValueError, match="accumulate: expected a multiple of the 4 processes"):
        check(config, Processes(num=4))
