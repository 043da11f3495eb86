"""Documents of MS-COCO captions, and of VQAv2's and OKVQA's questions with their answers.

    captions      images [{id, file_name}], annotations [{image_id, caption}]
    questions     data_subtype, questions [{question_id, image_id, question}]
    annotations   annotations [{question_id, multiple_choice_answer or answers [{answer}]}]

Annotations that answer questions lie in the questions' folder. Pictures are sought beside the
file, beside its folder, and there in a folder named like the split (`train2014`) or `images`.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from gato_core.text import documents
from gato_core.text.documents import Document
from gato_core.text.lines import Items, written
from gato_core.text.pictures import Picture

SPLIT = re.compile(r"(?:train|val|test)\d{4}")
Answers = dict[int, str]  # by question_id


class Captions:
    """One document a caption; an image may have several."""

    def __init__(self, file: Path, content: dict) -> None:
        self._pictures = _Pictures(file)
        names = {}
        for i, row in enumerate(_rows(file, content, "images")):
            name = f"{file}: image {i}"
            names[_number(row, "id", name)] = _said(row, "file_name", name)
        self._rows = []
        for i, row in enumerate(_rows(file, content, "annotations")):
            name = f"{file}: annotation {row.get('id', i)}"
            image_id = _number(row, "image_id", name)
            if image_id not in names:
                raise ValueError(f"{name}: image_id: expected one of images, got {image_id}")
            self._rows.append((names[image_id], _said(row, "caption", name)))
        self._pictures.check({(picture,) for picture, _ in self._rows})

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, place: int) -> Document:
        """The document, its image yet to be read."""
        picture, words = self._rows[place]
        return documents.caption(self._pictures.find((picture,)), words)


class Questions:
    """One document a question, with its most frequent answer."""

    def __init__(self, file: Path, content: dict, answers: dict[Path, Answers]) -> None:
        self._split = str(content.get("data_subtype", ""))
        self._pictures = _Pictures(file, self._split)
        rows = _rows(file, content, "questions")
        ids = [_number(row, "question_id", f"{file}: question {i}") for i, row in enumerate(rows)]
        given = _answers_to(file, ids, answers)
        self._rows = []
        for id, row in zip(ids, rows):
            name = f"{file}: question {id}"
            image_id = _number(row, "image_id", name)
            self._rows.append((image_id, _said(row, "question", name), given[id]))
        self._pictures.check({self._names(image_id) for image_id, _, _ in self._rows})

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, place: int) -> Document:
        """The document, its image yet to be read."""
        image_id, asked, answered = self._rows[place]
        return documents.question(asked, answered, self._pictures.find(self._names(image_id)))

    def _names(self, image_id: int) -> tuple[str, ...]:
        return f"COCO_{self._split}_{image_id:012d}.jpg", f"{image_id:012d}.jpg"


Source = Captions | Questions | Items


def sources(files: Sequence[Path]) -> list[Source]:
    """Those of .json files, in their order; annotations go to the questions beside them.

    Raises ValueError for a file that is none of them, for questions without answers, and for
    annotations without questions.
    """
    contents = {file: _read(file) for file in files}
    asking = [file for file, content in contents.items() if "questions" in content]
    beside = {other for file in asking for other in file.parent.glob("*annotations*.json")}
    annotated = contents | {file: _read(file) for file in sorted(beside - contents.keys())}
    answers = {
        file: _answers(file, content)
        for file, content in annotated.items()
        if isinstance(content, dict) and _are_answers(content)
    }
    found: list[Source] = []
    for file, content in contents.items():
        if isinstance(content, list):
            found.append(Items(file, content))
        elif "questions" in content:
            found.append(Questions(file, content, answers))
        elif "images" in content and _first(content, "annotations").keys() >= {"caption"}:
            found.append(Captions(file, content))
        elif file not in answers:
            raise ValueError(
                f"{file}: expected captions, questions or a list of documents, "
                f"got {sorted(content)[:6]}"
            )
    if files and not found:
        raise ValueError(f"{files[0]}: expected the questions' file, got their annotations alone")
    return found


class _Pictures:
    """Where the pictures of a file lie."""

    def __init__(self, file: Path, split: str = "") -> None:
        named = {split, *SPLIT.findall(file.name)} - {""}
        below = ["", *sorted(named), "images", *(f"images/{name}" for name in sorted(named))]
        self._file = file
        self._folders = [
            base / name for base in (file.parent, file.parent.parent) for name in below
        ]

    def check(self, names: set[tuple[str, ...]]) -> None:
        """Raises ValueError for a picture that is not there."""
        for alternatives in sorted(names):
            self.find(alternatives)

    def find(self, names: tuple[str, ...]) -> Picture:
        """The picture of one of the names."""
        for folder in self._folders:
            for name in names:
                if os.path.isfile(folder / name):
                    return Picture(str(folder / name), (folder / name).read_bytes)
        places = ", ".join(map(str, self._folders))
        raise ValueError(f"{self._file}: expected {names[0]} in one of {places}, got none")


def _read(file: Path) -> dict | list:
    try:
        content = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file}: expected JSON, got {error}") from error
    if not isinstance(content, dict | list):
        raise ValueError(f"{file}: expected an object or a list, got {type(content).__name__}")
    return content


def _are_answers(content: dict) -> bool:
    return "questions" not in content and "question_id" in _first(content, "annotations")


def _answers(file: Path, content: dict) -> Answers:
    """The most frequent answer to each question."""
    answers = {}
    for i, row in enumerate(_rows(file, content, "annotations")):
        name = f"{file}: annotation {i}"
        id = _number(row, "question_id", name)
        if "multiple_choice_answer" in row:
            answers[id] = _said(row, "multiple_choice_answer", name)
            continue
        given = [_said(one, "answer", name) for one in _rows(name, row, "answers")]
        answers[id] = Counter(given).most_common(1)[0][0]
    return answers


def _answers_to(file: Path, ids: list[int], answers: dict[Path, Answers]) -> Answers:
    """Those of the one file beside it that answers every question."""
    near = {other: a for other, a in answers.items() if other.parent == file.parent}
    complete = [other for other, a in near.items() if all(id in a for id in ids)]
    if len(complete) != 1:
        names = sorted(other.name for other in (complete or near))
        raise ValueError(
            f"{file}: expected annotations of all its {len(ids)} questions in one file beside it, "
            f"got {'several, ' if complete else ''}{names}"
        )
    return near[complete[0]]


def _first(content: dict, key: str) -> dict:
    rows = content.get(key)
    return rows[0] if isinstance(rows, list) and rows and isinstance(rows[0], dict) else {}


def _rows(name: object, content: dict, key: str) -> list[dict]:
    rows = content.get(key)
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"{name}: {key}: expected objects in a list, got {type(rows).__name__}")
    return rows


def _number(row: dict, key: str, name: str) -> int:
    if type(row.get(key)) is not int:
        raise ValueError(f"{name}: {key}: expected a whole number, got {row.get(key)!r}")
    return row[key]


def _said(row: dict, key: str, name: str) -> str:
    try:
        return written(row.get(key), key)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
