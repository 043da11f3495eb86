"""What a run learns from, out of its options: a source for each robot, and for each documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gato_core.dataset import Dataset
from gato_core.embodiment import Embodiment, fitting
from gato_core.spec import Spec
from gato_core.text.sources import Documents, are_documents
from gato_core.tokenizer import Tokenizer
from gato_core.vocab import Vocabulary
from gato_training.config import DataConfig
from gato_training.data import documents
from gato_training.data.augment import Augmentation
from gato_training.data.documents import DocumentBatches
from gato_training.data.mirror import mirror
from gato_training.mixture import Mixture, Source
from gato_training.sequences import Sampling, Sequences, few, split


@dataclass(frozen=True)
class Opened:
    """Folders, opened: datasets by the name of their robot, documents by that of their folder.

    weights: of each name's folders, in the order of the names; zeros where none are given.
    """

    robots: Mapping[str, Sequence[Dataset]]
    documents: Mapping[str, Documents]
    weights: Mapping[str, tuple[float, ...]]

    @property
    def datasets(self) -> list[Dataset]:
        return [dataset for datasets in self.robots.values() for dataset in datasets]

    def spec(self, name: str) -> Spec:
        return self.robots[name][0].spec


def open_folders(
    data: DataConfig, memory_gb: float, known: Mapping[str, Embodiment] | None = None
) -> Opened:
    """Datasets of one robot's name are one source, and so is each folder of documents.

    known: embodiments of the checkpoint to go on from. A dataset without a name is of the one that
    it fits. Raises ValueError if none does, for folders of one name whose Specs differ, naming
    every difference, for names that do not fit the folders, and for documents without weights.
    """
    if not data.folders:
        raise ValueError("data: expected at least one dataset folder, got none")
    is_text = [are_documents(folder) for folder in data.folders]
    num_robots = is_text.count(False)
    if any(is_text) and not data.weights and len(is_text) > 1:
        raise ValueError(
            "weights: expected one for each folder, for documents have no timesteps to count; "
            "got none"
        )
    if len(data.embodiment) not in (0, 1, num_robots):
        raise ValueError(
            f"embodiment: expected one name, or one for each of {num_robots} datasets, "
            f"got {list(data.embodiment)}"
        )
    is_one_each = len(data.embodiment) == num_robots
    names = iter(data.embodiment if is_one_each else data.embodiment * num_robots)
    robots: dict[str, list[Dataset]] = {}
    texts: dict[str, Documents] = {}
    weights: dict[str, tuple[float, ...]] = {}
    given = data.weights or (1.0 if is_text == [True] else 0.0,) * len(is_text)
    for folder, text, weight in zip(data.folders, is_text, given):
        if text:
            name = Path(folder).stem
            if name in texts:
                raise ValueError(
                    f"data: expected documents of different names, got {texts[name].root} and "
                    f"{folder}"
                )
            texts[name] = Documents(folder)
        else:
            dataset = Dataset(folder, memory_gb=memory_gb / num_robots)
            given = next(names, None)
            name = given if is_one_each and given else _name(dataset, known or {}, given)
            robots.setdefault(name, []).append(dataset)
            check_alike(name, robots[name][0].spec, dataset)
        weights[name] = (*weights.get(name, ()), weight)
    if both := sorted(robots.keys() & texts.keys()):
        raise ValueError(f"data: expected documents named unlike a robot, got {both}")
    return Opened(robots, texts, weights)


def _name(dataset: Dataset, known: Mapping[str, Embodiment], given: str | None) -> str:
    """Of the embodiment that a dataset fits, else the given one, or its own if none is known."""
    if not known:
        return given or dataset.info["robot_type"] or dataset.root.name
    try:
        return fitting(known, lambda spec: spec.differences(dataset.spec))
    except ValueError as error:
        if given:
            return given
        raise ValueError(
            f"{dataset.root}: {error}\nto add another beside: --embodiment NAME"
        ) from error


def check_alike(name: str, spec: Spec, dataset: Dataset) -> None:
    """Raises ValueError with every difference of the dataset's Spec."""
    if differences := spec.differences(dataset.spec):
        raise ValueError(
            f"{dataset.root}: the Spec differs from {name}'s; another robot has another name "
            "(--embodiment):\n  " + "\n  ".join(differences)
        )


