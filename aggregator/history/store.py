"""SQL of history.db: segments as they came, their members, and the tail they take the place of.

A segment is found through (gateway, store, group, epoch) and time: `member` says in which
epochs of which groups a signal ever was, `series` how long the longest segment of an epoch is,
so that a search by time reads only neighbours. Positions of the head decide between segment and
tail, never times.
"""

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from heapq import heappop, heappush
from typing import Any, Final, NamedTuple, TypeAlias
from zlib import crc32

import msgspec
from sqlalchemy import ColumnElement, Table, and_, bindparam, delete, exists, func, insert, select, update
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from aggregator.db.engine import Connection
from aggregator.db.schema import covered, member, segment, series, tail
from aggregator.scope import Right, Scope, needs
from contract.wire.command import SegmentDigest
from contract.wire.records import SegmentRecord

TAIL_BYTES_MAX = 64 * 1024 * 1024
"""Tail kept per gateway; it is not for keeps, and a gateway that never seals must not fill the disk."""


DAY_US: Final = 86_400_000_000
_SHIFT_US: Final = 2**62 // DAY_US * DAY_US
"""Makes every time positive before it is divided: databases round towards zero."""
_MARK: Final = 2**40


class Source(NamedTuple):
    """One signal in one store: where its samples lie."""

    gateway: str
    store: int
    number: int


class Epoch(NamedTuple):
    """One set of members of one group in one store."""

    gateway: str
    store: int
    group: int
    epoch: int


KnownMembers: TypeAlias = dict[tuple[str, int, int, int], set[int]]
"""Members already in the table per epoch, kept by ingest to save a query per message.

To be emptied after a transaction that failed."""

Columns: TypeAlias = ReadOnlyColumnCollection[str, ColumnElement[Any]]


class Put(StrEnum):
    """What became of a segment that was offered."""

    NEW = "new"
    SAME = "same"
    COMPLETED = "completed"
    """It was there without its body, and now has one."""
    CONTRADICTS = "contradicts"
    """Another segment has this number; nothing was changed."""


class SegmentRow(NamedTuple):
    """A segment without its bytes."""

    gateway: str
    store: int
    seq: int
    group: int
    epoch: int
    t_min_us: int
    t_max_us: int
    head_first: int
    head_last: int


class WholeSegment(NamedTuple):
    """A stored row, and the checksum that was stored with it."""

    gateway: str
    store: int
    seq: int
    tenant: str
    group: int
    epoch: int
    head_first: int
    head_last: int
    t_min_us: int
    t_max_us: int
    samples: int
    digest: int
    clock_trusted: bool
    head_bytes: int
    head: bytes
    body: bytes | None
    checksum: int

    def computed(self) -> int:
        """Checksum of what the row says now."""
        said = (*self[:14], crc32(self.head), None if self.body is None else crc32(self.body))
        return crc32(msgspec.msgpack.encode(said))


class TailRow(NamedTuple):
    """A stored tail message, as it came."""

    gateway: str
    store: int
    group: int
    first: int
    last: int
    message: bytes


class Day(NamedTuple):
    """Segments of one epoch that begin on one UTC day. `mark` moves when others come to them."""

    begins_us: int
    t_min_us: int
    t_max_us: int
    longest_us: int
    mark: tuple[int, int, int]


def to_signed(digest: int) -> int:
    """Unsigned 64 bit as the signed number of the same bits, which is what a database can keep."""
    return digest - 2**64 if digest >= 2**63 else digest


def to_unsigned(number: int) -> int:
    """The way back."""
    return number % 2**64


def _is(column: ColumnElement[Any]) -> ColumnElement[bool]:
    """column = :this_<column>."""
    return column == bindparam(f"this_{column.key}")


def _of_this(table: Table) -> ColumnElement[bool]:
    return and_(_is(table.c.gateway), _is(table.c.store))


def _of_this_group(table: Table) -> ColumnElement[bool]:
    return and_(_of_this(table), _is(table.c.group_number))


# --- Writing, for ingest ---------------------------------------------------------------------


