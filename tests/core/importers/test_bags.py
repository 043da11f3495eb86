"""However a recording is stored, its messages are the same and come in the same order."""

import tracemalloc

import numpy as np
import pytest
import yaml
from foreign_bag import TYPES
from mcap.writer import CompressionType, Writer
from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin
from rosbags.rosbag2 import Writer as BagWriter

from gato_core.importers.bags import Bag

JOINT_STATE = "sensor_msgs/msg/JointState"
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


def write_mcap(path, arrivals, first=0, **options):
    """Messages at these times, ns, in this order, on each of the topics in turn."""
    definition, _ = TYPES.generate_msgdef(JOINT_STATE, ros_version=2)
    with path.open("wb") as file:
        writer = Writer(file, **options)
        writer.start(profile="ros2")
        schema = writer.register_schema(JOINT_STATE, "ros2msg", definition.encode())
        channels = [writer.register_channel(topic, "cdr", schema) for topic in TOPICS]
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
