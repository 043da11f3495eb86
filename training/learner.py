"""What is trained: a network with its objective, and how processes share the work on it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from gato_core.model import Gato
from gato_core.spec import Image
from gato_core.tokenizer import Tokenizer, Tokens
from gato_training import loss
from gato_training.config import TrainConfig


class Learner(nn.Module):
    """A network, and a head that answers the side task from the separators' features.

    The head serves the side task alone and is thrown away afterwards.
    """

    def __init__(self, model: Gato, tokenizer: Tokenizer, config: TrainConfig) -> None:
        super().__init__()
        self.model, self.tokenizer = model, tokenizer
        self.head = None
        if config.auxiliary:
            self.side_task = config.side_task
            self.head = nn.Linear(model.config.width, self.side_task.size)
            model.norm.register_forward_hook(self._keep)
        smoothed = None
        if config.target_smoothing and tokenizer.action_ids[1] == tokenizer.vocabulary.separator:
            smoothed = loss.smoothed_targets(config.target_smoothing)
        self.register_buffer("smoothed", smoothed, persistent=False)
        self._x_BQD = torch.empty(0)

    def forward(
        self, tokens: Tokens[Tensor], answer_MS: Tensor | None
    ) -> tuple[dict[str, Tensor], Tensor]:
        """The losses of a batch, and its logits (N, V)."""
        logits_NV = self.model(tokens)
        id_N, is_action_N = tokens.id[tokens.target], loss.is_action(tokens)
        action_ids = self.tokenizer.action_ids
        losses = {"loss": loss.masked_loss(logits_NV, id_N, is_action_N, action_ids, self.smoothed)}
        if self.head is not None:
            got_MS = self._answers(tokens.target)
            losses["auxiliary"] = loss.auxiliary_loss(got_MS, answer_MS)
            error_MS = (got_MS - answer_MS).detach().abs()  # metres
            objects = self.side_task.num_positions
            figures = {"position_error": slice(objects)}
            if self.side_task.trigger:
                figures["goal_error"] = slice(objects, objects + 3)
            for name, asked in figures.items():
                losses[name] = loss.known_mean(error_MS[:, asked], answer_MS[:, asked])
        return losses, logits_NV

    def _answers(self, target_BL: Tensor) -> Tensor:
        """Metres (M, S), one row a timestep, from the pass just done."""
        # outputs stand one before each target: every A-th is a separator's
        stride = self.tokenizer.spec.num_action_tokens
        x_BTD = self._x_BQD[:, ::stride]
        place_T = torch.arange(x_BTD.shape[1], device=target_BL.device) * stride
        exists_BT = place_T < target_BL.sum(1, keepdim=True)
        return self.head(x_BTD[exists_BT]).float() * loss.AUXILIARY_SCALE

    def _keep(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self._x_BQD = output


def prepare(learner: Learner, config: TrainConfig) -> None:
    """Switches on what changes how the blocks compute, but not what."""
    if config.compile:
        from torch._inductor import config as inductor  # a second to import

        inductor.fallback_random = True  # draws are what they would be without compiling
    for block in learner.model.blocks:
        if config.checkpoint_activations:
            block.forward = partial(checkpoint, block.forward, use_reentrant=False)
        if config.compile:
            block.compile()


def shard(learner: Learner, num_processes: int) -> None:
    """Leaves each process its part of every weight: FSDP2, a group for each block."""
    device = next(learner.parameters()).device.type
    mesh = init_device_mesh(device, (num_processes,))
    for block in learner.model.blocks:
        fully_shard(block, mesh=mesh)
    # else the averaged weights would stay whole after a measurement, and average no more
    fully_shard(learner, mesh=mesh, reshard_after_forward=True)


def replicate(learner: Learner) -> nn.Module:
    """The same learner, whose gradients become the mean over all processes."""
    observation = learner.tokenizer.spec.observation
    blind = not any(isinstance(modality, Image) for modality in observation.values())
    # the patch embedder of a robot without cameras never gets a gradient
    return DistributedDataParallel(learner, broadcast_buffers=False, find_unused_parameters=blind)


@contextlib.contextmanager
def exchanging(forward: nn.Module, wanted: bool) -> Iterator[None]:
    """Whether the backward pass in the block exchanges gradients between processes."""
    if isinstance(forward, DistributedDataParallel):
        with contextlib.nullcontext() if wanted else forward.no_sync():
            yield
    else:
        if hasattr(forward, "set_requires_gradient_sync"):
            forward.set_requires_gradient_sync(wanted)
        yield
