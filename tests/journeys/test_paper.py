"""docs/paper.md names what there is: a renamed function must be renamed there, too."""

import dataclasses
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import gato_core
import gato_training
from gato_core.model import PRESETS
from gato_core.vocab import Vocabulary
from gato_sim.evaluate import EvaluateConfig
from gato_training.config import TrainConfig, flat

ROOT = Path(__file__).parents[2]
PAPER = (ROOT / "docs/paper.md").read_text()
MODULES = [
    importlib.import_module(each.name)
    for room in (gato_core, gato_training)
    for each in pkgutil.walk_packages(room.__path__, f"{room.__name__}.")
]
OPTIONS = {
    field.name
    for config in (EvaluateConfig, Vocabulary, type(PRESETS["debug"]))
    for field in dataclasses.fields(config)
} | set(flat(TrainConfig()))


def table(heading: str) -> list[list[str]]:
    """Rows of the table under a heading, without its first two lines."""
    section = PAPER.split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def named(column: int, *headings: str) -> list[str]:
    cells = [row[column] for heading in headings for row in table(heading)]
    return [code for cell in cells for code in re.findall(r"`([^`]+)`", cell)]


def exists(code: str) -> bool:
    """A command, an option, a file, or a dotted name of gato_core or gato_training."""
    if code.startswith("gato "):
        verb = code.split()[1]
        return f'"{verb} = ' in (ROOT / "setup.py").read_text()
    if code.startswith("--"):
        return code.split()[0][2:].replace("-", "_") in OPTIONS
    if ": " in code:  # a function or class of a file in another room
        file, name = code.split(": ")
        return re.search(rf"^ *(def|class) {name}\b", (ROOT / file).read_text(), re.M) is not None
    if re.search(r"\.(py|model|json)$", code):
        return (ROOT / code).is_file()
    first, *rest = code.partition("(")[0].split(".")
    starts = [m for m in MODULES if m.__name__.endswith(f".{first}")]
    starts += [getattr(m, first) for m in MODULES if hasattr(m, first)]
    return any(found(start, rest) for start in starts)


def found(start: object, names: list[str]) -> bool:
    for name in names:
        fields = getattr(start, "__dataclass_fields__", {})
        if not hasattr(start, name):
            return name in fields and names[-1] == name
        start = getattr(start, name)
    return True


@pytest.mark.parametrize("code", sorted(set(named(2, "Where it is"))))
def test_each_part_of_the_paper_is_where_the_table_says(code):
    assert exists(code), code


@pytest.mark.parametrize("code", sorted(set(named(3, "Readings"))))
def test_each_switch_of_a_reading_is_there(code):
    option = code.partition("=")[0]
    assert exists(code) or option in OPTIONS, code


@pytest.mark.parametrize("code", ["Tokenizer.encode_words", "gato fly", "--no-flag", "lost.py"])
def test_what_is_not_there_would_be_noticed(code):
    assert not exists(code)
