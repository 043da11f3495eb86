"""Text out of the network: captions, answers and chat, token by token from the cache. Figure 6.

Shapes: B sequences, L tokens, V ids.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from gato_core.cache import KVCache
from gato_core.model import Gato, to_tensors
from gato_core.policy import sample
from gato_core.text import documents, pieces
from gato_core.text.documents import Document
from gato_core.tokenizer import NO_POSITION, Tokens

NUM_CONTEXT_TOKENS = 1024  # section 2.3
PAPER_TEMPERATURE = 0.9  # figure 6
END_OF_TURN = pieces.NEW_LINE


def new_text_cache(
    model: Gato, num_tokens: int = NUM_CONTEXT_TOKENS, batch_size: int = 1
) -> KVCache:
    """An empty cache for one document of up to num_tokens: a single timestep, never evicted."""
    return model.new_cache(num_tokens, batch_size, context_timesteps=1)


@torch.inference_mode()
def generate(
    model: Gato,
    tokens: Tokens[Tensor],
    cache: KVCache,
    *,
    max_tokens: int,
    stop: int = pieces.END,
    temperature: float = 0.0,
    top_k: int | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Text ids (B, n) that follow the tokens (B, L): each row up to `stop`, which then repeats.

    Temperature 0 takes the likeliest. No other ids than text's are ever drawn. Afterwards the
    cache holds the tokens and what was generated. Raises ValueError when that does not fit.
    """
    batch_size, length = tokens.id.shape
    room = cache.tokens_per_timestep - cache.length
    if length == 0 or length + max_tokens > room:
        raise ValueError(
            f"generate: expected 1..{room - max_tokens} tokens before {max_tokens} new ones, "
            f"got {length}"
        )
    ids: list[Tensor] = []
    stopped_B = torch.zeros(batch_size, dtype=torch.bool, device=tokens.id.device)
    x_B1D = model.extend(tokens, cache)
    while len(ids) < max_tokens and not stopped_B.all():
        logits_BV = model.logits(x_B1D[:, 0], (0, model.config.vocabulary.num_text))
        id_B = sample(_likeliest(logits_BV, top_k), temperature, generator)
        ids.append(id_B.masked_fill(stopped_B, stop))
        stopped_B = ids[-1] == stop
        x_B1D = model.extend(_text_tokens(ids[-1][:, None]), cache)
    return torch.stack(ids, dim=1)


def complete(
    model: Gato,
    document: Document,
    *,
    max_tokens: int = 64,
    temperature: float = 0.0,
    top_k: int | None = None,
    seed: int = 0,
) -> str:
    """What follows a document, e.g. `documents.question("Is red on blue?", image=image)`."""
    device = model.embedding.weight.device
    tokens = to_tensors(documents.tokenize(document, model.config.vocabulary), device)
    ids = generate(
        model.eval(),
        tokens,
        new_text_cache(model, tokens.id.shape[1] + max_tokens),
        max_tokens=max_tokens,
        temperature=temperature,
        top_k=top_k,
        generator=torch.Generator(device).manual_seed(seed),
    )
    return pieces.decode(ids[0].cpu().numpy(), model.config.vocabulary).strip()


class Chat:
    """A conversation whose past stays in the cache, so that each turn reads only what is new."""

    def __init__(
        self,
        model: Gato,
        *,
        temperature: float = PAPER_TEMPERATURE,
        seed: int = 0,
        num_context_tokens: int = NUM_CONTEXT_TOKENS,
    ) -> None:
        self.model, self.temperature = model.eval(), temperature
        self._device = model.embedding.weight.device
        self._generator = torch.Generator(self._device).manual_seed(seed)
        self._cache = new_text_cache(model, num_context_tokens)

    def say(self, said: str, image: np.ndarray | None = None, *, max_tokens: int = 64) -> str:
        """The reply. Raises ValueError when the conversation has outgrown the context."""
        document = documents.chat([(said, "")], image)
        tokens = documents.tokenize(document, self.model.config.vocabulary)
        ids = generate(
            self.model,
            to_tensors(tokens, self._device),
            self._cache,
            max_tokens=max_tokens,
            stop=END_OF_TURN,
            temperature=self.temperature,
            generator=self._generator,
        )
        return pieces.decode(ids[0].cpu().numpy(), self.model.config.vocabulary).strip()


def _likeliest(logits_BV: Tensor, top_k: int | None) -> Tensor:
    """Logits with all but the top_k largest at minus infinity."""
    if top_k is None:
        return logits_BV
    least_B1 = logits_BV.topk(top_k).values[:, -1:]
    return logits_BV.masked_fill(logits_BV < least_B1, -math.inf)


def _text_tokens(id_BL: Tensor) -> Tokens[Tensor]:
    no_patch = torch.empty((0, 16, 16, 3), dtype=torch.uint8, device=id_BL.device)
    position = torch.full_like(id_BL, NO_POSITION)
    return Tokens(id_BL, position, torch.ones_like(id_BL, dtype=torch.bool), no_patch, no_patch)
