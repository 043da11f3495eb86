"""The network with its training objective, and its distribution over processes (DDP, FSDP)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint as computed_twice

from gato_core import checkpoint
from gato_core.model import Gato, to_tensors
from gato_core.spec import Continuous
from gato_core.tokenizer import Tokenizer
from gato_training import loss
from gato_training.config import MachineConfig, TrainConfig
from gato_training.data.side_task import SideTask
from gato_training.run_log import card
from gato_training.sequences import Batch


class Learner(nn.Module):
    """A network, and a head that answers the side task from the separators' features.

    tokenizers: of each robot, by the source that its batches name; other sources are documents.
    The head serves the side task alone and is thrown away afterwards.
    """

    def __init__(
        self,
        model: Gato,
        tokenizers: Mapping[str, Tokenizer],
        config: TrainConfig,
        num_sources: int = 1,
    ) -> None:
        super().__init__()
        self.model, self.tokenizers, self.num_sources = model, dict(tokenizers), num_sources
        self.is_sharded = False
        self.bf16 = config.optimizer.precision == "bf16"
        self.whole_vocabulary = config.optimizer.whole_vocabulary
        self.side_task, self.side_weight = config.data.side_task, config.data.auxiliary
        self.head = None
        if self.side_task is not None:
            self.head = nn.Linear(model.config.width, self.side_task.size)
        specs = [tokenizer.spec for tokenizer in self.tokenizers.values()]
        smoothed, sigma = None, config.optimizer.target_smoothing
        if sigma and any(isinstance(spec.action, Continuous) for spec in specs):
            smoothed = loss.smoothed_targets(sigma)
        self.register_buffer("smoothed", smoothed, persistent=False)

    @property
    def policy(self) -> Gato:
        """What acts."""
        return self.model

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """What to minimise, the figures to tell, and logits (N, V) of the batch's own ids."""
        device = self.model.embedding.weight.device
        tokens = to_tensors(batch.tokens, device)
        id_N, is_action_N = torch.from_numpy(batch.labels).to(device), loss.is_action(tokens)
        with torch.autocast(device.type, torch.bfloat16, enabled=self.bf16):
            x_BQD, wanted_BQ = self.model.features(tokens)
            ids = self.own_ids(batch)
            logits_NV = self.model.logits(x_BQD[wanted_BQ], ids)
            losses = {"loss": self._loss(batch, logits_NV, id_N, is_action_N, self.smoothed)}
            if batch.answers is not None:
                answer_MS = torch.from_numpy(batch.answers).to(device)
                got_MS = self._answers(batch, x_BQD, wanted_BQ)
                losses |= side_losses(self.side_task, got_MS, answer_MS)
        total = losses["loss"] + self.side_weight * losses.get("auxiliary", 0.0)
        if self.is_sharded and self.num_sources > 1:
            total = total + 0.0 * self._touched()
        return total, losses, logits_NV

    def _touched(self) -> Tensor:
        """Leads a gradient of zero to all that some sources leave unused: shards wait for each."""
        blocks = set(self.model.blocks.parameters())
        rest = [p for p in self.parameters() if p.requires_grad and p not in blocks]
        return torch.stack([p.flatten()[0].float() for p in rest]).sum()

    def own_ids(self, batch: Batch) -> tuple[int, int]:
        """What targets of the batch could be: ids [first, last)."""
        vocabulary = self.model.config.vocabulary
        if self.whole_vocabulary:
            return 0, vocabulary.size
        if batch.source in self.tokenizers:
            return self.tokenizers[batch.source].action_ids
        return 0, vocabulary.num_text

    def _loss(
        self,
        batch: Batch,
        logits_NV: Tensor,
        id_N: Tensor,
        is_action_N: Tensor,
        smoothed: Tensor | None = None,
    ) -> Tensor:
        first, tokenizer = self.own_ids(batch)[0], self.tokenizers.get(batch.source)
        if tokenizer is None or not isinstance(tokenizer.spec.action, Continuous):
            return loss.masked_loss(logits_NV, id_N - first, is_action_N, (0, 0))
        begin, end = tokenizer.action_ids
        actions = (begin - first, end - first)
        return loss.masked_loss(logits_NV, id_N - first, is_action_N, actions, smoothed)

    def _answers(self, batch: Batch, x_BQD: Tensor, wanted_BQ: Tensor) -> Tensor:
        """Metres (M, S), one row a timestep, from the features before the targets."""
        # outputs stand one before each target: every A-th is a separator's
        stride = self.tokenizers[batch.source].spec.num_action_tokens
        x_MD = x_BQD[:, ::stride][wanted_BQ[:, ::stride]]
        return self.head(x_MD).float() * loss.AUXILIARY_SCALE

    @torch.no_grad()
    def measure(self, batches: Iterable[Batch]) -> dict[str, float]:
        """Means over one source's batches of losses and hard loss, and errors of actions."""
        self.eval()
        figures: list[dict[str, float]] = []
        bins = []
        for batch in batches:
            _, losses, logits_NV = self(batch)
            id_N = torch.from_numpy(batch.labels).to(logits_NV.device)
            is_action_N = loss.is_action(to_tensors(batch.tokens, logits_NV.device))
            losses |= {"hard_loss": self._loss(batch, logits_NV, id_N, is_action_N)}
            figures.append({name: value.item() for name, value in losses.items()})
            tokenizer, first = self.tokenizers.get(batch.source), self.own_ids(batch)[0]
            if tokenizer is not None:
                bins.append(loss.action_bins(logits_NV, id_N, is_action_N, tokenizer, first))
        means = {name: sum(f[name] for f in figures) / len(figures) for name in figures[0]}
        if not bins:
            return means
        got_MA, label_MA = (torch.cat(part) for part in zip(*bins))
        return means | loss.action_errors(got_MA, label_MA, tokenizer.spec.action)

    def follow(self) -> None:
        """Nothing that this learner keeps follows its weights."""

    def write(
        self,
        path: Path,
        weights: Mapping[str, Tensor],
        provenance: Mapping,
        beside: Callable[[Path], None],
    ) -> None:
        """A checkpoint of the policy with these weights, with its model card."""
        bodies = [tokenizer.embodiment for tokenizer in self.tokenizers.values()]
        with torch.device("meta"):
            model = Gato(self.model.config)
        model.load_state_dict(weights, assign=True)

        def more(folder: Path) -> None:
            beside(folder)
            text = card.card(path, model.config, bodies, provenance)
            (folder / card.FILE).write_text(text)

        checkpoint.save(path, model, bodies, provenance, beside=more)


