"""Trains the baselines on the same datasets: `gato baseline`.

bc: behaviour cloning, the likelihood of the demonstrated actions (the paper's BC baselines).
crr: critic-regularised regression (Wang et al., arXiv 2006.15134): the same, each action weighted
by how much better a learned critic thinks it is than the policy's own. It learns from failures too.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
import tyro
from torch import Tensor, nn

from gato_core import baseline
from gato_core.baseline import Actor, BaselineConfig, Encoder, scaled, to_inputs
from gato_core.dataset import Dataset
from gato_core.embodiment import Embodiment
from gato_core.episode import Episode
from gato_core.spec import Spec
from gato_core.tokenizer import Tokenizer
from gato_core.vocab import Vocabulary
from gato_training.config import DataConfig, Flat, MachineConfig, OptimizerConfig, check
from gato_training.loop import go
from gato_training.run import continue_from, describe, last_of, start
from gato_training.run_log.processes import Processes
from gato_training.sequences import Sequences, noise_seed
from gato_training.sources import episodes, open_folders
from gato_training.train import check as check_run
from gato_training.train import tell

WEIGHT_LIMIT = 20.0  # of exp(advantage), as in the CRR paper
NUM_SAMPLES = 4  # actions of the policy's own that an advantage is measured against
TARGET_RATE = 0.005  # share by which the target networks follow

Inputs = tuple[list[Tensor], Tensor]


@dataclass(frozen=True)
class BaselineTrainConfig:
    """Trains a baseline on demonstrations; `gato evaluate --checkpoint` opens it like a Gato.

    crr learns from failures too, bc from successes only unless --no-successes-only.

    example: gato baseline --method bc --data datasets/train --name bc
    """

    method: Literal["bc", "crr"] = "bc"
    data: Annotated[DataConfig, Flat] = field(
        default_factory=lambda: DataConfig(batch_size=128, augment="robot")
    )
    network: BaselineConfig = BaselineConfig()
    optimizer: Annotated[OptimizerConfig, Flat] = OptimizerConfig(
        steps=10_000, learning_rate=3e-4, final_fraction=1.0, warmup_steps=0, weight_decay=0.0,
        betas=(0.9, 0.999), clip=None, ema=None, precision="fp32",
    )  # fmt: skip
    machine: Annotated[MachineConfig, Flat] = MachineConfig(
        threads=1, log_every=100, evaluate_every=1000, tensorboard=False
    )
    discount: float = 0.99
    """Of rewards, per timestep."""
    return_timesteps: int = 10
    """Rewards are summed over up to this many timesteps before the critic is asked."""
    name: str = "baseline"
    """The run's folder below `output`."""
    output: str = "outputs/train"
    resume: bool = False
    """Continue the run of this name from its last checkpoint, with the same options, or begin."""

    def __post_init__(self) -> None:
        check(self, "> 0", "return_timesteps")
        if not 0 < self.discount < 1:
            raise ValueError(f"discount: expected within 0..1, got {self.discount}")
        of_gato = {"prompt_fraction": self.data.prompt_fraction, "auxiliary": self.data.auxiliary}
        of_gato |= {"target_smoothing": self.optimizer.target_smoothing}
        for name, value in of_gato.items():
            if value:
                raise ValueError(f"{name}: expected 0, for a baseline has none, got {value}")

    @property
    def folder(self) -> Path:
        return Path(self.output) / self.name


@dataclass(frozen=True)
class Transitions:
    """What happened from some timesteps on.

    action: the labels (B, A), scaled to [-1, 1]; executed: what was done, likewise.
    discount (B,): of the value at `later`, 0 where the task had ended.
    """

    now: Inputs
    action: Tensor
    executed: Tensor
    returns: Tensor  # (B,)
    later: Inputs
    discount: Tensor
    noise_seed: int = 0
    source: str = ""

    @property
    def num_timesteps(self) -> int:
        return len(self.action)

    @property
    def num_tokens(self) -> int:
        return 0


class Critic(nn.Module):
    """The value (B,) of an action in a state."""

    def __init__(self, spec: Spec, config: BaselineConfig) -> None:
        super().__init__()
        self.encoder = Encoder(spec, config, num_extra=len(spec.action.names))
        self.head = nn.Linear(config.width, 1)

    def forward(self, inputs: Inputs, action: Tensor) -> Tensor:
        return self.head(self.encoder(*inputs, action))[:, 0]


