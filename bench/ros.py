"""The closed loop over ROS 2: ticks on time, latency stage by stage, CPU; the last line is JSON.

    python bench/ros.py --checkpoint checkpoints/control --seconds 60

Robot and policy run as `gato stack` runs them, as processes of their own with the parameters of
config/stack.yaml, the simulator in real time, for the given simulated time. A busy machine shows
in these figures: look at the load that is printed with them.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

import tyro
import yaml

from gato_ros import paths, stack
from gato_sim.constants import CONTROL_TIMESTEP, NUM_STEPS
from gato_sim.provenance import commit


@dataclass(frozen=True)
class Options:
    """What to measure."""

    checkpoint: str = "checkpoints/control"
    seconds: float = 60.0
    """Simulated time; an episode lasts 20 s."""
    physics: str = "benchmark"
    num_threads: int = 1
    video: bool = False


def write_params(options: Options, file: Path) -> int:
    """config/stack.yaml with these options; returns the number of episodes to run."""
    num_steps = round(options.seconds / CONTROL_TIMESTEP)
    num_episodes = math.ceil(num_steps / NUM_STEPS)
    params = yaml.safe_load(paths.find("config/stack.yaml").read_text())
    params["/**/sim_node"]["ros__parameters"] |= {
        "physics": options.physics,
        "episode_steps": math.ceil(num_steps / num_episodes),
    }
    params["/**/policy_node"]["ros__parameters"]["num_threads"] = options.num_threads
    file.write_text(yaml.safe_dump(params))
    return num_episodes


def measure(options: Options) -> dict:
    """Runs the stack and returns its figures."""
    with tempfile.TemporaryDirectory() as name:
        params_file = Path(name) / "stack.yaml"
        num_episodes = write_params(options, params_file)
        config = stack.StackConfig(
            episodes=num_episodes,
            checkpoint=options.checkpoint,
            params_file=str(params_file),
            out=Path(name) / "out",
            video=options.video,
        )
        folder = stack.run(config, threading.Event())
        report = json.loads((folder / "report.json").read_text())
    policy, robot = report["policy"], report["episodes"]["robot"]
    return {
        "on_time_fraction": policy["on_time_fraction"],
        "num_ticks": policy["num_ticks"],
        "num_late": policy["num_late"],
        "num_missed": policy["num_missed"],
        "num_holds": policy["num_holds"],
        "latency_ms": policy["latency_ms"],
        "robot": robot,
        "policy_cpu_cores": policy["cpu_cores"],
        "load_average": os.getloadavg(),
        "machine": report["machine"],
        "commit": commit(),
        "options": vars(options),
    }


def print_table(result: dict) -> None:
    print(f"{'stage, ms':<12}{'p50':>8}{'p95':>8}{'p99':>8}{'max':>8}")
    for stage, values in result["latency_ms"].items():
        print(f"{stage:<12}" + "".join(f"{values[k]:8.2f}" for k in ("p50", "p95", "p99", "max")))
    robot = result["robot"]
    print(
        f"on time {100 * result['on_time_fraction']:.2f} % of "
        f"{result['num_ticks'] + result['num_missed']} ticks; answered within the step "
        f"{robot['num_answered_in_step']} of {robot['num_steps']}; real-time factor "
        f"{robot['real_time_factor']:.3f}; CPU cores: policy "
        f"{result['policy_cpu_cores']:.2f}, robot {robot['cpu_cores']:.2f}; load average "
        f"{result['load_average'][0]:.1f}"
    )


def main() -> None:
    result = measure(tyro.cli(Options))
    print_table(result)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
