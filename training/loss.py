"""Losses: cross-entropy at target tokens, and the side task's regression.

Shapes: N targets, V ids, D width, A action dimensions, M sequences x timesteps,
S numbers in an answer of the side task.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from gato_core.spec import Continuous, Discrete
from gato_core.tokenizer import ACTION_POSITION, Tokenizer, Tokens
from gato_core.vocab import NUM_BINS

# Metres. Errors below it weigh less and less, so it must be as small as the precision that is
# wanted: with 0.1 the side task rests at 7.5 mm, with 0.01 it passes 6 mm in 600 updates.
AUXILIARY_SCALE = 0.01


def smoothed_targets(sigma: float) -> Tensor:
    """float32 (1024, 1024): row k is a Gaussian over bins around bin k, summing to one."""
    bin_V = torch.arange(NUM_BINS, dtype=torch.float64)
    score_NV = -0.5 * ((bin_V - bin_V[:, None]) / sigma) ** 2
    return score_NV.softmax(dim=1).float()


def is_action(tokens: Tokens[Tensor]) -> Tensor:
    """bool (N,): which targets are action tokens. Ids do not tell: low ones may be text's too."""
    return tokens.local_position[tokens.target] == ACTION_POSITION


def masked_loss(
    logits_NV: Tensor,
    id_N: Tensor,
    is_action_N: Tensor,
    action_ids: tuple[int, int],
    smoothed: Tensor | None = None,
) -> Tensor:
    """Mean of -log p(id) over the targets. Paper, equation 2.

    Targets that are no actions (text) stay hard; with `smoothed` the others expect
    -log p under their row of it.
    """
    logits_NV = logits_NV.float()
    hard_N = F.cross_entropy(logits_NV, id_N, reduction="none")
    if smoothed is None:
        return hard_N.mean()
    first, last = action_ids
    expected_NV = smoothed[(id_N - first).clamp(0, last - first - 1)]
    log_p_NV = logits_NV[:, first:last] - logits_NV.logsumexp(dim=1, keepdim=True)
    soft_N = -(expected_NV * log_p_NV).sum(dim=1)
    return torch.where(is_action_N, soft_N, hard_N).mean()


def auxiliary_loss(got_MS: Tensor, answer_MS: Tensor) -> Tensor:
    """Mean smooth-L1 of known answers in metres, which turns linear beyond AUXILIARY_SCALE."""
    known_MS = torch.where(answer_MS.isnan(), got_MS.detach(), answer_MS)
    scaled_MS = F.smooth_l1_loss(
        got_MS / AUXILIARY_SCALE, known_MS / AUXILIARY_SCALE, reduction="none"
    )
    return known_mean(scaled_MS, answer_MS)


def known_mean(error_MS: Tensor, answer_MS: Tensor) -> Tensor:
    """The mean error where there is an answer (not NaN); 0 where there is none at all."""
    known_MS = ~answer_MS.isnan()
    return torch.where(known_MS, error_MS, 0.0).sum() / known_MS.sum().clamp(min=1)


def action_bins(
    logits_NV: Tensor, id_N: Tensor, is_action_N: Tensor, tokenizer: Tokenizer, start: int = 0
) -> tuple[Tensor, Tensor]:
    """The likeliest and the true bins (M, A) of M actions; text targets are left out.

    start: the id that the first logit is of.
    """
    first, last = tokenizer.action_ids
    likeliest_N = logits_NV[is_action_N, first - start : last - start].argmax(dim=1)
    num_action_tokens = tokenizer.spec.num_action_tokens
    label_N = id_N[is_action_N] - first
    return likeliest_N.view(-1, num_action_tokens), label_N.view(-1, num_action_tokens)


def action_errors(got_MA: Tensor, label_MA: Tensor, action: Continuous | Discrete) -> dict:
    """How far the likeliest actions are from the labels, {figure/<dimension>: number}.

    error: mean absolute, as a share of the dimension's range; of wrong values if discrete.
    side: of the labels in the outer quarters of the range, the share on whose side of the middle
    the action is; tells an open from a closed gripper. Left out where there are no such labels.
    """
    result = {}
    middle = NUM_BINS // 2
    for name, got, label in zip(action.names, got_MA.T, label_MA.T):
        if isinstance(action, Discrete):
            result[f"error/{name}"] = (got != label).float().mean().item()
            continue
        result[f"error/{name}"] = (got - label).abs().float().mean().item() / NUM_BINS
        outer = (label - middle).abs() >= NUM_BINS // 4
        if outer.any():
            same = (got >= middle) == (label >= middle)
            result[f"side/{name}"] = same[outer].float().mean().item()
    return result
