"""Random subsequences of whole timesteps from a mixture of datasets. Paper, sections 2.3 and 2.4.

Batch number k is a function of (seed, k) alone, so the sampler's position is one integer, and it
makes no difference which process learns from it.
"""

from __future__ import annotations

import zlib
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import numpy as np

from gato_core.dataset import Dataset
from gato_core.episode import Episode
from gato_core.spec import Discrete, Image
from gato_core.tokenizer import ACTION_POSITION, Tokenizer, Tokens, batch
from gato_core.tools.bench import made_up
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

    labels: int64 (num_targets,), what the targets should be. Where the robot did not do what the
    label says, tokens of past timesteps show what it did.
    answers: float32 (num_timesteps, size of the side task), row after row; None if unused.
    noise_seed: of what the network draws while it learns from the batch.
    source: its name in a mixture.
    """

    tokens: Tokens[np.ndarray]
    labels: np.ndarray
    answers: np.ndarray | None
    num_timesteps: int
    noise_seed: int
    source: str = ""

    @property
    def num_tokens(self) -> int:
        return self.tokens.id.size


@dataclass(frozen=True)
class Sampling:
    """How sequences are drawn; see DataConfig for the meaning of each."""

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
    alike: dict[int, list[int]] = field(repr=False)  # prompts of an episode's task and source

    @property
    def share_with_prompt(self) -> float:
        """Of windows, those of episodes that another episode can prompt."""
        counts = np.diff(self.end, prepend=0)
        return counts[[self.num_others(i) > 0 for i in self.episodes.tolist()]].sum() / counts.sum()

    def num_others(self, episode: int) -> int:
        """Episodes that can prompt this one."""
        return len(self.alike[episode]) - (self._place(episode) is not None)

    def other(self, episode: int, number: int) -> int:
        """The one of this number among them."""
        place = self._place(episode)
        return self.alike[episode][number + (place is not None and number >= place)]

    def _place(self, episode: int) -> int | None:
        """Where the episode stands among those alike, if it does."""
        alike = self.alike[episode]
        place = bisect_left(alike, episode)
        return place if alike[place : place + 1] == [episode] else None


def split(
    datasets: Sequence[Dataset], held_out: float, successes_only: bool
) -> tuple[list[list[int]], list[list[int]]]:
    """Of each dataset the episodes to train on and to measure on.

    Task and seed decide, so that an initial state stays on its side as datasets grow, and is on one
    side in all that have it. One episode at least of each dataset is held out if there are two,
    unless held_out is 0. Raises ValueError when nothing is left to train on.
    """
    starts = [_starts(dataset, successes_only) for dataset in datasets]
    held: set[tuple[str, int]] = set()
    if held_out:
        for chosen in starts:
            few = [start for start in chosen.values() if _place(start) < held_out]
            held.update(few or ([min(chosen.values(), key=_place)] if len(chosen) > 1 else []))
    train = [[i for i, start in chosen.items() if start not in held] for chosen in starts]
    for dataset, left in zip(datasets, train):
        if not left:
            raise ValueError(f"{dataset.root}: expected episodes to train on, got all held out")
    return train, [[i for i, start in chosen.items() if start in held] for chosen in starts]


def _starts(dataset: Dataset, successes_only: bool) -> dict[int, tuple[str, int]]:
    """Task and seed of each episode that is to be used. Raises ValueError if there is none."""
    starts = {
        i: (task, row["gato/seed"])
        for i, (task, row) in enumerate(zip(dataset.tasks, dataset.rows))
        if row["gato/success"] or not successes_only
    }
    if not starts:
        raise ValueError(
            f"{dataset.root}: expected successful episodes, got none among {dataset.num_episodes}"
        )
    return starts


def _place(start: tuple[str, int]) -> float:
    """From 0 to 1, at random but always the same."""
    return zlib.crc32("/".join(map(str, start)).encode()) / 2**32


class Sequences:
    """Draws batches from chosen episodes of datasets that share the tokenizer's Spec.

    prompts: other episodes to take prompts from, where one may be missing, as in a measurement.
    Raises ValueError for no episodes, or prompts that are too long or too few.
    """

    def __init__(
        self,
        datasets: Sequence[Dataset],
        episodes: Sequence[Sequence[int]],
        tokenizer: Tokenizer,
        sampling: Sampling,
        prompts: Sequence[Sequence[int]] | None = None,
    ) -> None:
        self.datasets, self.tokenizer, self.sampling = datasets, tokenizer, sampling
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
        self._windows = [
            _windows(*each, length) for each in zip(datasets, episodes, prompts or episodes)
        ]
        counts = np.array([w.end[-1] if len(w.end) else 0 for w in self._windows], float)
        weights = np.array(sampling.weights or counts, float) * (counts > 0)
        if not weights.sum() > 0:
            raise ValueError(
                "sequences: expected episodes in datasets of positive weight, got none"
            )
        self._probabilities = weights / weights.sum()
        self._prompt_probability = self._prompted(sampling.prompt_fraction, prompts is None)

    def _prompted(self, fraction: float, must_be_reached: bool) -> float:
        """How often to prompt a sequence that can be, so that `fraction` of all are."""
        pairs = zip(self._probabilities, self._windows)
        share = sum(p * windows.share_with_prompt for p, windows in pairs if p)
        if fraction > share and must_be_reached:
            raise ValueError(
                f"prompt_fraction: expected at most {share:.3g}, the share of sequences whose task "
                f"another episode of the same source shows, got {fraction}"
            )
        return min(1.0, fraction / share) if share else 0.0

    @property
    def num_windows(self) -> int:
        return int(sum(w.end[-1] for w in self._windows if len(w.end)))

    def __str__(self) -> str:
        num_episodes = sum(dataset.num_episodes for dataset in self.datasets)
        length = self.sampling.context_timesteps
        return f"{num_episodes} episodes, {self.num_windows} sequences of {length} timesteps"

    @property
    def num_sequences(self) -> int:
        """Of a batch."""
        return self.sampling.batch_size

    @property
    def num_tokens(self) -> int:
        """Of a whole sequence."""
        return self.sampling.context_timesteps * self.tokenizer.spec.tokens_per_timestep

    @property
    def num_pixels(self) -> int:
        """Bytes of a whole sequence's images."""
        images = (m for m in self.tokenizer.spec.observation.values() if isinstance(m, Image))
        return self.sampling.context_timesteps * sum(int(np.prod(m.shape)) for m in images)

    def made_up(self, num_sequences: int) -> Batch:
        """A batch of whole sequences without data, to measure what they need."""
        length, task = self.sampling.context_timesteps, self.sampling.side_task
        return made_up_batch(self.tokenizer, length, num_sequences, task)

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
        tokens = self._tokens(read)
        labels = tokens.id[tokens.target]
        if any(episode.executed is not None for episode in read):
            done = [self.tokenizer.encode_action(_shown(episode)).ravel() for episode in read]
            tokens.id[tokens.local_position == ACTION_POSITION] = np.concatenate(done)
        noise = noise_seed(self.sampling.seed, number)
        return Batch(tokens, labels, answers, num_timesteps, noise)

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
        if rng.random() >= self._prompt_probability or not windows.num_others(episode):
            return [Piece(d, episode, start, stop)]
        prompt = self._draw_prompt(rng, d, episode)
        shortened = min(
            stop, start + self.sampling.context_timesteps - (prompt.stop - prompt.start)
        )
        return [prompt, Piece(d, episode, start, shortened)]

    def _draw_prompt(self, rng: np.random.Generator, d: int, episode: int) -> Piece:
        """From another episode of the same task and source: its end, or anywhere. Section 2.4."""
        windows = self._windows[d]
        other = windows.other(episode, int(rng.integers(windows.num_others(episode))))
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
            if any(part.executed is not None for part in parts):
                done = [p.action if p.executed is None else p.executed for p in parts]
                joined.executed = np.concatenate(done)
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


