"""Text out of the network: captions, answers and chat, token by token from the cache. Figure 6.

Shapes: B sequences, L tokens, V ids.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from gato_core.model import Gato, plain, to_tensors
from gato_core.positions import places
from gato_core.text import documents, pieces
from gato_core.text.documents import Document
from gato_core.tokenizer import NO_POSITION, Tokens
from gato_core.vocab import Vocabulary

NUM_CONTEXT_TOKENS = 1024  # section 2.3
PAPER_TEMPERATURE = 0.9  # figure 6
END_OF_TURN = pieces.NEW_LINE


class Reading:
    """A document as far as it was read: up to num_tokens, none of which ever leaves."""

    def __init__(
        self, model: Gato, num_tokens: int = NUM_CONTEXT_TOKENS, batch_size: int = 1
    ) -> None:
        self.model = model
        self.cache = model.new_cache(num_tokens, batch_size)
        self.length = 0

    @property
    def room(self) -> int:
        return self.cache.num_slots - self.length

    def extend(self, tokens: Tokens[Tensor]) -> Tensor:
        """Reads on; the features (B, D) of the last token."""
        batch_size, num_new = tokens.id.shape
        start, device = self.length, tokens.id.device
        self.length += num_new
        num_slots = self.cache.num_slots
        slot_BS = torch.arange(batch_size * num_slots, device=device).view(batch_size, num_slots)
        self.cache.slot_BQ = slot_BS[:, start : self.length]
        seen_LS = slot_BS[0] <= slot_BS[0, start : self.length, None]
        everywhere = places(start, seen_LS, self.model.config.key_size, self.cache.k[0].dtype)
        last_B1 = torch.full((batch_size, 1), num_new - 1, device=device)
        return self.model.transform(self.model.embed(tokens), everywhere, last_B1, self.cache)[:, 0]


def sample(logits: Tensor, temperature: float, generator: torch.Generator | None) -> Tensor:
    """Indices (...,) drawn from the softmax of logits (..., V) / temperature; 0 is the argmax."""
    if temperature == 0.0:
        return logits.argmax(-1)
    weight = (logits.float() / temperature).softmax(-1)
    return torch.multinomial(weight.flatten(0, -2), 1, generator=generator).view(weight.shape[:-1])


@torch.inference_mode()
def generate(
    reading: Reading,
    tokens: Tokens[Tensor],
    *,
    max_tokens: int,
    stop: int = pieces.END,
    temperature: float = 0.0,
    top_k: int | None = None,
    generator: torch.Generator | None = None,
) -> Iterator[Tensor]:
    """Text ids (B,), one after the other, that follow the tokens (B, L); all of them are read.

    A row that has come to `stop` repeats it until all have. Temperature 0 takes the likeliest. No
    other ids than text's are ever drawn. Raises ValueError when the most of them do not fit.
    """
    batch_size, length = tokens.id.shape
    model, room = reading.model, reading.room
    if length == 0 or length + max_tokens > room:
        raise ValueError(
            f"generate: expected 1..{room - max_tokens} tokens before {max_tokens} new ones, "
            f"got {length}"
        )
    stopped_B = torch.zeros(batch_size, dtype=torch.bool, device=tokens.id.device)
    x_BD = reading.extend(tokens)
    for _ in range(max_tokens):
        logits_BV = model.logits(x_BD, (0, model.config.vocabulary.num_text))
        id_B = sample(_likeliest(logits_BV, top_k), temperature, generator)
        id_B = id_B.masked_fill(stopped_B, stop)
        stopped_B = id_B == stop
        id_B1 = id_B[:, None]
        x_BD = reading.extend(plain(id_B1, torch.full_like(id_B1, NO_POSITION)))
        yield id_B
        if stopped_B.all():
            return


def stream(
    model: Gato,
    document: Document,
    *,
    max_tokens: int = 64,
    temperature: float = 0.0,
    top_k: int | None = None,
    seed: int = 0,
) -> Iterator[str]:
    """What follows a document, e.g. `documents.question("Is red on blue?", image=image)`.

    It comes in strings as they are thought of; `"".join(...)` is all of it.
    """
    device, vocabulary = model.embedding.weight.device, model.config.vocabulary
    tokens = to_tensors(documents.tokenize(document, vocabulary), device)
    ids = generate(
        Reading(model.eval(), tokens.id.shape[1] + max_tokens),
        tokens,
        max_tokens=max_tokens,
        temperature=temperature,
        top_k=top_k,
        generator=torch.Generator(device).manual_seed(seed),
    )
    return _strings(ids, vocabulary)


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
        self.temperature = temperature
        self._device = model.embedding.weight.device
        self._generator = torch.Generator(self._device).manual_seed(seed)
        self._vocabulary = model.config.vocabulary
        self._reading = Reading(model.eval(), num_context_tokens)

    def say(
        self, said: str, image: np.ndarray | None = None, *, max_tokens: int = 64
    ) -> Iterator[str]:
        """The reply, in strings as they are thought of.

        Raises ValueError when the conversation has outgrown the context.
        """
        document = documents.chat([(said, "")], image)
        tokens = documents.tokenize(document, self._vocabulary)
        ids = generate(
            self._reading,
            to_tensors(tokens, self._device),
            max_tokens=max_tokens,
            stop=END_OF_TURN,
            temperature=self.temperature,
            generator=self._generator,
        )
        return _strings(ids, self._vocabulary)


def _strings(ids: Iterable[Tensor], vocabulary: Vocabulary) -> Iterator[str]:
    """Ids (1,) as strings, as soon as all bytes of a character are there; no space around all."""
    heard: list[int] = []
    said = text = ""
    for id_1 in ids:
        heard.append(int(id_1))
        text = pieces.decode(np.array(heard), vocabulary).strip()
        if not text.endswith("\ufffd"):  # what stands for a part of a character
            yield text[len(said) :]
            said = text
    if text != said:
        yield text[len(said) :]


def _likeliest(logits_BV: Tensor, top_k: int | None) -> Tensor:
    """Logits with all but the top_k largest at minus infinity."""
    if top_k is None:
        return logits_BV
    least_B1 = logits_BV.topk(top_k).values[:, -1:]
    return logits_BV.masked_fill(logits_BV < least_B1, -math.inf)