@needs(Right.INGEST)
def put_segment(
    scope: Scope,
    connection: Connection,
    known: KnownMembers,
    gateway: str,
    record: SegmentRecord,
    head: bytes,
    body: bytes | None,
    signals: Sequence[int],
) -> Put:
    """Store one checked segment; nothing that is there is ever overwritten.

    A segment is the same if group, epoch, positions, times, count and digest are.
    """
    key = {"this_gateway": gateway, "this_store": record.store, "this_seq": record.seq}
    there = connection.execute(_SAME_SEGMENT, key).one_or_none()
    row = WholeSegment(
        gateway=gateway,
        store=record.store,
        seq=record.seq,
        tenant=scope.tenant,
        group=record.group,
        epoch=record.epoch,
        head_first=record.head_first,
        head_last=record.head_last,
        t_min_us=record.t_min_us,
        t_max_us=record.t_max_us,
        samples=record.count,
        digest=record.digest,
        clock_trusted=record.clock_trusted,
        head_bytes=record.head_bytes,
        head=head,
        body=body,
        checksum=0,
    )
    row = row._replace(checksum=row.computed())
    if there is not None:
        said = (row.group, row.epoch, row.head_first, row.head_last, row.t_min_us, row.t_max_us)
        if tuple(there[:8]) != (*said, row.samples, to_signed(row.digest)):
            return Put.CONTRADICTS
        if not there[8] or body is None:
            return Put.SAME
        connection.execute(_COMPLETE_SEGMENT, {**key, **_columns(row)})
        return Put.COMPLETED
    connection.execute(_ADD_SEGMENT, _columns(row))
    _extend_series(connection, scope.tenant, row)
    _add_members(connection, known, row, row.epoch, signals)
    span = {"this_first": row.head_first, "this_last": row.head_last}
    connection.execute(_DROP_COVERED, _group_key(row) | span)
    return Put.NEW


_SAID = (
    segment.c.group_number,
    segment.c.epoch,
    segment.c.head_first,
    segment.c.head_last,
    segment.c.t_min_us,
    segment.c.t_max_us,
    segment.c.count,
    segment.c.digest,
)


# Built once: putting a statement together costs more than running it.
_SAME_SEGMENT = select(*_SAID, segment.c.body.is_(None)).where(_of_this(segment), _is(segment.c.seq))
_ADD_SEGMENT = insert(segment)
_COMPLETE_SEGMENT = update(segment).where(_of_this(segment), _is(segment.c.seq))
_DROP_COVERED = delete(tail).where(
    _of_this_group(tail), tail.c.first >= bindparam("this_first"), tail.c.last <= bindparam("this_last")
)
_DROP_OVERLAPPED = delete(tail).where(
    _of_this_group(tail), tail.c.last >= bindparam("this_first"), tail.c.first <= bindparam("this_last")
)
_ADD_TAIL = insert(tail)
_PASSED = select(covered.c.head_last).where(
    _of_this_group(covered), covered.c.head_last >= bindparam("this_last")
)
_SEALED = (
    select(segment.c.seq)
    .where(
        _of_this_group(segment),
        segment.c.head_last >= bindparam("this_last"),
        segment.c.head_first <= bindparam("this_first"),
    )
    .limit(1)
)


def _group_key(row: "WholeSegment | TailRow") -> dict[str, Any]:
    return {"this_gateway": row.gateway, "this_store": row.store, "this_group_number": row.group}


def _columns(row: WholeSegment) -> dict[str, object]:
    columns = row._asdict()
    columns["tenant_id"] = columns.pop("tenant")
    columns["group_number"] = columns.pop("group")
    columns["count"] = columns.pop("samples")
    columns["digest"] = to_signed(row.digest)
    return columns


def _group(table: Table, row: "WholeSegment | TailRow | Epoch") -> ColumnElement[bool]:
    c = table.c
    return and_(c.gateway == row.gateway, c.store == row.store, c.group_number == row.group)