def made_up_batch(
    tokenizer: Tokenizer, num_timesteps: int, num_sequences: int, task: SideTask | None = None
) -> Batch:
    """Sequences without data, to measure with."""
    spec, now = tokenizer.spec, made_up(tokenizer.spec, np.random.default_rng(0))
    shape = (num_sequences, num_timesteps)
    observation = {k: np.broadcast_to(v, (*shape, *np.shape(v))) for k, v in now.items()}
    dtype = np.int64 if isinstance(spec.action, Discrete) else np.float32
    tokens = tokenizer.encode_timesteps(observation, np.zeros((*shape, *spec.action.shape), dtype))
    number = num_sequences * num_timesteps
    answers = None if task is None else np.zeros((number, task.size), np.float32)
    return Batch(tokens, tokens.id[tokens.target], answers, number, 0)


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


def _shown(episode: Episode) -> np.ndarray:
    """Actions as a policy would have met them: what was done, and last what it is to do."""
    if episode.executed is None:
        return episode.action
    return np.concatenate([episode.executed[:-1], episode.action[-1:]])


def _windows(
    dataset: Dataset, episodes: Sequence[int], prompts: Sequence[int], length: int
) -> _Windows:
    """A window begins at every timestep that leaves a whole one, and once in shorter episodes."""
    chosen = np.asarray(episodes, np.int64)
    counts = np.maximum(dataset.lengths[chosen] - length + 1, 1)
    kinds = [(task, row["gato/source"]) for task, row in zip(dataset.tasks, dataset.rows)]
    groups: dict[tuple[str, str], list[int]] = {}
    for i in sorted(prompts):
        groups.setdefault(kinds[i], []).append(i)
    alike = {i: groups.get(kinds[i], []) for i in episodes}
    return _Windows(chosen, np.cumsum(counts), alike)