def side_losses(task: SideTask, got_MS: Tensor, answer_MS: Tensor) -> dict[str, Tensor]:
    """The side task's loss, and its errors in metres."""
    error_MS = (got_MS - answer_MS).detach().abs()
    figures = {"position_error": slice(task.num_positions)}
    if task.trigger:
        figures["goal_error"] = slice(task.num_positions, task.num_positions + 3)
    errors = {
        name: loss.known_mean(error_MS[:, asked], answer_MS[:, asked])
        for name, asked in figures.items()
    }
    return {"auxiliary": loss.auxiliary_loss(got_MS, answer_MS)} | errors


def prepare(model: Gato, machine: MachineConfig) -> None:
    """Switches on what changes how the blocks compute, but not what."""
    if machine.compile:
        from torch._inductor import config as inductor  # a second to import

        inductor.fallback_random = True  # draws are what they would be without compiling
    for block in model.blocks:
        if machine.checkpoint_activations:
            block.forward = partial(computed_twice, block.forward, use_reentrant=False)
        if machine.compile:
            block.compile()


def shard(learner: Learner, num_processes: int) -> None:
    """Leaves each process its part of every weight: FSDP2, a group for each block."""
    device = next(learner.parameters()).device.type
    mesh = init_device_mesh(device, (num_processes,))
    for block in learner.model.blocks:
        fully_shard(block, mesh=mesh)
    learner.is_sharded = True
    # else the averaged weights would stay whole after a measurement, and average no more
    fully_shard(learner, mesh=mesh, reshard_after_forward=True)


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
