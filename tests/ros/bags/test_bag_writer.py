"""Recordings: any rosbag2 reader opens them, and a killed recorder loses its last chunk at most."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import yaml
from mcap.reader import make_reader
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore

from gato_ros.bags.writer import METADATA, BagWriter, Topic, repair, unfinished

JOINTS, START = "/joint_states", "/episode_start"
TOPICS = [
    Topic(JOINTS, "sensor_msgs/msg/JointState"),
    Topic(START, "builtin_interfaces/msg/Time", is_latched=True),
]
TYPES = get_typestore(Stores.ROS2_KILTED)
FILL = """
import sys
from pathlib import Path
from gato_ros.bags.writer import BagWriter
import test_bag_writer as this
writer = BagWriter(Path(sys.argv[1]), this.TOPICS, {"spec": "{}"})
for number in range(20_000):
    writer.write(this.JOINTS, this.joint_state(number), number, number)
    if number == 10_000:
        print("half", flush=True)
        sys.stdin.readline()
"""


def joint_state(number: int) -> bytes:
    """A serialized message of 2 kB that says its number."""
    types = TYPES.types
    stamp = types["builtin_interfaces/msg/Time"](sec=number, nanosec=0)
    header = types["std_msgs/msg/Header"](stamp=stamp, frame_id="")
    message = types["sensor_msgs/msg/JointState"](
        header=header,
        name=[os.urandom(1000).hex()],
        position=np.array([float(number)]),
        velocity=np.zeros(0),
        effort=np.zeros(0),
    )
    return bytes(TYPES.serialize_cdr(message, "sensor_msgs/msg/JointState"))


def numbers(folder) -> list[int]:
    """Those of the messages in a recording, in order, as rosbags reads it."""
    with AnyReader([folder]) as reader:
        return [
            reader.deserialize(data, connection.msgtype).header.stamp.sec
            for connection, _, data in reader.messages()
            if connection.topic == JOINTS
        ]


def test_what_is_written_is_read_by_rosbag2_readers_with_definitions_and_metadata(tmp_path):
    folder = tmp_path / "one"
    writer = BagWriter(folder, TOPICS, {"spec": '{"a": 1}', "success": "unknown"})
    for number in range(300):
        writer.write(JOINTS, joint_state(number), 1_000 + number, 1_000 + number)
    writer.close({"success": "true"})
    assert numbers(folder) == list(range(300))
    described = yaml.safe_load((folder / "metadata.yaml").read_text())
    info = described["rosbag2_bagfile_information"]
    assert info["version"] == 9 and info["storage_identifier"] == "mcap"
    assert info["message_count"] == 300 and info["duration"]["nanoseconds"] == 299
    assert info["custom_data"] == {"spec": '{"a": 1}', "success": "true"}
    qos = [t["topic_metadata"]["offered_qos_profiles"] for t in info["topics_with_message_count"]]
    assert [each[0]["durability"] for each in qos] == ["volatile", "transient_local"]
    with (folder / "one.mcap").open("rb") as stream:
        reader = make_reader(stream, validate_crcs=True)
        schemas = {schema.name: schema for schema in reader.get_summary().schemas.values()}
        records = [record.metadata for record in reader.iter_metadata() if record.name == METADATA]
    assert b"MSG: std_msgs/Header" in schemas["sensor_msgs/msg/JointState"].data
    assert [record["success"] for record in records] == ["unknown", "true"]


def test_killed_while_writing_it_is_repaired_up_to_the_last_chunk(tmp_path):
    folder = tmp_path / "cut"
    process = subprocess.Popen(
        [sys.executable, "-c", FILL, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.path.dirname(__file__)},
    )
    assert process.stdout.readline() == "half\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdin.close()
    process.stdout.close()
    assert unfinished(tmp_path) == [folder]
    num_messages = repair(folder)
    assert unfinished(tmp_path) == []
    # a chunk holds about 125 of them
    assert numbers(folder) == list(range(num_messages)) and 10_001 - num_messages < 150
    info = yaml.safe_load((folder / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    assert info["custom_data"] == {"spec": "{}", "repaired": "true"}
    assert sorted(path.name for path in folder.iterdir()) == ["cut.mcap", "metadata.yaml"]


def test_any_cut_is_repaired_or_refused_without_touching_it(tmp_path):
    folder = tmp_path / "whole"
    writer = BagWriter(folder, TOPICS, {})
    for number in range(400):
        writer.write(JOINTS, joint_state(number), number, number)
    writer.close({})
    whole = (folder / "whole.mcap").read_bytes()
    for length in (0, 7, 50, 300, 3_000, len(whole) // 2, len(whole) - 40, len(whole) - 1):
        cut = tmp_path / f"cut{length}"
        cut.mkdir()
        (cut / f"{cut.name}.mcap").write_bytes(whole[:length])
        if length > len(whole) // 3:
            num_messages = repair(cut)
            assert num_messages > 50 and numbers(cut) == list(range(num_messages))
        else:
            with pytest.raises(ValueError, match="expected messages"):
                repair(cut)
            assert (cut / f"{cut.name}.mcap").read_bytes() == whole[:length]


def test_a_recording_is_never_overwritten(tmp_path):
    BagWriter(tmp_path / "one", TOPICS, {}).close({})
    with pytest.raises(FileExistsError):
        BagWriter(tmp_path / "one", TOPICS, {})
    assert numbers(tmp_path / "one") == []
