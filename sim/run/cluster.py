"""The same jobs as workers.run on a Ray cluster; each result is kept once.

Every machine needs this package in the same version, the model files, and files that a job names
(a checkpoint). Nodes that die have their jobs run again by Ray elsewhere.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from typing import TypeVar

from gato_sim.run import workers

Job = TypeVar("Job")
Result = TypeVar("Result")

LOCAL = "local"
MAX_RETRIES = workers.MAX_ATTEMPTS - 1
_PATIENCE = 60.0  # s without any processor in the cluster


def run(
    function: Callable[[Job], Result],
    jobs: Iterable[Job],
    *,
    address: str,
    num_workers: int = 2,
    niceness: int = 0,
) -> Iterator[tuple[Job, Result]]:
    """Yields (job, function(job)) as results arrive, one at a time for each processor.

    address: "auto" or "host:port" of a running cluster, or "local", which starts one here with
    `num_workers` processors. Nodes may join and leave meanwhile. Raises ValueError when Ray is
    missing or no cluster answers, RuntimeError when the function raises, or a job has killed its
    worker too often. Closing the generator leaves the cluster.
    """
    ray = _ray()
    _connect(ray, address, num_workers)
    remote = ray.remote(num_cpus=1, max_retries=MAX_RETRIES)(_work)
    waiting = iter(jobs)
    running: dict = {}
    try:
        while True:
            for job in _take(waiting, _num_processors(ray) - len(running)):
                running[remote.remote(function, job, niceness, version("gato_core"))] = job
            if not running:
                return
            done, _ = ray.wait(list(running), timeout=5.0)
            for reference in done:
                job = running.pop(reference)
                yield job, _result(ray, reference, job)
    finally:
        for reference in running:
            ray.cancel(reference, force=True)
        ray.shutdown()


def _work(function: Callable[[Job], Result], job: Job, niceness: int, expected: str) -> Result:
    """Body of a remote task: one job, on one thread."""
    if (got := version("gato_core")) != expected:
        raise RuntimeError(f"{os.uname().nodename}: expected gato_core {expected}, got {got}")
    workers.set_threads(1)
    os.setpriority(os.PRIO_PROCESS, 0, max(niceness, os.getpriority(os.PRIO_PROCESS, 0)))
    return function(job)


def _ray():
    try:
        import ray
    except ModuleNotFoundError:
        raise ValueError("cluster: expected Ray, got none; pip install 'ray>=2.9'") from None
    return ray


def _connect(ray, address: str, num_workers: int) -> None:
    """Joins the cluster as its driver."""
    options = dict(log_to_driver=False, include_dashboard=False, logging_level="ERROR")
    if address == LOCAL:
        ray.init(num_cpus=num_workers, **options)
        return
    del options["include_dashboard"]  # the cluster has one or not
    try:
        ray.init(address=address, **options)
    except ConnectionError as error:
        raise ValueError(f"cluster: expected a Ray cluster at {address!r}, got {error}") from None


def _num_processors(ray) -> int:
    """Processors of all nodes now. Raises RuntimeError when there is none for a minute."""
    started = time.monotonic()
    while time.monotonic() - started < _PATIENCE:
        if number := int(ray.cluster_resources().get("CPU", 0)):
            return number
        time.sleep(1.0)
    raise RuntimeError("cluster: expected a node with processors, got none for a minute")


def _take(jobs: Iterator[Job], number: int) -> Iterator[Job]:
    for _ in range(number):
        try:
            yield next(jobs)
        except StopIteration:
            return


def _result(ray, reference, job: Job) -> Result:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise RuntimeError(f"worker failed on {job}:\n{error}") from None
    except ray.exceptions.RayError as error:
        raise RuntimeError(f"{job}: {workers.MAX_ATTEMPTS} workers died on it: {error}") from None
