"""Messages with something wrong in them, drawn at random."""

from __future__ import annotations

import array
import copy
import random

import numpy as np
from rclpy.serialization import serialize_message

REALS = [0.0, -1.0, 1e-300, 1e308, -1e308, float("nan"), float("inf"), float("-inf"), 57.3]
TEXTS = ["", "right_j0", "x" * 5000, "\u00fc\u2603", "\U0001f916" * 50, "{", "[]", "null", "1e999",
         "[" * 3000, '{"state": 1}', '{"step": "x", "num_steps": null}', '{"task": []}',
         '{"episode": {}}', "true", '"\\ud800"', '{"state": "\\ud800"}', "9" * 6000]  # fmt: skip
BITS = {"int8": 8, "int16": 16, "int32": 32, "int64": 64, "uint8": 8, "uint16": 16, "uint32": 32,
        "uint64": 64, "octet": 8, "byte": 8}  # fmt: skip


def mutated(message, rng: random.Random) -> object:
    """A copy with one to three fields that are otherwise, or, one time in four, spoiled bytes."""
    message = copy.deepcopy(message)
    for _ in range(rng.randint(1, 3)):
        _mutate(message, rng)
    return _spoiled(serialize_message(message), rng) if rng.random() < 0.25 else message


def _spoiled(data: bytes, rng: random.Random) -> bytes:
    """Cut short, or with bits turned; four bytes at least, which say how the rest is written."""
    if rng.random() < 0.5:
        return data[: rng.randint(4, max(4, min(len(data), 200)))]
    spoiled = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        spoiled[rng.randrange(4, min(len(spoiled), 300) or 5)] ^= 1 << rng.randrange(8)
    return bytes(spoiled)


def _mutate(message, rng: random.Random) -> None:
    fields = message.get_fields_and_field_types()
    name = rng.choice(list(fields))
    kind, value = fields[name], getattr(message, name)
    if hasattr(value, "get_fields_and_field_types"):
        _mutate(value, rng)
    elif isinstance(value, (list, tuple, array.array, np.ndarray)):
        setattr(message, name, _sequence(value, kind, rng))
    else:
        setattr(message, name, _scalar(value, kind, rng))


def _scalar(value, kind: str, rng: random.Random):
    if isinstance(value, bool):
        return not value
    if isinstance(value, float):
        return rng.choice(REALS)
    if isinstance(value, int):
        bits = BITS[kind]
        low, high = (
            (0, 2**bits - 1) if kind.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        )
        return rng.choice([low, high, 0, min(high, 1), rng.randint(low, high)])
    if isinstance(value, bytes):
        return bytes([rng.randrange(256)])
    return rng.choice(TEXTS)


def _sequence(value, kind: str, rng: random.Random):
    """Other entries, and, where the length is free, another length."""
    entries = list(value)
    if entries and rng.random() < 0.6:
        place = rng.randrange(len(entries))
        if hasattr(entries[place], "get_fields_and_field_types"):
            entries[place] = copy.deepcopy(entries[place])
            _mutate(entries[place], rng)
        else:
            inner = kind.removeprefix("sequence<").split("[")[0].rstrip(">")
            entries[place] = _scalar(entries[place], inner, rng)
    elif "[" not in kind:
        how = rng.choice(["empty", "double", "shorter", "many"])
        entries = {"empty": [], "double": entries * 2, "shorter": entries[:-1],
                   "many": (entries or [])[:1] * 3000}[how]  # fmt: skip
    if isinstance(value, array.array):
        return array.array(value.typecode, entries)
    return np.array(entries, value.dtype) if isinstance(value, np.ndarray) else entries
