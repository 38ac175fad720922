"""Reading stored samples: segments for the uplink, history for the eye. Nothing is changed here.

What is not sealed yet comes from the caller as records of the open groups.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from contract.model.batch import Int64s, UInt8s
from contract.segment.decode import Segment
from contract.segment.layout import Axis, Column, SegmentError, Values
from contract.wire.command import SegmentDigest
from contract.wire.records import SegmentRecord
from edge.clock import EARLIEST_US
from edge.historian.head import Record
from edge.historian.layout import MemberLayout, Stored
from edge.historian.open_group import columns_of
from edge.historian.store import BODY_GONE, Row, Store, StoreDamaged, StoreTrouble

RECORDS_AT_ONCE: Final = 256
INDEX: Final = 0
"""In place of a segment's number: pages that lead to many segments are damaged."""


class RowDamaged(Exception):
    """A stored segment is not what was stored; the message names it."""


class Piece(NamedTuple):
    """Samples of one signal in order of time."""

    signal: int
    time_us: Int64s
    values: Values
    quality: UInt8s | None


def read(store: Store, seq: int, *, deep: bool = False) -> tuple[Row, Segment, bytes, bytes | None]:
    """A stored segment, checked: row, head, body and that they belong together.

    Raises:
        RowDamaged: it is not as it was stored.
        KeyError: there is none of that number.
    """
    try:
        found = store.row_with_blobs(seq)
    except (StoreDamaged, StoreTrouble) as error:
        raise RowDamaged(str(error)) from error
    if found is None:
        raise KeyError(seq)
    row, head, body = found
    if row.checksum(head) != row.crc:
        raise RowDamaged("the row's checksum is wrong")
    size = BODY_GONE if body is None else len(body)
    if size != row.body_bytes:
        raise RowDamaged(f"the body has {size} bytes, not {row.body_bytes}")
    try:
        segment = Segment(head, body)
        if body is None:
            _ = segment.statistics  # all that is left is the head; this reads the rest of it
        else:
            segment.check(deep=deep)
    except SegmentError as error:
        raise RowDamaged(str(error)) from error
    stated = (segment.group, segment.epoch, segment.count, segment.digest, segment.t_min_us, segment.t_max_us)
    if stated != (row.group, row.epoch, row.samples, row.digest, row.t_min_us, row.t_max_us):
        raise RowDamaged("head and row contradict each other")
    return row, segment, head, body


def records(
    store: Store, first: int, last: int, byte_limit: int, damaged: dict[int, str]
) -> list[SegmentRecord]:
    """Segments first…last as they go up, until `byte_limit` is passed.

    A damaged one is entered in `damaged` and left out; the others go on.
    """
    found: list[SegmentRecord] = []
    size = 0
    try:
        rows = store.rows(first, last, RECORDS_AT_ONCE)
    except (StoreDamaged, StoreTrouble) as error:
        damaged[INDEX] = str(error)
        return []
    for seq in [row.seq for row in rows]:
        if found and size >= byte_limit:
            break
        try:
            row, _, head, body = read(store, seq)
        except RowDamaged as error:
            damaged[seq] = str(error)
            continue
        except KeyError:  # the ring took it in the meantime
            continue
        found.append(
            SegmentRecord(
                store=store.store,
                seq=row.seq,
                group=row.group,
                epoch=row.epoch,
                head_first=row.head_first,
                head_last=row.head_last,
                head_bytes=len(head),
                count=row.samples,
                digest=row.digest,
                t_min_us=row.t_min_us,
                t_max_us=row.t_max_us,
                blob=head + (body or b""),
                clock_trusted=row.t_min_us >= EARLIEST_US,
            )
        )
        size += len(found[-1].blob)
    return found


def digests(store: Store, first: int, last: int) -> list[SegmentDigest]:
    """Count and digest of segments first…last, from the rows alone."""
    return [
        SegmentDigest(row.seq, row.samples, row.digest, 0 if row.has_body else 1)
        for row in store.rows(first, last)
    ]


