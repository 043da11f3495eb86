"""The control step as a captured CUDA graph: one replay a step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gato_core import checkpoint
from gato_core.model import Gato
from gato_core.step import ControlStep, layout
from gato_core.tokenizer import Tokenizer
from gato_core.window import StepInputs, StepPolicy, blank

ALIGNMENT = 16  # bytes; of every array within the one buffer that travels


class StaticPolicy(StepPolicy):
    """A checkpoint that acts as `GatoPolicy` does, on buffers that never move.

    All inputs of a step travel to the device in one copy, and its action ids back in another;
    in between nothing waits for the host. On a GPU both copies and the step are captured as one
    graph; on a CPU the same function runs as it is. Draws differ from GatoPolicy's for one seed.
    """

    def __init__(
        self,
        model: Gato,
        tokenizer: Tokenizer,
        *,
        temperature: float = 0.0,
        seed: int = 0,
        keep_prompt: bool = False,
    ) -> None:
        options = {"temperature": temperature, "seed": seed, "keep_prompt": keep_prompt}
        super().__init__(StepInputs(tokenizer, **layout(model.config), **options))
        self._step = ControlStep(model, tokenizer)
        example = self._inputs.observed(blank(tokenizer.spec))
        self._inputs.reset()
        on_gpu = model.embedding.weight.device.type == "cuda"
        self._host = torch.empty(_num_bytes(example), dtype=torch.uint8, pin_memory=on_gpu)
        device = model.embedding.weight.device
        self._device = torch.empty(self._host.shape, dtype=torch.uint8, device=device)
        self._host_arrays = {k: x.numpy() for k, x in _views(self._host, example).items()}
        self._device_inputs = _views(self._device, example)
        num_actions = tokenizer.spec.num_action_tokens
        self._id_1A = torch.zeros((1, num_actions), dtype=torch.long, pin_memory=on_gpu)
        self._write(example)
        self._run = _captured(self._forward) if on_gpu else self._forward

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        temperature: float = 0.0,
        seed: int = 0,
        dtype: torch.dtype = torch.bfloat16,
        device: torch.device | str = "cuda",
        keep_prompt: bool = False,
    ) -> StaticPolicy:
        """The policy of a checkpoint directory. Errors as of `checkpoint.load`."""
        loaded = checkpoint.load(path)
        model = loaded.model.to(device=device, dtype=dtype)
        options = {"temperature": temperature, "seed": seed, "keep_prompt": keep_prompt}
        return cls(model, loaded.tokenizer, **options)

    @property
    def num_bytes_to_device(self) -> int:
        """What one step copies to the device, in one copy."""
        return self._host.numel()

    def _act(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        self._write(inputs)
        self._run()
        if self._device.is_cuda:
            torch.cuda.current_stream().synchronize()
        return self._id_1A[0].numpy().copy()

    def _write(self, inputs: Mapping[str, np.ndarray]) -> None:
        for key, array in inputs.items():
            self._host_arrays[key][...] = array

    @torch.inference_mode()
    def _forward(self) -> None:
        self._device.copy_(self._host, non_blocking=True)
        id_BA, _, _ = self._step(self._device_inputs, self._step.cache)
        self._id_1A.copy_(id_BA, non_blocking=True)


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


def _num_bytes(arrays: Mapping[str, np.ndarray]) -> int:
    return sum(-(-array.nbytes // ALIGNMENT) * ALIGNMENT for array in arrays.values())


def _views(buffer: Tensor, arrays: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """Tensors of the arrays' shapes and dtypes, one after the other in a buffer of bytes."""
    views, start = {}, 0
    for key, array in arrays.items():
        dtype = torch.from_numpy(np.empty(0, array.dtype)).dtype
        flat = buffer[start : start + array.nbytes].view(dtype)
        views[key] = flat.view(array.shape)
        start += -(-array.nbytes // ALIGNMENT) * ALIGNMENT
    return views
