"""The log of a run: JSON lines, TensorBoard if wanted, and a progress line."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from gato_training.run import Run
from gato_training.run_log import memory
from gato_training.run_log.processes import Processes, gathered, means, totals


class Journal:
    """Appends to log.jsonl and to TensorBoard's events in the run's folder; the first process's."""

    def __init__(self, config: Any, processes: Processes) -> None:
        self._file = self._events = None
        if not processes.is_first:
            return
        self._file = open(config.folder / "log.jsonl", "a")
        if config.machine.tensorboard:
            # half a second to import, which short runs need not pay
            from torch.utils.tensorboard import SummaryWriter

            self._events = SummaryWriter(str(config.folder / "tensorboard"))

    def write(self, step: int, values: dict[str, float]) -> None:
        """One line of values at an update."""
        if self._file is None:
            return
        self._file.write(json.dumps({"step": step, "time": round(time.time(), 1), **values}) + "\n")
        self._file.flush()
        if self._events is not None:
            for name, value in values.items():
                self._events.add_scalar(name, value, step)

    def progress(self, step: int, values: dict[str, float], measured: dict[str, float]) -> None:
        """Writes a line and shows it."""
        self.write(step, values)
        if self._file is not None:
            print(progress_line(step, values, measured), flush=True)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()
        if self._events is not None:
            self._events.close()


class Meter:
    """Means and speeds since the last log line."""

    def __init__(self, run: Run) -> None:
        self._begun = time.monotonic() - run.seconds
        self._new_timesteps = 0
        self._reset(run, run.seconds)

    def wait(self, batches: Iterator) -> Any:
        """The next batch; the time it takes is stall."""
        begun = time.monotonic()
        batch = next(batches)
        self._stalled += time.monotonic() - begun
        self._tokens += batch.num_tokens
        self._new_timesteps += batch.num_timesteps
        return batch

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Of a micro-batch, or of an update; not all have the same."""
        for name, value in values.items():
            self._kept[name].append(value.detach().float())

    def agree(self, run: Run, asked: bool) -> bool:
        """Whether any process was asked to stop; sets what the run has taken, all parts of it."""
        mine = [self._now(), float(asked), float(self._new_timesteps)]
        everybody = gathered(mine, run.processes)
        run.seconds = everybody[:, 0].max().item()
        run.num_timesteps += int(everybody[:, 2].sum())
        self._new_timesteps = 0
        return bool(everybody[:, 1].any())

    def values(self, run: Run) -> dict[str, float]:
        """Means of what was added, speeds, and the time left; starts anew."""
        now = self._now()
        elapsed = now - self._since
        sums = {name: (float(sum(kept)), len(kept)) for name, kept in self._kept.items()}
        result = totals(sums, run.processes)
        speeds = {
            "timesteps_per_second": (run.num_timesteps - self._timesteps) / elapsed,
            "tokens_per_second": run.processes.num * self._tokens / elapsed,
            "stall_fraction": self._stalled / elapsed,
            "memory_gb": _memory(run.device) / 1e9,
            "seconds": now,
            "seconds_left": now * (1.0 / run.progress - 1.0),
        }
        self._reset(run, now)
        return result | means(speeds, run.processes)

    def _now(self) -> float:
        return time.monotonic() - self._begun

    def _reset(self, run: Run, now: float) -> None:
        self._kept: dict[str, list[Tensor]] = defaultdict(list)
        self._since, self._timesteps = now, run.num_timesteps
        self._tokens, self._stalled = 0, 0.0


def _memory(device: torch.device) -> int:
    """Bytes of the GPU's memory in use, or of the program's."""
    if device.type == "cuda":
        return torch.cuda.memory_reserved(device)
    return memory.resident()


def progress_line(step: int, values: dict[str, float], held_out: dict[str, float]) -> str:
    """Loss, speed and what is left, in one line."""
    parts = [f"step {step:>6}", f"loss {values['loss']:.3f}"]
    if "held_out/loss" in held_out:
        parts.append(f"held-out {held_out['held_out/loss']:.3f}")
    errors = [value for name, value in held_out.items() if "/error/" in name]
    if errors:
        parts.append(f"action error {100 * sum(errors) / len(errors):.1f} %")
    parts += [
        f"{values['timesteps_per_second']:.0f} timesteps/s",
        f"{values['tokens_per_second']:.0f} tokens/s",
        f"stalled {100 * values['stall_fraction']:.0f} %",
        f"memory {values['memory_gb']:.1f} GB",
        f"left {_duration(values['seconds_left'])}",
    ]
    return "  ".join(parts)


def _duration(seconds: float) -> str:
    minutes = int(seconds / 60)
    return (
        f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{seconds / 60:.1f} min"
    )
