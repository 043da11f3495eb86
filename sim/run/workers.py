"""A pool of worker processes: jobs of a worker that dies are run again, each result is kept once.

`run` hands one job at a time to each of several spawned processes and yields results as they
come. A worker that dies (out of memory, killed) is replaced and its job given out again; an
exception inside the function is raised here, with the worker's traceback. Simulation is bound to
one thread a process, so one worker a core is right.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")

MAX_ATTEMPTS = 3
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def set_threads(num_threads: int) -> None:
    """Limits the threads of this process and its future children: numerics and software GL.

    Libraries read these variables once, so call it before they are imported; what the user has
    set already stays.
    """
    os.environ.setdefault("LP_NUM_THREADS", "1")
    for variable in _THREAD_VARIABLES:
        os.environ.setdefault(variable, str(num_threads))


def run(
    function: Callable[[Job], Result],
    jobs: Iterable[Job],
    *,
    num_workers: int,
    niceness: int = 0,
) -> Iterator[tuple[Job, Result]]:
    """Yields (job, function(job)) as results arrive, `num_workers` at a time; 0 works right here.

    function: importable by name, as `spawn` requires. jobs: taken lazily, one ahead a worker.
    Raises RuntimeError when the function raises or a job has killed MAX_ATTEMPTS workers.
    Closing the generator ends the workers.
    """
    if num_workers == 0:
        for job in jobs:
            yield job, function(job)
        return
    again: deque[tuple[Job, int]] = deque()
    fresh = ((job, 1) for job in jobs)
    workers = [_start(function, niceness) for _ in range(num_workers)]
    try:
        while True:
            for worker in workers:
                if worker.job is None:
                    _assign(worker, again.popleft() if again else next(fresh, None))
            busy = [worker for worker in workers if worker.job is not None]
            if not busy:
                return
            ready = set(wait([worker.pipe for worker in busy]))
            for worker in busy:
                if worker.pipe not in ready:
                    continue
                (job, attempt), worker.job = worker.job, None
                try:
                    error, result = worker.pipe.recv()
                except (EOFError, ConnectionError):
                    _replace(worker, job, attempt, function, niceness)
                    again.append((job, attempt + 1))
                    continue
                if error is not None:
                    raise RuntimeError(f"worker failed on {job}:\n{error}")
                yield job, result
    finally:
        for worker in workers:
            _stop(worker)


@dataclass
class _Worker:
    process: multiprocessing.process.BaseProcess
    pipe: Connection
    job: tuple[object, int] | None = None  # and which attempt at it this is


def _start(function: Callable, niceness: int) -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(function, theirs, niceness), daemon=True)
    process.start()
    theirs.close()
    return _Worker(process, ours)


def _assign(worker: _Worker, job: tuple[object, int] | None) -> None:
    """Sends a job; the worker stays idle when there is none."""
    worker.job = job
    if job is None:
        return
    try:
        worker.pipe.send(job[0])
    except ConnectionError:
        pass  # it died while idle: the end of its pipe is what `wait` reports next


def _replace(worker: _Worker, job: object, attempt: int, function: Callable, niceness: int) -> None:
    """Puts a fresh process in place of one that died at `job`."""
    _stop(worker)
    status = worker.process.exitcode
    print(f"a worker died (exit status {status}); done again: {job}", file=sys.stderr)
    if attempt >= MAX_ATTEMPTS:
        raise RuntimeError(f"{job}: {MAX_ATTEMPTS} workers died on it")
    fresh = _start(function, niceness)
    worker.process, worker.pipe = fresh.process, fresh.pipe


def _stop(worker: _Worker) -> None:
    worker.pipe.close()
    worker.process.terminate()
    worker.process.join()


def _serve(function: Callable, pipe: Connection, niceness: int) -> None:
    """Body of a worker: answers jobs until the other end of the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    os.nice(niceness)
    while True:
        try:
            job = pipe.recv()
        except EOFError:
            return
        try:
            answer = (None, function(job))
        except Exception:
            answer = (traceback.format_exc(), None)
        try:
            pipe.send(answer)
        except ConnectionError:
            return
