"""Whatever bytes and messages a recording holds, it is read, or one line says what is wrong.

Bytes: files of sound recordings with some changed. Structures: messages and metadata of any values.
"""

import json
import shutil
import tempfile
from pathlib import Path

import foreign_bag
import numpy as np
import pytest
import yaml
from bag_examples import ARM, NAMES, demonstration, foreign_recording
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from rosbags.rosbag2 import StoragePlugin

from gato_core.importers.bags import Bag
from gato_core.tools.inspect import inspect
from gato_ros.bags import export
from gato_ros.bags.convert import ConvertConfig, convert

WITHOUT_SHRINKING = (Phase.explicit, Phase.generate)  # which takes minutes
settings.register_profile(
    "recordings", deadline=None, max_examples=25, derandomize=True, phases=WITHOUT_SHRINKING
)
settings.load_profile("recordings")
T = foreign_bag.TYPES.types
COMMAND = "std_msgs/msg/Float64MultiArray"
ODD = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=20),
    st.lists(st.integers(), max_size=3), st.dictionaries(st.text(max_size=5), st.integers()),
)  # fmt: skip


def check(path: Path) -> None:
    """Reads it in every way; whatever goes wrong is one error that names it and says more."""
    spec = path.parent / "spec.json"
    spec.write_text(json.dumps(ARM.to_dict()))
    topics = ("action=/robot/commands",)
    try:
        with Bag(path) as bag:
            bag.times(bag.topics)
            for _ in bag.messages({name: range(count) for name, count in bag.counts.items()}):
                pass
    except ValueError as error:
        assert str(path) in str(error) and len(str(error)) > len(str(path)) + 10
    for given_topics in (topics, ()):
        try:
            convert(ConvertConfig(path, path.parent / "out", spec=spec, topics=given_topics))
        except ValueError as error:
            assert path.name in str(error) and len(str(error)) > len(path.name) + 10
        shutil.rmtree(path.parent / "out", ignore_errors=True)
    found = inspect(path)
    assert found["sound"] == (not found["problems"])
    assert all(len(line) > 10 for line in found["problems"])


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """Recordings: an indexed file, a folder of ours, and one of sqlite3."""
    root = tmp_path_factory.mktemp("sound")
    foreign_recording(root / "mcap", num_seconds=0.6)
    export.write(root / "ours", ARM, demonstration(ARM, 0, 12))
    foreign_recording(root / "sqlite", num_seconds=0.6, storage=StoragePlugin.SQLITE3)
    return root


@st.composite
def changes(draw):
    """What happens to some bytes: (place as a share of the file, how many go, what comes)."""
    return [
        (draw(st.floats(0, 1)), draw(st.sampled_from([0, 1, 4, 100])), draw(st.binary(max_size=8)))
        for _ in range(draw(st.integers(1, 4)))
    ]


