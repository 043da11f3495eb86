"""Random subsequences of whole timesteps from a mixture of datasets. Paper, sections 2.3 and 2.4.

Batch number k is a function of (seed, k) alone, so the sampler's position is one integer, and it
makes no difference which process learns from it.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import numpy as np

from gato_core.dataset import Dataset
from gato_core.episode import Episode
from gato_core.spec import Image
from gato_core.tokenizer import Tokenizer, Tokens, batch
from gato_training.data.augment import Augmentation, augment
from gato_training.data.mirror import mirror
from gato_training.data.side_task import SideTask

T = TypeVar("T")


class Piece(NamedTuple):
    """Timesteps [start, stop) of one episode of one dataset of the mixture."""

    dataset: int
    episode: int
    start: int
    stop: int


@dataclass(frozen=True)
class Batch:
    """Token sequences, and what the side task asks about each timestep.

    answers: float32 (num_timesteps, size of the side task), row after row; None if unused.
    noise_seed: of what the network draws while it learns from the batch.
    """

    tokens: Tokens[np.ndarray]
    answers: np.ndarray | None
    num_timesteps: int
    noise_seed: int


@dataclass(frozen=True)
class Sampling:
    """How sequences are drawn; see TrainConfig for the meaning of each."""

    context_timesteps: int
    batch_size: int
    seed: int
    weights: tuple[float, ...] = ()
    prompt_fraction: float = 0.0
    prompt_timesteps: int = 1
    augmentation: Augmentation = Augmentation()
    side_task: SideTask | None = None
    mirror: float = 0.0


@dataclass(frozen=True)
class _Windows:
    """All windows of one dataset's chosen episodes, numbered through."""

    episodes: np.ndarray
    end: np.ndarray  # cumulated number of windows
    alike: dict[tuple[str, str], list[int]] = field(repr=False)  # by task and source


def split(dataset: Dataset, held_out: float, successes_only: bool) -> tuple[list[int], list[int]]:
    """Episodes to train on and to measure on. An episode stays on its side as the dataset grows.

    One episode at least is held out if there are two, unless held_out is 0.
    Raises ValueError when nothing is left to train on.
    """
    chosen = [i for i in range(dataset.num_episodes) if dataset.successes[i] or not successes_only]
    if not chosen:
        raise ValueError(
            f"{dataset.root}: expected successful episodes, got none among {dataset.num_episodes}"
        )
    place = {i: zlib.crc32(f"{i}/{dataset.rows[i]['gato/seed']}".encode()) / 2**32 for i in chosen}
    held = [i for i in chosen if place[i] < held_out]
    if held_out and not held and len(chosen) > 1:
        held = [min(chosen, key=place.__getitem__)]
    train = [i for i in chosen if i not in set(held)]
    if not train:
        raise ValueError(f"{dataset.root}: expected episodes to train on, got all held out")
    return train, held


