"""A checkpoint's words on the command line: `gato caption`, `gato ask`, `gato chat`."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import tyro
from tyro.conf import Positional

from gato_core import checkpoint
from gato_core.model import Gato
from gato_core.text import documents, pictures
from gato_core.text.documents import Document
from gato_core.text.generate import PAPER_TEMPERATURE, Chat, stream


@dataclass(frozen=True, kw_only=True)
class SpeakConfig:
    """What the three have in common: who speaks, and how words are drawn."""

    checkpoint: Path
    """A checkpoint that was trained on documents."""
    temperature: float = 0.0
    """At which words are drawn; 0 takes the likeliest. The paper: 0.9."""
    max_tokens: int = 64
    """The most pieces of words to say at once."""
    seed: int = 0
    """Of the draws; the same seed says the same."""

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < math.inf:
            raise ValueError(f"temperature: expected 0 or more, got {self.temperature}")
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens: expected 1 or more, got {self.max_tokens}")


@dataclass(frozen=True, kw_only=True)
class CaptionConfig(SpeakConfig):
    """Says what a picture shows, as it is thought of.

    example: gato caption photo.jpg --checkpoint outputs/train/words/last
    """

    image: Positional[Path]
    """A picture of any size."""


@dataclass(frozen=True, kw_only=True)
class AskConfig(SpeakConfig):
    """Answers a question about a picture.

    example: gato ask photo.jpg "which object is on top?" --checkpoint outputs/train/words/last
    """

    image: Positional[Path]
    """A picture of any size."""
    question: Positional[str]
    """The question, in quotation marks."""


@dataclass(frozen=True, kw_only=True)
class ChatConfig(SpeakConfig):
    """Replies to the lines of standard input until it ends; what was said stays in context.

    example: gato chat --image photo.jpg --checkpoint outputs/train/words/last
    """

    image: Path | None = None
    """A picture to talk about."""
    temperature: float = PAPER_TEMPERATURE
    """At which words are drawn; 0 takes the likeliest."""


Config = TypeVar("Config", bound=SpeakConfig)


def caption() -> int:
    """`gato caption`: 1 with a message for a picture or checkpoint that cannot be read."""
    return _run("caption", CaptionConfig, _caption)


def ask() -> int:
    """`gato ask`; as `caption`."""
    return _run("ask", AskConfig, _ask)


def chat() -> int:
    """`gato chat`; as `caption`, and 1 when the conversation outgrows the context."""
    return _run("chat", ChatConfig, _chat)


def _caption(config: CaptionConfig) -> None:
    _follow(config, documents.caption(_picture(config.image)))


def _ask(config: AskConfig) -> None:
    _follow(config, documents.question(config.question, image=_picture(config.image)))


def _follow(config: SpeakConfig, document: Document) -> None:
    _print(
        stream(
            network(config.checkpoint),
            document,
            max_tokens=config.max_tokens,
            temperature=config.temperature,
            seed=config.seed,
        )
    )


def _chat(config: ChatConfig) -> None:
    image = None if config.image is None else _picture(config.image)
    talk = Chat(network(config.checkpoint), temperature=config.temperature, seed=config.seed)
    prompt = "> " if sys.stdin.isatty() else ""
    print(prompt, end="", flush=True)
    for line in sys.stdin:
        if line.strip():
            _print(talk.say(line.strip(), image, max_tokens=config.max_tokens))
            image = None  # it is in context from now on
        print(prompt, end="", flush=True)


def network(path: Path) -> Gato:
    """A checkpoint's network. Raises ValueError naming one without text, and as `load` does."""
    model = checkpoint.load(path).model
    if not model.config.vocabulary.num_text:
        raise ValueError(f"{path}: expected a network trained on documents, got one without text")
    return model


def _picture(path: Path) -> np.ndarray:
    return pictures.fit(pictures.read(path.read_bytes(), str(path)))


def _print(words: Iterable[str]) -> None:
    for word in words:
        print(word, end="", flush=True)
    print()


def _run(verb: str, kind: type[Config], speak: Callable[[Config], None]) -> int:
    try:
        speak(tyro.cli(kind, prog=f"gato {verb}"))
    except (ValueError, OSError) as error:
        print(f"gato {verb}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print()
        return 130
    return 0
