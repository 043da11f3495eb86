"""TrainConfig: every choice of a training run, and the named presets."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from gato_core.storage import read_json, write_json


@dataclass(frozen=True)
class TrainConfig:
    """Trains a policy on demonstrations, or fine-tunes one with --init-from.

    example: gato train --preset control --data datasets/train --name first --hours 1.5
    example: gato train --preset finetune --init-from checkpoints/control --data my_demos
    """

    data: tuple[str, ...] = ()
    """Dataset folders, all with one Spec."""
    weights: tuple[float, ...] = ()
    """How often to draw from each folder; as many timesteps as it has, if not given."""
    successes_only: bool = True
    """Train on episodes that ended in success only (the paper's filter for robot data)."""
    held_out: float = 0.03
    """Share of episodes kept for measuring, never trained on."""
    prompt_fraction: float = 0.0
    """Share of sequences that begin with a prompt from another episode of the same task and source,
    half of the prompts from its end (goal), half from anywhere. The paper: 0.25."""
    prompt_timesteps: int = 1
    """Length of a prompt, out of the sequence's context_timesteps."""

    name: str = "run"
    """The run's folder below `output`."""
    output: str = "outputs/train"
    """Where runs are kept."""
    resume: bool = False
    """Continue the run of this name from its last checkpoint."""
    init_from: str | None = None
    """Checkpoint to fine-tune: its weights, sizes and Spec are taken."""

    model: str | None = None
    """Preset of the network's sizes (gato_core.model.PRESETS); none with init_from."""
    context_timesteps: int | None = None
    """Timesteps a sequence holds and the policy remembers; the model preset's if not given."""
    action_mode: Literal["autoregressive", "parallel"] | None = None
    """Whether action tokens see the ones before them; the model preset's if not given."""
    stochastic_depth: float | None = None
    """Probability to skip a sub-layer; the model preset's if not given."""
    dropout: float | None = None
    """The paper: 0.1 in fine-tuning, none before."""

    batch_size: int = 48
    """Sequences in a batch."""
    accumulate: int = 1
    """Batches to an update."""
    steps: int = 100_000
    """Updates, unless `hours` are over before."""
    hours: float | None = None
    """Wall-clock limit of the run, resumed parts together; the learning rate ends with it."""
    learning_rate: float = 5e-4
    final_fraction: float = 0.1
    """The cosine ends at this share of the learning rate; 1 keeps it constant."""
    warmup_steps: int = 200
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.95)
    clip: float | None = 1.0
    """Largest norm of the gradient. The paper mentions no clipping."""
    ema: float | None = 0.999
    """Decay per update of averaged weights, which become the policy's. Not in the paper."""
    target_smoothing: float = 0.0
    """Standard deviation, in bins, of a Gaussian around each continuous target: neighbouring bins
    are nearly right, which a hard target among 1024 takes long to find. Not in the paper."""
    auxiliary: float = 0.0
    """Weight of a side task: a linear head, thrown away afterwards, tells from the separator's
    features where objects are (simulator truth the policy never sees). Not in the paper."""
    auxiliary_keys: tuple[str, ...] = ("red", "blue")
    """Privileged poses whose positions the side task asks for."""
    auxiliary_origin: str = "pinch"
    """Privileged pose they are relative to."""

    shift: int = 0
    """Augmentation: images move by up to this many pixels, each camera on its own."""
    color: float = 0.0
    """Augmentation: brightness, contrast and colour balance vary by up to this share."""

    seed: int = 0
    device: str = "auto"
    """A torch device; auto takes a GPU if there is one."""
    precision: Literal["bf16", "fp32"] = "bf16"
    threads: int | None = None
    """Torch threads; all cores if not given."""
    prefetch: int = 4
    """Batches prepared ahead."""
    memory_gb: float = 8.0
    """Memory for decoded images, all datasets together."""
    log_every: int = 50
    """Updates between log lines."""
    evaluate_every: int = 500
    """Updates between measurements on held-out episodes."""
    num_evaluation_batches: int = 8
    save_every: int = 1000
    """Updates between checkpoints."""
    keep: int = 2
    """Checkpoints kept, newest first."""
    tensorboard: bool = True

    def __post_init__(self) -> None:
        _check_ranges(self)
        if self.weights and len(self.weights) != len(self.data):
            raise ValueError(
                f"weights: expected one for each of {len(self.data)} datasets, got {self.weights}"
            )
        if self.init_from and self.model:
            raise ValueError(
                f"model: expected none with init_from, whose sizes are taken, got {self.model!r}"
            )

    @property
    def folder(self) -> Path:
        return Path(self.output) / self.name


def _check_ranges(config: TrainConfig) -> None:
    positive = ("batch_size", "accumulate", "steps", "learning_rate", "log_every", "evaluate_every")
    positive += ("save_every", "keep", "num_evaluation_batches", "prefetch", "prompt_timesteps")
    for name in positive:
        if not getattr(config, name) > 0:
            raise ValueError(f"{name}: expected > 0, got {getattr(config, name)}")
    for name in ("hours", "clip", "context_timesteps", "threads"):
        if getattr(config, name) is not None and not getattr(config, name) > 0:
            raise ValueError(f"{name}: expected > 0 or none, got {getattr(config, name)}")
    for name in ("warmup_steps", "weight_decay", "target_smoothing", "auxiliary", "shift"):
        if getattr(config, name) < 0:
            raise ValueError(f"{name}: expected >= 0, got {getattr(config, name)}")
    for name in ("held_out", "prompt_fraction", "final_fraction", "color"):
        if not 0 <= getattr(config, name) <= 1:
            raise ValueError(f"{name}: expected 0..1, got {getattr(config, name)}")
    if config.ema is not None and not 0 < config.ema < 1:
        raise ValueError(f"ema: expected within 0..1 or none, got {config.ema}")


# what made a policy move in a few CPU hours; each departure from the paper is named in the fields
_CONTROL = TrainConfig(
    model="control-2m", learning_rate=1e-3, target_smoothing=8.0, shift=2, color=0.2
)
PRESETS = {
    "control": _CONTROL,
    # appendix E: constant learning rate, dropout; 1e-4 is for networks this small, the paper's 1e-5
    "finetune": replace(
        _CONTROL, model=None, learning_rate=1e-4, final_fraction=1.0, steps=10_000, dropout=0.1
    ),
    "debug": TrainConfig(
        model="debug",
        batch_size=4,
        steps=20,
        warmup_steps=2,
        held_out=0.2,
        log_every=5,
        evaluate_every=10,
        save_every=10,
        num_evaluation_batches=2,
        tensorboard=False,
        target_smoothing=4.0,
    ),
}


def save(config: TrainConfig, path: Path) -> None:
    """Writes the resolved configuration as JSON."""
    write_json(path, dataclasses.asdict(config))


def load(path: Path) -> TrainConfig:
    """Inverts `save`. Raises ValueError naming fields that this version does not know."""
    data = read_json(path)
    known = {field.name for field in dataclasses.fields(TrainConfig)}
    if unknown := sorted(data.keys() - known):
        raise ValueError(f"{path}: expected fields of this version, got {unknown}")
    lists = {key: tuple(value) for key, value in data.items() if isinstance(value, list)}
    return TrainConfig(**(data | lists))


def to_text(config: TrainConfig) -> str:
    """One line of JSON."""
    return json.dumps(dataclasses.asdict(config))
