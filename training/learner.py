"""The network with its training objective, and its distribution over processes (DDP, FSDP)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial

from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from gato_core.model import Gato
from gato_core.spec import Continuous, Image
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
        if not any(isinstance(m, Image) for m in tokenizer.spec.observation.values()):
            model.patch_embedder.requires_grad_(False)  # else it would decay, unused
        smoothed = None
        if config.target_smoothing and isinstance(tokenizer.spec.action, Continuous):
            smoothed = loss.smoothed_targets(config.target_smoothing)
        self.register_buffer("smoothed", smoothed, persistent=False)

    def forward(
        self, tokens: Tokens[Tensor], id_N: Tensor, answer_MS: Tensor | None
    ) -> tuple[dict[str, Tensor], Tensor]:
        """The losses of a batch with labels (N,), and its logits (N, V)."""
        x_BQD, wanted_BQ = self.model.features(tokens)
        logits_NV, is_action_N = self.model.logits(x_BQD[wanted_BQ]), loss.is_action(tokens)
        action_ids = self.tokenizer.action_ids
        losses = {"loss": loss.masked_loss(logits_NV, id_N, is_action_N, action_ids, self.smoothed)}
        if self.head is not None:
            got_MS = self._answers(x_BQD, wanted_BQ)
            losses["auxiliary"] = loss.auxiliary_loss(got_MS, answer_MS)
            error_MS = (got_MS - answer_MS).detach().abs()  # metres
            objects = self.side_task.num_positions
            figures = {"position_error": slice(objects)}
            if self.side_task.trigger:
                figures["goal_error"] = slice(objects, objects + 3)
            for name, asked in figures.items():
                losses[name] = loss.known_mean(error_MS[:, asked], answer_MS[:, asked])
        return losses, logits_NV

    def _answers(self, x_BQD: Tensor, wanted_BQ: Tensor) -> Tensor:
        """Metres (M, S), one row a timestep, from the features before the targets."""
        # outputs stand one before each target: every A-th is a separator's
        stride = self.tokenizer.spec.num_action_tokens
        x_MD = x_BQD[:, ::stride][wanted_BQ[:, ::stride]]
        return self.head(x_MD).float() * loss.AUXILIARY_SCALE


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
    return DistributedDataParallel(learner, broadcast_buffers=False)


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
