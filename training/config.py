"""TrainConfig: every choice of a training run, and the named presets."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from gato_core.data.storage import read_json, write_json
from gato_training.data.augment import Augmentation, named
from gato_training.data.side_task import SideTask

Flat = tyro.conf.arg(name="")  # flags of a group have no prefix


@dataclass(frozen=True)
class DataConfig:
    """What is learned from, and how it is drawn and shown."""

    folders: Annotated[tuple[str, ...], tyro.conf.arg(name="data")] = ()
    """Folders of datasets, of one robot or of several, and of documents (text, captions)."""
    weights: tuple[float, ...] = ()
    """How often to draw from each folder; as many timesteps as it has, if not given."""
    embodiment: tuple[str, ...] = ()
    """Name of the robot of each dataset, or of all that init_from does not know; the one of
    init_from that fits, or the dataset's own robot_type, if not given."""
    keep: tuple[str, ...] = ()
    """NAME=SHARE: the share of micro-batches of a robot or of documents, among `data`; the others
    divide the rest by their weights."""
    document_tokens: int = 128
    """Longest sequence of a document; of a longer one a stretch is taken."""
    successes_only: bool = True
    """Train on episodes that ended in success only (the paper's filter for robot data)."""
    held_out: float = 0.03
    """Share of episodes kept for measuring, never trained on."""
    few_shot: int | None = None
    """Train on this many episodes only, drawn from what is not held out. Appendix E."""
    few_shot_series: int = 0
    """Which draw. Within one, few episodes are among the many: the subsets are nested."""
    batch_size: int = 48
    """Sequences in a batch."""
    prompt_fraction: float = 0.0
    """Share of sequences that begin with a prompt from another episode of the same task and source,
    half of the prompts from its end (goal), half from anywhere. The paper: 0.25."""
    prompt_timesteps: int = 1
    """Length of a prompt, out of the sequence's context_timesteps."""
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

    def __post_init__(self) -> None:
        check(self, "> 0", "batch_size", "prompt_timesteps", "few_shot", "document_tokens")
        check(self, ">= 0", "auxiliary", "shift", "blur", "few_shot_series")
        check(self, "0..1", "held_out", "prompt_fraction", "color", "crop", "mirror")
        named(self.augment)
        _ = self.shares
        if self.weights and len(self.weights) != len(self.folders):
            raise ValueError(
                f"weights: expected one for each of {len(self.folders)} datasets, "
                f"got {self.weights}"
            )

    @property
    def shares(self) -> dict[str, float]:
        """`keep` by name. Raises ValueError for what is no share."""
        found: dict[str, float] = {}
        for each in self.keep:
            name, _, share = each.rpartition("=")
            try:
                found[name] = float(share)
            except ValueError:
                found[name] = math.nan
            if not name or not 0 < found[name] < 1:
                raise ValueError(f"keep: expected NAME=SHARE, a share within 0..1, got {each!r}")
        if sum(found.values()) >= 1:
            raise ValueError(f"keep: expected shares that leave some for others, got {self.keep}")
        return found

    @property
    def side_task(self) -> SideTask | None:
        if not self.auxiliary:
            return None
        return SideTask(self.auxiliary_keys, self.auxiliary_origin, self.auxiliary_trigger)

    @property
    def augmentation(self) -> Augmentation:
        own = Augmentation(self.shift, self.crop, self.color, self.blur)
        return named(self.augment) or own


@dataclass(frozen=True)
class NetworkConfig:
    """What learns."""

    init_from: str | None = None
    """Checkpoint to fine-tune: its weights, sizes and Spec are taken."""
    model: str | None = None
    """Preset of the network's sizes (gato_core.model.PRESETS); none with init_from."""
    context_timesteps: int | None = None
    """Timesteps a sequence holds and the policy remembers; 6, or init_from's, if not given."""
    context_tokens: int | None = None
    """The same in tokens, of which each robot's whole timesteps count. The paper: 1024."""
    action_mode: Literal["autoregressive", "parallel"] | None = None
    """Whether action tokens see the ones before them; they do, or as init_from's, if not given."""
    sees_past_actions: bool | None = None
    """Whether actions of earlier timesteps are seen: the paper's way, in which a clone copies them.
    They are hidden, or as init_from's, if not given."""
    stochastic_depth: float | None = None
    """Probability to skip a sub-layer; the model preset's if not given."""
    dropout: float | None = None
    """The paper: 0.1 in fine-tuning, none before."""

    def __post_init__(self) -> None:
        check(self, "> 0", "context_timesteps", "context_tokens")
        if self.context_timesteps and self.context_tokens:
            raise ValueError(
                f"context_tokens: expected none beside context_timesteps, got {self.context_tokens}"
            )
        if self.init_from and self.model:
            raise ValueError(
                f"model: expected none with init_from, whose sizes are taken, got {self.model!r}"
            )


