"""However a recording is stored, its messages are the same and come in the same order."""

import tracemalloc

import numpy as np
import pytest
import yaml
from foreign_bag import TYPES
from mcap.writer import CompressionType, IndexType, Writer
from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin
from rosbags.rosbag2 import Writer as BagWriter

from gato_core.importers.bags import Bag

JOINT_STATE = "sensor_msgs/msg/JointState"
DEFINITION, _ = TYPES.generate_msgdef(JOINT_STATE, ros_version=2)
TOPICS = ("/left", "/right")


def joint_state(number: int, num_joints: int = 7) -> bytes:
    """CDR; the stamp and the positions tell the number."""
    stamp = TYPES.types["builtin_interfaces/msg/Time"](1 + number, 0)
    message = TYPES.types[JOINT_STATE](
        header=TYPES.types["std_msgs/msg/Header"](stamp=stamp, frame_id=""),
        name=[f"joint{i}" for i in range(num_joints)],
        position=np.full(num_joints, float(number)),
        velocity=np.zeros(0),
        effort=np.zeros(0),
    )
    return bytes(TYPES.serialize_cdr(message, JOINT_STATE))


def write_mcap(
    path,
    arrivals,
    first=0,
    foreign=(),
    foreign_topic="/other",
    records=(),
    definition=DEFINITION,
    **options,
):
    """Messages at these times, ns, in this order, on each of the topics in turn."""
    with path.open("wb") as file:
        writer = Writer(file, **options)
        writer.start(profile="ros2")
        schema = writer.register_schema(JOINT_STATE, "ros2msg", definition.encode())
        channels = [writer.register_channel(topic, "cdr", schema) for topic in TOPICS]
        for record in records:
            writer.add_metadata("gato", record)
        if foreign:
            name, language, data, encoding, message = foreign
            kind = writer.register_schema(name, language, data) if name else 0
            other = writer.register_channel(foreign_topic, encoding, kind)
            writer.add_message(other, 10**9, message, 10**9)
        for number, arrival in enumerate(arrivals, first):
            writer.add_message(channels[number % 2], arrival, joint_state(number), arrival)
        writer.finish()
    return path


def write_folder(path, arrivals, storage, mode=CompressionMode.NONE):
    writer = BagWriter(path, version=9, storage_plugin=storage)
    writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        connections = [writer.add_connection(t, JOINT_STATE, typestore=TYPES) for t in TOPICS]
        for number, arrival in enumerate(arrivals):
            writer.write(connections[number % 2], arrival, joint_state(number))
    return path


def split_in_two(path, arrivals):
    """A folder of two files, as `ros2 bag record --max-bag-size` leaves it."""
    write_folder(path, arrivals, StoragePlugin.MCAP)
    half = len(arrivals) // 2
    names = ["one.mcap", "two.mcap"]
    write_mcap(path / names[0], arrivals[:half])
    write_mcap(path / names[1], arrivals[half:], first=half)
    (path / f"{path.name}.mcap").unlink()
    metadata = yaml.safe_load((path / "metadata.yaml").read_text())
    metadata["rosbag2_bagfile_information"]["relative_file_paths"] = names
    (path / "metadata.yaml").write_text(yaml.safe_dump(metadata))
    return path


def change_metadata(path, **changes):
    """ "missing" takes a key away."""
    metadata = yaml.safe_load((path / "metadata.yaml").read_text())
    noted = metadata["rosbag2_bagfile_information"] | changes
    kept = {key: value for key, value in noted.items() if value != "missing"}
    (path / "metadata.yaml").write_text(yaml.safe_dump({"rosbag2_bagfile_information": kept}))


def by_rosbags(path) -> list:
    """(topic, arrival, number) as the library that others use has them."""
    with AnyReader([path]) as reader:
        return [
            (c.topic, arrival, reader.deserialize(data, c.msgtype).position[0])
            for c, arrival, data in reader.messages()
        ]


def by_bag(path) -> list:
    """The same by `messages` and `times`, which are two passes."""
    with Bag(path) as bag:
        assert bag.topics == dict.fromkeys(TOPICS, JOINT_STATE)
        times = bag.times(bag.topics)
        assert {topic: len(one.arrivals) for topic, one in times.items()} == bag.counts
        wanted = {topic: range(count) for topic, count in bag.counts.items()}
        found = []
        for topic, number, message in bag.messages(wanted):
            assert times[topic].stamps[number] == message.header.stamp.sec * 10**9
            found.append((topic, int(times[topic].arrivals[number]), message.position[0]))
        return found


