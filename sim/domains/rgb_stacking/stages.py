"""Stages of an episode: the step at which each was first reached, and the reason of failure.

What holds at one moment is `reward.stages`; success is the benchmark's criterion alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gato_sim.domains.rgb_stacking.reward import STAGES

_MISSED = dict(
    zip(
        STAGES,
        (
            "never reached the object",
            "reached, never grasped",
            "grasped, never lifted",
            "lifted, never above its base",
            "above its base, never on it",
            "on its base, never released",
        ),
        strict=True,
    )
)
FELL, TOUCHED = "stacked, fell later", "stacked, touched at the end"
FAILURES = (*_MISSED.values(), FELL, TOUCHED)


def stage_curve(moments: Sequence[Mapping[str, bool]]) -> dict[str, int | None]:
    """The first step at which each of STAGES held, None if it never did.

    moments: `reward.stages` at each step, the state after the reset being step 0.
    """
    return {
        stage: next((step for step, now in enumerate(moments) if now[stage]), None)
        for stage in STAGES
    }


def failure(
    moments: Sequence[Mapping[str, bool]], *, success_end: bool, success_ever: bool
) -> str | None:
    """Why an episode is no success at its end, one of FAILURES; None if it is one."""
    if success_end:
        return None
    if success_ever:
        return TOUCHED if moments[-1]["stacked"] else FELL
    curve = stage_curve(moments)
    return next(
        (reason for stage, reason in _MISSED.items() if curve[stage] is None),
        _MISSED[STAGES[-1]],
    )