@pytest.mark.parametrize("kind", ["mcap", "ours", "sqlite"])
@given(changes(), st.booleans())
def test_changed_bytes_are_named(sound, kind, changed, is_cut):
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / kind
        shutil.copytree(sound / kind, path)
        (file,) = (one for one in path.iterdir() if one.suffix in (".mcap", ".db3"))
        data = bytearray(file.read_bytes())
        for share, gone, new in changed:
            at = int(share * len(data))
            data[at : at + gone] = new
        file.write_bytes(data[: len(data) // 2] if is_cut else data)
        check(path)
        if file.suffix == ".mcap":
            check(file)


@given(changes())
def test_changed_metadata_are_named(sound, changed):
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "mcap"
        shutil.copytree(sound / "mcap", path)
        data = bytearray((path / "metadata.yaml").read_bytes())
        for share, gone, new in changed:
            at = int(share * len(data))
            data[at : at + gone] = new
        (path / "metadata.yaml").write_bytes(data)
        check(path)


METADATA_KEYS = [
    "version", "storage_identifier", "relative_file_paths", "duration", "starting_time", "files",
    "message_count", "topics_with_message_count", "compression_format", "compression_mode",
    "custom_data",
]  # fmt: skip


@pytest.mark.parametrize("kind", ["mcap", "sqlite"])
@given(st.dictionaries(st.sampled_from(METADATA_KEYS), ODD, min_size=1, max_size=3))
def test_metadata_of_any_values_are_read_or_named(sound, kind, values):
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / kind
        shutil.copytree(sound / kind, path)
        metadata = yaml.safe_load((path / "metadata.yaml").read_text())
        metadata["rosbag2_bagfile_information"] |= values
        (path / "metadata.yaml").write_text(yaml.safe_dump(metadata))
        check(path)


NOTED_KEYS = [
    "version", "spec", "topics", "gripper_joint", "gripper_range", "task", "source", "success",
    "num_lost", "triplets", "objects",
]  # fmt: skip


@given(
    st.dictionaries(
        st.sampled_from(NOTED_KEYS), st.one_of(ODD, ODD.map(json.dumps)), min_size=1, max_size=3
    )
)
def test_what_a_recorder_noted_may_be_anything(sound, noted):
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "ours"
        shutil.copytree(sound / "ours", path)
        metadata = yaml.safe_load((path / "metadata.yaml").read_text())
        metadata["rosbag2_bagfile_information"]["custom_data"] |= noted
        (path / "metadata.yaml").write_text(yaml.safe_dump(metadata))
        check(path)


FLOATS = st.lists(st.floats(), max_size=4)
STAMPS = st.integers(-(2**31), 2**31 - 1)


@given(
    st.lists(
        st.one_of(
            st.tuples(
                st.just("joints"), STAMPS, st.lists(st.sampled_from([*NAMES, "", "ä"]), max_size=4),
                FLOATS, FLOATS,
            ),
            st.tuples(
                st.just("image"), STAMPS,
                st.sampled_from(["rgb8", "bgr16", "mono8", "bayer_rggb8", "16UC1", ""]),
                st.integers(0, 40), st.integers(0, 40), st.integers(0, 200), st.binary(max_size=99),
            ),
            st.tuples(st.just("command"), STAMPS, FLOATS),
        ),
        max_size=30,
    ),
    st.booleans(),
)  # fmt: skip
def test_messages_of_any_values_are_read_or_named(sound, messages, is_after_sound_ones):
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "bag"
        writer = foreign_bag.Writer(path, "/robot", COMMAND, "sensor_msgs/msg/Image")
        if is_after_sound_ones:
            for i in range(30):
                writer.joints(i / 50, NAMES, [0.1] * 3)
                writer.picture(i / 50, i / 50)
                writer.command(i / 50, NAMES, [0.1] * 3)
        for i, (kind, stamp, *values) in enumerate(messages):
            time = 0.6 + i / 50
            moment = T["builtin_interfaces/msg/Time"](stamp, 0)
            header = T["std_msgs/msg/Header"](stamp=moment, frame_id="")
            if kind == "joints":
                names, position, velocity = values
                message = T["sensor_msgs/msg/JointState"](
                    header, names, np.array(position), np.array(velocity), np.zeros(0)
                )
                writer.write_message("joint_states", time, message)
            elif kind == "image":
                encoding, height, width, step, data = values
                message = T["sensor_msgs/msg/Image"](
                    header, height, width, encoding, 0, step, np.frombuffer(data, np.uint8)
                )
                writer.write_message("wrist/image_raw", time, message)
            else:
                writer.command(time, NAMES, values[0])
        writer.close()
        check(path)


FORMATS = ["", "png", "rgb8; jpeg compressed rgb8", "bayer_rggb8; png", "16UC1; compressedDepth"]


@given(st.sampled_from(FORMATS), st.one_of(st.binary(max_size=60), changes()))
def test_pictures_of_any_bytes_are_read_or_named(sound, form, data):
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "bag"
        writer = foreign_bag.Writer(path, "/robot", COMMAND, "sensor_msgs/msg/CompressedImage")
        for i in range(15):
            writer.joints(i / 20, NAMES, [0.1] * 3)
            writer.command(i / 20, NAMES, [0.1] * 3)
            message = writer.compressed(i / 20)
            message.format = form
            if isinstance(data, bytes):
                message.data = np.frombuffer(data, np.uint8)
            else:
                changed = bytearray(message.data.tobytes())
                for share, gone, new in data:
                    at = int(share * len(changed))
                    changed[at : at + gone] = new
                message.data = np.frombuffer(bytes(changed), np.uint8)
            writer.write_message("wrist/image_raw", i / 20, message)
        writer.close()
        check(path)
