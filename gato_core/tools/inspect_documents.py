"""Says what is in documents, and which of them cannot be read: `gato inspect`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gato_core.text.documents import Document, tokenize
from gato_core.text.sources import Documents
from gato_core.vocab import SMALL


def inspect_documents(path: Path) -> dict:
    """Counts and lengths; every picture is read. Raises as Documents does."""
    documents = Documents(path)
    problems: list[str] = []
    lengths, targets, pictures, shapes = [], [], 0, set()
    for place in range(len(documents)):
        try:
            document = documents[place]
        except (ValueError, OSError) as error:
            problems.append(str(error))
            continue
        tokens = tokenize(document, SMALL, ended=True)
        lengths.append(len(tokens.id))
        targets.append(int(tokens.target.sum()))
        found = _pictures(document)
        pictures += len(found)
        shapes |= {picture.shape[:2] for picture in found}
    return {
        "kind": "documents",
        "sound": not problems,
        "problems": problems,
        "warnings": [],
        "documents": len(documents),
        "pictures": pictures,
        "shapes": len(shapes),
        "tokens": _spread(lengths),
        "learned": _spread(targets),
        "next": f"gato train --data {path}",
    }


def _pictures(document: Document) -> list[np.ndarray]:
    return [part for part in document.parts if isinstance(part, np.ndarray)]


def _spread(values: list[int]) -> dict[str, int]:
    """Of the small vocabulary's tokens in a document."""
    values = values or [0]
    return {"min": min(values), "median": int(np.median(values)), "max": max(values)}
