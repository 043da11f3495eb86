"""Documents in files of others, in one order, any of them at once.

    *.jsonl, *.jsonl.gz   one JSON object a line (lines.py)
    *.txt                 one document, if named itself
    *.tar                 webdataset shards: key.jpg and key.txt or key.json (shards.py)
    *.json                the same in a list; COCO captions; questions and annotations of VQAv2
                          or OKVQA (coco.py)

In a folder of lines or shards a *.json tells how they were made (img2dataset's statistics, settings
of `gato collect --captions`), and is not read. Everything but pictures
is checked when a source is opened. Nothing is ever unpickled.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from gato_core.text import coco, lines, pictures, shards
from gato_core.text.documents import Document
from gato_core.text.pictures import Picture

SUFFIXES = (".jsonl", ".jsonl.gz", ".tar", ".json")


class Source(Protocol):
    """Documents of one file, whose pictures are yet to be read."""

    def __len__(self) -> int: ...

    def __getitem__(self, place: int, /) -> Document: ...


class Documents:
    """All documents of a file, or of a folder's files: .json last, else in order of their names.

    num_patches: the most that a picture takes; see `pictures.fit`.
    """

    def __init__(self, path: str | Path, num_patches: int = pictures.NUM_PATCHES) -> None:
        """Raises FileNotFoundError and ValueError with file, line or key, expected and got."""
        self.root, self.num_patches = Path(path), num_patches
        self._sources = _open(_files(self.root))
        self._end = np.cumsum([len(source) for source in self._sources])

    def __len__(self) -> int:
        return int(self._end[-1])

    def __getitem__(self, number: int) -> Document:
        """Document `number`, its pictures read and fitted. Raises ValueError for a damaged one."""
        if not 0 <= number < len(self):
            raise IndexError(
                f"{self.root}: expected a document in 0..{len(self) - 1}, got {number}"
            )
        place = int(np.searchsorted(self._end, number, side="right"))
        unread = self._sources[place][number - (int(self._end[place - 1]) if place else 0)]
        parts = [p.read(self.num_patches) if isinstance(p, Picture) else p for p in unread.parts]
        return Document(tuple(parts), unread.is_target)

    def __iter__(self) -> Iterator[Document]:
        return (self[number] for number in range(len(self)))


def are_documents(path: str | Path) -> bool:
    """Whether a path holds documents by its names alone; a dataset of episodes does not."""
    path = Path(path)
    if path.is_dir():
        return not (path / "meta").exists() and any(map(_is_source, path.iterdir()))
    return path.is_file() and (_is_source(path) or path.suffix == ".txt")


def _is_source(file: Path) -> bool:
    return file.name.endswith(SUFFIXES) and not file.name.startswith(".")


def _open(files: Sequence[Path]) -> list[Source]:
    opened: list[Source] = []
    for file in files:
        if file.suffix == ".tar":
            opened.append(shards.Shard(file))
        elif file.suffix == ".txt":
            opened.append(lines.PlainText(file))
        elif file.suffix != ".json":
            opened.append(lines.Lines(file))
    return [*opened, *coco.sources([file for file in files if file.suffix == ".json"])]


def _files(root: Path) -> list[Path]:
    """The files to read. Raises FileNotFoundError and ValueError where there are none."""
    if not root.exists():
        raise FileNotFoundError(f"{root}: expected a file or a folder of documents, got none")
    if not root.is_dir():
        if not are_documents(root):
            raise ValueError(
                f"{root}: expected a name that ends in .txt or {SUFFIXES}, got {root.name}"
            )
        return [root]
    files = sorted(file for file in root.iterdir() if _is_source(file))
    if not files:
        names = sorted(file.name for file in root.iterdir())[:5]
        raise ValueError(f"{root}: expected files that end in {SUFFIXES}, got {names}")
    documents = [file for file in files if file.suffix != ".json"]
    return documents or files
