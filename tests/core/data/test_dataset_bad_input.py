"""What is wrong with a dataset is said before training, with expected and got."""

import gc
import json
import resource
import time
import tracemalloc

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dataset_examples import SPEC, make_episode, write

from gato_core.dataset import Dataset, DatasetWriter
from gato_core.spec import Continuous, Image, Spec
from gato_core.tools.inspect import inspect


def edit(path, change) -> None:
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        ("meta/info.json", lambda d: d.update(fps=30), "fps: expected 20 by the Spec, got 30"),
        ("meta/info.json", lambda d: d.update(total_episodes=0), "at least one episode, got none"),
        (
            "meta/info.json",
            lambda d: d.update(codebase_version="v2.1"),
            "expected codebase_version v3.0, got v2.1",
        ),
        (
            "meta/info.json",
            lambda d: d["features"].pop("observation.images.left"),
            r"observation.images.left: expected \[16, 32, 3\], got no such feature",
        ),
        (
            "meta/info.json",
            lambda d: d["features"]["observation.state"]["names"].reverse(),
            r"observation.state: expected names \['arm/joints/j0'.* got \['gripper/angle'",
        ),
        (
            "meta/info.json",
            lambda d: d["features"]["action"].update(shape=[2]),
            r"action: expected shape \[3\], got \[2\]",
        ),
        ("meta/info.json", lambda d: d.update(total_episodes=9), "file-002.parquet: missing"),
        ("gato.json", lambda d: d.update(version=7), "gato.json: expected version 1, got 7"),
    ],
)
def test_a_folder_unlike_its_spec_is_refused_and_unsound(tmp_path, file, change, words):
    write(tmp_path, range(4), episodes_per_file=2)
    edit(tmp_path / file, change)
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        Dataset(tmp_path)
    assert not inspect(tmp_path)["sound"]


def test_an_empty_folder_is_no_dataset(tmp_path):
    with pytest.raises(FileNotFoundError, match="info.json"):
        Dataset(tmp_path)
    with DatasetWriter(tmp_path, SPEC):
        pass  # nothing was added
    with pytest.raises(FileNotFoundError, match="info.json"):
        Dataset(tmp_path)


def test_nan_in_a_stored_action_is_named(tmp_path):
    """As another program may have written it: our writer refuses NaN."""
    write(tmp_path, range(2))
    path = tmp_path / "data/chunk-000/file-000.parquet"
    table = pq.read_table(path)
    action = table["action"].combine_chunks().flatten().to_numpy(zero_copy_only=False).copy()
    action[3 * 6 + 1] = np.nan  # timestep 1 of episode 1, dimension yaw
    column = pa.FixedSizeListArray.from_arrays(pa.array(action), type=table["action"].type)
    place = table.column_names.index("action")
    pq.write_table(table.set_column(place, "action", column), path)
    dataset = Dataset(tmp_path)
    dataset.episode(0)
    with pytest.raises(ValueError, match=r"episode 1: action: .* nan.* at timestep 1 \(yaw\)"):
        dataset.episode(1)
    assert any("at timestep 1 (yaw)" in text for text in inspect(tmp_path)["problems"])


@pytest.mark.parametrize(
    ("observation", "action", "words"),
    [
        ({"arm/joints": Continuous((-3.0,) * 2, (3.0,) * 2, "rad", ("j1", "j0"))}, {}, "j1"),
        ({"arm/joints": Continuous((-3.0,) * 2, (3.0,) * 2, "deg", ("j0", "j1"))}, {}, "deg"),
        ({"left/pixels": Image(32, 32)}, {}, "left/pixels.height: expected 16, got 32"),
        ({}, {"names": ("x", "grip", "yaw")}, "action.names: expected"),
    ],
)
def test_mixed_specs_are_refused(tmp_path, observation, action, words):
    write(tmp_path, [0])
    fields = {"low": SPEC.action.low, "high": SPEC.action.high, "unit": SPEC.action.unit}
    other = Spec(
        SPEC.observation | observation,
        Continuous(**(fields | {"names": SPEC.action.names} | action)),
        SPEC.control_timestep,
    )
    with pytest.raises(ValueError, match=words):
        DatasetWriter(tmp_path, other)


def test_a_full_disk_keeps_every_episode_that_was_safe(tmp_path):
    """Files cannot grow beyond a size: the error of a full disk, at the same places."""
    write(tmp_path, range(2))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    writer = DatasetWriter(tmp_path, SPEC)
    writer.add(make_episode(2, 40))
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(OSError, match="file-001.parquet: expected to write.*MB free"):
            writer.flush()
        with pytest.raises(OSError):
            writer.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert Dataset(tmp_path).num_episodes == 2
    assert not list(tmp_path.rglob("*.tmp"))
    write(tmp_path, [2, 3])  # with room again, the folder is taken up
    assert Dataset(tmp_path).num_episodes == 4


def test_memory_stays_within_its_bound(tmp_path):
    """Ten times as much data as memory: what is kept does not grow with what is read."""
    with DatasetWriter(tmp_path, SPEC, episodes_per_file=2) as writer:
        for seed in range(10):
            writer.add(make_episode(seed, 60))
    bound = 500_000
    dataset = Dataset(tmp_path, memory_gb=bound / 1e9)
    total = sum(path.stat().st_size for path in tmp_path.rglob("*.parquet"))
    assert total > 4 * bound
    Dataset(tmp_path).read(0, 5, 15)  # what the first reading imports is no part of it
    gc.collect()
    tracemalloc.start()
    start = pa.total_allocated_bytes() + tracemalloc.get_traced_memory()[0]
    for i in [*range(10), *range(10)]:
        dataset.read(i, 5, 15)
    end = time.monotonic() + 10
    kept = bound + 100_000
    while kept >= bound + 100_000 and time.monotonic() < end:  # Arrow's own threads free late
        time.sleep(0.01)
        kept = pa.total_allocated_bytes() + tracemalloc.get_traced_memory()[0] - start
    tracemalloc.stop()
    assert kept < bound + 100_000
