"""Bytes of the head: one record per kept batch, each with its own checksum. No I/O.

Drawn in docs/head-format.md. Writing, syncing and mending the files is in `head_files`. A record
needs nothing but itself to be read, so what lies behind a damaged one is still found.
"""

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple
from zlib import crc32

import msgspec
import numpy as np
import zstandard

from contract.model.batch import Batch, Exact, Float64s, Int32s, Int64s, UInt8s

MAGIC: Final = b"FWH"
VERSION: Final = 1
MARKER: Final = b"\xf7REC"
PAYLOAD_MAX: Final = 64 * 1024 * 1024
"""Longest payload a reader believes, packed or not."""
TEXT_MAX: Final = 64 * 1024
"""Characters of a text that are kept; no plant signal comes near."""

_FILE = struct.Struct("<3sBqqI")
_RECORD = struct.Struct("<4sIIqiiIIB3xq")
_TIMES, _SIGNALS, _QUALITY, _EXACT, _PACKED = 1, 2, 4, 8, 16
_WORTH_PACKING: Final = 128

_compress = zstandard.ZstdCompressor(level=1, write_content_size=True)
_decompress = zstandard.ZstdDecompressor()
_exact_encoder = msgspec.msgpack.Encoder()
_exact_decoder = msgspec.msgpack.Decoder(tuple[tuple[int, int | str], ...])

FILE_HEADER_BYTES: Final = _FILE.size


class Record(NamedTuple):
    """One kept batch with its place in the head and the make-up of its group."""

    position: int
    epoch: int
    batch: Batch


class Span(NamedTuple):
    """Bytes of a file that are no record."""

    start: int
    end: int


class Contents(NamedTuple):
    """What a head file holds: its records in order, and the bytes that are none."""

    records: list[Record]
    damaged: list[Span]


def file_header(store: int, first: int) -> bytes:
    """First bytes of a head file whose first record has position `first`."""
    bare = _FILE.pack(MAGIC, VERSION, store, first, 0)[:-4]
    return bare + crc32(bare).to_bytes(4, "little")


def encode(store: int, position: int, epoch: int, batch: Batch) -> bytes:
    """Record of a batch; about 3 bytes per value of a plain 16-bit register."""
    flags = 0
    parts: list[bytes] = []
    if isinstance(batch.time, int):
        time = batch.time
    else:
        time = 0
        flags |= _TIMES
        parts.append(batch.time.astype("<i8", copy=False).tobytes())
    if batch.signal is not None:
        flags |= _SIGNALS
        parts.append(batch.signal.astype("<i4", copy=False).tobytes())
    if batch.quality is not None:
        flags |= _QUALITY
        parts.append(batch.quality.tobytes())
    rows = len(batch)
    values = np.ascontiguousarray(batch.value, "<f8")
    parts.append(values.view(np.uint8).reshape(rows, 8).T.tobytes())
    if batch.exact:
        flags |= _EXACT
        parts.append(_exact_encoder.encode(batch.exact))
    payload = b"".join(parts)
    size = len(payload)
    if size >= _WORTH_PACKING:
        packed = _compress.compress(payload)
        if len(packed) < size:
            payload = packed
            flags |= _PACKED
    known = (position, batch.group, epoch, rows, size, flags, time)
    unsigned = _RECORD.pack(MARKER, len(payload), 0, *known)
    return _RECORD.pack(MARKER, len(payload), _checksum(store, unsigned, payload), *known) + payload


def decode(data: bytes, store: int) -> Contents:
    """All records of a head file that are whole; all other bytes are damaged.

    The head of another store is damaged from end to end: the store's number is in each checksum.
    """
    records: list[Record] = []
    damaged: list[Span] = []
    at = lost_from = FILE_HEADER_BYTES if _is_header(data, store) else 0
    while 0 <= at < len(data):
        found = _decode_one(data, at, store)
        if found is None:
            at = data.find(MARKER, at + 1)
            continue
        if at > lost_from:
            damaged.append(Span(lost_from, at))
        record, at = found
        lost_from = at
        records.append(record)
    if lost_from < len(data):
        damaged.append(Span(lost_from, len(data)))
    return Contents(records, damaged)