def mixtures(
    data: DataConfig,
    seed: int,
    opened: Opened,
    bodies: Mapping[str, Embodiment],
    vocabulary: Vocabulary,
) -> tuple[Mixture, dict[str, Source]]:
    """What to train on, and by source what to measure on: other episodes, not augmented.

    bodies: each robot's, which say how long its sequences are. As many sequences of each source
    make a micro-batch as have the tokens of `batch_size` sequences of the first.
    """
    if data.few_shot is not None and len(opened.weights) > 1:
        raise ValueError(f"few_shot: expected one source, got {list(opened.weights)}")
    tokenizers = {name: Tokenizer(body, vocabulary) for name, body in bodies.items()}
    lengths = {n: b.context_timesteps * b.spec.tokens_per_timestep for n, b in bodies.items()}
    lengths |= dict.fromkeys(opened.documents, data.document_tokens)
    budget = data.batch_size * lengths[next(iter(opened.weights))]
    options = _where_they_fit(data, opened)
    training: dict[str, Source] = {}
    held_out: dict[str, Source | None] = {}
    for name, weights in opened.weights.items():
        rows = max(1, budget // lengths[name])
        if name in opened.documents:
            read = opened.documents[name]
            training[name], held_out[name] = texts(data, seed, read, vocabulary, rows)
        else:
            folders = tuple(str(dataset.root) for dataset in opened.robots[name])
            given = weights if data.weights else ()
            own = replace(options[name], folders=folders, weights=given, batch_size=rows)
            training[name], held_out[name] = episodes(
                own, seed, opened.robots[name], tokenizers[name], bodies[name].context_timesteps
            )
    sizes = {
        name: sum(weights) if any(weights) or data.weights else training[name].num_windows
        for name, weights in opened.weights.items()
    }
    sizes = with_shares(sizes, data.shares)
    held = {name: source for name, source in held_out.items() if source is not None}
    return Mixture(training, sizes, seed), held


def with_shares(weights: Mapping[str, float], shares: Mapping[str, float]) -> dict[str, float]:
    """Weights in which some names have these shares and the others divide the rest as before.

    Raises ValueError for a name that there is not, or that leaves nobody for the rest.
    """
    if unknown := sorted(shares.keys() - weights.keys()):
        raise ValueError(f"keep: expected some of {sorted(weights)}, got {unknown}")
    others = sum(weight for name, weight in weights.items() if name not in shares)
    if shares and not others > 0:
        raise ValueError(f"keep: expected another source beside {sorted(shares)}, got none")
    rest = 1.0 - sum(shares.values())
    return {name: shares.get(name, rest * weights[name] / others if shares else weights[name])
            for name in weights}  # fmt: skip


def texts(
    data: DataConfig, seed: int, read: Documents, vocabulary: Vocabulary, rows: int
) -> tuple[DocumentBatches, DocumentBatches | None]:
    """Documents to learn from, and others to measure on."""
    train, held = documents.split(read, data.held_out)
    shape = vocabulary, data.document_tokens, rows
    training = DocumentBatches(read, train, *shape, seed)
    return training, DocumentBatches(read, held, *shape, seed + 1) if held else None


def episodes(
    data: DataConfig,
    seed: int,
    datasets: Sequence[Dataset],
    tokenizer: Tokenizer,
    context_timesteps: int,
) -> tuple[Sequences, Sequences | None]:
    """One robot's sequences to learn from, and others to measure on, not augmented."""
    sampling = Sampling(
        context_timesteps,
        data.batch_size,
        seed,
        data.weights,
        data.prompt_fraction,
        data.prompt_timesteps,
        data.augmentation,
        data.side_task,
        data.mirror,
    )
    chosen, held = split(datasets, data.held_out, data.successes_only)
    if data.few_shot is not None:
        chosen = few(chosen, data.few_shot, data.few_shot_series)
    training = Sequences(datasets, chosen, tokenizer, sampling)
    if not any(held):
        return training, None
    plain = replace(sampling, augmentation=Augmentation(), mirror=0.0, weights=(), seed=seed + 1)
    return training, Sequences(datasets, held, tokenizer, plain, prompts=chosen)


def _where_they_fit(data: DataConfig, opened: Opened) -> dict[str, DataConfig]:
    """Each robot's options: of several, those whose data allow it have side task and mirror.

    Raises ValueError where no robot's do.
    """
    options = dict.fromkeys(opened.robots, data)
    for option, check in (("auxiliary", _check_side_task), ("mirror", _check_mirror)):
        unfit = {}
        for name, datasets in opened.robots.items():
            if getattr(data, option):
                try:
                    check(data, datasets)
                except ValueError as error:
                    unfit[name] = error
        if unfit and len(unfit) == len(opened.robots):
            raise next(iter(unfit.values()))
        options |= {name: replace(options[name], **{option: 0.0}) for name in unfit}
    return options


def _check_side_task(data: DataConfig, datasets: Sequence[Dataset]) -> None:
    for dataset in datasets:
        data.side_task.check(dataset)


def _check_mirror(data: DataConfig, datasets: Sequence[Dataset]) -> None:
    mirror(datasets[0].spec, datasets)
