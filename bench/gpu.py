"""Control steps of the paper's presets on a GPU, at full context; the last line is JSON.

    python bench/gpu.py --presets 79m 364m 1.2b

Two ways in one process: the step run eagerly, and as one captured graph; beside them the roofline
of this GPU as measured in the same run. A step is timed by the host's clock from the observation as
numpy to the action as numpy: copies to and from the device and sampling are in it, and the host
waits for the device at its end. First it counts how many action tokens are those of the eager
step. Without a GPU it says so and measures nothing; `--device cpu` goes the same way in float32,
without a graph, to see that it can be gone:

    python bench/gpu.py --device cpu --presets debug --image-size 32 --num-steps 5
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass

import numpy as np
import torch
import tyro

from gato_core.deploy.cuda_graph import CapturedStep
from gato_core.embodiment import ActionMode, Embodiment
from gato_core.model import Gato, preset
from gato_core.policy import GatoPolicy, Policy
from gato_core.spec import Spec
from gato_core.step import ControlStep, layout
from gato_core.tokenizer import Tokenizer
from gato_core.tools.bench import hardware, made_up, measure, robot
from gato_core.tools.roofline import Machine, measure_machine, passes


@dataclass(frozen=True)
class Options:
    """What to measure."""

    presets: tuple[str, ...] = ("79m", "364m", "1.2b")
    action_modes: tuple[ActionMode, ...] = ("autoregressive", "parallel")
    context_timesteps: int = 6
    image_size: int = 128
    """Two cameras of 128x128 are the paper's 64 patches each; 149 tokens a timestep."""
    num_steps: int = 200
    device: str = "cuda"


def actions(policy: Policy, spec: Spec, num_steps: int) -> np.ndarray:
    """What a policy does from made-up observations: (num_steps, A)."""
    rng = np.random.default_rng(1)
    policy.reset()
    taken = np.stack([policy.step(made_up(spec, rng)) for _ in range(num_steps)])
    policy.reset()
    return taken


def rows(
    name: str, model: Gato, body: Embodiment, machine: Machine, options: Options
) -> list[dict]:
    """Percentiles of each way to run one model, and how many times sooner than eager it is."""
    spec, tokenizer = body.spec, Tokenizer(body, model.config.vocabulary)
    roofline_ms = 1e3 * sum(each.seconds(machine) for each in passes(model, body))
    num_before = 3 * options.context_timesteps
    found: list[dict] = []
    expected = None
    captured = CapturedStep(ControlStep(model, tokenizer))
    on_gpu = model.embedding.weight.is_cuda
    for way, run in (
        ("eager", ControlStep(model, tokenizer).run),
        ("captured graph" if on_gpu else "static buffers, not captured", captured),
    ):
        policy = GatoPolicy(run, tokenizer, layout(model.config))
        taken = actions(policy, spec, num_before)
        expected = taken if expected is None else expected
        ms = measure(policy, spec, options.num_steps, num_before)["step"]
        row = {"preset": name, "action_mode": body.action_mode, "way": way, "ms": ms}
        row["times_eager"] = round(found[0]["ms"]["p50"] / ms["p50"], 2) if found else 1.0
        row["agreement"] = round(float(np.mean(taken == expected)), 4)
        row["roofline_ms"] = round(roofline_ms, 3)
        found.append(row)
        print(" ".join(f"{key}={value}" for key, value in row.items()), flush=True)
    found[-1]["bytes_to_device"] = captured.num_bytes_to_device
    return found


def main() -> int:
    options = tyro.cli(Options, description=__doc__)
    on_gpu = torch.device(options.device).type == "cuda"
    if on_gpu and not torch.cuda.is_available():
        print("skipped: torch sees no GPU here")
        print(json.dumps({"skipped": "no GPU", "torch": torch.__version__}))
        return 0
    dtype = torch.bfloat16 if on_gpu else torch.float32
    machine = measure_machine(options.device, dtype)
    spec, results = robot(options.image_size), []
    for name in options.presets:
        for action_mode in options.action_modes:
            body = Embodiment("robot", spec, options.context_timesteps, action_mode)
            torch.manual_seed(0)
            with torch.device(options.device):
                model = Gato(preset(name)).to(dtype)
            results += rows(name, model, body, machine, options)
    rates = {"gb_per_s": machine.bandwidth / 1e9, "gflop_per_s": machine.flops / 1e9}
    about = hardware(options.device, torch.get_num_threads()) | {"dtype": str(dtype)}
    print(json.dumps(about | rates | {"rows": results}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