class Sequences:
    """Draws batches from chosen episodes of datasets that share the tokenizer's Spec."""

    def __init__(
        self,
        datasets: Sequence[Dataset],
        episodes: Sequence[Sequence[int]],
        tokenizer: Tokenizer,
        sampling: Sampling,
    ) -> None:
        self.datasets, self.tokenizer, self.sampling = datasets, tokenizer, sampling
        for dataset in datasets:
            if differences := tokenizer.spec.differences(dataset.spec):
                raise ValueError(
                    f"{dataset.root}: the Spec differs:\n  " + "\n  ".join(differences)
                )
        task = sampling.side_task
        self._begins = [np.cumsum(d.lengths) - d.lengths for d in datasets]
        self._answers = [task.answers(dataset) for dataset in datasets] if task else []
        self._mirror = mirror(tokenizer.spec, datasets) if sampling.mirror else None
        length = sampling.context_timesteps
        if sampling.prompt_fraction and not 0 < sampling.prompt_timesteps < length:
            raise ValueError(
                f"prompt_timesteps: expected 1..{length - 1} within context_timesteps {length}, "
                f"got {sampling.prompt_timesteps}"
            )
        self._windows = [_windows(d, e, length) for d, e in zip(datasets, episodes)]
        counts = np.array([w.end[-1] if len(w.end) else 0 for w in self._windows], float)
        weights = np.array(sampling.weights or counts, float) * (counts > 0)
        if not weights.sum() > 0:
            raise ValueError(
                "sequences: expected episodes in datasets of positive weight, got none"
            )
        self._probabilities = weights / weights.sum()

    @property
    def num_windows(self) -> int:
        return int(sum(w.end[-1] for w in self._windows if len(w.end)))

    def draw(self, number: int) -> list[list[Piece]]:
        """The pieces of each sequence of batch `number`: a prompt perhaps, then a window."""
        rng = np.random.default_rng((self.sampling.seed, number))
        return [self._draw_sequence(rng) for _ in range(self.sampling.batch_size)]

    def episodes(self, number: int) -> list[Episode]:
        """The sequences of batch `number`, read and augmented."""
        rng = np.random.default_rng((self.sampling.seed, number, 1))
        read = [self._read(pieces, rng) for pieces in self.draw(number)]
        for episode, is_mirrored in zip(read, self._is_mirrored(number)):
            if is_mirrored:
                self._mirror.reflect(episode)
        return read

    def batch(self, number: int) -> Batch:
        """Batch `number`, read, augmented and tokenized."""
        read = self.episodes(number)
        answers = None
        if task := self.sampling.side_task:
            answers = np.concatenate([
                self._answers_to(piece) * (task.reflection if is_mirrored else 1)
                for pieces, is_mirrored in zip(self.draw(number), self._is_mirrored(number))
                for piece in pieces
            ])  # fmt: skip
        num_timesteps = sum(len(episode) for episode in read)
        noise = noise_seed(self.sampling.seed, number)
        return Batch(self._tokens(read), answers, num_timesteps, noise)

    def _is_mirrored(self, number: int) -> np.ndarray:
        """bool (batch_size,): which sequences of batch `number` are reflected."""
        rng = np.random.default_rng((self.sampling.seed, number, 3))
        return rng.random(self.sampling.batch_size) < self.sampling.mirror

    def _answers_to(self, piece: Piece) -> np.ndarray:
        begin = int(self._begins[piece.dataset][piece.episode])
        return self._answers[piece.dataset][begin + piece.start : begin + piece.stop]

    def _draw_sequence(self, rng: np.random.Generator) -> list[Piece]:
        d = int(rng.choice(len(self.datasets), p=self._probabilities))
        windows, dataset = self._windows[d], self.datasets[d]
        number = int(rng.integers(windows.end[-1]))
        place = int(np.searchsorted(windows.end, number, side="right"))
        episode = int(windows.episodes[place])
        start = number - (int(windows.end[place - 1]) if place else 0)
        stop = min(start + self.sampling.context_timesteps, int(dataset.lengths[episode]))
        if rng.random() >= self.sampling.prompt_fraction:
            return [Piece(d, episode, start, stop)]
        prompt = self._draw_prompt(rng, d, episode)
        if prompt is None:
            return [Piece(d, episode, start, stop)]
        shortened = min(
            stop, start + self.sampling.context_timesteps - (prompt.stop - prompt.start)
        )
        return [prompt, Piece(d, episode, start, shortened)]

    def _draw_prompt(self, rng: np.random.Generator, d: int, episode: int) -> Piece | None:
        """From another episode of the same task and source: its end, or anywhere. Section 2.4."""
        row = self.datasets[d].rows[episode]
        alike = self._windows[d].alike[row["gato/task"], row["gato/source"]]
        if len(alike) < 2:
            return None
        other = alike[int(rng.integers(len(alike) - 1))]
        other = alike[-1] if other == episode else other
        total = int(self.datasets[d].lengths[other])
        length = min(self.sampling.prompt_timesteps, total)
        is_goal = rng.random() < 0.5
        start = total - length if is_goal else int(rng.integers(total - length + 1))
        return Piece(d, other, start, start + length)

    def _read(self, pieces: list[Piece], rng: np.random.Generator) -> Episode:
        """The pieces joined in time, images augmented alike throughout."""
        parts = [self.datasets[p.dataset].read(p.episode, p.start, p.stop) for p in pieces]
        joined = parts[-1]
        if len(parts) > 1:
            joined.action = np.concatenate([part.action for part in parts])
            joined.reward = np.concatenate([part.reward for part in parts])
            for name in ("observation", "privileged"):
                arrays = {k: np.concatenate([getattr(p, name)[k] for p in parts])
                          for k in getattr(joined, name)}  # fmt: skip
                setattr(joined, name, arrays)
        for key, modality in self.tokenizer.spec.observation.items():
            if isinstance(modality, Image):
                images = joined.observation[key]
                joined.observation[key] = augment(images, rng, self.sampling.augmentation)
        return joined

    def _tokens(self, read: list[Episode]) -> Tokens[np.ndarray]:
        if len({len(episode) for episode in read}) == 1:
            observation = {
                key: np.stack([episode.observation[key] for episode in read])
                for key in self.tokenizer.spec.observation
            }
            action = np.stack([episode.action for episode in read])
            return self.tokenizer.encode_timesteps(observation, action)
        encoded = [self.tokenizer.encode_timesteps(e.observation, e.action) for e in read]
        return batch(encoded, self.tokenizer.vocabulary.separator)


def ahead(make: Callable[[int], T], numbers: Sequence[int], depth: int) -> Iterator[T]:
    """make(number) for each in turn, prepared up to `depth` ahead by a background thread."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="sequences")
    try:
        waiting = deque(pool.submit(make, number) for number in numbers[:depth])
        for place in range(len(numbers)):
            result = waiting.popleft().result()
            if place + depth < len(numbers):
                waiting.append(pool.submit(make, numbers[place + depth]))
            yield result
    finally:
        pool.shutdown(cancel_futures=True)


def noise_seed(seed: int, number: int) -> int:
    """Of what a network draws while it learns from batch `number`."""
    return int(np.random.SeedSequence((seed, number, 2)).generate_state(1, np.uint64)[0])


def few(episodes: Sequence[Sequence[int]], number: int, seed: int) -> list[list[int]]:
    """`number` of all datasets' episodes, drawn at random; for one seed the draws are nested.

    Raises ValueError where there are fewer.
    """
    every = [(d, i) for d, chosen in enumerate(episodes) for i in chosen]
    if number > len(every):
        raise ValueError(
            f"few_shot: expected at most the {len(every)} episodes there are, got {number}"
        )
    order = np.random.default_rng((seed, len(every))).permutation(len(every))
    drawn = {every[place] for place in order[:number]}
    return [[i for i in chosen if (d, i) in drawn] for d, chosen in enumerate(episodes)]


def _windows(dataset: Dataset, episodes: Sequence[int], length: int) -> _Windows:
    """A window begins at every timestep that leaves a whole one, and once in shorter episodes."""
    chosen = np.asarray(episodes, np.int64)
    counts = np.maximum(dataset.lengths[chosen] - length + 1, 1)
    alike: dict[tuple[str, str], list[int]] = {}
    for i in episodes:
        row = dataset.rows[i]
        alike.setdefault((row["gato/task"], row["gato/source"]), []).append(i)
    return _Windows(chosen, np.cumsum(counts), alike)
