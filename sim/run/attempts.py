"""Counts of a collection: successes, failures by reason, episodes kept."""

from __future__ import annotations

import json
from pathlib import Path

from gato_core.episode import Episode

MAX_FAILURES = 100  # in a row: something is broken


class Attempts:
    """attempts.jsonl: a line per attempt, in order.

    Attempts from `start` on are dropped when opened: their episodes were not stored.
    """

    def __init__(self, path: Path, start: int) -> None:
        self._path = path
        lines = path.read_text().splitlines() if path.exists() else []
        entries = [json.loads(line) for line in lines if line.endswith("}")]
        self._entries = [entry for entry in entries if entry["index"] < start]
        path.write_text("".join(json.dumps(entry) + "\n" for entry in self._entries))

    @property
    def num_attempts(self) -> int:
        return len(self._entries)

    @property
    def success_rate(self) -> float:
        return sum(entry["success"] for entry in self._entries) / max(1, len(self._entries))

    def add(self, episode: Episode) -> None:
        entry = {
            "index": episode.info["index"],
            "objects": episode.info["objects"],
            "seed": episode.seed,
            "success": episode.success,
            "failure": episode.info["failure"],
            "num_steps": len(episode),
        }
        self._entries.append(entry)
        with self._path.open("a") as file:
            file.write(json.dumps(entry) + "\n")

    def check(self, keep: str) -> None:
        """Raises RuntimeError after MAX_FAILURES failures in a row when only successes count."""
        recent = self._entries[-MAX_FAILURES:]
        failures = [entry["failure"] for entry in recent if not entry["success"]]
        if keep == "success" and len(failures) == MAX_FAILURES:
            raise RuntimeError(
                f"expected a success in {MAX_FAILURES} attempts, got none; the last failed "
                f"because: {failures[-1]} (--keep all stores failures too)"
            )
