"""Records: what a gateway sends up for keeps (events, segments), and the tail for the eye.

A record is known by (gateway, store, lane, seq); seq counts from 1, per store and lane, and
is never reset or reused. The tail has no seq: it carries head positions instead, and the
segment that covers a position takes its place.
"""

from enum import StrEnum
from typing import Annotated, NamedTuple

import msgspec
import numpy as np
import zstandard
from msgspec import Meta

from contract.model.batch import Batch, Exact, Value
from contract.model.message import Source

StoreId = Annotated[int, Meta(ge=0, le=2**63 - 1)]
"""Random number drawn when a data store is created."""

TAIL_ROWS_MAX = 262_144
"""Most rows in one tail message; a longer open head is restated in several."""


class Lane(StrEnum):
    """Kinds of record that are numbered and receipted."""

    EVENT = "event"
    SEGMENT = "segment"


class RecordKey(NamedTuple):
    """Identity of a record for ever."""

    gateway: str
    store: int
    lane: Lane
    seq: int


class EventKind(StrEnum):
    """What happened. ISA-18.2 names where they fit."""

    RAISED = "raised"
    ENDED = "ended"
    ACKNOWLEDGED = "acknowledged"
    SYSTEM = "system"
    WRITTEN = "written"
    REFUSED = "refused"
    APPLIED = "applied"


class EventRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the journal.

    `id` is deterministic for what the engine decides (message uid, occurrence time, kind), so
    that a replay after a crash doubles nothing. `time_us` is when it happened in the plant;
    `occurrence_us` the time at which the alarm it belongs to was raised. `comment` is what the
    operator wrote who acknowledged.
    """

    store: StoreId
    seq: Annotated[int, Meta(ge=1)]
    id: Annotated[str, Meta(max_length=200)]
    kind: EventKind
    time_us: int
    occurrence_us: int = 0
    source: Source = Source.USER
    number: int = 0
    message: str = ""
    priority: int = 3
    text: str = ""
    signal: str = ""
    value: Value | None = None
    quality: int = 0
    actor: str = ""
    clock_trusted: bool = True
    comment: str = ""


class SegmentRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One segment on its way; `blob` is head‖body, or the head alone where the body was let go.

    `head_first`…`head_last` are the positions of the group's head records it holds: the tail
    up to `head_last` of this group is covered by it.
    """

    store: StoreId
    seq: Annotated[int, Meta(ge=1)]
    group: int
    epoch: int
    head_first: int
    head_last: int
    head_bytes: Annotated[int, Meta(ge=0)]
    count: int
    digest: Annotated[int, Meta(ge=0)]
    t_min_us: int
    t_max_us: int
    blob: bytes
    clock_trusted: bool = True


class Tail(msgspec.Struct, frozen=True, kw_only=True):
    """Fresh kept samples of one group, positions `first`…`last` of the head, not for keeps.

    A later message that overlaps an earlier one of the same group takes its place. It never
    straddles the end of a segment. Columns are packed by `pack_tail`.
    """

    store: StoreId
    group: int
    epoch: int
    first: int
    last: int
    rows: Annotated[int, Meta(ge=0, le=TAIL_ROWS_MAX)]
    columns: bytes
    exact: tuple[tuple[int, int | str], ...] = ()


_compress = zstandard.ZstdCompressor(level=1, write_content_size=True)
_decompress = zstandard.ZstdDecompressor()
_ROW_BYTES = 4 + 8 + 8 + 1


class TailError(ValueError):
    """Columns of a tail message are damaged or of another size than stated."""


def pack_tail(store: int, epoch: int, first: int, last: int, batch: Batch) -> Tail:
    """Tail message of one batch whose `signal` is given; at most TAIL_ROWS_MAX rows."""
    rows = len(batch)
    if batch.signal is None:
        raise TailError("a tail batch names its signals")
    if rows > TAIL_ROWS_MAX:
        raise TailError(f"{rows} rows are beyond {TAIL_ROWS_MAX}")
    quality = np.zeros(rows, np.uint8) if batch.quality is None else batch.quality
    columns = b"".join(
        (
            np.diff(batch.signal, prepend=np.int32(0)).astype("<i4").tobytes(),
            np.diff(batch.times(), prepend=np.int64(0)).astype("<i8").tobytes(),
            batch.value.astype("<f8").view(np.uint8).reshape(rows, 8).T.tobytes(),
            quality.tobytes(),
        )
    )
    return Tail(
        store=store,
        group=batch.group,
        epoch=epoch,
        first=first,
        last=last,
        rows=rows,
        columns=_compress.compress(columns),
        exact=batch.exact,
    )


def unpack_tail(tail: Tail) -> Batch:
    """The batch in a tail message, times per row.

    Raises:
        TailError: damaged, or its unpacked size is not what its rows ask for.
    """
    size = tail.rows * _ROW_BYTES
    try:
        stated = zstandard.get_frame_parameters(tail.columns).content_size
        if stated != size:
            raise TailError(f"columns unpack to {stated} bytes, {tail.rows} rows ask for {size}")
        columns = _decompress.decompress(tail.columns, max_output_size=size) if size else b""
    except zstandard.ZstdError as error:
        raise TailError(f"columns cannot be unpacked: {error}") from error
    if len(columns) != size:
        raise TailError(f"columns unpacked to {len(columns)} bytes instead of {size}")
    n = tail.rows
    if any(not 0 <= row < n for row, _ in tail.exact):
        raise TailError("an exact value belongs to no row")
    signal = np.cumsum(np.frombuffer(columns, "<i4", n), dtype=np.int32)
    time = np.cumsum(np.frombuffer(columns, "<i8", n, 4 * n), dtype=np.int64)
    planes = np.frombuffer(columns, np.uint8, 8 * n, 12 * n).reshape(8, n)
    value = np.ascontiguousarray(planes.T).view("<f8").reshape(n).astype(np.float64)
    quality = np.frombuffer(columns, np.uint8, n, 20 * n)
    exact: Exact = tail.exact
    return Batch(tail.group, signal, time, value, quality if quality.any() else None, exact)
