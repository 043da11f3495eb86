"""Messages of an MCAP file in order of arrival, a chunk at a time and without a copy.

Format: https://mcap.dev/spec. Finding and unpacking chunks is the library's; walking through a
chunk is not, because there the library reads eight times and makes an object for each message.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Collection, Iterator
from pathlib import Path

import zstandard
from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.reader import SeekingReader
from mcap.records import Chunk, ChunkIndex
from mcap.stream_reader import get_chunk_data_stream
from mcap.summary import Summary

_RECORD = struct.Struct("<BQ")  # opcode, length
_MESSAGE = struct.Struct("<HIQQ")  # channel, sequence, log time, publish time; then the data

# log time, chunk, place in the chunk, channel, data: tuples sort in order of arrival
_Message = tuple[int, int, int, int, memoryview]

# what wrong bytes make of reading and unpacking: lz4 raises RuntimeError, wrong numbers the last
_DAMAGE = (McapError, zstandard.ZstdError, ValueError, RuntimeError, OSError, OverflowError,
           MemoryError)  # fmt: skip


class McapFile:
    """An open file. Raises McapError, ValueError, OSError or struct.error when it is damaged.

    types: {topic: message type}. counts: {topic: number of messages}. definitions: {type: text}.
    is_readable: whether it has an index and nothing but messages of ROS 2; if not, all are empty.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        try:
            reader = SeekingReader(self._file, record_size_limit=path.stat().st_size)
            self._summary = reader.get_summary() or Summary()
            self.is_readable = _is_readable(self._summary)
            schemas = self._summary.schemas.values() if self.is_readable else ()
            self.definitions = {schema.name: schema.data.decode() for schema in schemas}
        except BaseException:
            self._file.close()
            raise
        self.types: dict[str, str] = {}
        self.counts: dict[str, int] = {}
        for channel in self._summary.channels.values() if self.is_readable else ():
            topic, counts = channel.topic, self._summary.statistics.channel_message_counts
            self.types[topic] = self._summary.schemas[channel.schema_id].name
            self.counts[topic] = self.counts.get(topic, 0) + counts.get(channel.id, 0)

    def close(self) -> None:
        self._file.close()

    def messages(self, topics: Collection[str]) -> Iterator[tuple[str, int, memoryview]]:
        """(topic, arrival in ns, data) in order of arrival, of one time in the file's order.

        The data are a view that keeps its chunk in memory: copy what shall last. Memory holds one
        chunk, or those that overlap in time.
        """
        channels = self._summary.channels
        wanted = {n: c.topic for n, c in channels.items() if c.topic in topics}
        waiting: list[_Message] = []
        for chunk in sorted(self._summary.chunk_indexes, key=lambda c: c.message_start_time):
            offsets = chunk.message_index_offsets  # by channel; a chunk need not have them
            if offsets and offsets.keys().isdisjoint(wanted):
                continue
            ready = bisect_left(waiting, (chunk.message_start_time,))
            for arrival, _, _, channel, data in waiting[:ready]:
                yield wanted[channel], arrival, data
            waiting = sorted(waiting[ready:] + self._unpacked(chunk, wanted))
        for arrival, _, _, channel, data in waiting:
            yield wanted[channel], arrival, data

    def _unpacked(self, index: ChunkIndex, wanted: Collection[int]) -> list[_Message]:
        """The messages of the wanted channels in a chunk, in the file's order."""
        start = index.chunk_start_offset
        data = self._chunk(start)
        found: list[_Message] = []
        at, size = 0, len(data)
        while at < size:
            opcode, length = _RECORD.unpack_from(data, at)
            begin, at = at + _RECORD.size, at + _RECORD.size + length
            if at > size:
                raise McapError(f"record: expected {length} bytes, got {size - begin}")
            if opcode == Opcode.MESSAGE:
                channel, _, log_time, _ = _MESSAGE.unpack_from(data, begin)
                if channel in wanted:
                    payload = data[begin + _MESSAGE.size : at]
                    found.append((log_time, start, begin, channel, payload))
        return found

    def _chunk(self, start: int) -> memoryview:
        """A chunk unpacked, its size and checksum compared."""
        try:
            self._file.seek(start + _RECORD.size)
            chunk = Chunk.read(ReadDataStream(self._file))
            stream, size = get_chunk_data_stream(chunk, validate_crc=True)
        except _DAMAGE as error:
            reason = str(error) or type(error).__name__
            raise McapError(f"chunk at byte {start}: {reason}") from error
        if size != chunk.uncompressed_size:
            raise McapError(
                f"chunk at byte {start}: expected {chunk.uncompressed_size} bytes, got {size}"
            )
        return memoryview(stream.read(size))


def _is_readable(summary: Summary) -> bool:
    """Whether there is an index, and all messages are CDR that ROS 2's language defines."""
    kinds = {
        (channel.message_encoding, schema.encoding if schema else "")
        for channel in summary.channels.values()
        for schema in [summary.schemas.get(channel.schema_id)]
    }
    is_indexed = summary.statistics is not None and len(summary.chunk_indexes) > 0
    return is_indexed and kinds == {("cdr", "ros2msg")}
