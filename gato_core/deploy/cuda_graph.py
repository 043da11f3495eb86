"""The control step as a captured CUDA graph: one replay a step."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from gato_core.step import ControlStep

ALIGNMENT = 16  # bytes; of every array within the one buffer that travels


class CapturedStep:
    """A step on buffers that never move, made at its first call.

    All inputs of a step travel to the device in one copy, and its action ids back in another; in
    between nothing waits for the host. On a GPU both copies and the step are captured as one graph;
    on a CPU the same function runs as it is.
    """

    def __init__(self, step: ControlStep) -> None:
        self._step, self._on_gpu = step, step.device.type == "cuda"
        self._host: Tensor | None = None

    @property
    def num_bytes_to_device(self) -> int:
        """What one step copies to the device, in one copy."""
        return 0 if self._host is None else self._host.numel()

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Action ids (B, A) of one step, which goes into the cache."""
        if self._host is None:
            self._prepare(inputs)
        for name, array in inputs.items():
            self._host_arrays[name][...] = array
        self._replay()
        if self._on_gpu:
            torch.cuda.current_stream().synchronize()
        return self._id_BA.numpy().copy()

    def _prepare(self, inputs: Mapping[str, np.ndarray]) -> None:
        sizes = [-(-array.nbytes // ALIGNMENT) * ALIGNMENT for array in inputs.values()]
        self._host = torch.zeros(sum(sizes), dtype=torch.uint8, pin_memory=self._on_gpu)
        self._device = torch.zeros_like(self._host, device=self._step.device)
        self._host_arrays = {k: x.numpy() for k, x in _views(self._host, inputs).items()}
        self._inputs = _views(self._device, inputs)
        shape = (len(inputs["id"]), self._step.num_actions)
        self._id_BA = torch.zeros(shape, dtype=torch.long, pin_memory=self._on_gpu)
        for name, array in inputs.items():
            self._host_arrays[name][...] = array
        self._replay = _captured(self._forward) if self._on_gpu else self._forward

    @torch.inference_mode()
    def _forward(self) -> None:
        assert self._host is not None
        self._device.copy_(self._host, non_blocking=True)
        id_BA, _ = self._step(self._inputs, self._step.k_NHBSK, self._step.v_NHBSK)
        self._id_BA.copy_(id_BA, non_blocking=True)


def _captured(run: Callable[[], None]) -> Callable[[], None]:
    """The same work as one CUDA graph, captured after a warm-up on a stream of its own."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


def _views(buffer: Tensor, arrays: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """Tensors of the arrays' shapes and dtypes, one after the other in a buffer of bytes."""
    views, start = {}, 0
    for key, array in arrays.items():
        dtype = torch.from_numpy(np.empty(0, array.dtype)).dtype
        flat = buffer[start : start + array.nbytes].view(dtype)
        views[key] = flat.view(array.shape)
        start += -(-array.nbytes // ALIGNMENT) * ALIGNMENT
    return views
