"""Parameters of the simulated robot."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from rclpy.node import Node

from gato_ros.parameters import declare
from gato_sim.constants import NUM_STEPS


@dataclass(frozen=True)
class SimParameters:
    """What config/stack.yaml may set; `declare_all` describes each."""

    task: str
    seed: int
    physics: str
    cameras: tuple[str, ...]
    image_size: int
    real_time_factor: float
    lock_step: bool
    command_timeout: float
    episodes: int
    episode_steps: int
    video: str
    video_every: int


def declare_all(node: Node) -> SimParameters:
    """Declares all parameters on a node and reads them. Raises ValueError for a wrong choice."""
    param = partial(declare, node)
    cameras = ["basket_front_left", "basket_front_right"]
    return SimParameters(
        task=param("task", "rgb_test_triplet5", "a task's name or red, green, blue ids 'r3,s0,b2'"),
        seed=param("seed", 0, "of the episodes' starts", low=0, high=2**31 - 1),
        physics=param(
            "physics",
            "benchmark",
            "the published settings, or three times faster ones",
            choices=("benchmark", "stable"),
        ),
        cameras=tuple(param("cameras", cameras, "cameras to publish")),
        image_size=param("image_size", 64, "sides of the images in pixels", low=16, high=512),
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
        video=param("video", "", "MP4 file to record into; empty records nothing"),
        video_every=param("video_every", 2, "control steps between its frames", low=1, high=100),
    )