def history(
    store: Store,
    open_records: Mapping[int, Sequence[Record]],
    signals: Sequence[int],
    from_us: int,
    to_us: int,
    damaged: dict[int, str],
) -> Iterator[Piece]:
    """Pieces of from…to inclusive, each signal's in order of time, none doubled.

    Args:
        open_records: taken before the call; what was sealed since is left out here.
        damaged: segments that could not be read are entered, with the reason.
    """
    sealed = dict(store.sealed)
    for groups in _apart(store.groups_with(signals)):
        parts: list[_Part] = []
        for group, here in groups.items():
            try:
                rows = store.overlapping(group, from_us, to_us)
            except (StoreDamaged, StoreTrouble) as error:
                damaged[INDEX] = str(error)
                rows = []
            parts.extend(
                _Part(row.t_min_us, row.t_max_us, row.seq, here, None) for row in rows if row.has_body
            )
            unsealed = [r for r in open_records.get(group, ()) if r.position > sealed.get(group, 0)]
            if unsealed:
                columns = _open_columns(store, group, unsealed)
                first = min(int(axis.time_us[0]) for axis, _ in columns)
                last = max(int(axis.time_us[-1]) for axis, _ in columns)
                parts.append(_Part(first, last, 0, here, columns))
        parts.sort(key=lambda part: (part.first_us, part.seq or 2**63))
        for cluster in _clusters(parts):
            yield from _merged(store, cluster, (from_us, to_us), damaged)


def _apart(groups: Mapping[int, set[int]]) -> list[dict[int, set[int]]]:
    """Groups with their signals, together only where a signal moved from one to the other.

    What is apart is read one after the other: segments of different groups always overlap in time.
    """
    found: list[dict[int, set[int]]] = []
    for group, signals in sorted(groups.items()):
        joined = {group: signals}
        rest = []
        for other in found:
            if any(signals & theirs for theirs in other.values()):
                joined |= other
            else:
                rest.append(other)
        found = [*rest, joined]
    return found


class _Part(NamedTuple):
    """A segment (seq) or an open head (columns) with the signals asked for in it."""

    first_us: int
    last_us: int
    seq: int
    signals: set[int]
    columns: list[tuple[Axis, Column]] | None


def _clusters(parts: Sequence[_Part]) -> Iterator[list[_Part]]:
    """Parts that overlap in time, together; usually each is alone."""
    waiting: list[_Part] = []
    end = 0
    for part in parts:
        if waiting and part.first_us > end:
            yield waiting
            waiting = []
        waiting.append(part)
        end = max(end, part.last_us) if len(waiting) > 1 else part.last_us
    if waiting:
        yield waiting


def _merged(
    store: Store,
    cluster: Sequence[_Part],
    bounds: tuple[int, int],
    damaged: dict[int, str],
) -> Iterator[Piece]:
    pieces: dict[int, list[Piece]] = {}
    for part in cluster:
        for piece in _pieces(store, part, damaged):
            cut = _cut(piece, *bounds)
            if cut is not None:
                pieces.setdefault(cut.signal, []).append(cut)
    for found in pieces.values():
        if len(found) == 1 or _follow(found):
            yield from found
        else:
            yield _sorted(found)


def _pieces(store: Store, part: _Part, damaged: dict[int, str]) -> Iterator[Piece]:
    if part.columns is not None:
        for axis, column in part.columns:
            if column.signal in part.signals:
                yield Piece(column.signal, axis.time_us, column.values, column.quality)
        return
    try:
        _, segment, _, _ = read(store, part.seq)
        for i, signal in enumerate(segment.signals):
            if signal in part.signals:
                times = segment.times(segment.axis_of(i))
                yield Piece(signal, times, segment.values(i), segment.quality(i))
    except (RowDamaged, SegmentError) as error:
        damaged[part.seq] = str(error)
    except KeyError:  # the ring took it in the meantime
        return


