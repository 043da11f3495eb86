"""Which episodes of a dataset an edit is about: by number and by condition."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from gato_core.data.identity import repeated
from gato_core.dataset import Dataset


@dataclass(frozen=True)
class Selection:
    """Episodes that meet all conditions given.

    episodes: numbers and ranges, "3", "5:10" or "1,2,8".
    """

    episodes: tuple[str, ...] = ()
    """Numbers and ranges, such as 3 5:10 or 1,2,8, as `gato inspect` counts: from 0."""
    with_success: Literal["any", "yes", "no"] = "any"
    with_task: str | None = None
    """The task's whole text."""
    with_source: str | None = None
    """Who acted, as `gato inspect` names it."""
    min_timesteps: int | None = None
    max_timesteps: int | None = None
    duplicates: bool = False
    """Those that repeat an earlier one, in all that is seen and done."""

    def told(self) -> dict:
        """The conditions that were given."""
        given = {f.name: (getattr(self, f.name), f.default) for f in dataclasses.fields(self)}
        return {name: value for name, (value, usual) in given.items() if value != usual}

    def of(self, dataset: Dataset) -> list[int]:
        """Numbers of the episodes, in order. Raises ValueError without a condition or a match."""
        if not self.told():
            raise ValueError("episodes: expected numbers or a condition, got neither")
        chosen = list(range(dataset.num_episodes))
        if self.episodes:
            chosen = sorted(set(numbers(self.episodes, dataset.num_episodes)))
        doubles = repeated(dataset) if self.duplicates else {}
        found = [
            i for i in chosen if self._meets(dataset, i) and (i in doubles or not self.duplicates)
        ]
        if not found:
            raise ValueError(
                f"{dataset.root}: expected episodes with {self.told()}, got none of "
                f"{dataset.num_episodes}"
            )
        return found

    def _meets(self, dataset: Dataset, i: int) -> bool:
        row, length = dataset.rows[i], int(dataset.lengths[i])
        wanted = {"any": row["gato/success"], "yes": True, "no": False}[self.with_success]
        return (
            row["gato/success"] == wanted
            and self.with_task in (None, row["gato/task"])
            and self.with_source in (None, row["gato/source"])
            and (self.min_timesteps is None or length >= self.min_timesteps)
            and (self.max_timesteps is None or length <= self.max_timesteps)
        )


def numbers(texts: Sequence[str], total: int) -> list[int]:
    """Episodes by texts such as "3", "5:10" or "1,2". Raises ValueError for others or too large."""
    found: list[int] = []
    for text in " ".join(texts).replace(",", " ").split() or [""]:
        first, colon, stop = text.partition(":")
        try:
            begin = int(first) if first or not colon else 0
            end = (int(stop) if stop else total) if colon else begin + 1
        except ValueError as error:
            raise ValueError(f"episodes: expected numbers or FIRST:STOP, got {text!r}") from error
        if not 0 <= begin < end <= total:
            raise ValueError(f"episodes: expected within 0:{total}, got {text!r}")
        found += range(begin, end)
    return found


def listed(chosen: Sequence[int]) -> str:
    """Numbers as ranges: "0:3, 7, 9:12"."""
    runs: list[list[int]] = []
    for i in chosen:
        if runs and runs[-1][1] == i:
            runs[-1][1] = i + 1
        else:
            runs.append([i, i + 1])
    return ", ".join(f"{a}" if b == a + 1 else f"{a}:{b}" for a, b in runs) or "none"
