"""The worker pool: every job exactly once, whatever happens to the workers."""

import os
import signal
from pathlib import Path

import pytest

from gato_sim.run.workers import run


def square(x: int) -> int:
    return x * x


def fail_on_three(x: int) -> int:
    if x == 3:
        raise ValueError(f"x: expected anything but {x}")
    return x


def die_once(marker: str) -> str:
    """Kills its own process the first time it is asked."""
    path = Path(marker)
    if path.suffix == ".dies" and not path.exists():
        path.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return path.name


def die(_: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_every_job_is_done_once(num_workers):
    results = dict(run(square, range(7), num_workers=num_workers))
    assert results == {x: x * x for x in range(7)}


def test_job_of_a_killed_worker_is_redone(tmp_path):
    jobs = [str(tmp_path / name) for name in ("a", "b.dies", "c", "d", "e")]
    results = sorted(name for _, name in run(die_once, jobs, num_workers=2))
    assert results == ["a", "b.dies", "c", "d", "e"]


def test_job_that_kills_every_worker_is_given_up():
    with pytest.raises(RuntimeError, match="7: 3 workers died on it"):
        list(run(die, [7], num_workers=1))


def test_exception_in_a_worker_reaches_the_caller():
    with pytest.raises(RuntimeError, match="x: expected anything but 3"):
        list(run(fail_on_three, range(5), num_workers=1))


def test_endless_jobs_stop_with_the_consumer():
    endless = iter(int, 1)
    results = run(square, endless, num_workers=1)
    assert next(results) == (0, 0)
    results.close()
