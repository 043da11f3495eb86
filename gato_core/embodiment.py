"""Embodiment: one body and task of a network, and how its timesteps become a sequence of tokens."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from gato_core.spec import Spec

ActionMode = Literal["autoregressive", "parallel"]
ACTION_MODES = ("autoregressive", "parallel")


@dataclass(frozen=True)
class Embodiment:
    """A network has many and knows none; its tokenizer marks what each of them needs.

    context_timesteps: timesteps of a sequence, and of what the policy remembers. The paper's 1,024
    tokens hold 6 of its robot's.
    action_mode: "autoregressive" action tokens each see the ones before them; "parallel" ones
    enter as zeros, so that all of an action come out of one pass. Appendix G.
    sees_past_actions: whether actions of earlier timesteps are seen, as in the paper. A clone that
    sees them copies them; "parallel" hides them anyway.
    temperature: at which actions are best drawn; 0 takes the likeliest.
    """

    name: str
    spec: Spec
    context_timesteps: int = 6
    action_mode: ActionMode = "autoregressive"
    sees_past_actions: bool = False
    temperature: float = 0.0

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("embodiment: expected a name, got none")
        if self.context_timesteps < 1:
            raise ValueError(f"context_timesteps: expected >= 1, got {self.context_timesteps}")
        if self.action_mode not in ACTION_MODES:
            raise ValueError(
                f"action_mode: expected one of {ACTION_MODES}, got {self.action_mode!r}"
            )
        if self.sees_past_actions and self.action_mode == "parallel":
            raise ValueError(
                "sees_past_actions: expected False in action_mode 'parallel', in which the tokens "
                "of all actions enter as zeros, got True"
            )
        number = isinstance(self.temperature, int | float)
        if not number or not 0 <= self.temperature < math.inf:
            raise ValueError(
                f"temperature: expected a number of 0 or more, got {self.temperature!r}"
            )

    @property
    def autoregressive(self) -> bool:
        return self.action_mode == "autoregressive"

    def to_dict(self) -> dict:
        """All but the name, JSON-ready; `from_dict` inverts it."""
        return {
            "spec": self.spec.to_dict(),
            "context_timesteps": self.context_timesteps,
            "action_mode": self.action_mode,
            "sees_past_actions": self.sees_past_actions,
            "temperature": self.temperature,
        }

    @classmethod
    def from_dict(cls, name: str, data: Mapping) -> Embodiment:
        """Inverts `to_dict`. Raises KeyError for what is missing, ValueError for what is wrong."""
        return cls(
            name,
            Spec.from_dict(data["spec"]),
            data["context_timesteps"],
            data["action_mode"],
            data["sees_past_actions"],
            data["temperature"],
        )


def fitting(embodiments: Mapping[str, Embodiment], differences: Callable[[Spec], list[str]]) -> str:
    """The name of the one whose Spec has no differences from what there is.

    Raises ValueError that lists the differences of all if none fits, and that names those that do
    if there are two.
    """
    found = {name: differences(each.spec) for name, each in embodiments.items()}
    fits = sorted(name for name, lines in found.items() if not lines)
    if len(fits) == 1:
        return fits[0]
    if fits:
        raise ValueError(f"embodiment: expected one that fits, or its name, got {fits} that do")
    lines = [f"{name}:\n    " + "\n    ".join(each) for name, each in found.items()]
    raise ValueError("embodiment: expected one that fits, got none:\n  " + "\n  ".join(lines))


def choose(embodiments: Mapping[str, Embodiment], name: str | None = None) -> Embodiment:
    """The one of this name, or the only one. Raises ValueError that names them all."""
    if name is None and len(embodiments) == 1:
        return next(iter(embodiments.values()))
    if name is None or name not in embodiments:
        raise ValueError(f"embodiment: expected one of {sorted(embodiments)}, got {name!r}")
    return embodiments[name]
