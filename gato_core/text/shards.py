"""Documents in webdataset shards, as img2dataset writes them.

Files of a tar archive whose names agree up to the first dot are one document: `000.jpg` and
`000.txt`, its caption, or `000.json` as in lines.py; without a picture it is text.
"""

from __future__ import annotations

import json
import tarfile
from functools import partial
from pathlib import Path
from typing import NamedTuple

from gato_core.text import documents, lines
from gato_core.text.documents import Document
from gato_core.text.pictures import Picture

PICTURES = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "ppm")


class _Member(NamedTuple):
    """Where a file stands in the archive."""

    start: int
    size: int


class Shard:
    """Documents of an uncompressed .tar archive, in their order."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._samples = list(_samples(file).items())
        if not self._samples:
            raise ValueError(f"{file}: expected files such as 000.jpg and 000.txt, got none")
        for place in range(len(self)):
            self[place]

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, place: int) -> Document:
        """The document, its picture yet to be read."""
        key, members = self._samples[place]
        name = f"{self.file}: {key}"
        found = [members[suffix] for suffix in PICTURES if suffix in members]
        picture = Picture(name, partial(_read, self.file, found[0])) if found else None
        try:
            return self._document(members, picture)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{name}: {error}") from error

    def _document(self, members: dict[str, _Member], picture: Picture | None) -> Document:
        if "txt" in members:
            text = _read(self.file, members["txt"]).decode("utf-8-sig")
            words = lines.written(text, "txt")
            return Document((words,)) if picture is None else documents.caption(picture, words)
        if "json" not in members:
            raise ValueError(f"expected txt or json, got {sorted(members)}")
        item = json.loads(_read(self.file, members["json"]))
        if isinstance(item, dict) and picture is not None:
            item["image"] = picture
        return lines.parse(item, _own_picture)


def _own_picture(value: object) -> Picture:
    if not isinstance(value, Picture):
        raise ValueError("image: expected a picture's file beside the json, got none")
    return value


def _samples(file: Path) -> dict[str, dict[str, _Member]]:
    """Members by key and suffix."""
    samples: dict[str, dict[str, _Member]] = {}
    try:
        with tarfile.open(file, "r:") as archive:  # plain: any place can be read at once
            for member in archive:
                folder, _, base = member.name.rpartition("/")
                stem, dot, suffix = base.partition(".")
                if member.isfile() and stem and dot:
                    key = f"{folder}/{stem}" if folder else stem
                    place = _Member(member.offset_data, member.size)
                    samples.setdefault(key, {})[suffix.lower()] = place
    except (tarfile.TarError, OSError, ValueError) as error:
        raise ValueError(f"{file}: expected an uncompressed tar archive, got {error}") from error
    return samples


def _read(file: Path, member: _Member) -> bytes:
    with file.open("rb") as stream:
        stream.seek(member.start)
        return stream.read(member.size)
