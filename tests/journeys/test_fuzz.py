"""Whatever a file holds, `gato` ends with a message: bytes and structures of every reader's files.

Deterministic, and few examples each; `FUZZ=2000 pytest tests/journeys/test_fuzz.py` tries more.
"""

import json
import os
import re
from pathlib import Path

import pytest
from bag_examples import ARM, demonstration
from dataset_examples import SPEC as OUR_SPEC
from dataset_examples import write as write_ours
from foreign_datasets import robomimic
from fuzzing import (
    byte_changes,
    change_bytes,
    change_column,
    change_item,
    change_json,
    column_changes,
    copy_of,
    gato,
    item_changes,
    json_changes,
)
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from odd_lerobot import DATA, EPISODES, odd_lerobot
from odd_lerobot import SPEC as LEROBOT_SPEC

from gato_core import checkpoint
from gato_core.embodiment import Embodiment
from gato_core.model import Gato, preset
from gato_core.spec import Continuous, Image, Spec
from gato_ros.bags import export

NUM = int(os.environ.get("FUZZ", "0"))
BARE_KEY = re.compile(r"gato \w+: ('[^' ]*'|\S*)\n")  # a message of one word
EEF = Continuous((-1.0,) * 3, (1.0,) * 3, "m", ("x", "y", "z"))
HDF5_SPEC = Spec(
    {"agentview/pixels": Image(16, 16), "robot0/eef_pos": EEF},
    Continuous((-1.0,) * 2, (1.0,) * 2, "1", ("dx", "grip")),
    0.05,
)


PROSE = st.lists(st.text("abc de", min_size=30, max_size=60), min_size=1, max_size=9)
TEXTS = st.one_of(st.binary(max_size=200), PROSE.map(lambda lines: "\n".join(lines).encode()))


