"""Control steps of the paper's presets on a GPU, at full context; the last line is JSON.

    python bench/gpu.py --presets 79m 364m 1.2b

Three ways take turns in one process: plain eager PyTorch with a cache that grows by concatenation,
the eager ring of `GatoPolicy`, and the captured graph of `StaticPolicy`; beside them the roofline
of this GPU as measured in the same run. A step is timed by the host's clock from the observation as
numpy to the action as numpy: copies to and from the device and sampling are in it, and the host
waits for the device at its end. Without a GPU it says so and measures nothing.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace

import torch
import tyro
from torch import Tensor

from gato_core.bench import hardware, measure, robot
from gato_core.cache import KVCache, visible
from gato_core.model import Gato, preset
from gato_core.policy import GatoPolicy
from gato_core.roofline import Machine, measure_machine, passes
from gato_core.spec import Spec
from gato_core.static import StaticPolicy
from gato_core.tokenizer import Tokenizer


@dataclass(frozen=True)
class Options:
    """What to measure."""

    presets: tuple[str, ...] = ("79m", "364m", "1.2b")
    action_modes: tuple[str, ...] = ("autoregressive", "parallel")
    context_timesteps: int = 6
    image_size: int = 128
    """Two cameras of 128x128 are the paper's 64 patches each; 149 tokens a timestep."""
    num_steps: int = 200


class GrowingCache:
    """The cache of plain eager code: new keys and values are concatenated, old ones cut off.

    The network meets it as it meets a KVCache; `like` tells its sizes.
    """

    num_kept = 0

    def __init__(self, like: KVCache) -> None:
        self.like, self.dtype, self.relative_NHSK = like, like.dtype, like.relative_NHSK
        self.reset()

    def reset(self, *, kept_timesteps: int = 0) -> None:
        assert kept_timesteps == 0
        self.length, self._num_old = 0, 0
        self.position_S = self.like.position_S[:0]
        self._k = [k_BHSK[:, :, :0] for k_BHSK in self.like.k_NBHSK]
        self._v = [v_BHSK[:, :, :0] for v_BHSK in self.like.v_NBHSK]

    def claim(self, num_tokens: int) -> tuple[Tensor, Tensor]:
        device = self.position_S.device
        position_Q = torch.arange(self.length, self.length + num_tokens, device=device)
        self.length += num_tokens
        room = self.like.num_slots - num_tokens
        self._num_old = min(len(self.position_S), room)
        self.position_S = torch.cat([self._old(self.position_S, 0), position_Q])
        steps = self.like.tokens_per_timestep, self.like.context_timesteps
        return position_Q, visible(position_Q, self.position_S, *steps)[None, None]

    def write(self, layer: int, k_BHQK: Tensor, v_BHQK: Tensor) -> tuple[Tensor, Tensor]:
        self._k[layer] = torch.cat([self._old(self._k[layer], 2), k_BHQK], dim=2)
        self._v[layer] = torch.cat([self._old(self._v[layer], 2), v_BHQK], dim=2)
        return self._k[layer], self._v[layer]

    def relative_window(self, layer: int, num_queries: int) -> None:
        """None: distances are looked up one by one."""

    def _old(self, x: Tensor, dim: int) -> Tensor:
        return x.narrow(dim, x.shape[dim] - self._num_old, self._num_old)


def growing_policy(model: Gato, tokenizer: Tokenizer) -> GatoPolicy:
    """GatoPolicy on a cache that grows."""
    policy = GatoPolicy(model, tokenizer)
    policy._cache = GrowingCache(policy._cache)
    return policy


def rows(name: str, model: Gato, spec: Spec, machine: Machine, options: Options) -> list[dict]:
    """Percentiles of each way to run one model, and how many times sooner than growing it is."""
    tokenizer = Tokenizer(spec, model.config.vocabulary)
    roofline_ms = 1e3 * sum(each.seconds(machine) for each in passes(model, spec))
    found: list[dict] = []
    for way, make in (
        ("eager, growing cache", growing_policy),
        ("eager, ring", GatoPolicy),
        ("captured graph", StaticPolicy),
    ):
        policy = make(model, tokenizer)
        ms = measure(policy, spec, options.num_steps, 3 * options.context_timesteps)["step"]
        row = {"preset": name, "action_mode": model.config.action_mode, "way": way, "ms": ms}
        row["times_growing"] = round(found[0]["ms"]["p50"] / ms["p50"], 2) if found else 1.0
        row["roofline_ms"] = round(roofline_ms, 3)
        if isinstance(policy, StaticPolicy):
            row["bytes_to_device"] = policy.num_bytes_to_device
        found.append(row)
        print(" ".join(f"{key}={value}" for key, value in row.items()), flush=True)
    return found


def main() -> int:
    options = tyro.cli(Options, description=__doc__)
    if not torch.cuda.is_available():
        print("skipped: torch sees no GPU here")
        print(json.dumps({"skipped": "no GPU", "torch": torch.__version__}))
        return 0
    machine = measure_machine("cuda", torch.bfloat16)
    spec, results = robot(options.image_size), []
    for name in options.presets:
        for action_mode in options.action_modes:
            config = replace(
                preset(name),
                action_mode=action_mode,
                context_timesteps=options.context_timesteps,
            )
            with torch.device("cuda"):
                model = Gato(config).to(torch.bfloat16)
            results += rows(name, model, spec, machine, options)
    rates = {"gb_per_s": machine.bandwidth / 1e9, "gflop_per_s": machine.flops / 1e9}
    print(json.dumps(hardware("cuda", torch.get_num_threads()) | rates | {"rows": results}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
