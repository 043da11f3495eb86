"""Whether a checkpoint was trained on the test objects, from the provenance it carries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from gato_sim.domains.rgb_stacking import objects

_UNTESTED_SETS = ("train", "selection", "heldout", *objects.RANDOM_TASKS)


def shows_test_objects(triplets: str) -> bool | None:
    """Whether data collected with `triplets` may show a test object; None: it does not say.

    triplets: the name of an object set or of a task, or red, green and blue ids.
    """
    name = triplets.partition(":")[0]
    if name in _UNTESTED_SETS:
        return False
    if name == "mastery" or name in objects.TEST_TRIPLETS:
        return True
    known = {i for kind in ("train", "heldout", "test") for i in objects.object_ids(kind)}
    ids = set(name.split(","))
    return bool(ids & set(objects.object_ids("test"))) if ids <= known else None


def check_unseen(provenance: Mapping, checkpoint: Path) -> None:
    """Raises ValueError unless all of a checkpoint's training data is known to lack test objects.

    provenance: of the checkpoint; see `gato_training.run_log.origin.data`.
    """
    seen, unknown = set(), set()
    for path, triplets in _data(provenance, str(checkpoint)):
        answer = shows_test_objects(triplets)
        if answer is None:
            unknown.add(path)
        elif answer:
            seen.add(triplets)
    if seen:
        raise ValueError(
            "suite: expected skill-mastery for a checkpoint trained on the test triplets, "
            f"got skill-generalization; its training data had triplets {sorted(seen)}"
        )
    if unknown:
        raise ValueError(
            "suite: expected training data that says which objects it showed, for "
            f"skill-generalization is about others; got none for {sorted(unknown)}. "
            "--suite skill-mastery asks nothing; `gato collect` and recordings of the simulated "
            "robot say their objects"
        )


def _data(provenance: Mapping, name: str) -> Iterator[tuple[str, str]]:
    """(dataset, its `triplets`) of all that went into the weights; "" where they are unknown."""
    parts = provenance.get("data", [])
    averaged = provenance.get("averaged", [])
    if not parts and not averaged:
        yield name, ""
    for part in parts:
        triplets = part.get("triplets", [])
        if not triplets or part.get("episodes_of_unknown_triplets"):
            yield part["path"], ""
        for one in triplets:
            yield part["path"], one
    for one in averaged:
        yield from _data(one["provenance"], one["path"])
