"""Parameters of the simulated robot."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from rclpy.node import Node

from gato_ros.common import camera_parameters
from gato_ros.common.parameters import declare, refuse_unknown
from gato_sim.domains.rgb_stacking.benchmark import NUM_STEPS


@dataclass(frozen=True)
class SimParameters:
    """What config/stack.yaml may set; `declare_all` describes each."""

    task: str
    seed: int
    physics: str
    cameras: tuple[str, ...]
    image_size: int
    view: str
    randomise: str
    real_time_factor: float
    lock_step: bool
    command_timeout: float
    episodes: int
    episode_steps: int
    stop_after: int
    camera_latency: float
    command_latency: float
    drop_probability: float
    ground_truth: bool
    video: str
    video_every: int


def declare_all(node: Node) -> SimParameters:
    """Declares all parameters on a node and reads them. Raises ValueError for a wrong choice."""
    param = partial(declare, node)
    parameters = SimParameters(
        task=param("task", "rgb_test_triplet5", "a task's name or red, green, blue ids 'r3,s0,b2'"),
        seed=param("seed", 0, "of the episodes' starts", low=0, high=2**31 - 1),
        physics=param(
            "physics",
            "benchmark",
            "the published settings, or three times faster ones",
            choices=("benchmark", "stable"),
        ),
        cameras=camera_parameters.cameras(param, "cameras to publish"),
        **camera_parameters.pictures(param),
        randomise=param("randomise", "none", "how episodes differ in looks and physics: a profile"),
        real_time_factor=param(
            "real_time_factor", 1.0, "1 is real time, 0 as fast as possible", low=0.0, high=100.0
        ),
        lock_step=param("lock_step", False, "whether time waits for the answer to each state"),
        command_timeout=param(
            "command_timeout",
            0.1,
            "s without a command until the arm stands still",
            low=0.05,
            high=10.0,
        ),
        episodes=param("episodes", 0, "to run before exiting; 0 is endless", low=0, high=1_000_000),
        episode_steps=param(
            "episode_steps", NUM_STEPS, "control steps of an episode", low=1, high=1_000_000
        ),
        stop_after=param(
            "stop_after",
            0,
            "control steps of success, the gripper away, that end an episode; 0: none",
            low=0,
            high=1_000_000,
        ),
        **_faults(param),
        ground_truth=param("ground_truth", False, "publish true poses, to debug with"),
        video=param("video", "", "MP4 file to record into; empty records nothing"),
        video_every=param("video_every", 2, "control steps between its frames", low=1, high=100),
    )
    refuse_unknown(node)
    return parameters


def _faults(param: partial) -> dict[str, float]:
    """What is wrong with the connection, on purpose; what is lost follows from `seed`."""
    return {
        "camera_latency": param(
            "camera_latency", 0.0, "s, to whole control steps, of images", low=0.0, high=5.0
        ),
        "command_latency": param(
            "command_latency", 0.0, "s from a command's arrival to its effect", low=0.0, high=5.0
        ),
        "drop_probability": param(
            "drop_probability", 0.0, "of images, joint states and commands", low=0.0, high=1.0
        ),
    }
