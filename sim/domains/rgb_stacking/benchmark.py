"""Numbers of the benchmark that several modules share (SI units; google-deepmind/rgb_stacking)."""

from __future__ import annotations

NUM_STEPS = 400  # control steps an episode lasts
BASKET_ORIGIN = (0.6, 0.0, 0.0498)  # m, the arm's base being the origin
TOUCHING = 1e-8  # m: a contact counts up to this distance
CAMERAS = ("basket_front_left", "basket_front_right", "basket_back_left")