def _extend_series(connection: Connection, tenant: str, row: WholeSegment) -> None:
    c = series.c
    this = and_(_group(series, row), c.epoch == row.epoch)
    length = row.t_max_us - row.t_min_us
    there = connection.execute(select(c.t_min_us, c.t_max_us, c.longest_us).where(this)).one_or_none()
    if there is None:
        connection.execute(
            insert(series).values(
                gateway=row.gateway,
                store=row.store,
                group_number=row.group,
                epoch=row.epoch,
                tenant_id=tenant,
                t_min_us=row.t_min_us,
                t_max_us=row.t_max_us,
                longest_us=length,
            )
        )
        return
    wider = (min(there[0], row.t_min_us), max(there[1], row.t_max_us), max(there[2], length))
    if wider != tuple(there):
        names = ("t_min_us", "t_max_us", "longest_us")
        connection.execute(update(series).where(this).values(dict(zip(names, wider, strict=True))))


def _add_members(
    connection: Connection,
    known: KnownMembers,
    row: "WholeSegment | TailRow",
    epoch: int,
    signals: Iterable[int],
) -> None:
    key = (row.gateway, row.store, row.group, epoch)
    if key not in known:
        c = member.c
        query = select(c.number).where(_group(member, row), c.epoch == epoch)
        known[key] = set(connection.execute(query).scalars())
    new = set(signals) - known[key]
    if new:
        columns = ("gateway", "store", "group_number", "epoch", "number")
        connection.execute(insert(member), [dict(zip(columns, (*key, n), strict=True)) for n in sorted(new)])
        known[key] |= new


@needs(Right.INGEST)
def close_gaps(
    _scope: Scope, connection: Connection, gateway: str, store: int, after: int, upto: int
) -> None:
    """The watermark moved from `after` to `upto`: a tail older than these segments waits for nobody.

    Tail of positions that no segment ever covered goes now, and does not come back.
    """
    s, c, t = segment.c, covered.c, tail.c
    newest = (
        select(s.group_number, func.max(s.head_last))
        .where(s.gateway == gateway, s.store == store, s.seq > after, s.seq <= upto)
        .group_by(s.group_number)
    )
    for group, head_last in connection.execute(newest).all():
        this = and_(c.gateway == gateway, c.store == store, c.group_number == group)
        before = connection.execute(select(c.head_last).where(this)).scalar_one_or_none()
        if before is None:
            values = {"gateway": gateway, "store": store, "group_number": group, "head_last": head_last}
            connection.execute(insert(covered).values(values))
        elif head_last > before:
            connection.execute(update(covered).where(this).values(head_last=head_last))
        here = and_(t.gateway == gateway, t.store == store, t.group_number == group)
        connection.execute(delete(tail).where(here, t.last <= head_last))


@needs(Right.INGEST)
def put_tail(
    scope: Scope,
    connection: Connection,
    known: KnownMembers,
    row: TailRow,
    epoch: int,
    times: tuple[int, int],
    signals: Iterable[int],
) -> bool:
    """Store one checked tail message in place of those it overlaps.

    Args:
        known: see KnownMembers.
        times: its first and last time, µs.
        signals: numbers in it.

    Returns False, and stores nothing, where a segment covers it already.
    """
    span = _group_key(row) | {"this_first": row.first, "this_last": row.last}
    if connection.execute(_PASSED, span).first() or connection.execute(_SEALED, span).first():
        return False
    connection.execute(_DROP_OVERLAPPED, span)
    columns = {"gateway": row.gateway, "store": row.store, "group_number": row.group, "epoch": epoch}
    columns |= {"first": row.first, "last": row.last, "t_min_us": times[0], "t_max_us": times[1]}
    connection.execute(_ADD_TAIL, {**columns, "tenant_id": scope.tenant, "message": row.message})
    _add_members(connection, known, row, epoch, signals)
    return True


