"""torchrun's processes: rank, world size, broadcast and reduction."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
import torch.distributed as dist


@dataclass(frozen=True)
class Processes:
    """This process's number among all, and on its machine."""

    rank: int = 0
    num: int = 1
    local_rank: int = 0
    num_local: int = 1

    @property
    def is_first(self) -> bool:
        return self.rank == 0


@contextlib.contextmanager
def joined() -> Iterator[Processes]:
    """Joins the others if torchrun started this process, for the time of the block."""
    if "RANK" not in os.environ:
        yield Processes()
        return
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    processes = Processes(*(int(os.environ[name]) for name in names))
    if torch.cuda.is_available():
        torch.cuda.set_device(processes.local_rank)
    # what few numbers are exchanged between updates need not wait for a GPU
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield processes
    finally:
        dist.destroy_process_group()


def gathered(values: list[float], processes: Processes) -> torch.Tensor:
    """float64 (processes, values): everybody's."""
    mine = torch.tensor(values, dtype=torch.float64)
    if processes.num == 1:
        return mine[None]
    everybody = [torch.empty_like(mine) for _ in range(processes.num)]
    dist.all_gather(everybody, mine)
    return torch.stack(everybody)


def means(values: Mapping[str, float], processes: Processes) -> dict[str, float]:
    """Each value's mean over the processes, all of which know the same names."""
    return dict(zip(values, gathered(list(values.values()), processes).mean(0).tolist()))


def totals(sums: Mapping[str, tuple[float, int]], processes: Processes) -> dict[str, float]:
    """Means out of everybody's sums and counts by name, which not all have."""
    everybody: list[Mapping[str, tuple[float, int]]] = [sums]
    if processes.num > 1:
        everybody = [{}] * processes.num
        dist.all_gather_object(everybody, dict(sums))
    names = dict.fromkeys(name for each in everybody for name in each)
    parts = {name: [each[name] for each in everybody if name in each] for name in names}
    return {name: sum(s for s, _ in found) / sum(n for _, n in found)
            for name, found in parts.items()}  # fmt: skip


def wait_for_all(processes: Processes) -> None:
    """Returns when every process has come here."""
    if processes.num > 1:
        gathered([0.0], processes)
