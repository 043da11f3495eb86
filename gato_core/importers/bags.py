"""Reads rosbag2 recordings without ROS: what topics there are, when, and chosen messages.

Stamps are the robot's clock (the header of a message, or a Time); arrivals are the recorder's.
"""

from __future__ import annotations

import array
import contextlib
import json
import struct
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import yaml

from gato_core.importers.senders import Sender, Senders
from gato_core.spec import Spec

METADATA = "gato"  # the record of our recorder in an MCAP file
NO_STAMP = -1
FROM_ZERO = 10  # s; a clock that shows less began at 0, which is then a time
TIME = "builtin_interfaces/msg/Time"
JOINT_STATE = "sensor_msgs/msg/JointState"

_LITTLE, _BIG = struct.Struct("<iI"), struct.Struct(">iI")  # a stamp: seconds, nanoseconds


@dataclass(frozen=True)
class Times:
    """When the messages of a topic were stamped and when they arrived, ns, in order of arrival.

    stamps: int64 (n,), NO_STAMP where a message has none. places: int64 (n,), which grow in the
    order of writing. number, senders: of JointStates, who sent each (n,), and all who did.
    """

    stamps: np.ndarray
    arrivals: np.ndarray
    places: np.ndarray
    number: np.ndarray | None = None
    senders: tuple[Sender, ...] = ()


def is_bag(path: Path) -> bool:
    """Whether the path is a recording: a folder with metadata.yaml, or a file of MCAP."""
    return (path / "metadata.yaml").exists() or path.suffix == ".mcap"


def recordings(path: Path) -> list[Path]:
    """The recording at a path, or all those directly in a folder, by name."""
    if is_bag(path):
        return [path]
    return [child for child in sorted(path.glob("*")) if is_bag(child)]


class _Log:
    """What is noted of each message of a topic."""

    __slots__ = ("is_stamped", "stamps", "arrivals", "places")

    def __init__(self, is_stamped: bool) -> None:
        self.is_stamped = is_stamped
        self.stamps, self.arrivals, self.places = (array.array("q") for _ in range(3))

    def times(self, *senders: object) -> Times:
        stamps, arrivals, places = (
            np.array(one, np.int64) for one in (self.stamps, self.arrivals, self.places)
        )
        return Times(_without_unset(stamps), arrivals, places, *senders)


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
                self.info: Mapping[str, str] = MappingProxyType(
                    _info(bag_storage.files_of(path, metadata), metadata)
                )
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

    @property
    def num_lost(self) -> int:
        """Messages that our recorder noted as lost. Raises ValueError for another word."""
        text = self.info.get("num_lost") or "0"
        if not text.isdecimal():
            raise ValueError(f"{self.path}: num_lost: expected a whole number, got {text!r:.40}")
        return int(text)

    def noted(self, key: str, default: dict | list) -> dict | list:
        """What our recorder noted as JSON. Raises ValueError for another kind than `default`."""
        try:
            value = json.loads(self.info.get(key, "null"))
        except ValueError as error:
            raise ValueError(f"{self.path}: {key}: expected JSON, got {error}") from error
        if value is None:
            return default
        if not isinstance(value, type(default)):
            kind = "an object" if isinstance(default, dict) else "a list"
            raise ValueError(f"{self.path}: {key}: expected {kind}, got {self.info[key]:.40}")
        return value

    def spec(self) -> Spec | None:
        """The Spec that our recorder noted. Raises ValueError for a damaged one."""
        noted = self.noted("spec", {})
        try:
            return Spec.from_dict(noted) if noted else None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{self.path}: spec: expected a Spec, got {error!r}") from error

    def times(self, names: Collection[str], joints: Collection[str] = ()) -> dict[str, Times]:
        """Stamps and arrivals of whole topics; nothing else is unpacked.

        joints: those of JointStates whose senders shall be told apart.
        """
        logs = {name: _Log(self._is_stamped(self.topics[name])) for name in names}
        senders = {name: Senders(name) for name in joints if self.topics[name] == JOINT_STATE}
        with self._named_errors():
            for topic, arrival, place, data in self._storage.messages(names):
                log = logs[topic]
                log.stamps.append(_stamp(data) if log.is_stamped else NO_STAMP)
                log.arrivals.append(arrival)
                log.places.append(place)
                if topic in senders:
                    senders[topic].add(data)
        return {
            name: log.times(*(senders[name].found() if name in senders else ()))
            for name, log in logs.items()
        }

    def messages(self, wanted: Mapping[str, Collection[int]]) -> Iterator[tuple[str, int, object]]:
        """(topic, number within the topic, message) of the wanted numbers, in order of arrival."""
        numbers = dict.fromkeys(wanted, -1)
        sets = {name: frozenset(chosen) for name, chosen in wanted.items()}
        left = sum(map(len, sets.values()))
        types = self._storage.types
        with self._named_errors():
            for topic, _, _, data in self._storage.messages(wanted if left else ()):
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
        _, fields = self._storage.types.fielddefs.get(message_type, ((), ()))
        return bool(fields) and fields[0][1][1] == "std_msgs/msg/Header"

    @contextlib.contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except self._errors as error:
            reason = str(error) or type(error).__name__
            raise ValueError(f"{self.path}: damaged or unfinished: {reason}") from error


def _stamp(data: bytes | memoryview) -> int:
    """ns, from the first two fields of a message in CDR."""
    seconds, nanoseconds = (_LITTLE if data[1] & 1 else _BIG).unpack_from(data, 4)
    return seconds * 1_000_000_000 + nanoseconds


def _without_unset(stamps: np.ndarray) -> np.ndarray:
    """NO_STAMP for 0, unless the clock of the topic began there, as a simulator's does."""
    set_ones = stamps[stamps != 0]
    began_at_zero = len(set_ones) > 0 and set_ones.min() < FROM_ZERO * 1_000_000_000
    return stamps if began_at_zero else np.where(stamps == 0, NO_STAMP, stamps)


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
    for key, kind in (
        ("relative_file_paths", list),
        ("files", list),
        ("compression_mode", str),
    ):
        if not isinstance(information.get(key), kind | None):
            raise yaml.YAMLError(f"metadata.yaml: {key}: expected a {kind.__name__}, got another")
    if not all(isinstance(name, str) for name in information.get("relative_file_paths") or []):
        raise yaml.YAMLError("metadata.yaml: relative_file_paths: expected names, got others")
    return information


def _info(files: Sequence[Path], metadata: Mapping) -> Mapping[str, str]:
    """What our recorder noted: `custom_data` of metadata.yaml, or, as after reindexing, the record
    in the file."""
    noted = metadata.get("custom_data") or {}
    if not isinstance(noted, dict):
        raise yaml.YAMLError(f"metadata.yaml: custom_data: expected a mapping, got {noted!r:.40}")
    if "version" not in noted:
        noted = _record(files) | noted
    return {str(key): _text(value) for key, value in noted.items()}


def _record(files: Sequence[Path]) -> Mapping[str, str]:
    """The last record of our recorder in MCAP files; none in others."""
    from mcap.reader import make_reader

    found: Mapping[str, str] = {}
    for path in files:
        if path.suffix == ".mcap" and path.exists():
            with path.open("rb") as file:
                for record in make_reader(file).iter_metadata():
                    found = record.metadata if record.name == METADATA else found
    return found


def _text(value: object) -> str:
    """As our recorder writes it, whoever wrote the YAML: true for True, nothing for null."""
    if value is None or isinstance(value, bool):
        return "" if value is None else str(value).lower()
    return str(value)
