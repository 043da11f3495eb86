"""What a rosbag2 recording holds as bytes, and the types that make messages of them.

An indexed MCAP file, which is what recorders write, is read chunk by chunk; all else (sqlite3, a
file without index, compressed messages, IDL) is left to rosbags, and so is what is wrong with a
file that does not open.
"""

from __future__ import annotations

import contextlib
import functools
import struct
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from mcap.exceptions import McapError
from rosbags.highlevel import AnyReader, AnyReaderError
from rosbags.rosbag2 import ReaderError
from rosbags.serde import SerdeError
from rosbags.typesys import Stores, TypesysError, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from gato_core.importers.mcap_file import McapFile

# what wrong bytes make of opening and reading: lengths no memory holds, texts that are none
ERRORS = (AnyReaderError, ReaderError, SerdeError, TypesysError, McapError, struct.error, EOFError,
          AssertionError, ValueError, KeyError, OverflowError, MemoryError)  # fmt: skip


@dataclass(frozen=True)
class Storage:
    """An open recording.

    topics: {name: message type}. counts: {name: number of messages}. messages: (topic, arrival in
    ns, data) of the topics named, in order of arrival; data may be a view of much more.
    """

    topics: Mapping[str, str]
    counts: Mapping[str, int]
    types: Typestore
    messages: Callable[[Collection[str]], Iterator[tuple[str, int, bytes | memoryview]]]
    close: Callable[[], None]


def opened(path: Path, metadata: Mapping) -> Storage:
    """metadata: of a folder. Raises one of ERRORS when the recording is damaged."""
    return _indexed(_mcap_files(path, metadata)) or _any(path)


def _mcap_files(path: Path, metadata: Mapping) -> list[Path]:
    if not path.is_dir():
        return [path]
    is_plain = (metadata.get("compression_mode") or "none").lower() == "none"
    if metadata.get("storage_identifier") != "mcap" or not is_plain:
        return []
    return [path / PurePath(name).name for name in metadata.get("relative_file_paths", [])]


def _indexed(paths: Sequence[Path]) -> Storage | None:
    """None where one of the files is not indexed MCAP, or there is none."""
    with contextlib.ExitStack() as stack:
        try:
            files = [stack.enter_context(contextlib.closing(McapFile(path))) for path in paths]
        except (McapError, ValueError, OSError, struct.error):
            return None  # rosbags opens it, or says why not
        if not files or not all(file.is_readable for file in files):
            return None
        topics = {topic: kind for file in files for topic, kind in file.types.items()}
        counts = {topic: sum(file.counts.get(topic, 0) for file in files) for topic in topics}
        definitions = {name: text for file in files for name, text in file.definitions.items()}
        types = _types(tuple(definitions.items()))
        close = stack.pop_all().close

    def messages(names: Collection[str]) -> Iterator[tuple[str, int, memoryview]]:
        for file in files:
            yield from file.messages(names)

    return Storage(topics, counts, types, messages, close)


@functools.lru_cache(maxsize=4)  # one recording is like the next
def _types(definitions: tuple[tuple[str, str], ...]) -> Typestore:
    types = get_typestore(Stores.EMPTY)
    parsed = [get_types_from_msg(text, name) for name, text in definitions]
    types.register({name: fields for one in parsed for name, fields in one.items()})
    return types


def _any(path: Path) -> Storage:
    reader = AnyReader([path], default_typestore=get_typestore(Stores.ROS2_KILTED))
    reader.open()
    topics = {c.topic: c.msgtype for c in reader.connections}
    counts = {name: info.msgcount for name, info in reader.topics.items()}

    def messages(names: Collection[str]) -> Iterator[tuple[str, int, bytes]]:
        connections = [c for c in reader.connections if c.topic in names]
        if connections:
            for connection, arrival, data in reader.messages(connections):
                yield connection.topic, arrival, data

    return Storage(topics, counts, reader.typestore, messages, reader.close)
