"""Roofline of a control step: operations, bytes, and the shortest time a machine allows."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from gato_core.embodiment import Embodiment
from gato_core.model import Gato
from gato_core.spec import Image, Spec

READ_BYTES = {"cpu": 1 << 28, "cuda": 1 << 32}  # well beyond any cache, and a launch's time
MATRIX_SIZE = {"cpu": 1024, "cuda": 8192}


@dataclass(frozen=True)
class Machine:
    """Measured rates: bytes read per second, and floating-point operations per second."""

    bandwidth: float
    flops: float


@dataclass(frozen=True)
class Pass:
    """What one pass through the network must at least compute and read."""

    flops: float
    num_bytes: float

    def seconds(self, machine: Machine) -> float:
        """The later of arithmetic and memory."""
        return max(self.flops / machine.flops, self.num_bytes / machine.bandwidth)


def passes(model: Gato, embodiment: Embodiment) -> list[Pass]:
    """The passes of one control step at full context: the observation's, then single tokens'.

    Counted: the blocks' matrices, attention over the window, the patch embedder and the head over
    the action's ids. Weights and cache are read once in each pass.
    """
    config, spec = model.config, embodiment.spec
    length, num_actions = spec.tokens_per_timestep, spec.num_action_tokens
    weights = sum(p.numel() for block in model.blocks for p in block.parameters() if p.dim() == 2)
    head = 1024 * config.width
    size = model.embedding.weight.element_size()
    keys = config.num_layers * embodiment.context_timesteps * length * config.num_heads
    keys *= config.key_size * (3 if config.positions == "relative" else 2)

    def cost(num_tokens: int, num_heads: int, patches: bool = False) -> Pass:
        flops = 2.0 * num_tokens * (weights + keys) + 2.0 * num_heads * head
        num_bytes = size * (weights + keys + head)
        if patches:
            flops += _num_patches(spec) * patch_flops(model)
            num_bytes += size * sum(p.numel() for p in model.patch_embedder.parameters())
        return Pass(flops, num_bytes)

    if not embodiment.autoregressive:
        return [cost(length, num_actions, patches=True)]
    return [cost(length - num_actions + 1, 1, patches=True)] + [cost(1, 1)] * (num_actions - 1)


def measure_machine(device: str, dtype: torch.dtype) -> Machine:
    """Reads a large buffer and multiplies matrices a few times; the best of each counts."""
    kind = torch.device(device).type
    buffer = torch.ones(READ_BYTES[kind] // 4, device=device)
    side = MATRIX_SIZE[kind]
    matrix = torch.randn(side, side, device=device).to(dtype)
    read_seconds = _fastest(buffer.sum, device)
    multiply_seconds = _fastest(lambda: matrix @ matrix, device)
    return Machine(READ_BYTES[kind] / read_seconds, 2.0 * side**3 / multiply_seconds)


def _fastest(run, device: str, num_runs: int = 5) -> float:
    """Seconds: CPU time, which a busy machine does not stretch, or wall time of a GPU."""
    on_gpu = torch.device(device).type == "cuda"
    clock = time.perf_counter if on_gpu else time.process_time
    threads = 1 if on_gpu else torch.get_num_threads()
    seconds = []
    for _ in range(num_runs):
        started = clock()
        run()
        if on_gpu:
            torch.cuda.synchronize()
        seconds.append((clock() - started) / threads)
    return min(seconds)


def _num_patches(spec: Spec) -> int:
    return sum(m.num_tokens for m in spec.observation.values() if isinstance(m, Image))


def patch_flops(model: Gato) -> float:
    """Of the convolutions and the projection of one patch."""
    embedder = model.patch_embedder
    places = (16 // model.config.patch_stride) ** 2
    convolutions = (embedder.stem, embedder.conv1, embedder.conv2)
    return 2.0 * (
        places * sum(c.weight.numel() for c in convolutions) + embedder.project.weight.numel()
    )
