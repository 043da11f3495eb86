"""Whether demonstrations of others succeeded, by what they say: flags, rewards or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Outcomes:
    """successes: a bool an episode. warning: what somebody should know of them; "" for nothing."""

    successes: list[bool]
    warning: str


def outcomes(
    flags: Sequence[bool | None],
    rewards: Sequence[np.ndarray | None],
    unknown_is_success: bool,
    *,
    is_explicit: bool,
) -> Outcomes:
    """By each episode's flag, else by sparse rewards, else unknown.

    flags: None where an episode says nothing. is_explicit: whether False everywhere is a word, as
    in an attribute of each demonstration, or a column that nobody filled in.
    rewards: (T,) an episode, None without any. Those of 0 and 1, with a 1 somewhere in the whole
    source, are sparse: the 1 is success. Shaped ones, and 0 everywhere, tell nothing. A source
    without flags and rewards holds demonstrations: they succeeded.
    """
    said = [flag for flag in flags if flag is not None]
    present = [np.ravel(reward) for reward in rewards if reward is not None]
    unknown = f"counted as {'successes' if unknown_is_success else 'failures'}"
    if any(said) or (said and is_explicit):
        successes = [unknown_is_success if flag is None else flag for flag in flags]
        missing = len(flags) - len(said)
        some = f"success: {missing} of {len(flags)} episodes say nothing: {unknown}"
        return Outcomes(successes, some if missing else "")
    if present:
        values = np.concatenate(present)
        if np.isin(values, (0, 1)).all() and values.any():
            flags = [None if reward is None else bool(np.any(reward == 1)) for reward in rewards]
            return outcomes(flags, [], unknown_is_success, is_explicit=True)
        told = f"rewards from {values.min():.4g} to {values.max():.4g}"
    elif said:
        told = "flags that are never set"
    else:
        text = "success: nobody says: demonstrations, which count as successes"
        return Outcomes([True] * len(flags), text)
    text = f"success: expected a flag, or rewards of 0 and of 1 for success, got {told}: {unknown}"
    return Outcomes([unknown_is_success] * len(flags), text)
