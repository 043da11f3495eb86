"""bench/train.py: the arithmetic that its MFU counts is what torch counts."""

import sys
from pathlib import Path

import pytest
from torch.utils.flop_counter import FlopCounterMode

from gato_core.tools.bench import robot

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))
import train as bench


@pytest.mark.parametrize("preset", ["control-2m", "debug"])
def test_counted_operations_are_torch_s(preset):
    """Torch also counts the masked half of attention, and no gradient of what enters first."""
    options = bench.Options(preset=preset, batch_size=2, context_timesteps=2)
    updates = bench.Updates(robot(64), options, "fp32")
    batch = next(updates.batches)
    with FlopCounterMode(display=False) as counter:
        updates.learner(batch)[0].backward()
    counted = bench.flops_per_token(updates.learner.model, robot(64), 2) * batch.num_tokens
    assert counted == pytest.approx(counter.get_total_flops(), rel=0.05)
