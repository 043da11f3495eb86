"""The figures of the ROS 2 part, side by side with their targets; the last line is JSON.

    python bench/ros.py                    a minute each: answers at 20 Hz, at 100 Hz, the same
                                           with real-time priority, and with commands held back
                                           to even intervals, closed loop
    python bench/ros.py --seconds 600      ten minutes of the closed loop
    python bench/ros.py --soak 3600        memory, threads and files over an hour, instead

Nodes are processes of their own with the parameters of config/stack.yaml. In the closed loop the
simulator runs in real time; the others have a robot without physics. A busy machine shows in these
figures: look at the load and the machine's own floor that are printed with them.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import tyro
import yaml
from ros_answer import answer
from ros_floor import lateness
from ros_soak import soak

from gato_ros.common import paths, realtime
from gato_ros.common.realtime import Realtime
from gato_ros.common.stopping import Stop, on_signals
from gato_ros.stack import stack
from gato_sim.arm.sawyer import CONTROL_TIMESTEP
from gato_sim.domains.rgb_stacking.benchmark import NUM_STEPS
from gato_sim.run.provenance import commit, machine

FAST_RATE = 100.0  # Hz, with a trivial policy
FLOOR_SECONDS = 10.0
RELEASE_AFTER = 0.006  # s, of the last measurement at 100 Hz
MAX_OVERHEAD, MAX_JITTER = 5.0, 2.0  # ms, p99
MAX_GROWTH_MB = 2.0  # between the second and the last quarter of a soak


@dataclass(frozen=True)
class Options:
    """What to measure."""

    checkpoint: str = "checkpoints/control"
    seconds: float = 60.0
    """Of the closed loop, in simulated time, whose episodes last 20 s."""
    answer_seconds: float = 60.0
    """Of each of the other parts."""
    priority: int = 40
    """Real-time, of the second measurement at 100 Hz and of the policy in a soak; 0: without."""
    physics: str = "benchmark"
    num_threads: int = 1
    video: bool = False
    soak: float = 0.0
    """Seconds to watch memory, threads and files of a stack with a trivial policy, instead."""
    soak_log: Path | None = None
    """File that grows with every sample of the soak, one JSON line each."""


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


def closed_loop(options: Options, stop: Stop) -> dict:
    """Runs the stack with the simulated robot and returns its figures."""
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
        folder = stack.run(config, stop)
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
    }


def allowed(priority: int) -> list[int]:
    """Normal scheduling, and this real-time priority where the system grants it."""
    with contextlib.ExitStack() as end:
        granted, refused = realtime.begin(Realtime(priority), end)
    for line in refused:
        print(f"without real-time scheduling: {line}")
    return [0, priority] if granted else [0]


def measure(options: Options, stop: Stop) -> dict:
    """All figures, with what they depend on."""
    if options.soak:
        period = min(10.0, options.soak / 60)
        result = {
            "soak": soak(
                seconds=options.soak,
                period=period,
                log=options.soak_log,
                priority=options.priority,
            )
        }
    else:
        seconds = options.answer_seconds
        priorities = allowed(options.priority)
        result = {
            "floor": [lateness(FAST_RATE, FLOOR_SECONDS, priority) for priority in priorities],
            "answer": answer(options.checkpoint, 1 / CONTROL_TIMESTEP, seconds),
            "fast": [
                answer(None, FAST_RATE, seconds, priority=one, release_after=delay)
                for one, delay in (*((p, 0.0) for p in priorities), (priorities[-1], RELEASE_AFTER))
            ],
            "closed_loop": closed_loop(options, stop),
        }
    return result | {
        "load_average": os.getloadavg(),
        "machine": machine(),
        "commit": commit(),
        "options": {key: str(value) for key, value in vars(options).items()},
    }


Row = tuple[str, str, str, bool | None]


def rows(result: dict) -> list[Row]:
    """(what, target, measured, whether it holds) of each figure; None: it has no target."""
    if "soak" in result:
        return soak_rows(result["soak"])
    answered, loop = result["answer"], result["closed_loop"]
    overhead = answered["overhead_ms"]["p99"]
    num_due = loop["num_ticks"] + loop["num_missed"]
    return [
        (
            "20 Hz: stamp to command less policy, p99",
            f"<= {MAX_OVERHEAD} ms",
            f"{overhead:.2f} ms",
            overhead <= MAX_OVERHEAD,
        ),
        *fast_rows(result["fast"], result["floor"]),
        (
            "closed loop, 20 Hz: ticks missed, late",
            "0, 0",
            f"{loop['num_missed']}, {loop['num_late']} of {num_due}",
            loop["num_missed"] == loop["num_late"] == 0,
        ),
    ]


def soak_rows(result: dict) -> list[Row]:
    return [
        (
            f"{name}: growth of memory, threads, files",
            f"<= {MAX_GROWTH_MB} MB, 0, 0",
            f"{grown['rss_mb']:.2f} MB, {grown['num_threads']:.0f}, {grown['num_files']:.0f}",
            grown["rss_mb"] <= MAX_GROWTH_MB
            and grown["num_threads"] <= 0
            and grown["num_files"] <= 0,
        )
        for name, node in result["nodes"].items()
        for grown in [node["growth"]]
    ]


def fast_rows(results: list[dict], floors: list[dict]) -> list[Row]:
    """The machine's floor by scheduling, then two rows for each way to run the node.

    Even intervals are promised where commands are held back to them, answers to all states with
    real-time scheduling where the system has it.
    """
    scheduling = {0: "normal scheduling"}
    best = max(result["priority"] for result in results)
    table: list[Row] = []
    for priority, floor in zip(sorted({result["priority"] for result in results}), floors):
        scheduling.setdefault(priority, f"real-time {priority}")
        late = f"{floor['p99']:.2f}, {floor['max']:.2f} ms"
        table.append((f"a bare loop's lateness, {scheduling[priority]}: p99, max", "", late, None))
    for result in results:
        how, delay = scheduling[result["priority"]], result["release_after_ms"]
        how += f", released after {delay:g} ms" if delay else ""
        jitter, num_unanswered = result["jitter_ms"]["p99"], result["num_unanswered"]
        is_even, is_best = delay > 0, result["priority"] == best
        table += [
            (
                f"100 Hz, {how}: jitter, p99",
                f"<= {MAX_JITTER} ms" if is_even else "",
                f"{jitter:.2f} ms",
                jitter <= MAX_JITTER if is_even else None,
            ),
            (
                f"100 Hz, {how}: states without answer",
                "0" if is_best else "",
                f"{num_unanswered} of {result['num_states']}",
                num_unanswered == 0 if is_best else None,
            ),
        ]
    return table


def print_figures(result: dict) -> None:
    verdicts = {True: "holds", False: "FAILS", None: ""}
    for what, target, measured, holds in rows(result):
        print(f"{what:<66}{target:>14}{measured:>20}   {verdicts[holds]}")
    if "fast" in result:
        print("at 100 Hz the policy is trivial; real-time priority is the robot's and the node's")
    if "closed_loop" in result:
        print_table(result["closed_loop"])
    print(f"load average {result['load_average'][0]:.1f}")


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
        f"{result['policy_cpu_cores']:.2f}, robot {robot['cpu_cores']:.2f}"
    )


def main() -> None:
    options = tyro.cli(Options)
    result = measure(options, on_signals())
    print_figures(result)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
