"""The index of an MCAP file that has none, made by walking through it once.

Writers may leave out the index, or chunks altogether: https://mcap.dev/spec. Messages outside of
chunks are grouped to stretches of the file, which are then read as chunks are.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import BinaryIO

from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.records import Channel, ChunkIndex, Schema, Statistics
from mcap.summary import Summary

RAW = "raw"  # for the compression of a stretch that is no chunk
STRETCH_BYTES = 1_000_000
RECORD = struct.Struct("<BQ")  # opcode, length
MESSAGE = struct.Struct("<HIQQ")  # channel, sequence, log time, publish time; then the data
_MAGIC_BYTES = 8


def scanned(file: BinaryIO, size: int, unpacked: Callable[[int], memoryview]) -> Summary:
    """unpacked: the data of the chunk that starts at a byte. Raises McapError or struct.error."""
    summary, counts = Summary(), Counter[int]()
    start, times = 0, []  # of the stretch that is being walked through
    for opcode, begin, end in _records(file, size):
        if opcode == Opcode.CHUNK:
            data = unpacked(begin)
            inside = [
                _noted(summary, kind, data[at:stop], counts) for kind, at, stop in _inside(data)
            ]
            found = [time for time in inside if time is not None]
            summary.chunk_indexes += _indexed(begin, end, len(data), found, "")
        elif opcode == Opcode.MESSAGE:
            start = start if times else begin
            times.append(_noted(summary, opcode, _read(file, begin, MESSAGE.size), counts))
        elif opcode in (Opcode.SCHEMA, Opcode.CHANNEL):
            _noted(summary, opcode, _read(file, begin, end - begin - RECORD.size), counts)
        if times and (opcode != Opcode.MESSAGE or end - start > STRETCH_BYTES):
            stop = end if opcode == Opcode.MESSAGE else begin
            summary.chunk_indexes += _indexed(start, stop, stop - start, times, RAW)
            times = []
    summary.statistics = Statistics(0, 0, dict(counts), 0, counts.total(), 0, 0, 0, 0)
    return summary


def _records(file: BinaryIO, size: int) -> Iterator[tuple[int, int, int]]:
    """(opcode, where it begins, where it ends) of the file's records up to the end of the data."""
    at, opcode = _MAGIC_BYTES, 0
    while opcode not in (Opcode.DATA_END, Opcode.FOOTER):
        file.seek(at)
        opcode, length = RECORD.unpack(file.read(RECORD.size))
        begin, at = at, at + RECORD.size + length
        if at > size:
            raise McapError(f"record at byte {begin}: expected {length} bytes, got the file's end")
        yield opcode, begin, at


def _inside(data: memoryview) -> Iterator[tuple[int, int, int]]:
    """(opcode, begin, end) of the content of a chunk's records."""
    at = 0
    while at < len(data):
        opcode, length = RECORD.unpack_from(data, at)
        begin, at = at + RECORD.size, at + RECORD.size + length
        if at > len(data):
            raise McapError(f"record: expected {length} bytes, got {len(data) - begin}")
        yield opcode, begin, at


def _read(file: BinaryIO, begin: int, length: int) -> bytes:
    file.seek(begin + RECORD.size)
    return file.read(length)


def _noted(
    summary: Summary, opcode: int, content: bytes | memoryview, counts: Counter[int]
) -> int | None:
    """Takes note of a record's content; the log time of a message."""
    if opcode == Opcode.MESSAGE:
        channel, _, log_time, _ = MESSAGE.unpack_from(content)
        counts[channel] += 1
        return log_time
    if opcode == Opcode.SCHEMA:
        schema = Schema.read(ReadDataStream(BytesIO(content)))
        summary.schemas[schema.id] = schema
    elif opcode == Opcode.CHANNEL:
        channel = Channel.read(ReadDataStream(BytesIO(content)))
        summary.channels[channel.id] = channel
    return None


def _indexed(
    begin: int, end: int, size: int, times: list[int], compression: str
) -> list[ChunkIndex]:
    if not times:
        return []
    return [ChunkIndex(end - begin, begin, compression, 0, max(times), 0, {}, min(times), size)]