def examples(usual: int):
    return settings(
        max_examples=NUM or usual,
        derandomize=not NUM,
        deadline=None,
        phases=list(Phase) if NUM else [Phase.generate],
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> dict[str, Path]:
    """One sound source of each kind, and a Spec for it where conversion wants one."""
    root = tmp_path_factory.mktemp("sources")
    found = {
        "lerobot": odd_lerobot(root / "lerobot"),
        "video": odd_lerobot(root / "video", camera="video"),
        "hdf5": robomimic(root / "lift.hdf5"),
        "ours": root / "ours",
        "bag": root / "bag",
    }
    write_ours(root / "ours", range(2))
    export.write(root / "bag", ARM, demonstration(ARM, 0))
    for name, spec in (("lerobot", LEROBOT_SPEC), ("hdf5", HDF5_SPEC), ("ours", OUR_SPEC)):
        found[f"{name} spec"] = root / f"{name}.json"
        found[f"{name} spec"].write_text(json.dumps(spec.to_dict()))
    return found


def tried(*commands: tuple) -> list[int]:
    """Every command ends by itself, with a message where it fails and no bare key in it."""
    statuses = []
    for command in commands:
        status, errors = gato(*command)
        assert status in (0, 1), (command, status, errors)
        assert "Traceback" not in errors and not BARE_KEY.fullmatch(errors), (command, errors)
        assert status == 0 or errors or command[0] == "inspect", command
        statuses.append(status)
    return statuses


def convert(source: Path, spec: Path | None = None) -> tuple:
    out = source.parent / "out"
    return ("convert", source, out, *(("--spec", spec) if spec else ()))


def foreign(sources: dict, kind: str, copy: Path) -> list[tuple]:
    draft = ("convert", copy, copy.parent / "draft.json", "--to", "spec")
    (copy.parent / "draft.json").unlink(missing_ok=True)
    spec = sources["hdf5 spec" if kind == "hdf5" else "lerobot spec"]
    return [("inspect", copy), draft, convert(copy, spec)]


def test_the_sound_sources_pass(sources, tmp_path):
    for kind in ("lerobot", "video", "hdf5"):
        with copy_of(sources[kind], tmp_path) as copy:
            assert tried(*foreign(sources, kind, copy)) == [0, 0, 0]
    with copy_of(sources["ours"], tmp_path) as copy:
        back = ("convert", copy, tmp_path / "bags", "--to", "bag")
        assert tried(("inspect", copy), back) == [1, 1]  # beyond limits; no joints to publish
    with copy_of(sources["bag"], tmp_path) as copy:
        assert tried(("inspect", copy), convert(copy)) == [0, 0]


@pytest.mark.parametrize("kind", ["lerobot", "video"])
def test_any_value_of_info_json(sources, tmp_path, kind):
    @examples(20)
    @given(json_changes(sources[kind] / "meta/info.json"))
    def check(change):
        with copy_of(sources[kind], tmp_path) as copy:
            change_json(copy / "meta/info.json", *change)
            tried(*foreign(sources, kind, copy))

    check()


@pytest.mark.parametrize("file", ["meta/info.json", "gato.json"])
def test_any_value_in_a_dataset_of_ours(sources, tmp_path, file):
    @examples(20)
    @given(json_changes(sources["ours"] / file))
    def check(change):
        with copy_of(sources["ours"], tmp_path) as copy:
            change_json(copy / file, *change)
            tried(("inspect", copy))

    check()


@pytest.mark.parametrize(
    ("kind", "file"), [("lerobot", DATA), ("lerobot", EPISODES), ("video", EPISODES)]
)
def test_any_column_of_a_lerobot_table(sources, tmp_path, kind, file):
    @examples(20)
    @given(column_changes(sources[kind] / file))
    def check(change):
        with copy_of(sources[kind], tmp_path) as copy:
            change_column(copy / file, *change)
            tried(*foreign(sources, kind, copy))

    check()


@pytest.mark.parametrize("file", [DATA, EPISODES])
def test_any_column_of_a_table_of_ours(sources, tmp_path, file):
    @examples(20)
    @given(column_changes(sources["ours"] / file))
    def check(change):
        with copy_of(sources["ours"], tmp_path) as copy:
            change_column(copy / file, *change)
            tried(("inspect", copy))

    check()


def test_any_item_of_an_hdf5_file(sources, tmp_path):
    @examples(40)
    @given(item_changes(sources["hdf5"]))
    def check(change):
        with copy_of(sources["hdf5"], tmp_path) as copy:
            change_item(copy, *change)
            tried(*foreign(sources, "hdf5", copy))

    check()


def test_any_value_of_a_spec(sources, tmp_path):
    @examples(15)
    @given(json_changes(sources["lerobot spec"]))
    def check(change):
        with copy_of(sources["lerobot spec"], tmp_path) as copy:
            change_json(copy, *change)
            tried(convert(sources["lerobot"], copy))

    # conversion writes beside the source: each into a folder of its own
    def convert(source, spec):
        return ("convert", source, spec.parent / "out", "--spec", spec)

    check()


@pytest.mark.parametrize("kind", ["lerobot", "video", "ours", "hdf5", "bag"])
def test_any_bytes_in_any_file(sources, tmp_path, kind):
    source = sources[kind]
    files = [source] if source.is_file() else sorted(p for p in source.rglob("*") if p.is_file())

    @examples(20)
    @given(st.data())
    def check(data):
        file = data.draw(st.sampled_from(files))
        change = data.draw(byte_changes(file))
        with copy_of(source, tmp_path) as copy:
            change_bytes(copy / file.relative_to(source) if source.is_dir() else copy, *change)
            commands = [("inspect", copy)]
            if kind == "bag":
                commands.append(convert(copy))
            elif kind != "ours":
                commands = foreign(sources, kind, copy)
            tried(*commands)

    check()


def test_any_value_of_a_checkpoint(tmp_path):
    """What `inspect` refuses `evaluate` refuses, before it makes a world."""
    config = preset("debug")
    checkpoint.save(
        tmp_path / "policy", Gato(config), Embodiment("robot", HDF5_SPEC), {"data": "none"}
    )

    @examples(15)
    @given(json_changes(tmp_path / "policy/config.json"))
    def check(change):
        with copy_of(tmp_path / "policy", tmp_path) as copy:
            change_json(copy / "config.json", *change)
            if tried(("inspect", copy)) == [1]:
                out = ("--out", tmp_path / "out")
                assert tried(("evaluate", "--checkpoint", copy, "--episodes", 1, *out)) == [1]
                assert not (tmp_path / "out").exists()

    check()


def test_any_bytes_of_a_checkpoint(tmp_path):
    config = preset("debug")
    checkpoint.save(
        tmp_path / "policy", Gato(config), Embodiment("robot", HDF5_SPEC), {"data": "none"}
    )

    @examples(15)
    @given(st.data())
    def check(data):
        name = data.draw(st.sampled_from(["config.json", "model.safetensors"]))
        change = data.draw(byte_changes(tmp_path / "policy" / name))
        with copy_of(tmp_path / "policy", tmp_path) as copy:
            change_bytes(copy / name, *change)
            tried(("inspect", copy))

    check()


def test_training_on_any_column(sources, tmp_path):
    """The dataset opens and every batch of it is drawn, or `train` says what is wrong with it."""

    @examples(4)
    @given(st.sampled_from([DATA, EPISODES]), st.data())
    def check(file, data):
        change = data.draw(column_changes(sources["ours"] / file))
        with copy_of(sources["ours"], tmp_path) as copy:
            change_column(copy / file, *change)
            small = ("--steps", 1, "--batch-size", 1, "--log-every", 1, "--no-successes-only")
            tried(
                ("train", "--preset", "debug", "--data", copy, *small, "--output", tmp_path / "out")
            )

    check()


def test_any_bytes_as_text(tmp_path):
    @examples(10)
    @given(TEXTS, st.sampled_from([".txt", ".html", ".gz", ".1.gz", ".json"]))
    def check(data, suffix):
        path = tmp_path / f"text{suffix}"
        path.write_bytes(data)
        out = tmp_path / "vocabulary"
        tried(("vocabulary", "--text", path, "--packages", "--num-pieces", "300", "--output", out))
        path.unlink()

    check()
