"""Recordings on disk: rosbag2 folders (version 9, MCAP) that survive the death of the recorder.

    <folder>/<folder>.mcap     written chunk by chunk, so a killed process loses the last at most
    <folder>/metadata.yaml     written last: a folder without it was not finished; see `repair`

`ros2 bag` wants a schema for each topic, CDR messages, and metadata.yaml as
rosbag2_storage/yaml.hpp reads it; Foxglove wants the message definitions, which are in the file.
docs/recording.md says what the metadata hold.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from mcap.exceptions import McapError
from mcap.records import Channel, Message, Metadata, Schema
from mcap.stream_reader import StreamReader
from mcap.writer import Writer
from rosbags.typesys import Stores, get_typestore

METADATA = "gato"  # name of our record in the MCAP file
CHUNK_BYTES = 256 * 1024  # half a second of two 64-pixel cameras
_FOREVER = {"sec": 9223372036, "nsec": 854775807}
_TYPES = get_typestore(Stores.ROS2_KILTED)  # standard messages are the same in Jazzy and Lyrical


@dataclass(frozen=True)
class Topic:
    """A topic to record; `type` such as "sensor_msgs/msg/Image". Latched ones are played so."""

    name: str
    type: str
    is_latched: bool = False


class BagWriter:
    """Writes one recording; FileExistsError when its folder is there already.

    info: strings for the metadata, written at once and, with what `close` is given, at the end.
    """

    def __init__(self, folder: Path, topics: Sequence[Topic], info: Mapping[str, str]) -> None:
        folder.mkdir(parents=True)
        self.folder, self.info = folder, dict(info)
        self.num_messages = dict.fromkeys((topic.name for topic in topics), 0)
        self._topics = list(topics)
        self._first, self._last = 2**63 - 1, 0  # ns
        self._file = (folder / f"{folder.name}.mcap").open("wb")
        self._writer = Writer(self._file, chunk_size=CHUNK_BYTES)
        self._writer.start(profile="ros2", library="gato_ros")
        self._writer.add_metadata(METADATA, self.info)
        schemas = {name: self._register(name) for name in {topic.type for topic in topics}}
        self._channels = {
            topic.name: self._writer.register_channel(
                topic.name,
                "cdr",
                schemas[topic.type],
                {
                    "offered_qos_profiles": _yaml(_qos(topic.is_latched)).strip(),
                    "topic_type_hash": _TYPES.hash_rihs01(topic.type),
                },
            )
            for topic in topics
        }
        self._file.flush()

    def _register(self, message_type: str) -> int:
        definition, _ = _TYPES.generate_msgdef(message_type, ros_version=2)
        return self._writer.register_schema(message_type, "ros2msg", definition.encode())

    @property
    def num_bytes(self) -> int:
        """Size of the file so far, without the chunk that is being filled."""
        return self._file.tell()

    @property
    def seconds(self) -> float:
        """From the first message to the last."""
        return max(0, self._last - self._first) / 1e9

    def write(self, topic: str, data: bytes, log_time: int, publish_time: int) -> None:
        """Adds a serialized message; times in ns of the wall clock, of arrival and of sending."""
        self._writer.add_message(self._channels[topic], log_time, data, publish_time)
        self._file.flush()  # does nothing until a chunk is full
        self.num_messages[topic] += 1
        self._first, self._last = min(self._first, log_time), max(self._last, log_time)

    def close(self, info: Mapping[str, str]) -> None:
        """Completes the file with the final words and writes metadata.yaml."""
        self.info |= info
        described = self._description()
        self._writer.add_metadata(METADATA, self.info)
        self._writer.add_metadata("rosbag2", {"serialized_metadata": _yaml(described)})
        self._writer.finish()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        file = self.folder / "metadata.yaml"
        draft = file.with_suffix(".tmp")
        draft.write_text(_yaml({"rosbag2_bagfile_information": described}))
        draft.replace(file)

    def abandon(self) -> None:
        """Closes the file as it is."""
        self._file.close()

    def _description(self) -> dict:
        """What rosbag2 calls BagMetadata."""
        span = {
            "starting_time": {"nanoseconds_since_epoch": self._first if self._last else 0},
            "duration": {"nanoseconds": max(0, self._last - self._first)},
            "message_count": sum(self.num_messages.values()),
        }
        topics = [
            {
                "topic_metadata": {
                    "name": topic.name,
                    "type": topic.type,
                    "serialization_format": "cdr",
                    "offered_qos_profiles": _qos(topic.is_latched),
                    "type_description_hash": _TYPES.hash_rihs01(topic.type),
                },
                "message_count": self.num_messages[topic.name],
            }
            for topic in self._topics
        ]
        name = f"{self.folder.name}.mcap"
        return {
            "version": 9,
            "storage_identifier": "mcap",
            **span,
            "topics_with_message_count": topics,
            "compression_format": "",
            "compression_mode": "",
            "relative_file_paths": [name],
            "files": [{"path": name, **span}],
            "custom_data": self.info,
            "ros_distro": os.environ.get("ROS_DISTRO", "rosbags"),
        }


def unfinished(root: Path) -> list[Path]:
    """Recordings directly in `root` whose recorder was killed."""
    files = sorted(root.glob("*/*.mcap"))
    return [file.parent for file in files if not (file.parent / "metadata.yaml").exists()]


def repair(folder: Path) -> int:
    """Completes the recording of a killed recorder; returns how many messages it holds.

    Raises ValueError when not even one message arrived on the disk; the folder stays as it is.
    """
    broken = folder / f"{folder.name}.mcap"
    schemas: dict[int, Schema] = {}
    channels: dict[int, Channel] = {}
    info: dict[str, str] = {}
    for record in _readable(broken):
        if isinstance(record, Schema):
            schemas[record.id] = record
        elif isinstance(record, Channel):
            channels[record.id] = record
        elif isinstance(record, Metadata) and record.name == METADATA:
            info |= record.metadata
    if not channels:
        raise ValueError(f"{broken}: expected messages, got none before the end of the file")
    topics = [
        Topic(c.topic, schemas[c.schema_id].name, "transient_local" in str(c.metadata))
        for c in channels.values()
    ]
    draft = folder / folder.name  # in a folder of the same name, so that the file's name fits
    for file in draft.glob("*"):  # of a repair that was killed in its turn
        file.unlink()
    if draft.exists():
        draft.rmdir()
    writer = BagWriter(draft, topics, info)
    for record in _readable(broken):
        if isinstance(record, Message):
            topic = channels[record.channel_id].topic
            writer.write(topic, record.data, record.log_time, record.publish_time)
    writer.close({"repaired": "true"})
    (draft / broken.name).replace(broken)
    (draft / "metadata.yaml").replace(folder / "metadata.yaml")
    draft.rmdir()
    return sum(writer.num_messages.values())


def _readable(file: Path) -> Iterator[object]:
    """The records of a file up to where it breaks off."""
    with file.open("rb") as stream:
        try:
            yield from StreamReader(stream, record_size_limit=file.stat().st_size).records
        except (McapError, struct.error):
            return


def _qos(is_latched: bool) -> list[dict]:
    """The publisher's QoS as rosbag2 writes it since version 9."""
    return [
        {
            "history": "keep_last",
            "depth": 1 if is_latched else 10,
            "reliability": "reliable",
            "durability": "transient_local" if is_latched else "volatile",
            "deadline": _FOREVER,
            "lifespan": _FOREVER,
            "liveliness": "automatic",
            "liveliness_lease_duration": _FOREVER,
            "avoid_ros_namespace_conventions": False,
        }
    ]


def _yaml(data: Mapping) -> str:
    """Without anchors, which yaml-cpp reads but people do not, and without folded lines."""

    class Plain(yaml.SafeDumper):
        def ignore_aliases(self, data: object) -> bool:
            return True

    return yaml.dump(data, Dumper=Plain, sort_keys=False, width=float("inf"))