@pytest.mark.parametrize("seed", range(5))
def test_messages_come_in_order_of_arrival_from_chunks_that_overlap(tmp_path, seed):
    """Late ones, and many of one time: as rosbags orders them."""
    rng = np.random.default_rng(seed)
    arrivals = 10**9 + 10 * ((np.arange(400) + rng.integers(0, 60, 400)) // 4)
    path = write_mcap(tmp_path / "late.mcap", arrivals.tolist(), chunk_size=2000)
    found = by_bag(path)
    assert found == by_rosbags(path)
    assert [arrival for _, arrival, _ in found] == sorted(arrivals.tolist())


@pytest.mark.parametrize(
    "write",
    [
        lambda p, a: write_mcap(p / "bag.mcap", a, chunk_size=2000),
        lambda p, a: write_mcap(p / "bag.mcap", a, compression=CompressionType.LZ4),
        lambda p, a: write_mcap(p / "bag.mcap", a, compression=CompressionType.NONE),
        lambda p, a: write_mcap(p / "bag.mcap", a, enable_crcs=False),
        lambda p, a: write_mcap(p / "bag.mcap", a, use_chunking=False),
        lambda p, a: write_folder(p / "bag", a, StoragePlugin.MCAP),
        lambda p, a: write_folder(p / "bag", a, StoragePlugin.MCAP, CompressionMode.MESSAGE),
        lambda p, a: write_folder(p / "bag", a, StoragePlugin.SQLITE3),
        lambda p, a: write_folder(p / "bag", a, StoragePlugin.SQLITE3, CompressionMode.FILE),
        lambda p, a: split_in_two(p / "bag", a),
    ],
    ids=["zstd", "lz4", "plain", "no-crc", "no-chunks", "folder", "by-message", "sqlite3",
         "by-file", "split"],
)  # fmt: skip
def test_messages_are_the_same_however_they_are_stored(tmp_path, write):
    arrivals = [10**9 + 7 * number for number in range(200)]
    expected = [(TOPICS[i % 2], arrival, i) for i, arrival in enumerate(arrivals)]
    assert by_bag(write(tmp_path, arrivals)) == expected


FOREIGN = {  # schema's name, encoding, data; the messages' encoding and a message
    "json": ("foxglove.Log", "jsonschema", b"{}", "json", b"{}"),
    "protobuf": ("foxglove.Grid", "protobuf", b"\x0a\xff", "protobuf", b"\x08\x01"),
    "no schema": ("", "", b"", "json", b"{}"),
    "unknown language": ("some.Type", "flatbuffer", b"\xff", "flatbuffer", b""),
    "unparsable": ("foxglove::Grid", "omgidl", b"module foxglove { no idl", "cdr", bytes(12)),
    "empty": ("std_msgs/msg/Empty", "ros2msg", b"", "cdr", b"\0\1\0\0\0"),
}


@pytest.mark.parametrize("index", ["indexed", "not indexed", "no chunks"])
@pytest.mark.parametrize("foreign", FOREIGN)
def test_channels_of_other_encodings_are_listed_and_the_others_read(tmp_path, foreign, index):
    """Such a file was called damaged, with a bare word for the reason."""
    options = {"indexed": {}, "no chunks": {"use_chunking": False}}.get(
        index, {"index_types": IndexType.NONE, "use_statistics": False, "chunk_size": 3000}
    )
    path = tmp_path / "bag.mcap"
    arrivals = [10**9 + 7 * number for number in range(100)]
    write_mcap(path, arrivals, foreign=FOREIGN[foreign], **options)
    with Bag(path) as bag:
        assert bag.counts == {"/left": 50, "/right": 50, "/other": 1}
        assert set(bag.topics) == {*TOPICS, "/other"}
        times = bag.times(bag.topics)
        found = [
            (int(times[topic].arrivals[number]), int(message.position[0]))
            for topic, number, message in bag.messages({topic: range(50) for topic in TOPICS})
        ]
    assert found == [(arrival, i) for i, arrival in enumerate(arrivals)]


def test_a_topic_with_messages_of_two_encodings_gives_those_of_ros(tmp_path):
    path = tmp_path / "bag.mcap"
    foreign = ("foxglove.JointStates", "jsonschema", b"{}", "json", b"{}")
    write_mcap(path, [10**9 + i for i in range(20)], foreign=foreign, foreign_topic="/left")
    with Bag(path) as bag:
        assert bag.topics["/left"] == JOINT_STATE and bag.counts["/left"] == 10
        assert len(list(bag.messages({"/left": range(10)}))) == 10


def test_a_schema_without_text_is_known_by_its_name(tmp_path):
    """What a recorder writes that did not find the definition."""
    path = write_mcap(tmp_path / "bag.mcap", [10**9 + i for i in range(20)], definition="")
    with Bag(path) as bag:
        (first,) = (message for _, _, message in bag.messages({"/left": [0]}))
    assert first.name[0] == "joint0"


@pytest.mark.parametrize("storage", list(StoragePlugin))
@pytest.mark.parametrize("identifier", ["", None])
def test_a_folder_that_does_not_say_how_it_is_stored_is_read(tmp_path, storage, identifier):
    arrivals = [10**9 + 7 * number for number in range(40)]
    path = write_folder(tmp_path / "bag", arrivals, storage)
    change_metadata(path, storage_identifier=identifier)
    assert by_bag(path) == [(TOPICS[i % 2], arrival, i) for i, arrival in enumerate(arrivals)]


@pytest.mark.parametrize("custom", [None, {}, "missing", {"operator": "me"}])
def test_what_our_recorder_noted_survives_reindexing(tmp_path, custom):
    """`ros2 bag reindex` writes metadata.yaml without it; the record in the file was not read."""
    path = write_folder(tmp_path / "bag", [10**9 + 1], StoragePlugin.MCAP)
    record = {"version": "1", "success": "true", "task": "first word"}
    write_mcap(path / "bag.mcap", [10**9 + 1], records=[record, record | {"task": "last word"}])
    change_metadata(path, custom_data=custom)
    with Bag(path) as bag:
        assert (bag.info["success"], bag.info["task"]) == ("true", "last word")
        assert bag.info.get("operator") == ("me" if custom == {"operator": "me"} else None)


@pytest.mark.parametrize("compression", list(CompressionType))
def test_a_damaged_chunk_is_named(tmp_path, compression):
    path = write_mcap(tmp_path / "bag.mcap", range(1, 400), compression=compression)
    with Bag(path) as bag:
        bag.times(TOPICS)
    data = bytearray(path.read_bytes())
    data[2000] ^= 1
    path.write_bytes(data)
    with Bag(path) as bag, pytest.raises(ValueError, match=r"bag.mcap: damaged .* chunk at byte"):
        bag.times(TOPICS)


def test_a_missing_file_of_a_recording_is_named(tmp_path):
    path = split_in_two(tmp_path / "bag", [10**9 + i for i in range(20)])
    (path / "two.mcap").unlink()
    with pytest.raises(ValueError, match=r"bag: damaged .*files are missing.*two.mcap"):
        Bag(path)


@pytest.mark.parametrize("text", ["", "a: [", "rosbag2_bagfile_information: 3"])
def test_damaged_metadata_are_named(tmp_path, text):
    path = split_in_two(tmp_path / "bag", [10**9 + i for i in range(20)])
    (path / "metadata.yaml").write_text(text)
    with pytest.raises(ValueError, match="bag: damaged"):
        Bag(path)


def test_memory_holds_a_chunk_and_the_messages_that_are_kept(tmp_path):
    """A small message must not keep the chunk it came in: with a lidar beside it, that is much."""
    chunk, num_chunks = 50_000, 20
    path = tmp_path / "bag.mcap"
    count = num_chunks * chunk // len(joint_state(0))
    write_mcap(path, range(1, count + 1), chunk_size=chunk)
    with Bag(path) as bag:
        every_hundredth = {topic: range(0, count // 2, 50) for topic in TOPICS}
        next(bag.messages({TOPICS[0]: [0]}))  # types are made once
        tracemalloc.start()
        try:
            kept = [message for _, _, message in bag.messages(every_hundredth)]
            held, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert len(kept) > num_chunks
    assert held < num_chunks * chunk / 2
    assert peak < held + 10 * chunk
