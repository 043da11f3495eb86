"""JSON that other nodes publish about themselves, checked where it arrives."""

from __future__ import annotations

import json
from collections.abc import Callable

MAX_TEXT = 100_000  # characters of a report that is read
MAX_SHOWN = 80  # of one that an error repeats


def read(text: str, show: Callable[[dict], object] = lambda _: None) -> dict:
    """The JSON object that a text is, after `show` could make of it what will be shown.

    Raises ValueError for anything else: then what was known stays.
    """
    if len(text) > MAX_TEXT:
        raise ValueError(f"expected at most {MAX_TEXT} characters, got {len(text)}")
    try:
        value = json.loads(text)
    except (RecursionError, ValueError) as error:
        raise ValueError(f"expected JSON, got {text[:MAX_SHOWN]!r} ({error!r:.80})") from None
    if not isinstance(value, dict):
        raise ValueError(f"expected an object in JSON, got {text[:MAX_SHOWN]!r}")
    check(value, show)
    return value


def check(value: dict, show: Callable[[dict], object]) -> None:
    """Raises ValueError unless `show` can make something of it, whose text can be printed."""
    try:
        str(show(value)).encode()
    except (LookupError, TypeError, AttributeError, ArithmeticError, ValueError) as error:
        raise ValueError(
            f"expected a report with what is shown of it, got {error!r:.80} in {value!r:.80}"
        ) from None