def clean_exact(exact: Exact) -> Exact:
    """The side lane as it can be kept: texts that are text and not endless, integers of 64 bits.

    An integer beyond keeps the double in the batch's values.
    """
    return tuple(
        (row, value[:TEXT_MAX].encode("utf-8", "replace").decode() if isinstance(value, str) else value)
        for row, value in exact
        if isinstance(value, str) or -(2**63) <= value < 2**63
    )


def named(batch: Batch, members: Int32s) -> Int32s:
    """Signal number per row, whether or not the batch names them."""
    return members if batch.signal is None else batch.signal


def concatenate(batches: Sequence[Batch], members: Sequence[Int32s]) -> Batch:
    """One batch with signal and time per row, in the order given; `members` for each batch."""
    exact: list[tuple[int, int | str]] = []
    start = 0
    for batch in batches:
        exact.extend((start + row, value) for row, value in batch.exact)
        start += len(batch)
    quality = None
    if any(batch.quality is not None for batch in batches):
        quality = np.concatenate(
            [np.zeros(len(b), np.uint8) if b.quality is None else b.quality for b in batches]
        )
    return Batch(
        group=batches[0].group,
        signal=np.concatenate([named(b, m) for b, m in zip(batches, members, strict=True)]),
        time=np.concatenate([b.times() for b in batches]),
        value=np.concatenate([b.value for b in batches]),
        quality=quality,
        exact=tuple(exact),
    )


def _checksum(store: int, header: bytes, payload: bytes) -> int:
    """CRC-32 over store, header without its own checksum, and payload."""
    seed = crc32(header[12:], crc32(header[4:8], store & 0xFFFFFFFF))
    return crc32(payload, seed)


def _is_header(data: bytes, store: int) -> bool:
    if len(data) < FILE_HEADER_BYTES:
        return False
    return data[:FILE_HEADER_BYTES] == file_header(store, _FILE.unpack_from(data)[3])


def _decode_one(data: bytes, at: int, store: int) -> tuple[Record, int] | None:
    """The record at `at` and where it ends; None if there is no whole one."""
    start = at + _RECORD.size
    if start > len(data):
        return None
    marker, length, crc, position, group, epoch, rows, size, flags, time = _RECORD.unpack_from(data, at)
    end = start + length
    if marker != MARKER or end > len(data) or max(length, size) > PAYLOAD_MAX:
        return None
    payload = data[start:end]
    if crc != _checksum(store, data[at:start], payload):
        return None
    try:
        batch = _batch(group, rows, flags, time, _unpacked(payload, size) if flags & _PACKED else payload)
    except (ValueError, zstandard.ZstdError, msgspec.MsgspecError):
        return None
    return Record(position, epoch, batch), end


def _unpacked(payload: bytes, size: int) -> bytes:
    if zstandard.get_frame_parameters(payload).content_size != size:
        raise ValueError("another size than stated")
    return _decompress.decompress(payload, max_output_size=size)


def _batch(group: int, rows: int, flags: int, time: int, payload: bytes) -> Batch:
    at = 0
    times: int | Int64s = time
    signal: Int32s | None = None
    quality: UInt8s | None = None
    if flags & _TIMES:
        times = np.frombuffer(payload, "<i8", rows, at).astype(np.int64, copy=False)
        at += 8 * rows
    if flags & _SIGNALS:
        signal = np.frombuffer(payload, "<i4", rows, at).astype(np.int32, copy=False)
        at += 4 * rows
    if flags & _QUALITY:
        quality = np.frombuffer(payload, np.uint8, rows, at)
        at += rows
    planes = np.frombuffer(payload, np.uint8, 8 * rows, at).reshape(8, rows)
    value: Float64s = np.ascontiguousarray(planes.T).reshape(-1).view("<f8").astype(np.float64, copy=False)
    at += 8 * rows
    exact: Exact = _exact_decoder.decode(payload[at:]) if flags & _EXACT else ()
    return Batch(group, signal, times, value, quality, exact)
