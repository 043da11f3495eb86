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
        from gato_core.importers import bag_storage  # needs an extra: not all have bags

        self.path = path
        self._errors = (*bag_storage.ERRORS, yaml.YAMLError)
        with self._named_errors():
            metadata = _metadata(path)
            self._storage = bag_storage.opened(path, metadata)
            try:
                self.info: Mapping[str, str] = MappingProxyType(_info(path, metadata))
            except BaseException:
                self._storage.close()
                raise
        self.topics, self.counts = self._storage.topics, self._storage.counts

    def __enter__(self) -> Bag:
        return self

    def __exit__(self, *_: object) -> None:
        self._storage.close()

    @property
    def num_bytes(self) -> int:
        files = self.path.rglob("*") if self.path.is_dir() else [self.path]
        return sum(file.stat().st_size for file in files if file.is_file())

    def times(self, names: Collection[str]) -> dict[str, Times]:
        """Stamps and arrivals of whole topics; nothing but the stamps is unpacked."""
        stamped = {name for name in names if self._is_stamped(self.topics[name])}
        found = {name: (array.array("q"), array.array("q")) for name in names}
        with self._named_errors():
            for topic, arrival, data in self._storage.messages(names):
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
        types = self._storage.types
        with self._named_errors():
            for topic, _, data in self._storage.messages(wanted if left else ()):
                number = numbers[topic] = numbers[topic] + 1
                if number in sets[topic]:
                    own = memoryview(bytes(data))  # or it would keep in memory all around it
                    yield topic, number, types.deserialize_cdr(own, self.topics[topic])
                    left -= 1
                    if not left:
                        return

    def _is_stamped(self, message_type: str) -> bool:
        if message_type == TIME:
            return True
        fields = self._storage.types.fielddefs[message_type][1]
        return bool(fields) and fields[0][1][1] == "std_msgs/msg/Header"

    @contextlib.contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except self._errors as error:
            reason = str(error) or type(error).__name__
            raise ValueError(f"{self.path}: damaged or unfinished: {reason}") from error


def _stamp(data: bytes | memoryview) -> int:
    """ns, from the first two fields of a message in CDR; NO_STAMP for 0, which means none."""
    seconds, nanoseconds = struct.unpack_from("<iI" if data[1] & 1 else ">iI", data, 4)
    return seconds * 1_000_000_000 + nanoseconds or NO_STAMP


def _metadata(path: Path) -> Mapping:
    """What metadata.yaml says; nothing for a file."""
    if not path.is_dir():
        return {}
    text = (path / "metadata.yaml").read_text()
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast where it is built
    data = loader(text).get_single_data()
    information = data.get("rosbag2_bagfile_information") if isinstance(data, dict) else None
    if not isinstance(information, dict):
        raise yaml.YAMLError("metadata.yaml: expected rosbag2_bagfile_information, got none")
    return information


def _info(path: Path, metadata: Mapping) -> Mapping[str, str]:
    """What our recorder noted: `custom_data` of metadata.yaml, or the record in the file."""
    if path.is_dir():
        return metadata.get("custom_data") or {}
    from mcap.reader import make_reader

    with path.open("rb") as file:
        records = [r.metadata for r in make_reader(file).iter_metadata() if r.name == METADATA]
    return records[-1] if records else {}
