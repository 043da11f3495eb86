"""Parameters about cameras that several nodes have, so that one name means one thing."""

from __future__ import annotations

from collections.abc import Callable

from gato_sim.domains.rgb_stacking.tasks import VIEWS

CAMERAS = ["basket_front_left", "basket_front_right"]


def cameras(param: Callable, description: str) -> tuple[str, ...]:
    """Declares `cameras` by param, a `declare` of some node."""
    return tuple(param("cameras", CAMERAS, description))


def pictures(param: Callable) -> dict[str, int | str]:
    """Declares what every camera's picture is like: {"image_size", "view"}."""
    return {
        "image_size": param("image_size", 64, "height of the images in pixels", low=16, high=512),
        "view": param(
            "view", "whole", "what of the benchmark's picture they show", choices=[*VIEWS]
        ),
    }


def image_type(param: Callable) -> str:
    """Declares which message the pictures come in."""
    return param(
        "image_type",
        "raw",
        "sensor_msgs/Image on <camera>/color, or CompressedImage on <camera>/color/compressed",
        choices=("raw", "compressed"),
    )
