"""TrainConfig: every choice of a training run, and the named presets."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from gato_core.data.storage import read_json, write_json
from gato_training.data.augment import Augmentation, named
from gato_training.data.side_task import SideTask


@dataclass(frozen=True)
class TrainConfig:
    """Trains a policy on demonstrations, or fine-tunes one with --init-from.

    --preset control (if none is named), finetune, finetune-control or debug sets every option.

    example: gato train --preset control --data datasets/train --name first --hours 1.5

    example: gato train --preset finetune-control --init-from checkpoints/control --data my_demos

    example: torchrun --nproc-per-node 2 -m gato_core.cli train --accumulate 2 --data datasets/train
    """

    data: tuple[str, ...] = ()
    """Dataset folders, all with one Spec."""
    weights: tuple[float, ...] = ()
    """How often to draw from each folder; as many timesteps as it has, if not given."""
    successes_only: bool = True
    """Train on episodes that ended in success only (the paper's filter for robot data)."""
    held_out: float = 0.03
    """Share of episodes kept for measuring, never trained on."""
    few_shot: int | None = None
    """Train on this many episodes only, drawn from what is not held out. Appendix E."""
    few_shot_series: int = 0
    """Which draw. Within one, few episodes are among the many: the subsets are nested."""
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
    """Batches to an update; the processes of torchrun share them out evenly."""
    sharding: Literal["ddp", "fsdp"] = "ddp"
    """Under torchrun: every process keeps all weights, or its part of them (FSDP2)."""
    checkpoint_activations: bool = False
    """Compute each block a second time in the backward pass rather than keep what it computed."""
    compile: bool = False
    """Compile the blocks with torch.compile, which takes a minute or two before it gains."""
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
    auxiliary_trigger: str = ""
    """An action dimension, such as gripper: the side task also asks for the origin's pose when its
    sign next changes, which is where the expert is heading."""

    augment: str | None = None
    """A named augmentation (gato_training.data.augment.AUGMENTATIONS) in place of the next four."""
    shift: int = 0
    """Augmentation: images move by up to this many pixels, each camera on its own."""
    crop: float = 0.0
    """Augmentation: up to this share of an image's sides is cut off, the rest scaled up to size."""
    color: float = 0.0
    """Augmentation: brightness, contrast and colour balance vary by up to this share."""
    blur: float = 0.0
    """Augmentation: Gaussian blur of up to this standard deviation, pixels."""

    mirror: float = 0.0
    """Share of sequences shown with left and right exchanged (gato_training.data.mirror): a second
    set of scenes, for robots with cameras on both sides. Not in the paper."""

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
        named(self.augment)
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

    @property
    def side_task(self) -> SideTask:
        return SideTask(self.auxiliary_keys, self.auxiliary_origin, self.auxiliary_trigger)

    @property
    def augmentation(self) -> Augmentation:
        own = Augmentation(self.shift, self.crop, self.color, self.blur)
        return named(self.augment) or own


def _check_ranges(config: TrainConfig) -> None:
    positive = ("batch_size", "accumulate", "steps", "learning_rate", "log_every", "evaluate_every")
    positive += ("save_every", "keep", "num_evaluation_batches", "prefetch", "prompt_timesteps")
    for name in positive:
        if not getattr(config, name) > 0:
            raise ValueError(f"{name}: expected > 0, got {getattr(config, name)}")
    for name in ("hours", "clip", "context_timesteps", "threads", "few_shot"):
        if getattr(config, name) is not None and not getattr(config, name) > 0:
            raise ValueError(f"{name}: expected > 0 or none, got {getattr(config, name)}")
    not_negative = ("warmup_steps", "weight_decay", "target_smoothing", "auxiliary", "shift")
    for name in (*not_negative, "blur", "few_shot_series"):
        if getattr(config, name) < 0:
            raise ValueError(f"{name}: expected >= 0, got {getattr(config, name)}")
    for name in ("held_out", "prompt_fraction", "final_fraction", "color", "crop", "mirror"):
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
    # appendix E to the letter: Adam, constant learning rate, batches of 64, 10,000 steps, dropout
    "finetune": TrainConfig(
        batch_size=64,
        steps=10_000,
        learning_rate=1e-5,
        final_fraction=1.0,
        warmup_steps=0,
        weight_decay=0.0,
        dropout=0.1,
        clip=None,
        ema=None,
    ),
    # ten times its learning rate, and what the control presets were trained with
    "finetune-control": replace(
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
