"""Estimate of a run's peak memory, compared with what is free before it starts.

Weights, gradients and moments are counted. What the forward pass keeps for the backward pass is
measured on one and on two made-up sequences, and multiplied.
"""

from __future__ import annotations

import resource
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gato_core.dataset import Dataset
from gato_core.model import Gato, ModelConfig
from gato_core.spec import Image
from gato_training.config import TrainConfig
from gato_training.learner import Learner
from gato_training.mixture import Source
from gato_training.run_log.processes import Processes
from gato_training.sequences import Batch

FLOAT = 4  # bytes
MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")
OUTSIDE = -1  # of the blocks
KERNELS = 100_000_000  # bytes of code and buffers that torch makes when it first computes
WORK = 3  # times what a block keeps, for gradients and what comes and goes within it: measured


@dataclass(frozen=True)
class Kept:
    """Bytes a forward pass keeps: per sequence in all blocks, the largest, outside; and once."""

    blocks: float
    block: float
    rest: float
    fixed: float


NOTHING = Kept(0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Estimate:
    """Bytes of a process at its peak, by what they are for."""

    program: int
    weights: int
    optimizer: int
    activations: int
    saving: int
    batches: int
    images: int

    @property
    def total(self) -> int:
        return sum(asdict(self).values())

    @property
    def of_network(self) -> int:
        """What a GPU would hold."""
        return self.weights + self.optimizer + self.activations

    @property
    def of_host(self) -> int:
        """What is not taken yet beside it."""
        return self.saving + self.batches + self.images

    def __str__(self) -> str:
        parts = [f"{name} {value / 1e9:.2f}" for name, value in asdict(self).items()]
        return f"about {self.total / 1e9:.2f} GB ({', '.join(parts)})"


def num_parameters(config: ModelConfig) -> int:
    """Of a network that is not made for it."""
    with torch.device("meta"):
        return sum(p.numel() for p in Gato(config).parameters())


def kept(learner: Learner, source: Source, name: str) -> Kept:
    """Measured on one and on two sequences of a source, without a backward pass."""
    few, more = (_kept(learner, replace(source.made_up(n), source=name)) for n in (1, 2))
    *blocks, rest = (b - a for a, b in zip(few, more))
    return Kept(sum(blocks), max(blocks), rest, max(0, sum(few) - sum(blocks) - rest))


def estimate(
    config: TrainConfig,
    sizes: ModelConfig,
    sources: Mapping[str, Source],
    kept: Mapping[str, Kept],
    images: int,
    program: int,
    processes: Processes,
) -> Estimate:
    """The peak of one process, its GPU included: with micro-batches of the neediest source.

    images: bytes of them that datasets keep. program: bytes it has before the network.
    """
    count = FLOAT * num_parameters(sizes)
    parts = processes.num if config.machine.sharding == "fsdp" else 1
    needs = (_activations(config, sizes, source, kept[name]) for name, source in sources.items())
    batches = (s.num_sequences * (2 * s.num_pixels + 17 * s.num_tokens) for s in sources.values())
    return Estimate(
        program=program + KERNELS,
        weights=count * (2 if config.optimizer.ema is not None else 1) // parts,
        optimizer=3 * count // parts,
        activations=int(max(needs)),
        saving=2 * count if parts == 1 else 5 * count,
        batches=int((config.machine.prefetch + 2) * max(batches)),
        images=images // processes.num_local,
    )


def _activations(config: TrainConfig, sizes: ModelConfig, source: Source, kept: Kept) -> float:
    """Bytes of a micro-batch of one source, gradients and what comes and goes among them."""
    work = max(WORK * kept.block, kept.rest)
    each = kept.rest + kept.blocks + work
    if config.machine.checkpoint_activations:
        inputs = FLOAT * sizes.num_layers * source.num_tokens * sizes.width
        each = kept.rest + inputs + kept.block + work
    return source.num_sequences * each + kept.fixed


def check(
    estimate: Estimate, config: TrainConfig, *, host_room: int, gpu_room: int | None = None
) -> None:
    """Raises ValueError with advice when more is needed than the bytes there are."""
    needs = [("memory", estimate.of_host + estimate.of_network, host_room)]
    if gpu_room is not None:
        needs = [("memory", estimate.of_host, host_room)]
        needs.append(("GPU memory", estimate.of_network, gpu_room))
    for name, needed, room in needs:
        if needed > room:
            raise ValueError(
                f"{name}: expected at most {room / 1e9:.2f} GB more, got {needed / 1e9:.2f} of an "
                f"estimate of {estimate}; try {_advice(estimate, config, needed - room)}"
            )


def _advice(estimate: Estimate, config: TrainConfig, missing: int) -> str:
    """Flags that spare memory, those that leave the result as it is first."""
    advice = []
    by_sequence = estimate.activations + estimate.batches
    share = 1 - missing / by_sequence
    if config.data.batch_size > 1 and share > 0:
        size = max(1, int(config.data.batch_size * share))
        number = config.optimizer.accumulate * -(-config.data.batch_size // size)
        advice.append(f"--batch-size {size} --accumulate {number} (as large an update)")
    if not config.machine.checkpoint_activations:
        advice.append("--checkpoint-activations (computes blocks twice)")
    if estimate.images > missing:
        less = config.machine.memory_gb / 4
        advice.append(f"--memory-gb {less:g} (reads images from disk again)")
    return "; ".join([*advice, "a smaller --model"])


def host_room(num_local: int = 1, meminfo: Path = MEMINFO, cgroup: Path = CGROUP) -> int:
    """Bytes that one of a machine's processes may still take; without end where nobody tells."""
    if not meminfo.exists():
        return 1 << 62
    lines = dict(line.split(":") for line in meminfo.read_text().splitlines())
    free = int(lines["MemAvailable"].split()[0]) * 1024
    limit = cgroup / "memory.max"
    if limit.exists() and limit.read_text().strip() != "max":
        stat = dict(line.split() for line in (cgroup / "memory.stat").read_text().splitlines())
        used = int((cgroup / "memory.current").read_text()) - int(stat["file"])  # cache makes way
        free = min(free, int(limit.read_text()) - used)
    return free // num_local


def resident() -> int:
    """Bytes of memory that this process has now; 0 where nobody tells."""
    if not MEMINFO.exists():
        return 0
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def peak() -> int:
    """Bytes of memory that this process has had at most."""
    if not MEMINFO.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    # in Linux a program's ru_maxrss begins with the memory of the process that started it
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024


def _kept(learner: Learner, batch: Batch) -> list[int]:
    """Bytes of each block, and outside of them, weights left out."""
    weights = {p.untyped_storage().data_ptr() for p in learner.parameters()}
    blocks = list(learner.model.blocks)
    found: list[dict[int, int]] = [{} for _ in range(len(blocks) + 1)]
    place = [OUTSIDE]

    def keep(x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        if storage.data_ptr() not in weights:
            found[place[0]][storage.data_ptr()] = storage.nbytes()
        return x

    def set_to(value: int) -> Callable[..., None]:
        return lambda *_: place.__setitem__(0, value)

    hooks = [b.register_forward_pre_hook(set_to(i)) for i, b in enumerate(blocks)]
    hooks += [b.register_forward_hook(set_to(OUTSIDE)) for b in blocks]
    with torch.random.fork_rng(), torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        result = learner.train()(batch)
    del result
    for hook in hooks:
        hook.remove()
    return [sum(each.values()) for each in found]


def room(device: torch.device, processes: Processes, taken: int) -> dict[str, int]:
    """Bytes for what the estimate counts, of which some are taken already."""
    host = host_room(processes.num_local)
    if device.type == "cuda":
        gpu = torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_allocated(device)
        return {"host_room": host, "gpu_room": gpu}
    return {"host_room": host + taken}


def image_bytes(datasets: Sequence[Dataset], memory_gb: float) -> int:
    """Decoded frames and the files they come from, as far as `memory_gb` for all keeps them."""
    total = 0
    for dataset in datasets:
        files = sum(p.stat().st_size for p in dataset.root.glob("data/*/*.parquet"))
        shapes = (m.shape for m in dataset.spec.observation.values() if isinstance(m, Image))
        pixels = sum(int(np.prod(shape)) for shape in shapes)
        total += int(min(1e9 * memory_gb / len(datasets), files + pixels * dataset.num_timesteps))
    return total
