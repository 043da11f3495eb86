"""Trains the baselines on the same datasets: `gato baseline`.

bc: behaviour cloning, the likelihood of the demonstrated actions (the paper's BC baselines).
crr: critic-regularised regression (Wang et al., arXiv 2006.15134): the same, each action weighted
by how much better a learned critic thinks it is than the policy's own. It learns from failures too.
"""

from __future__ import annotations

import contextlib
import copy
import json
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
import tyro
from torch import Tensor, nn

from gato_core import baseline
from gato_core.baseline import Actor, BaselineConfig, Encoder, scaled, to_inputs
from gato_core.data.storage import write_json
from gato_core.dataset import Dataset
from gato_core.spec import Spec
from gato_core.tokenizer import Tokenizer
from gato_core.vocab import Vocabulary
from gato_training import state
from gato_training.data.augment import Augmentation, named
from gato_training.run_log import origin
from gato_training.run_log.processes import Processes
from gato_training.sequences import Sampling, Sequences, ahead, few, noise_seed, split
from gato_training.train import stopping

WEIGHT_LIMIT = 20.0  # of exp(advantage), as in the CRR paper
NUM_SAMPLES = 4  # actions of the policy's own that an advantage is measured against
TARGET_RATE = 0.005  # share by which the target networks follow