@needs(Right.INGEST)
def trim_tail(_scope: Scope, connection: Connection, gateway: str, bytes_max: int = TAIL_BYTES_MAX) -> int:
    """Let the oldest tail of a gateway go beyond `bytes_max`; how many messages went."""
    t = tail.c
    size = func.length(t.message)
    used = int(connection.execute(select(func.sum(size)).where(t.gateway == gateway)).scalar() or 0)
    gone = 0
    if used <= bytes_max:
        return 0
    query = select(t.store, t.group_number, t.first, size).where(t.gateway == gateway).order_by(t.t_max_us)
    for store, group, first, length in connection.execute(query).all():
        if used <= bytes_max:
            break
        this = and_(t.gateway == gateway, t.store == store, t.group_number == group, t.first == first)
        connection.execute(delete(tail).where(this))
        used -= length
        gone += 1
    return gone


# --- Reading, for people ---------------------------------------------------------------------


@needs(Right.VIEW)
def epochs(scope: Scope, connection: Connection, sources: Sequence[Source]) -> dict[Epoch, list[int]]:
    """In which epochs of which groups these signals ever were: signal numbers per epoch."""
    c, d = member.c, series.c
    found: dict[Epoch, list[int]] = {}
    by_store: dict[tuple[str, int], list[int]] = {}
    for source in sources:
        by_store.setdefault((source.gateway, source.store), []).append(source.number)
    foreign = exists().where(_group_of(d, c), d.epoch == c.epoch, d.tenant_id != scope.tenant)
    for (gateway, store), numbers in by_store.items():
        for some in _portions(sorted(set(numbers))):
            query = (
                select(c.group_number, c.epoch, c.number)
                .where(c.gateway == gateway, c.store == store, c.number.in_(some), ~foreign)
                .order_by(c.number)
            )
            for group, epoch, number in connection.execute(query):
                found.setdefault(Epoch(gateway, store, group, epoch), []).append(number)
    return found


@needs(Right.VIEW)
def segments_between(
    scope: Scope, connection: Connection, epoch: Epoch, from_us: int, to_us: int
) -> list[SegmentRow]:
    """Segments of one epoch that hold something in from_us…to_us, by their first time."""
    s = segment.c
    longest = _longest(connection, epoch)
    query = (
        select(*_ROW)
        .where(
            _of_epoch(epoch),
            s.tenant_id == scope.tenant,
            s.t_min_us <= to_us,
            s.t_min_us >= from_us - longest,
            s.t_max_us >= from_us,
        )
        .order_by(s.t_min_us, s.seq)
    )
    return [SegmentRow(*row) for row in connection.execute(query)]


@needs(Right.VIEW)
def days_between(scope: Scope, connection: Connection, epoch: Epoch, from_us: int, to_us: int) -> list[Day]:
    """Days of one epoch with segments that hold something in from_us…to_us.

    Out of an index alone: a year of segments is counted without reading one.
    """
    s, d = segment.c, series.c
    ours = select(d.longest_us).where(
        _group(series, epoch), d.epoch == epoch.epoch, d.tenant_id == scope.tenant
    )
    longest = connection.execute(ours).scalar()
    if longest is None:
        return []
    day = (s.t_min_us + _SHIFT_US) // DAY_US
    count, begins, ends = func.count(), func.sum(s.t_min_us % _MARK), func.sum(s.t_max_us % _MARK)
    query = (
        select(
            day,
            func.min(s.t_min_us),
            func.max(s.t_max_us),
            func.max(s.t_max_us - s.t_min_us),
            count,
            begins,
            ends,
        )
        .where(_of_epoch(epoch), s.t_min_us <= to_us, s.t_min_us >= from_us - longest, s.t_max_us >= from_us)
        .group_by(day)
        .order_by(day)
    )
    return [
        Day(number * DAY_US - _SHIFT_US, first, last, longest, (many, some, others))
        for number, first, last, longest, many, some, others in connection.execute(query)
    ]


@needs(Right.VIEW)
def segments_of_day(scope: Scope, connection: Connection, epoch: Epoch, day: Day) -> list[SegmentRow]:
    """Segments of one epoch that begin on a day, by their first time."""
    s = segment.c
    query = select(*_ROW).where(_of_epoch(epoch), s.tenant_id == scope.tenant, *_on(day))
    return [SegmentRow(*row) for row in connection.execute(query.order_by(s.t_min_us, s.seq))]