@dataclass(frozen=True)
class OptimizerConfig:
    """How it learns."""

    steps: int = 100_000
    """Updates, unless `hours` are over before."""
    hours: float | None = None
    """Wall-clock limit of the run, resumed parts together; the learning rate ends with it."""
    accumulate: int = 1
    """Batches to an update; the processes of torchrun share them out evenly."""
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
    precision: Literal["bf16", "fp32"] = "bf16"
    whole_vocabulary: bool = False
    """Whether targets stand against all ids, as in the paper, or against those that could be meant:
    an embodiment's actions, or text. A policy draws from the latter alone."""
    seed: int = 0

    def __post_init__(self) -> None:
        check(self, "> 0", "steps", "hours", "accumulate", "learning_rate", "clip")
        check(self, ">= 0", "warmup_steps", "weight_decay", "target_smoothing")
        check(self, "0..1", "final_fraction")
        if self.ema is not None and not 0 < self.ema < 1:
            raise ValueError(f"ema: expected within 0..1 or none, got {self.ema}")


@dataclass(frozen=True)
class MachineConfig:
    """Where it runs, what it tells and keeps: nothing that changes what is learned."""

    device: str = "auto"
    """A torch device; auto takes a GPU if there is one."""
    threads: int | None = None
    """Torch threads; all cores if not given."""
    prefetch: int = 4
    """Batches prepared ahead."""
    memory_gb: float = 8.0
    """Memory for decoded images, all datasets together."""
    sharding: Literal["ddp", "fsdp"] = "ddp"
    """Under torchrun: every process keeps all weights, or its part of them (FSDP2)."""
    checkpoint_activations: bool = False
    """Compute each block a second time in the backward pass rather than keep what it computed."""
    compile: bool = False
    """Compile the blocks with torch.compile, which takes a minute or two before it gains."""
    log_every: int = 50
    """Updates between log lines."""
    evaluate_every: int = 500
    """Updates between measurements on held-out episodes."""
    num_evaluation_batches: int = 8
    save_every: int = 1000
    """Updates between checkpoints."""
    num_checkpoints: int = 2
    """Checkpoints kept, newest first."""
    tensorboard: bool = True

    def __post_init__(self) -> None:
        check(self, "> 0", "threads", "prefetch", "log_every", "evaluate_every")
        check(self, "> 0", "num_evaluation_batches", "save_every", "num_checkpoints")
        check(self, ">= 0", "memory_gb")


@dataclass(frozen=True)
class TrainConfig:
    """Trains a policy on demonstrations, or fine-tunes one with --init-from.

    --preset control (if none is named), finetune, finetune-control or debug sets every option.

    example: gato train --preset control --data datasets/train --name first --hours 1.5

    example: gato train --preset finetune-control --init-from checkpoints/control --data my_demos

    example: torchrun --nproc-per-node 2 -m gato_core.cli train --accumulate 2 --data datasets/train
    """

    data: Annotated[DataConfig, Flat] = field(default_factory=DataConfig)
    network: Annotated[NetworkConfig, Flat] = field(default_factory=NetworkConfig)
    optimizer: Annotated[OptimizerConfig, Flat] = field(default_factory=OptimizerConfig)
    machine: Annotated[MachineConfig, Flat] = field(default_factory=MachineConfig)
    name: str = "run"
    """The run's folder below `output`."""
    output: str = "outputs/train"
    """Where runs are kept."""
    resume: bool = False
    """Continue the run of this name from its last checkpoint, with the same options."""

    @property
    def folder(self) -> Path:
        return Path(self.output) / self.name


# what makes no difference to what is learned, and what a run may go on with otherwise
LOCAL = {"name", "output", "resume", *(field.name for field in fields(MachineConfig))}
FREE = {*LOCAL, "steps", "hours"}


