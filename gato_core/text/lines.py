"""Documents as JSON, one a line.

    {"text": "..."}                                       text
    {"image": "a.jpg", "text": "..."}                     a caption; also called "caption"
    {"image": ..., "question": "...", "answer": "..."}    the image may be missing
    {"image": ..., "messages": [{"role": "user", "content": "..."},
                                {"role": "assistant", "content": "..."}]}
    {"image": ..., "conversations": [{"from": "human", "value": "<image>\\n..."},
                                     {"from": "gpt", "value": "..."}]}     as LLaVA's
    [{"text": "..."}, {"image": "a.jpg"}, ...]            a page of text and images

An image is a path, relative to the file, or base64; it may also be called "file_name". Other keys
are left alone.
"""

from __future__ import annotations

import base64
import binascii
import functools
import gzip
import io
import json
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from gato_core.text import documents
from gato_core.text.documents import Document, Part
from gato_core.text.pictures import Picture

GetPicture = Callable[[object], Picture]
TALKS = {  # names of a turn's role and words, and of the two roles
    "messages": ("role", "content", "user", "assistant"),
    "conversations": ("from", "value", "human", "gpt"),
}


class Lines:
    """Documents of a .jsonl or .jsonl.gz file; the latter is kept in memory."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._data = _decompressed(file) if file.suffix == ".gz" else None
        starts, numbers, start = [], [], 0
        with self._open() as stream:
            for number, line in enumerate(stream, start=1):
                if line.strip():
                    self._parse(line, number)
                    starts.append(start)
                    numbers.append(number)
                start += len(line)
        if not starts:
            raise ValueError(f"{file}: expected lines of JSON, got an empty file")
        self._start, self._number = np.array(starts), np.array(numbers)

    def __len__(self) -> int:
        return len(self._start)

    def __getitem__(self, place: int) -> Document:
        """The document, its images yet to be read."""
        with self._open() as stream:
            stream.seek(int(self._start[place]))
            return self._parse(stream.readline(), int(self._number[place]))

    def _open(self) -> BinaryIO:
        return self.file.open("rb") if self._data is None else io.BytesIO(self._data)

    def _parse(self, line: bytes, number: int) -> Document:
        name = f"{self.file}: line {number}"
        try:
            item = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{name}: expected JSON, got {error}") from error
        return _parse(item, name, self.file.parent)


class Items:
    """Documents of a .json file that is a list of what would be lines."""

    def __init__(self, file: Path, content: list) -> None:
        self.file, self._items = file, content
        if not content:
            raise ValueError(f"{file}: expected documents, got an empty list")
        for place in range(len(self)):
            self[place]

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, place: int) -> Document:
        """The document, its images yet to be read."""
        name = f"{self.file}: item {place}"
        return _parse(self._items[place], name, self.file.parent)


class PlainText:
    """A file of text as one document."""

    def __init__(self, file: Path) -> None:
        self.file = file
        try:
            self._document = Document((written(file.read_text(encoding="utf-8-sig"), "text"),))
        except ValueError as error:  # not UTF-8, or empty
            raise ValueError(f"{file}: {error}") from error

    def __len__(self) -> int:
        return 1

    def __getitem__(self, place: int) -> Document:
        return self._document


def parse(item: object, get_picture: GetPicture) -> Document:
    """The document of one JSON value. Raises ValueError for any other form, or without text."""
    if isinstance(item, list):
        parts: list[Part] = [_page_part(i, part, get_picture) for i, part in enumerate(item)]
        if not any(isinstance(part, str) for part in parts):
            raise ValueError("expected text, got a page without any")
        return Document(tuple(parts))
    if not isinstance(item, dict):
        raise ValueError(f"expected an object or a list, got {type(item).__name__}")
    found = item.get("image", item.get("file_name"))
    image = get_picture(found) if found is not None else None
    for key, names in TALKS.items():
        if key in item:
            return documents.chat(_turns(key, item[key], *names), image)
    if "question" in item:
        asked, answered = (written(item.get(key), key) for key in ("question", "answer"))
        return documents.question(asked, answered, image)
    key = "caption" if "caption" in item and "text" not in item else "text"
    if key not in item:
        raise ValueError(f"expected text, question and answer, or messages, got {sorted(item)}")
    words = written(item[key], key)
    return Document((words,)) if image is None else documents.caption(image, words)


def written(value: object, name: str) -> str:
    """A string that says something, without space around it. Raises ValueError for any other."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{name}: expected text, got {_short(value)}")
    try:
        value.encode()
    except UnicodeEncodeError as error:  # half a pair of surrogates, which JSON can hold
        raise ValueError(f"{name}: expected text, got {error}") from error
    return value.strip()


def _parse(item: object, name: str, folder: Path) -> Document:
    try:
        return parse(item, functools.partial(_picture, folder, name))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _picture(folder: Path, name: str, value: object) -> Picture:
    """A path has a dot or is there; base64 has none."""
    if not isinstance(value, str) or not value:
        raise ValueError(f"image: expected a path or base64, got {_short(value)}")
    head, _, tail = value.partition(",")
    is_url = value.startswith("data:") and head.endswith(";base64")
    is_path = not is_url and ("." in value or os.path.isfile(folder / value))
    if is_path:
        file = folder / value
        if not os.path.isfile(file):  # also False for what no file can be called
            raise ValueError(f"image: expected a picture's file, got none at {file}")
        return Picture(str(file), file.read_bytes)
    try:
        data = base64.b64decode(tail if is_url else value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"image: expected a path or base64, got {_short(value)}") from error
    return Picture(f"{name}: image", lambda: data)


def _page_part(place: int, part: object, get_picture: GetPicture) -> str | Picture:
    if isinstance(part, dict) and len({"text", "image"} & part.keys()) == 1:
        return written(part["text"], "text") if "text" in part else get_picture(part["image"])
    raise ValueError(f"part {place}: expected text or image, got {_short(part)}")


def _turns(key: str, talk: object, role: str, content: str, *roles: str) -> list[tuple[str, str]]:
    """Pairs of what a user said and an assistant replied."""
    listed = talk if isinstance(talk, list) else []
    got = [one.get(role) if isinstance(one, dict) else None for one in listed]
    if not got or got != list(roles) * (len(got) // 2):
        raise ValueError(f"{key}: expected {roles[0]} and {roles[1]} in turn, got {got}")
    said = [written(_without_mark(one.get(content)), content) for one in listed]
    return list(zip(said[::2], said[1::2]))


def _without_mark(value: object) -> object:
    """Without what LLaVA writes where its image goes: ours comes first."""
    return value.replace("<image>", "") if isinstance(value, str) else value


def _decompressed(file: Path) -> bytes:
    try:
        return gzip.decompress(file.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{file}: expected gzip, got {error}") from error


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