def _cut(piece: Piece, from_us: int, to_us: int) -> Piece | None:
    start = int(np.searchsorted(piece.time_us, from_us, "left"))
    end = int(np.searchsorted(piece.time_us, to_us, "right"))
    if start >= end:
        return None
    if start == 0 and end == len(piece.time_us):
        return piece
    quality = None if piece.quality is None else piece.quality[start:end]
    return Piece(piece.signal, piece.time_us[start:end], piece.values[start:end], quality)


def _follow(pieces: Sequence[Piece]) -> bool:
    return all(a.time_us[-1] <= b.time_us[0] for a, b in pairwise(pieces))


def _sorted(pieces: Sequence[Piece]) -> Piece:
    """Pieces of one signal that lie across each other, as one; of one instant, in the order stored."""
    time = np.concatenate([piece.time_us for piece in pieces])
    order = np.argsort(time, kind="stable")
    quality: UInt8s | None = None
    if any(piece.quality is not None for piece in pieces):
        quality = np.concatenate(
            [np.zeros(len(p.time_us), np.uint8) if p.quality is None else p.quality for p in pieces]
        )[order]
    return Piece(pieces[0].signal, time[order], _joined([piece.values for piece in pieces], order), quality)


def _joined(values: Sequence[Values], order: Int64s) -> Values:
    """Values of pieces in a new order; float64 where their kinds differ, texts where one is text."""
    arrays: list[npt.NDArray[Any]] = [v for v in values if isinstance(v, np.ndarray)]
    if len(arrays) == len(values):
        if len({array.dtype for array in arrays}) > 1:
            arrays = [array.astype(np.float64) for array in arrays]
        joined: Values = np.concatenate(arrays)[order]
        return joined
    texts: list[str] = []
    for part in values:
        texts.extend(map(repr, part.tolist()) if isinstance(part, np.ndarray) else part)
    return [texts[i] for i in order.tolist()]


def _open_columns(store: Store, group: int, unsealed: Sequence[Record]) -> list[tuple[Axis, Column]]:
    columns: list[tuple[Axis, Column]] = []
    for epoch in dict.fromkeys(record.epoch for record in unsealed):
        members = store.members(group, epoch) or ()
        axes, found = columns_of([r for r in unsealed if r.epoch == epoch], members)
        columns.extend((axes[column.axis], column) for column in found)
    return columns


def last_values(
    store: Store,
    groups: Sequence[int],
    open_records: Mapping[int, Sequence[Record]],
    damaged: dict[int, str],
) -> dict[int, Stored]:
    """Newest stored sample per signal: of the open head, else of each group's newest segment."""
    newest: dict[int, Stored] = {}
    for group in groups:
        try:
            row = store.newest(group)
        except (StoreDamaged, StoreTrouble) as error:
            damaged[INDEX] = str(error)
            row = None
        if row is not None and row.has_body:
            part = _Part(row.t_min_us, row.t_max_us, row.seq, set(_members(store, row)), None)
            for piece in _pieces(store, part, damaged):
                _note(newest, piece)
        for axis, column in _open_columns(store, group, open_records.get(group, ())):
            _note(newest, Piece(column.signal, axis.time_us, column.values, column.quality))
    return newest


def _members(store: Store, row: Row) -> list[int]:
    members: Sequence[MemberLayout] = store.members(row.group, row.epoch) or ()
    return [member.number for member in members]


def _note(newest: dict[int, Stored], piece: Piece) -> None:
    time = int(piece.time_us[-1])
    if piece.signal not in newest or newest[piece.signal].time_us <= time:
        last = piece.values[-1]
        value = float("nan") if isinstance(last, str) else float(last)
        quality = 0 if piece.quality is None else int(piece.quality[-1])
        newest[piece.signal] = Stored(time, value, quality)
