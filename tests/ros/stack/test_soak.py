"""A short soak of the whole stack: no process of it grows."""

import sys
from pathlib import Path

import numpy as np
import ros_examples

sys.path.append(str(Path(__file__).parents[3] / "bench"))
from ros_soak import growth, soak

NUM_STEPS, PERIOD = 700, 0.1
MAX_GROWTH_MB = 4.0  # accounts still fill; one image a tick would be 8 MB


def test_growth_is_seen_and_a_level_is_none():
    level = [(100.0 + 0.01 * (i % 3), 17, 16) for i in range(80)]
    leaking = [(100.0 + 0.1 * i, 17 + i // 40, 16) for i in range(80)]
    assert growth(level) == {"rss_mb": 0.0, "num_threads": 0.0, "num_files": 0.0}
    assert growth(leaking)["rss_mb"] == 4.0 and growth(leaking)["num_threads"] == 1.0
    assert growth(leaking, 2)["rss_mb"] == 2.0


def test_a_short_soak_grows_neither_memory_nor_threads_nor_files():
    """As fast as it goes, for more ticks; `bench/ros.py --soak 3600` is the long one.

    On an idle machine loading takes a third of the time.
    """
    with ros_examples.environment():
        result = soak(num_steps=NUM_STEPS, period=PERIOD, real_time_factor=0.0, quarters_before=2)
    assert result["nodes"].keys() == {"sim_node", "policy_node", "status_node"}
    assert result["ticks"]["num_ticks"] > NUM_STEPS // 2
    for name, node in result["nodes"].items():
        grown = node["growth"]
        assert grown["rss_mb"] < MAX_GROWTH_MB, (name, node)
        assert grown["num_threads"] <= 0 and grown["num_files"] <= 0, (name, node)
        assert np.isfinite(grown["rss_mb"])
