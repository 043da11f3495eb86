"""Messages of an MCAP file in order of arrival, a chunk at a time and without a copy.

Format: https://mcap.dev/spec. Finding and unpacking chunks is the library's; walking through a
chunk is not, because there the library reads eight times and makes an object for each message.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections.abc import Collection, Iterator
from pathlib import Path

import zstandard
from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.reader import SeekingReader
from mcap.records import Channel, Chunk, ChunkIndex
from mcap.stream_reader import get_chunk_data_stream

from gato_core.importers.mcap_scan import MESSAGE, RAW, RECORD, scanned

LANGUAGES = ("ros2msg", "ros2idl", "omgidl")  # that define messages of ROS 2 in CDR

# log time, place in the file, channel, data: tuples sort in order of arrival
_Message = tuple[int, int, int, memoryview]

# what wrong bytes make of reading and unpacking: lz4 raises RuntimeError, wrong numbers the last
_DAMAGE = (McapError, zstandard.ZstdError, ValueError, RuntimeError, OSError, OverflowError,
           MemoryError)  # fmt: skip


class McapFile:
    """An open file. Raises McapError, ValueError, OSError or struct.error when it is damaged.

    types: {topic: message type}, of another encoding than ROS 2's with that in brackets. counts:
    {topic: number of messages}. definitions: {type: (language, text)} of ROS 2's messages.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        try:
            size = path.stat().st_size
            self._checked: set[int] = set()  # chunks, by where they start
            summary = SeekingReader(self._file, record_size_limit=size).get_summary()
            is_indexed = summary and summary.statistics and summary.chunk_indexes
            self._summary = summary if is_indexed else scanned(self._file, size, self._chunk)
            self._kinds: dict[int, str] = {}  # message type by channel
            self.types: dict[str, str] = {}
            self.definitions: dict[str, tuple[str, str]] = {}
            for channel in self._summary.channels.values():
                self._add(channel)
        except BaseException:
            self._file.close()
            raise
        self.counts = dict.fromkeys(self.types, 0)
        for number, topic in self._chosen(self.types).items():
            self.counts[topic] += self._summary.statistics.channel_message_counts.get(number, 0)

    def _add(self, channel: Channel) -> None:
        schema = self._summary.schemas.get(channel.schema_id)
        name, language = (schema.name, schema.encoding) if schema else ("", "")
        is_ros = channel.message_encoding == "cdr" and language in LANGUAGES
        kind = name if is_ros else f"{name} ({channel.message_encoding})"
        if is_ros:
            self.definitions[name] = language, schema.data.decode()
        if is_ros or channel.topic not in self.types:
            self.types[channel.topic] = kind
        self._kinds[channel.id] = kind

    def _chosen(self, topics: Collection[str]) -> dict[int, str]:
        """Channels of these topics: of a topic with several types those of one."""
        channels = self._summary.channels
        return {
            number: channels[number].topic
            for number, kind in self._kinds.items()
            if channels[number].topic in topics and kind == self.types[channels[number].topic]
        }

    def close(self) -> None:
        self._file.close()

    def messages(
        self, topics: Collection[str], first_place: int = 0
    ) -> Iterator[tuple[str, int, int, memoryview]]:
        """(topic, arrival in ns, place, data) in order of arrival, of one time in the file's order.

        Places grow in the order in which messages were written. The data are a view that keeps its
        chunk in memory: copy what shall last. Memory holds one chunk, or those that overlap in
        time.
        """
        wanted, first = self._chosen(topics), self._first_places(first_place)
        waiting: list[_Message] = []
        for chunk in sorted(self._summary.chunk_indexes, key=lambda c: c.message_start_time):
            offsets = chunk.message_index_offsets  # by channel; a chunk need not have them
            if offsets and offsets.keys().isdisjoint(wanted):
                continue
            ready = bisect_left(waiting, (chunk.message_start_time,))
            for arrival, place, channel, data in waiting[:ready]:
                yield wanted[channel], arrival, place, data
            waiting = sorted(
                waiting[ready:] + self._unpacked(chunk, first[chunk.chunk_start_offset], wanted)
            )
        for arrival, place, channel, data in waiting:
            yield wanted[channel], arrival, place, data

    @property
    def num_bytes(self) -> int:
        """Of all chunks unpacked."""
        return sum(chunk.uncompressed_size for chunk in self._summary.chunk_indexes)

    def _first_places(self, first: int) -> dict[int, int]:
        """The place of each chunk's first byte when unpacked, by the chunk's offset."""
        chunks = sorted(self._summary.chunk_indexes, key=lambda chunk: chunk.chunk_start_offset)
        before = itertools.accumulate((c.uncompressed_size for c in chunks), initial=first)
        return {chunk.chunk_start_offset: first for chunk, first in zip(chunks, before)}

    def _unpacked(self, index: ChunkIndex, first: int, wanted: Collection[int]) -> list[_Message]:
        """The messages of the wanted channels in a chunk, in the file's order."""
        first_byte = index.chunk_start_offset
        data = self._stretch(index) if index.compression == RAW else self._chunk(first_byte)
        found: list[_Message] = []
        at, size = 0, len(data)
        while at < size:
            opcode, length = RECORD.unpack_from(data, at)
            begin, at = at + RECORD.size, at + RECORD.size + length
            if at > size:
                raise McapError(f"record: expected {length} bytes, got {size - begin}")
            if opcode == Opcode.MESSAGE:
                channel, _, log_time, _ = MESSAGE.unpack_from(data, begin)
                if channel in wanted:
                    payload = data[begin + MESSAGE.size : at]
                    found.append((log_time, first + begin, channel, payload))
        return found

    def _stretch(self, index: ChunkIndex) -> memoryview:
        """Records of a file without chunks."""
        self._file.seek(index.chunk_start_offset)
        return memoryview(self._file.read(index.uncompressed_size))

    def _chunk(self, start: int) -> memoryview:
        """A chunk unpacked, its size compared, and its checksum when it is read first."""
        try:
            self._file.seek(start + RECORD.size)
            chunk = Chunk.read(ReadDataStream(self._file))
            stream, size = get_chunk_data_stream(chunk, validate_crc=start not in self._checked)
        except _DAMAGE as error:
            reason = str(error) or type(error).__name__
            raise McapError(f"chunk at byte {start}: {reason}") from error
        if size != chunk.uncompressed_size:
            raise McapError(
                f"chunk at byte {start}: expected {chunk.uncompressed_size} bytes, got {size}"
            )
        self._checked.add(start)
        return memoryview(stream.read(size))
