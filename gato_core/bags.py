"""Reads rosbag2 recordings without ROS: what topics there are, when, and chosen messages.

Stamps are the robot's clock (the header of a message, or a Time); arrivals are the recorder's.
"""

from __future__ import annotations

import array
import contextlib
import struct
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import yaml

METADATA = "gato"  # the record of our recorder in an MCAP file
NO_STAMP = -1
TIME = "builtin_interfaces/msg/Time"


@dataclass(frozen=True)
class Times:
    """When the messages of a topic were stamped and when they arrived, ns, in order of arrival.

    stamps: int64 (n,), NO_STAMP where a message has none.
    """

    stamps: np.ndarray
    arrivals: np.ndarray


def is_bag(path: Path) -> bool:
    """Whether the path is a recording: a folder with metadata.yaml, or a file of MCAP."""
    return (path / "metadata.yaml").exists() or path.suffix == ".mcap"


def recordings(path: Path) -> list[Path]:
    """The recording at a path, or all those directly in a folder, by name."""
    if is_bag(path):
        return [path]
    return [child for child in sorted(path.glob("*")) if is_bag(child)]


class Bag:
    """An open recording. Raises ValueError naming the file when it is damaged.

    topics: {name: message type}. counts: {name: number of messages}. info: what our recorder noted.
    """

    def __init__(self, path: Path) -> None:
        from rosbags.highlevel import AnyReader, AnyReaderError  # an extra: not all have bags
        from rosbags.rosbag2 import ReaderError
        from rosbags.typesys import Stores, get_typestore

        self.path = path
        self._errors = (AnyReaderError, ReaderError, struct.error, AssertionError, EOFError)
        with self._named_errors():
            store = get_typestore(Stores.ROS2_KILTED)
            self._reader = AnyReader([path], default_typestore=store)
            self._reader.open()
        self.topics = {c.topic: c.msgtype for c in self._reader.connections}
        self.counts = {name: info.msgcount for name, info in self._reader.topics.items()}
        self.info = _info(path)

    def __enter__(self) -> Bag:
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()

    @property
    def num_bytes(self) -> int:
        files = self.path.rglob("*") if self.path.is_dir() else [self.path]
        return sum(file.stat().st_size for file in files if file.is_file())

    def times(self, names: Collection[str]) -> dict[str, Times]:
        """Stamps and arrivals of whole topics; nothing but the stamps is unpacked."""
        stamped = {name for name in names if self._is_stamped(self.topics[name])}
        found = {name: (array.array("q"), array.array("q")) for name in names}
        for topic, arrival, data in self._raw(names):
            stamps, arrivals = found[topic]
            stamps.append(_stamp(data) if topic in stamped else NO_STAMP)
            arrivals.append(arrival)
        return {
            name: Times(*(np.array(one, np.int64) for one in both)) for name, both in found.items()
        }

    def messages(self, wanted: Mapping[str, Collection[int]]) -> Iterator[tuple[str, int, object]]:
        """(topic, number within the topic, message) of the wanted numbers, in order of arrival."""
        numbers = dict.fromkeys(wanted, -1)
        sets = {name: frozenset(chosen) for name, chosen in wanted.items()}
        left = sum(map(len, sets.values()))
        for topic, _, data in self._raw(wanted if left else ()):
            numbers[topic] += 1
            if numbers[topic] in sets[topic]:
                with self._named_errors():
                    message = self._reader.deserialize(data, self.topics[topic])
                yield topic, numbers[topic], message
                left -= 1
                if not left:
                    return

    def _raw(self, names: Collection[str]) -> Iterator[tuple[str, int, bytes]]:
        connections = [c for c in self._reader.connections if c.topic in names]
        if not connections:
            return
        with self._named_errors():
            for connection, arrival, data in self._reader.messages(connections):
                yield connection.topic, arrival, data

    def _is_stamped(self, message_type: str) -> bool:
        if message_type == TIME:
            return True
        fields = self._reader.typestore.fielddefs[message_type][1]
        return bool(fields) and fields[0][1][1] == "std_msgs/msg/Header"

    @contextlib.contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except self._errors as error:
            raise ValueError(f"{self.path}: damaged or unfinished: {error}") from error


def _stamp(data: bytes) -> int:
    """ns, from the first two fields of a message in CDR; NO_STAMP for 0, which means none."""
    seconds, nanoseconds = struct.unpack_from("<iI" if data[1] & 1 else ">iI", data, 4)
    return seconds * 1_000_000_000 + nanoseconds or NO_STAMP


def _info(path: Path) -> Mapping[str, str]:
    """What our recorder noted: `custom_data` of metadata.yaml, or the record in the file."""
    if path.is_dir():
        metadata = yaml.safe_load((path / "metadata.yaml").read_text())
        information = metadata["rosbag2_bagfile_information"]
        return MappingProxyType(information.get("custom_data") or {})
    from mcap.reader import make_reader

    with path.open("rb") as file:
        records = [r.metadata for r in make_reader(file).iter_metadata() if r.name == METADATA]
    return MappingProxyType(records[-1] if records else {})