@needs(Right.VIEW)
def heads_of_day(
    scope: Scope, connection: Connection, epoch: Epoch, day: Day
) -> list[tuple[SegmentRow, bytes, bool]]:
    """The same with their heads, and whether there is a body."""
    s = segment.c
    query = select(*_ROW, s.head, s.body.is_not(None)).where(
        _of_epoch(epoch), s.tenant_id == scope.tenant, *_on(day)
    )
    return [
        (SegmentRow(*row[:-2]), row[-2], bool(row[-1]))
        for row in connection.execute(query.order_by(s.t_min_us, s.seq))
    ]


@needs(Right.VIEW)
def segments_sharing(
    scope: Scope, connection: Connection, epoch: Epoch, first: int, last: int
) -> list[SegmentRow]:
    """Segments of one epoch with positions among first…last, by their last position."""
    s = segment.c
    query = select(*_ROW).where(
        _of_epoch(epoch), s.tenant_id == scope.tenant, s.head_last >= first, s.head_first <= last
    )
    return [SegmentRow(*row) for row in connection.execute(query.order_by(s.head_last))]


@needs(Right.VIEW)
def segments_before(
    scope: Scope, connection: Connection, epoch: Epoch, before_us: int
) -> Iterator[SegmentRow]:
    """Segments of one epoch that begin before an instant, the one that reaches furthest first."""
    s = segment.c
    longest = _longest(connection, epoch)
    top = before_us
    waiting: list[tuple[int, SegmentRow]] = []
    while True:
        begins = select(func.max(s.t_min_us)).where(
            _of_epoch(epoch), s.tenant_id == scope.tenant, s.t_min_us < top
        )
        newest = connection.execute(begins).scalar()
        if newest is None:
            break
        # What begins before `floor` ends before `newest`: it comes after all that end later.
        floor = newest - longest
        query = select(*_ROW).where(
            _of_epoch(epoch), s.tenant_id == scope.tenant, s.t_min_us < top, s.t_min_us >= floor
        )
        for row in connection.execute(query).all():
            heappush(waiting, (-row.t_max_us, SegmentRow(*row)))
        top = floor
        while waiting and -waiting[0][0] >= newest:
            yield heappop(waiting)[1]
    while waiting:
        yield heappop(waiting)[1]


@needs(Right.VIEW)
def blob_of(scope: Scope, connection: Connection, row: SegmentRow) -> tuple[bytes, bytes | None] | None:
    """Head and body of a segment, if it is still there."""
    key = {"this_tenant_id": scope.tenant, "this_gateway": row.gateway}
    found = connection.execute(_BLOB, {**key, "this_store": row.store, "this_seq": row.seq}).one_or_none()
    return None if found is None else (found.head, found.body)


_BLOB = select(segment.c.head, segment.c.body).where(
    _of_this(segment), _is(segment.c.seq), _is(segment.c.tenant_id)
)


@needs(Right.VIEW)
def tail_between(
    scope: Scope, connection: Connection, epoch: Epoch, from_us: int, to_us: int
) -> list[TailRow]:
    """Tail messages of one epoch that hold something in from_us…to_us, in the order of the head."""
    t = tail.c
    query = (
        select(t.gateway, t.store, t.group_number, t.first, t.last, t.message)
        .where(
            t.gateway == epoch.gateway,
            t.store == epoch.store,
            t.group_number == epoch.group,
            t.epoch == epoch.epoch,
            t.tenant_id == scope.tenant,
            t.t_min_us <= to_us,
            t.t_max_us >= from_us,
        )
        .order_by(t.first)
    )
    return [TailRow(*row) for row in connection.execute(query)]


_ROW = (
    segment.c.gateway,
    segment.c.store,
    segment.c.seq,
    segment.c.group_number,
    segment.c.epoch,
    segment.c.t_min_us,
    segment.c.t_max_us,
    segment.c.head_first,
    segment.c.head_last,
)


def _on(day: Day) -> tuple[ColumnElement[bool], ...]:
    s = segment.c
    return (s.t_min_us >= day.begins_us, s.t_min_us < day.begins_us + DAY_US)


