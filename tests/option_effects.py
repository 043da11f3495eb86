"""Goes through every option of a verb: it has an effect, or is refused before anything is written.

A verb's test gives its config class, what a run makes of a config's fields, and cases: a value for
an option beside others. A case without `refused` must change the outcome; one with it must raise
an error with these words and leave the folder of the run as empty as it was.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Case:
    """option = value, beside the other options. base_refused: the words without the option."""

    option: str
    value: object
    others: Mapping
    refused: str = ""
    base_refused: str = ""


def check_every_option(
    config: type,
    outcome: Callable[[dict, Path], object],
    folder: Path,
    *,
    cases: list[Case],
    positional: set[str] = frozenset(),
    elsewhere: set[str] = frozenset(),
) -> None:
    """outcome(options, folder) runs the verb with these fields, writing into the empty folder only.

    elsewhere: options whose effect another test shows, or that need more than a small run.
    """
    names = {field.name for field in dataclasses.fields(config)} - positional
    tried = {case.option for case in cases}
    assert tried | elsewhere == names and not tried & elsewhere, names ^ (tried | elsewhere)
    for number, case in enumerate(cases):
        base, changed = folder / f"{number}/base", folder / f"{number}/changed"
        base.mkdir(parents=True)
        changed.mkdir()
        options = {**case.others, case.option: case.value}
        if case.refused:
            with pytest.raises((ValueError, OSError)) as error:
                outcome(options, changed)
            assert case.refused in str(error.value), (case, error.value)
            assert not list(changed.iterdir()), case
        elif case.base_refused:
            with pytest.raises((ValueError, OSError)) as error:
                outcome(dict(case.others), base)
            assert case.base_refused in str(error.value), (case, error.value)
            outcome(options, changed)
        else:
            without = {k: v for k, v in case.others.items() if k != case.option}
            other = case.others if case.option in case.others else without
            assert outcome(dict(other), base) != outcome(options, changed), case
