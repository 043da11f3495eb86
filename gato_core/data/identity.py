"""What an episode is known by: its content, whatever the file was called that it came from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import numpy as np

from gato_core.dataset import Dataset
from gato_core.episode import Episode

CONTENT = "content"  # in an episode's info: the digest of what was converted, before any edit


def digest(arrays: Mapping[str, np.ndarray]) -> str:
    """The same for the same names, types, shapes and bytes, in any order."""
    total = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        if array.dtype.kind in "OU":  # words: an array of them holds their places in memory
            total.update(json.dumps([name, array.tolist()]).encode())
            continue
        total.update(json.dumps([name, array.dtype.str, array.shape]).encode())
        total.update(array.data)
    return total.hexdigest()[:32]


def content(episode: Episode) -> str:
    """The digest of what was seen and done; neither task nor success are part of it."""
    return digest(episode.observation | {"action": episode.action})


def repeated(dataset: Dataset) -> dict[int, int]:
    """{episode: the earlier one that it repeats}, in all that is seen and done.

    Pictures are compared only where all numbers agree.
    """
    same: dict[str, list[int]] = {}
    for i in range(dataset.num_episodes):
        same.setdefault(digest(dataset.numbers(i)), []).append(i)
    found = {}
    for alike in same.values():
        first: dict[str, int] = {}
        for i in alike if len(alike) > 1 else ():
            earlier = first.setdefault(content(dataset.episode(i)), i)
            if earlier != i:
                found[i] = earlier
    return found