@dataclass(frozen=True)
class BaselineTrainConfig:
    """Trains a baseline on demonstrations; `gato evaluate --checkpoint` opens it like a Gato.

    example: gato baseline --method bc --data datasets/train --name bc
    """

    data: tuple[str, ...]
    """Dataset folders, all with one Spec."""
    method: Literal["bc", "crr"] = "bc"
    network: BaselineConfig = BaselineConfig()
    successes_only: bool | None = None
    """Learn from successful episodes only; bc does by default, crr does not."""
    held_out: float = 0.03
    """Share of episodes kept for measuring, the same ones as `gato train` keeps."""
    few_shot: int | None = None
    """Train on this many episodes only, the same ones as `gato train --few-shot`."""
    few_shot_series: int = 0
    name: str = "baseline"
    """The run's folder below `output`."""
    output: str = "outputs/train"
    resume: bool = False
    """Continue the run of this name from its last checkpoint, or begin."""
    batch_size: int = 128
    steps: int = 10_000
    learning_rate: float = 3e-4
    augment: str | None = "robot"
    """A named augmentation (gato_training.data.augment.AUGMENTATIONS), or none."""
    discount: float = 0.99
    """Of rewards, per timestep."""
    return_timesteps: int = 10
    """Rewards are summed over up to this many timesteps before the critic is asked."""
    seed: int = 0
    threads: int = 1
    memory_gb: float = 8.0
    log_every: int = 100
    save_every: int = 1000

    def __post_init__(self) -> None:
        for name in ("batch_size", "steps", "learning_rate", "return_timesteps", "log_every"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: expected > 0, got {getattr(self, name)}")
        if not 0 < self.discount < 1:
            raise ValueError(f"discount: expected within 0..1, got {self.discount}")
        named(self.augment)

    @property
    def folder(self) -> Path:
        return Path(self.output) / self.name


class Transitions(NamedTuple):
    """What happened from some timesteps on.

    discount (B,): of the value at `later`, 0 where the episode had ended.
    """

    now: tuple[list[Tensor], Tensor]
    action: Tensor  # (B, A), scaled to [-1, 1]
    returns: Tensor  # (B,)
    later: tuple[list[Tensor], Tensor]
    discount: Tensor


class Critic(nn.Module):
    """The value (B,) of an action in a state."""

    def __init__(self, spec: Spec, config: BaselineConfig) -> None:
        super().__init__()
        self.encoder = Encoder(spec, config, num_extra=len(spec.action.names))
        self.head = nn.Linear(config.width, 1)

    def forward(self, inputs: tuple[list[Tensor], Tensor], action: Tensor) -> Tensor:
        return self.head(self.encoder(*inputs, action))[:, 0]


class Learner(nn.Module):
    """The actor; for crr also a critic, and targets that follow both."""

    def __init__(self, spec: Spec, config: BaselineTrainConfig) -> None:
        super().__init__()
        self.actor = Actor(spec, config.network)
        if config.method == "crr":
            self.critic = Critic(spec, config.network)
            self.targets = nn.ModuleList(map(copy.deepcopy, (self.actor, self.critic)))
            self.targets.requires_grad_(False)

    def losses(self, batch: Transitions, method: str) -> dict[str, Tensor]:
        """What to minimise, by name."""
        log_p = self.actor(*batch.now).log_prob(batch.action)
        if method == "bc":
            return {"actor": -log_p.mean()}
        value = self.critic(batch.now, batch.action)
        with torch.no_grad():
            actor, critic = self.targets
            next_action = actor(*batch.later).sample().clamp(-1.0, 1.0)
            goal = batch.returns + batch.discount * critic(batch.later, next_action)
            own = self.actor(*batch.now)
            samples = [own.sample().clamp(-1.0, 1.0) for _ in range(NUM_SAMPLES)]
            average = torch.stack([self.critic(batch.now, a) for a in samples]).mean(0)
            weight = (value - average).exp().clamp(max=WEIGHT_LIMIT)
        return {"actor": -(weight * log_p).mean(), "critic": (value - goal).square().mean()}

    @torch.no_grad()
    def follow(self) -> None:
        """Moves the targets a little."""
        if hasattr(self, "targets"):
            for target, source in zip(self.targets, (self.actor, self.critic)):
                for mean, value in zip(target.parameters(), source.parameters()):
                    mean.lerp_(value, TARGET_RATE)


def train(config: BaselineTrainConfig) -> dict:
    """Trains to the end or to a signal; returns a summary. Raises ValueError for unsound data."""
    last = config.folder / "checkpoints/last"
    if config.folder.exists() and not config.resume:
        raise ValueError(f"{config.folder}: expected a new run's name or --resume, got an old run")
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    datasets = [Dataset(d, memory_gb=config.memory_gb / len(config.data)) for d in config.data]
    training, held_out = sequences(config, datasets)
    learner = Learner(datasets[0].spec, config)
    trained = [p for p in learner.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=config.learning_rate)
    done = {"step": 0, "seconds": 0.0}
    earlier = last if config.resume and last.exists() else None
    if earlier:
        done = state.load(earlier, learner, learner, optimizer)
    write_json(config.folder / "config.json", asdict(config))
    made = origin.making(torch.device("cpu")) | {"train": asdict(config)}
    made["data"] = origin.data(config.data, datasets, earlier)
    with stopping(Processes()) as stop:
        measured = _loop(config, learner, optimizer, training, held_out, made, done, stop)
    finished = done["step"] >= config.steps
    return {"checkpoint": str(last), "finished": finished, **done, **measured}


def sequences(
    config: BaselineTrainConfig, datasets: list[Dataset]
) -> tuple[Sequences, Sequences | None]:
    """Windows over which returns are summed, to train on and, of other episodes, to measure on."""
    successes_only = config.successes_only
    if successes_only is None:
        successes_only = config.method == "bc"
    chosen, held = split(datasets, config.held_out, successes_only)
    if config.few_shot is not None:
        chosen = few(chosen, config.few_shot, config.few_shot_series)
    augmentation = named(config.augment) or Augmentation()
    sampling = Sampling(
        config.return_timesteps + 1, config.batch_size, config.seed, augmentation=augmentation
    )
    tokenizer = Tokenizer(datasets[0].spec, Vocabulary(num_text=0))
    training = Sequences(datasets, chosen, tokenizer, sampling)
    if not any(held):
        return training, None
    plain = replace(sampling, augmentation=Augmentation(), seed=config.seed + 1)
    return training, Sequences(datasets, held, tokenizer, plain)


def transitions(source: Sequences, number: int, discount: float) -> Transitions:
    """Batch `number`: one timestep of each window, and the returns up to the window's end."""
    rng = np.random.default_rng((source.sampling.seed, number, 3))
    spec, rows = source.tokenizer.spec, []
    for (piece,), episode in zip(source.draw(number), source.episodes(number)):
        ended = piece.stop == source.datasets[piece.dataset].lengths[piece.episode]
        last = len(episode) - (0 if ended else 1)  # rewards from `last` on are not known
        start = int(rng.integers(max(last, 1)))
        powers = discount ** np.arange(last - start)
        returns = float(powers @ episode.reward[start:last])
        rows.append((episode, start, returns, 0.0 if ended else discount ** (last - start)))

    def at(places: list[int]) -> tuple[list[Tensor], Tensor]:
        keys = spec.observation
        picked = {
            k: np.stack([row[0].observation[k][t] for row, t in zip(rows, places)]) for k in keys
        }
        return to_inputs(spec, picked)

    action = np.stack([episode.action[start] for episode, start, *_ in rows])
    returns, discounts = (torch.tensor([row[i] for row in rows]) for i in (2, 3))
    return Transitions(
        at([row[1] for row in rows]),
        torch.from_numpy(scaled(spec.action, action)),
        returns,
        at([len(row[0]) - 1 for row in rows]),
        discounts,
    )


def _loop(config, learner, optimizer, training, held_out, made, done, stop) -> dict[str, float]:
    """Updates until the run is over; saves; returns what the held-out episodes show."""
    begun = time.monotonic() - done["seconds"]
    numbers = range(done["step"], config.steps)
    batches = ahead(lambda k: transitions(training, k, config.discount), numbers, 2)
    measured: dict[str, float] = {}
    with contextlib.closing(batches), open(config.folder / "log.jsonl", "a") as log:
        for number, batch in zip(numbers, batches):
            torch.manual_seed(noise_seed(config.seed, number))
            losses = learner.train().losses(batch, config.method)
            optimizer.zero_grad(set_to_none=True)
            sum(losses.values()).backward()
            optimizer.step()
            learner.follow()
            done |= {"step": number + 1, "seconds": time.monotonic() - begun}
            if done["step"] % config.log_every == 0:
                values = done | {name: value.item() for name, value in losses.items()}
                log.write(json.dumps(values) + "\n")
                log.flush()
                shown = "  ".join(f"{name} {value:.3f}" for name, value in values.items())
                print(shown, flush=True)
            last = stop.asked or done["step"] == config.steps
            if last or done["step"] % config.save_every == 0:
                measured = evaluate(learner.actor, held_out, config) if held_out else {}
                _save(config, learner, optimizer, made | done, measured)
            if stop.asked:
                break
    return measured


@torch.no_grad()
def evaluate(actor: Actor, held_out: Sequences, config: BaselineTrainConfig) -> dict[str, float]:
    """Mean absolute error of each action dimension as a share of its range, as `gato train`'s."""
    batches = [transitions(held_out, number, config.discount) for number in range(4)]
    actor.eval()
    error = torch.cat([(actor.best(*b.now).clamp(-1, 1) - b.action).abs() / 2 for b in batches])
    nll = torch.cat([-actor(*batch.now).log_prob(batch.action) for batch in batches])
    named_errors = zip(actor.spec.action.names, error.mean(0).tolist())
    return {"held_out/loss": nll.mean().item()} | {
        f"held_out/error/{k}": v for k, v in named_errors
    }


def _save(config, learner, optimizer, provenance, measured) -> None:
    """A checkpoint, which then becomes `last`."""
    done = {name: provenance[name] for name in ("step", "seconds")}
    folder = config.folder / "checkpoints"
    path = folder / str(done["step"])
    tensors = state.tensors(learner, learner, optimizer)
    baseline.save(
        path, config.method, learner.actor, provenance | {"measured": measured},
        beside=lambda written: state.save(written, tensors, done),
    )  # fmt: skip
    state.point_last(folder, path)
    state.remove_old(folder, keep=2)


def main(arguments: list[str] | None = None) -> int:
    """Returns 0; 1 with a message for bad data, bad flags or a full disk. The last line is JSON."""
    try:
        summary = train(tyro.cli(BaselineTrainConfig, args=arguments, prog="gato baseline"))
    except (ValueError, OSError) as error:
        print(f"gato baseline: {error}", file=sys.stderr)
        return 1
    if not summary["finished"]:
        print("to go on: the same command with --resume")
    print(f"to measure it: gato evaluate --checkpoint {summary['checkpoint']}")
    print(json.dumps(summary))
    return 0