def check(config: object, expected: Literal["> 0", ">= 0", "0..1"], *names: str) -> None:
    """Raises ValueError for a number out of its range; None is in every range."""
    for name in names:
        value = getattr(config, name)
        if value is None:
            continue
        sound = {"> 0": value > 0, ">= 0": value >= 0, "0..1": 0 <= value <= 1}[expected]
        if not sound:
            raise ValueError(f"{name}: expected {expected}, got {value}")


def changed(config: Any, **values: object) -> Any:
    """A configuration with other values, each in the group that has it; `data` are the folders.

    Raises TypeError for a name that no group has.
    """
    if "data" in values and not dataclasses.is_dataclass(values["data"]):
        values["folders"] = values.pop("data")
    own = {f.name for f in fields(config)}
    groups = {
        f.name: getattr(config, f.name)
        for f in fields(config)
        if dataclasses.is_dataclass(getattr(config, f.name))
    }
    direct = {name: value for name, value in values.items() if name in own}
    for group, content in groups.items():
        inside = {f.name for f in fields(content)} & values.keys() - own
        if inside:
            direct[group] = dataclasses.replace(content, **{n: values[n] for n in inside})
            values = {n: v for n, v in values.items() if n not in inside}
    if unknown := sorted(values.keys() - own):
        raise TypeError(f"{type(config).__name__}: expected its options, got {unknown}")
    return dataclasses.replace(config, **direct)


def flat(config: object) -> dict:
    """All options by name, JSON-ready and without their groups; `data` are the folders."""
    result: dict[str, object] = {}
    for name, value in json.loads(json.dumps(dataclasses.asdict(config))).items():
        result |= value if isinstance(value, dict) else {name: value}
    if "folders" in result:
        result["data"] = result.pop("folders")
    return result


def differences(stored: Mapping, options: Mapping, free: set[str] = frozenset()) -> list[str]:
    """Every option that is not as stored, a line each, but for those that are free to change."""
    return [
        f"{name}: expected {stored[name]!r} as before, got {options.get(name)!r}"
        for name in sorted(stored.keys() - free)
        if name in options and stored[name] != options[name]
    ]


_CONTROL = changed(
    TrainConfig(),
    model="control-2m", learning_rate=1e-3, target_smoothing=8.0, shift=2, color=0.2,
)  # fmt: skip
# what made a policy move in a few CPU hours; each departure from the paper is named in the fields
PRESETS = {
    "control": _CONTROL,
    # appendix E to the letter: Adam, constant learning rate, batches of 64, 10,000 steps, dropout
    "finetune": changed(
        TrainConfig(),
        batch_size=64, steps=10_000, learning_rate=1e-5, final_fraction=1.0, warmup_steps=0,
        weight_decay=0.0, dropout=0.1, clip=None, ema=None,
    ),
    # ten times its learning rate, and what the control presets were trained with
    "finetune-control": changed(
        _CONTROL, model=None, learning_rate=1e-4, final_fraction=1.0, steps=10_000, dropout=0.1
    ),
    "debug": changed(
        TrainConfig(),
        model="debug", batch_size=4, steps=20, warmup_steps=2, held_out=0.2, log_every=5,
        evaluate_every=10, save_every=10, num_evaluation_batches=2, tensorboard=False,
        target_smoothing=4.0,
    ),
}  # fmt: skip


def take_preset(arguments: list[str], default: str) -> tuple[TrainConfig, list[str]]:
    """The preset named by --preset, and the other flags. Raises ValueError for an unknown one."""
    name = default
    if "--preset" in arguments:
        place = arguments.index("--preset")
        name = arguments[place + 1] if place + 1 < len(arguments) else ""
        arguments = arguments[:place] + arguments[place + 2 :]
    if name not in PRESETS:
        raise ValueError(f"--preset: expected one of {sorted(PRESETS)}, got {name!r}")
    return PRESETS[name], arguments


def save(config: object, path: Path) -> None:
    """Writes the resolved configuration as JSON."""
    write_json(path, flat(config))


def load(path: Path) -> TrainConfig:
    """Inverts `save`. Raises ValueError naming fields that this version does not know."""
    lists = {k: tuple(v) if isinstance(v, list) else v for k, v in read_json(path).items()}
    try:
        return changed(TrainConfig(), **lists)
    except TypeError as error:
        raise ValueError(f"{path}: expected fields of this version: {error}") from error