class Learner(nn.Module):
    """The actor; for crr also a critic, and targets that follow both."""

    def __init__(self, spec: Spec, config: BaselineTrainConfig) -> None:
        super().__init__()
        self.method, self.num_sources = config.method, 1
        self.actor = Actor(spec, config.network)
        if config.method == "crr":
            self.critic = Critic(spec, config.network)
            self.targets = nn.ModuleList(map(copy.deepcopy, (self.actor, self.critic)))
            self.targets.requires_grad_(False)

    @property
    def policy(self) -> Actor:
        """What acts."""
        return self.actor

    def forward(self, batch: Transitions) -> tuple[Tensor, dict[str, Tensor]]:
        """What to minimise, and the figures to tell."""
        log_p = self.actor(*batch.now).log_prob(batch.action)
        if self.method == "bc":
            return -log_p.mean(), {"loss": -log_p.mean()}
        with torch.no_grad():
            actor, critic = self.targets
            next_action = actor(*batch.later).sample().clamp(-1.0, 1.0)
            goal = batch.returns + batch.discount * critic(batch.later, next_action)
            own = self.actor(*batch.now)
            samples = [own.sample().clamp(-1.0, 1.0) for _ in range(NUM_SAMPLES)]
            average = torch.stack([self.critic(batch.now, a) for a in samples]).mean(0)
            weight = (self.critic(batch.now, batch.action) - average).exp().clamp(max=WEIGHT_LIMIT)
        value = self.critic(batch.now, batch.executed)
        losses = {"loss": -(weight * log_p).mean(), "critic": (value - goal).square().mean()}
        return sum(losses.values()), losses

    @torch.no_grad()
    def follow(self) -> None:
        """Moves the targets a little."""
        if self.method == "crr":
            for target, source in zip(self.targets, (self.actor, self.critic)):
                for mean, value in zip(target.parameters(), source.parameters()):
                    mean.lerp_(value, TARGET_RATE)

    @torch.no_grad()
    def measure(self, batches: Iterable[Transitions]) -> dict[str, float]:
        """Mean error of each action dimension as a share of its range, as `gato train`'s."""
        seen, actor = list(batches), self.actor.eval()
        error = torch.cat([(actor.best(*b.now).clamp(-1, 1) - b.action).abs() / 2 for b in seen])
        nll = torch.cat([-actor(*batch.now).log_prob(batch.action) for batch in seen])
        errors = zip(actor.spec.action.names, error.mean(0).tolist())
        return {"loss": nll.mean().item()} | {f"error/{name}": value for name, value in errors}

    def write(
        self,
        path: Path,
        weights: Mapping[str, Tensor],
        provenance: Mapping,
        beside: Callable[[Path], None],
    ) -> None:
        """A checkpoint of the actor, which has these weights."""
        baseline.save(path, self.method, self.actor, provenance, beside)


@dataclass(frozen=True)
class TransitionSource:
    """Batches of transitions: one timestep of each window, and the returns up to its end."""

    sequences: Sequences
    discount: float

    def batch(self, number: int) -> Transitions:
        """Batch `number`, a function of it and the seed."""
        source, rows = self.sequences, []
        seed = source.sampling.seed
        rng = np.random.default_rng((seed, number, 3))
        for (piece,), episode in zip(source.draw(number), source.episodes(number)):
            at_end = piece.stop == source.datasets[piece.dataset].lengths[piece.episode]
            ended = bool(at_end and episode.terminated)
            last = len(episode) - (0 if ended else 1)  # rewards from `last` on are not known
            first = int(rng.integers(max(last, 1)))
            powers = self.discount ** np.arange(last - first)
            returns = float(powers @ episode.reward[first:last])
            rows.append((episode, first, returns, 0.0 if ended else self.discount ** len(powers)))
        episodes, firsts, returns, discounts = zip(*rows)
        lasts = [len(episode) - 1 for episode in episodes]
        spec = source.tokenizer.spec
        done = [e.action if e.executed is None else e.executed for e in episodes]
        action, executed = (
            torch.from_numpy(scaled(spec.action, np.stack([a[t] for a, t in zip(each, firsts)])))
            for each in ([e.action for e in episodes], done)
        )
        return Transitions(
            _seen(spec, episodes, firsts), action, executed, torch.tensor(returns),
            _seen(spec, episodes, lasts), torch.tensor(discounts), noise_seed(seed, number),
        )  # fmt: skip


def _seen(spec: Spec, episodes: Iterable[Episode], places: Iterable[int]) -> Inputs:
    """Observations at one timestep of each episode."""
    pairs = list(zip(episodes, places))
    observation = {k: np.stack([e.observation[k][t] for e, t in pairs]) for k in spec.observation}
    return to_inputs(spec, observation)


def train(config: BaselineTrainConfig) -> dict:
    """Trains to the end or to a signal; returns a summary. Raises ValueError for unsound data."""
    processes = Processes()
    check_run(config, processes)
    last, opened = last_of(config), open_folders(config.data, config.machine.memory_gb)
    if len(opened.robots) != 1 or opened.documents:
        raise ValueError(f"data: expected one robot's for a baseline, got {list(opened.weights)}")
    provenance = describe(config, opened, processes, torch.device("cpu"), last)
    training, held_out = sources(config, opened.datasets)
    torch.manual_seed(config.optimizer.seed)
    learner = Learner(opened.datasets[0].spec, config)
    if last is not None:
        learner.actor = baseline.load(last)[0]
    run = start(config, learner, processes)
    if last is not None:
        continue_from(run, last)
    said = f"{config.folder}: {config.method}, from step {run.step}"
    measured = {} if held_out is None else {"": held_out}
    return go(run, training, measured, provenance, said)


def sources(
    config: BaselineTrainConfig, datasets: list[Dataset]
) -> tuple[TransitionSource, TransitionSource | None]:
    """Windows over which returns are summed, to train on and, of other episodes, to measure on."""
    data = replace(config.data, successes_only=config.data.successes_only and config.method == "bc")
    body = Embodiment("robot", datasets[0].spec)
    tokenizer = Tokenizer(body, Vocabulary(num_text=0))
    seed, length = config.optimizer.seed, config.return_timesteps + 1
    training, held_out = episodes(data, seed, datasets, tokenizer, length)
    measured = None if held_out is None else TransitionSource(held_out, config.discount)
    return TransitionSource(training, config.discount), measured


def main(arguments: list[str] | None = None) -> int:
    """Returns 0; 1 with a message for bad data, bad flags or a full disk. The last line is JSON."""
    try:
        tell(train(tyro.cli(BaselineTrainConfig, args=arguments, prog="gato baseline")))
    except (ValueError, OSError) as error:
        print(f"gato baseline: {error}", file=sys.stderr)
        return 1
    return 0
