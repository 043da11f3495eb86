"""What a run needs of memory is foretold, and what will not fit is refused before it begins."""

import json
import subprocess
import sys

import numpy as np
import pytest
import train_examples

from gato_core.embodiment import Embodiment
from gato_core.model import Gato, preset
from gato_training.config import TrainConfig, changed, save
from gato_training.run_log import memory
from gato_training.run_log.memory import NOTHING, Kept
from gato_training.run_log.processes import Processes
from gato_training.sources import mixtures, open_folders
from gato_training.train import main

FACTOR = 1.5  # within which the estimate is of the peak, what the program took before left out


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> str:
    return train_examples.write(tmp_path_factory.mktemp("data") / "demos", num_steps=40)


def large(folder, data: str) -> TrainConfig:
    """One update that needs several times what the program itself does."""
    return changed(
        train_examples.config(folder, data),
        model="control-2m", context_timesteps=32, batch_size=64, steps=1, precision="fp32",
        evaluate_every=10, num_evaluation_batches=1, prefetch=1, auxiliary=0.0, held_out=0.0,
    )  # fmt: skip


@pytest.mark.parametrize("changes", [{}, {"checkpoint_activations": True, "precision": "bf16"}])
def test_peak_is_as_foretold(tmp_path, data, changes):
    config = changed(large(tmp_path, data), **changes)
    save(config, tmp_path / "config.json")
    command = [sys.executable, train_examples.__file__, str(tmp_path / "config.json")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    program = found["estimate"]["program"]
    ratio = (found["estimated_gb"] * 1e9 - program) / (found["peak_gb"] * 1e9 - program)
    assert 1 / FACTOR < ratio < FACTOR, found


def test_the_peak_is_a_programs_own_and_not_that_of_what_started_it():
    held = np.ones(150_000_000)  # 1.2 GB
    count = "from gato_training.run_log import memory; print(memory.peak())"
    done = subprocess.run([sys.executable, "-c", count], capture_output=True, text=True, check=True)
    assert 0 < int(done.stdout) < held.nbytes


def test_parameters_are_counted_without_making_them():
    assert memory.num_parameters(preset("debug")) == sum(
        p.numel() for p in Gato(preset("debug")).parameters()
    )


def test_what_will_not_fit_is_refused_with_advice_before_anything_is_written(
    tmp_path, data, capsys
):
    flags = ["--preset", "debug", "--data", data, "--output", str(tmp_path), "--name", "huge"]
    assert main([*flags, "--batch-size", "100000000"]) == 1
    error = capsys.readouterr().err
    assert "memory: expected at most" in error and "--checkpoint-activations" in error
    assert not (tmp_path / "huge").exists()


def estimated(
    config: TrainConfig, kept: Kept, name: str = "control-2m", num_processes: int = 1
) -> memory.Estimate:
    opened, sizes = open_folders(config.data, 1.0), preset(name)
    bodies = {name: Embodiment(name, opened.spec(name), 2) for name in opened.robots}
    training, _ = mixtures(config.data, 0, opened, bodies, sizes.vocabulary)
    needs = dict.fromkeys(training.sources, kept), 0, 0, Processes(num=num_processes)
    return memory.estimate(config, sizes, training.sources, *needs)


def test_advice_leaves_the_update_as_large_as_it_was(tmp_path, data):
    config = changed(large(tmp_path, data), batch_size=60, accumulate=2)
    kept = Kept(blocks=1e9, block=2e8, rest=1e8, fixed=0.0)
    estimate = estimated(config, kept)
    memory.check(estimate, config, host_room=estimate.total)
    with pytest.raises(ValueError, match=r"--batch-size (\d+) --accumulate (\d+)") as raised:
        memory.check(estimate, config, host_room=estimate.total // 2)
    words = str(raised.value).split()
    size = int(words[words.index("--batch-size") + 1])
    number = int(words[words.index("--accumulate") + 1])
    assert size < 60 and size * number >= 120
    smaller = estimated(changed(config, batch_size=size), kept)
    memory.check(smaller, config, host_room=estimate.total // 2)


def test_room_is_what_is_free_or_left_of_a_container_s_limit(tmp_path):
    """Cached files count as used by a container, but make way."""
    meminfo, cgroup = tmp_path / "meminfo", tmp_path / "cgroup"
    assert memory.host_room(1, meminfo, cgroup) > 1e15  # nobody tells: nothing is refused
    meminfo.write_text("MemTotal: 4000 kB\nMemAvailable: 1000 kB\n")
    assert memory.host_room(2, meminfo, cgroup) == 512_000
    cgroup.mkdir()
    for name, text in {"max": "900000", "current": "600000", "stat": "anon 1\nfile 200000"}.items():
        (cgroup / f"memory.{name}").write_text(text + "\n")
    assert memory.host_room(1, meminfo, cgroup) == 500_000
    (cgroup / "memory.max").write_text("max\n")
    assert memory.host_room(1, meminfo, cgroup) == 1_024_000


def test_sharding_divides_weights_and_moments(tmp_path, data):
    config = changed(large(tmp_path, data), sharding="fsdp")
    alone, shared = (estimated(config, NOTHING, "79m", num) for num in (1, 4))
    assert shared.weights == alone.weights // 4 and shared.optimizer == alone.optimizer // 4
