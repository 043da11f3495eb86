"""The policy: from observation to action, whatever computes the step in between. Section 2.4."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from gato_core.embodiment import Embodiment
from gato_core.episode import Episode
from gato_core.spec import Spec
from gato_core.tokenizer import Tokenizer
from gato_core.window import StepInputs

if TYPE_CHECKING:
    from gato_core.model import Gato

RUNTIMES = ("cpu", "cuda", "onnx")
Run = Callable[[Mapping[str, np.ndarray]], np.ndarray]


class Policy(Protocol):
    """Whoever acts: a network, a scripted expert, a person."""

    def reset(self, prompt: Episode | None = None) -> None:
        """Begins an episode; a prompt is a demonstration to begin it with."""

    def step(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        """The action (A,) for an observation, in the Spec's unit."""


@dataclass(frozen=True)
class StepSeconds:
    """Wall time of the stages of one step."""

    tokenize: float
    network: float


class GatoPolicy:
    """A checkpoint that acts: for one robot, or for several in lock-step.

    Each robot is in an episode of its own, of which the last timesteps stay in context.
    temperature 0 takes the likeliest id of each action token; None is the embodiment's. Every draw
    comes from generators of this policy, so a seed and the observations determine the actions. With
    keep_prompt a prompt stays in context for the whole episode.
    """

    def __init__(
        self,
        run: Run,
        tokenizer: Tokenizer,
        layout: Mapping,
        *,
        temperature: float | None = None,
        seed: int = 0,
        keep_prompt: bool = False,
        num_robots: int = 1,
    ) -> None:
        """run: from the inputs of all robots' step, by name, to the ids (B, A) of their actions.

        layout: what `StepInputs` need to know of the network.
        """
        if temperature is None:
            temperature = tokenizer.embodiment.temperature
        self.tokenizer = tokenizer
        self.seconds = StepSeconds(0.0, 0.0)
        self._run = run
        self._robots = [
            StepInputs(tokenizer, **layout, keep_prompt=keep_prompt, temperature=temperature)
            for _ in range(num_robots)
        ]
        self.seed(seed)

    @classmethod
    def of(
        cls,
        model: Gato,
        tokenizer: Tokenizer,
        *,
        temperature: float | None = None,
        seed: int = 0,
        keep_prompt: bool = False,
        num_robots: int = 1,
    ) -> GatoPolicy:
        """The policy of a network as it is, on its device; on a GPU a step is one captured graph.

        The network's dtype is that of the computation.
        """
        from gato_core.deploy.cuda_graph import CapturedStep
        from gato_core.step import ControlStep, layout

        step = ControlStep(model, tokenizer, num_robots)
        on_gpu = step.device.type == "cuda"
        policy = cls(
            CapturedStep(step) if on_gpu else step.run,
            tokenizer,
            layout(model.config),
            temperature=temperature,
            seed=seed,
            keep_prompt=keep_prompt,
            num_robots=num_robots,
        )
        if on_gpu:  # else the first step would wait for the capture
            policy._run(_together([robot.idle() for robot in policy._robots]))
        return policy

    @property
    def spec(self) -> Spec:
        return self.tokenizer.spec

    @property
    def temperature(self) -> float:
        return self._robots[0].temperature

    @property
    def embodiment(self) -> Embodiment:
        return self.tokenizer.embodiment

    def seed(self, seed: int) -> None:
        """Determines all draws from now on."""
        for number, robot in enumerate(self._robots):
            robot.seed((seed, number))

    def reset(self, prompt: Episode | None = None, *, robot: int = 0) -> None:
        """Forgets everything, then reads the prompt's timesteps as if it had lived them.

        Raises KeyError or ValueError if the prompt does not fit the Spec, or is too long to keep.
        """
        if prompt is None:
            self._robots[robot].reset()
            return
        for inputs in self._robots[robot].read(prompt):
            others = [each.idle() for each in self._robots]
            self._run(_together([*others[:robot], inputs, *others[robot + 1 :]]))

    def step(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        """The action (A,). Raises KeyError or ValueError naming what is wrong in an observation."""
        (action,) = self.step_together([observation])
        assert action is not None
        return action

    def step_together(
        self, observations: Sequence[Mapping[str, np.ndarray] | None]
    ) -> list[np.ndarray | None]:
        """The action (A,) of each robot; a robot without an observation stands still, its time too.

        Errors as of `step`, before anything is remembered.
        """
        if len(observations) != len(self._robots):
            raise ValueError(
                f"observations: expected one for each of {len(self._robots)} robots, "
                f"got {len(observations)}"
            )
        started = time.perf_counter()
        for observation in observations:
            if observation is not None:
                self.spec.check_observation(observation)
        pairs = list(zip(self._robots, observations))
        inputs = _together([r.idle() if o is None else r.observed(o) for r, o in pairs])
        tokenized = time.perf_counter()
        id_BA = self._run(inputs)
        actions: list[np.ndarray | None] = []
        for (robot, observation), id_A in zip(pairs, id_BA):
            if observation is not None:
                robot.took(id_A)
            actions.append(None if observation is None else self.tokenizer.decode_action(id_A))
        self.seconds = StepSeconds(tokenized - started, time.perf_counter() - tokenized)
        return actions


def load(
    path: str | Path,
    *,
    runtime: Literal["cpu", "cuda", "onnx"] = "cpu",
    embodiment: str | None = None,
    temperature: float | None = None,
    seed: int = 0,
    keep_prompt: bool = False,
    num_robots: int = 1,
) -> Policy:
    """The policy of a checkpoint of any kind.

    runtime: "cpu" is torch in float32 with packed weights; "cuda" one captured graph in bfloat16;
    "onnx" ONNX Runtime, for a file of `gato export`, which also says how many robots and whether
    prompts stay. embodiment: whose policy, in a checkpoint of several; it may be left out where
    there is one. temperature: None is the embodiment's own. Errors as of `checkpoint.load`.
    """
    if runtime not in RUNTIMES:
        raise ValueError(f"runtime: expected one of {RUNTIMES}, got {runtime!r}")
    if runtime == "onnx":
        from gato_core.deploy import onnx

        return onnx.load(path, embodiment=embodiment, temperature=temperature, seed=seed)
    import torch

    from gato_core import baseline, checkpoint
    from gato_core.deploy.packed import pack

    if checkpoint.kind(path) != checkpoint.KIND:
        actor, _ = baseline.load(path)
        return baseline.BaselinePolicy(actor, temperature=temperature or 0.0, seed=seed)
    loaded = checkpoint.load(path)
    model = pack(loaded.model) if runtime == "cpu" else loaded.model.to("cuda", torch.bfloat16)
    return GatoPolicy.of(
        model,
        loaded.tokenizer(embodiment),
        temperature=temperature,
        seed=seed,
        keep_prompt=keep_prompt,
        num_robots=num_robots,
    )


def _together(inputs: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Every robot's inputs, stacked by name."""
    if len(inputs) == 1:
        return {name: array[None] for name, array in inputs[0].items()}
    return {name: np.stack([each[name] for each in inputs]) for name in inputs[0]}