def _of_epoch(epoch: Epoch) -> ColumnElement[bool]:
    s = segment.c
    return and_(
        s.gateway == epoch.gateway,
        s.store == epoch.store,
        s.group_number == epoch.group,
        s.epoch == epoch.epoch,
    )


def _group_of(one: Columns, other: Columns) -> ColumnElement[bool]:
    return and_(
        one.gateway == other.gateway, one.store == other.store, one.group_number == other.group_number
    )


def _longest(connection: Connection, epoch: Epoch) -> int:
    c = series.c
    query = select(c.longest_us).where(
        c.gateway == epoch.gateway,
        c.store == epoch.store,
        c.group_number == epoch.group,
        c.epoch == epoch.epoch,
    )
    return int(connection.execute(query).scalar() or 0)


def _portions(numbers: Sequence[int], size: int = 500) -> Iterator[Sequence[int]]:
    """Parts small enough for one statement's parameters."""
    for at in range(0, len(numbers), size):
        yield numbers[at : at + size]


# --- Checking, for verify --------------------------------------------------------------------


@needs(Right.VERIFY)
def segment_keys(
    _scope: Scope, connection: Connection, gateway: str, store: int
) -> list[tuple[int, int, int, int]]:
    """(seq, group, t_min_us, t_max_us) of every stored segment of a store, by seq."""
    s = segment.c
    query = select(s.seq, s.group_number, s.t_min_us, s.t_max_us).where(
        s.gateway == gateway, s.store == store
    )
    return [(int(q), int(g), int(a), int(b)) for q, g, a, b in connection.execute(query.order_by(s.seq))]


@needs(Right.VERIFY)
def segment_stores(_scope: Scope, connection: Connection) -> list[tuple[str, int]]:
    """(gateway, store) of everything that has segments."""
    s = segment.c
    query = select(s.gateway, s.store).distinct().order_by(s.gateway, s.store)
    return [(str(gateway), int(store)) for gateway, store in connection.execute(query)]


@needs(Right.VERIFY)
def whole_segment(
    _scope: Scope, connection: Connection, gateway: str, store: int, seq: int
) -> WholeSegment | None:
    """One row with its bytes."""
    s = segment.c
    query = select(
        s.gateway,
        s.store,
        s.seq,
        s.tenant_id,
        s.group_number,
        s.epoch,
        s.head_first,
        s.head_last,
        s.t_min_us,
        s.t_max_us,
        s.count,
        s.digest,
        s.clock_trusted,
        s.head_bytes,
        s.head,
        s.body,
        s.checksum,
    ).where(s.gateway == gateway, s.store == store, s.seq == seq)
    found = connection.execute(query).one_or_none()
    if found is None:
        return None
    row = WholeSegment._make(found)
    return row._replace(digest=to_unsigned(row.digest))


@needs(Right.VERIFY)
def way_to(_scope: Scope, connection: Connection, epoch: Epoch) -> tuple[int, set[int]]:
    """How a query finds the segments of an epoch: the longest one it reckons with, the signals it knows."""
    c = member.c
    query = select(c.number).where(_group(member, epoch), c.epoch == epoch.epoch)
    return _longest(connection, epoch), set(connection.execute(query).scalars())


@needs(Right.VERIFY)
def digests(
    _scope: Scope, connection: Connection, gateway: str, store: int, first: int, last: int
) -> list[SegmentDigest]:
    """Counts and digests of stored segments, for comparison with the gateway's own."""
    s = segment.c
    query = (
        select(s.seq, s.count, s.digest, s.body.is_(None))
        .where(s.gateway == gateway, s.store == store, s.seq >= first, s.seq <= last)
        .order_by(s.seq)
    )
    return [
        SegmentDigest(seq, count, to_unsigned(digest), tier=1 if bodyless else 0)
        for seq, count, digest, bodyless in connection.execute(query)
    ]


@needs(Right.VERIFY)
def all_tail(_scope: Scope, connection: Connection) -> Iterator[TailRow]:
    """Every tail message."""
    t = tail.c
    query = select(t.gateway, t.store, t.group_number, t.first, t.last, t.message)
    for row in connection.execute(query):
        yield TailRow(*row)
