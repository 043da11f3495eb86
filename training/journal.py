"""What a run reports: JSON lines always, TensorBoard if wanted, one line a time on the screen."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import torch
from torch import Tensor

from gato_training.run import Run
from gato_training.sequences import Batch


class Journal:
    """Appends to log.jsonl and to TensorBoard's events in the run's folder."""

    def __init__(self, folder: Path, *, tensorboard: bool) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = open(folder / "log.jsonl", "a")
        self._events = None
        if tensorboard:
            # half a second to import, which short runs need not pay
            from torch.utils.tensorboard import SummaryWriter

            self._events = SummaryWriter(str(folder / "tensorboard"))

    def write(self, step: int, values: dict[str, float]) -> None:
        """One line of values at an update."""
        self._file.write(json.dumps({"step": step, "time": round(time.time(), 1), **values}) + "\n")
        self._file.flush()
        if self._events is not None:
            for name, value in values.items():
                self._events.add_scalar(name, value, step)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
        if self._events is not None:
            self._events.close()


class Meter:
    """Means and speeds since the last log line."""

    def __init__(self, run: Run) -> None:
        self._begun = time.monotonic() - run.seconds
        self._reset(run)

    def wait(self, batches: Iterator[Batch]) -> Batch:
        """The next batch; the time it takes is stall."""
        begun = time.monotonic()
        batch = next(batches)
        self._stalled += time.monotonic() - begun
        self._tokens += batch.tokens.id.size
        return batch

    def add(self, values: dict[str, Tensor]) -> None:
        self._kept.append(values)

    def tick(self, run: Run) -> None:
        """Sets how long the run has taken, resumed parts together."""
        run.seconds = time.monotonic() - self._begun

    def values(self, run: Run) -> dict[str, float]:
        """Means of what was added, speeds, and the time left; starts anew."""
        self.tick(run)
        elapsed = run.seconds - self._since
        result = {
            name: float(torch.stack([kept[name].float() for kept in self._kept]).mean())
            for name in self._kept[0]
        }
        result |= {
            "timesteps_per_second": (run.num_timesteps - self._timesteps) / elapsed,
            "tokens_per_second": self._tokens / elapsed,
            "stall_fraction": self._stalled / elapsed,
            "seconds": run.seconds,
            "seconds_left": run.seconds * (1.0 / run.progress - 1.0),
        }
        self._reset(run)
        return result

    def _reset(self, run: Run) -> None:
        self._kept: list[dict[str, Tensor]] = []
        self._since, self._timesteps = run.seconds, run.num_timesteps
        self._tokens, self._stalled = 0, 0.0


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
        f"left {_duration(values['seconds_left'])}",
    ]
    return "  ".join(parts)


def _duration(seconds: float) -> str:
    minutes = int(seconds / 60)
    return (
        f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{seconds / 60:.1f} min"
    )
