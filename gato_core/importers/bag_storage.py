"""What a rosbag2 recording holds as bytes, and the types that make messages of them.

MCAP files, which are what recorders write, are read chunk by chunk; all else (sqlite3, compressed
messages) is left to rosbags.
"""

from __future__ import annotations

import contextlib
import functools
import struct
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

import apsw  # of rosbags, which lets its errors through
from mcap.exceptions import McapError
from rosbags.highlevel import AnyReader, AnyReaderError
from rosbags.rosbag2 import ReaderError
from rosbags.serde import SerdeError
from rosbags.typesys import (
    Stores,
    TypesysError,
    get_types_from_idl,
    get_types_from_msg,
    get_typestore,
)
from rosbags.typesys.store import Typestore

from gato_core.importers.mcap_file import McapFile

# what wrong bytes make of opening and reading: lengths no memory holds, texts that are none
ERRORS = (AnyReaderError, ReaderError, SerdeError, TypesysError, McapError, struct.error, EOFError,
          AssertionError, ValueError, KeyError, OverflowError, MemoryError, OSError,
          apsw.Error)  # fmt: skip


@dataclass(frozen=True)
class Storage:
    """An open recording.

    topics: {name: message type}. counts: {name: number of messages}. messages: (topic, arrival in
    ns, place in the order of writing, data) of the topics named, in order of arrival; data may be a
    view of much more. types: of what they are, without those that nobody can parse.
    """

    topics: Mapping[str, str]
    counts: Mapping[str, int]
    types: Typestore
    messages: Callable[[Collection[str]], Iterator[tuple[str, int, int, bytes | memoryview]]]
    close: Callable[[], None]


def opened(path: Path, metadata: Mapping) -> Storage:
    """metadata: of a folder. Raises one of ERRORS when the recording is damaged."""
    files = files_of(path, metadata)
    if missing := [file.name for file in files if not file.is_file()]:
        raise ValueError(f"expected the files of metadata.yaml, these files are missing: {missing}")
    is_plain = (metadata.get("compression_mode") or "none").lower() == "none"
    if files and is_plain and all(file.suffix == ".mcap" for file in files):
        return _mcap(files)
    # a folder that does not say how it is stored, as after reindexing, is read file by file
    return _any([path] if metadata.get("storage_identifier") else files)


def files_of(path: Path, metadata: Mapping) -> list[Path]:
    """The files of a folder as its metadata list them, or the file."""
    names = metadata.get("relative_file_paths") or []
    return [path / PurePath(name).name for name in names] if path.is_dir() else [path]


def _mcap(paths: Sequence[Path]) -> Storage:
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(contextlib.closing(McapFile(path))) for path in paths]
        topics = {topic: kind for file in files for topic, kind in file.types.items()}
        counts = {topic: sum(file.counts.get(topic, 0) for file in files) for topic in topics}
        definitions = {name: text for file in files for name, text in file.definitions.items()}
        types = _types(tuple(definitions.items()))
        close = stack.pop_all().close

    def messages(names: Collection[str]) -> Iterator[tuple[str, int, int, memoryview]]:
        before = 0  # bytes in the files before
        for file in files:
            yield from file.messages(names, before)
            before += file.num_bytes

    return Storage(topics, counts, types, messages, close)


@functools.lru_cache(maxsize=4)  # one recording is like the next
def _types(definitions: tuple[tuple[str, tuple[str, str]], ...]) -> Typestore:
    """What definitions, (name, (language, text)), say; a type nobody can parse is left out."""
    known = get_typestore(Stores.ROS2_KILTED).fielddefs
    parsed: dict[str, object] = {}
    for name, (language, text) in definitions:
        if not text.strip() and name in known:  # recorders that did not find the definition
            text, language = get_typestore(Stores.ROS2_KILTED).generate_msgdef(name)[0], "ros2msg"
        try:
            parsed |= get_types_from_msg(text, name) if language == "ros2msg" else _from_idl(text)
        except TypesysError:
            continue
    types = get_typestore(Stores.EMPTY)
    types.register(parsed)
    return types


def _from_idl(text: str) -> dict:
    """Types of one definition, or of several under headings, as rosbag2 writes them."""
    rule = "=" * 80 + "\n"
    parts = text.split(rule)[1:] if text.startswith(f"{rule}IDL: ") else [f"\n{text}"]
    found: dict = {}
    for part in parts:
        found |= get_types_from_idl(part.partition("\n")[2])
    return found


def _any(paths: Sequence[Path]) -> Storage:
    reader = AnyReader(paths, default_typestore=get_typestore(Stores.ROS2_KILTED))
    try:
        reader.open()
        topics = {str(c.topic): str(c.msgtype) for c in reader.connections}
        counts = {str(name): int(info.msgcount) for name, info in reader.topics.items()}
    except (TypeError, AttributeError, IndexError) as error:  # it trusts what metadata.yaml holds
        raise AnyReaderError(f"metadata.yaml: expected what rosbag2 writes, got {error}") from error

    def messages(names: Collection[str]) -> Iterator[tuple[str, int, int, bytes]]:
        connections = [c for c in reader.connections if c.topic in names]
        if connections:  # they come by time of arrival: how they were written, nobody knows
            for place, (connection, arrival, data) in enumerate(reader.messages(connections)):
                yield connection.topic, arrival, place, data

    return Storage(topics, counts, reader.typestore, messages, reader.close)
