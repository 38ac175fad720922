"""SQL of segments: put in as they came, found by epoch and time, checked by number."""

from collections.abc import Iterator, Sequence
from heapq import heappop, heappush
from typing import Final

from sqlalchemy import ColumnElement, and_, bindparam, delete, func, insert, select, update

from aggregator.db.engine import Connection
from aggregator.db.schema import member, segment, series, tail
from aggregator.history.store.epochs import add_members
from aggregator.history.store.rows import (
    DAY_US,
    Day,
    Epoch,
    KnownMembers,
    Put,
    SegmentRow,
    WholeSegment,
    group_is,
    group_key,
    is_this,
    of_this,
    of_this_group,
    to_signed,
    to_unsigned,
)
from aggregator.scope import Right, Scope, needs
from contract.wire.command import SegmentDigest
from contract.wire.records import SegmentRecord

_SHIFT_US: Final = 2**62 // DAY_US * DAY_US
"""Makes every time positive before it is divided: databases round towards zero."""
_MARK: Final = 2**40


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
    add_members(scope, connection, known, row, row.epoch, signals)
    span = {"this_first": row.head_first, "this_last": row.head_last}
    connection.execute(_DROP_COVERED, group_key(row) | span)
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
_SAME_SEGMENT = select(*_SAID, segment.c.body.is_(None)).where(of_this(segment), is_this(segment.c.seq))
_ADD_SEGMENT = insert(segment)
_COMPLETE_SEGMENT = update(segment).where(of_this(segment), is_this(segment.c.seq))
_DROP_COVERED = delete(tail).where(
    of_this_group(tail), tail.c.first >= bindparam("this_first"), tail.c.last <= bindparam("this_last")
)


def _columns(row: WholeSegment) -> dict[str, object]:
    columns = row._asdict()
    columns["tenant_id"] = columns.pop("tenant")
    columns["group_number"] = columns.pop("group")
    columns["count"] = columns.pop("samples")
    columns["digest"] = to_signed(row.digest)
    return columns


def _extend_series(connection: Connection, tenant: str, row: WholeSegment) -> None:
    c = series.c
    this = and_(group_is(series, row), c.epoch == row.epoch)
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


# --- Reading, for people ---------------------------------------------------------------------


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
        group_is(series, epoch), d.epoch == epoch.epoch, d.tenant_id == scope.tenant
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
    of_this(segment), is_this(segment.c.seq), is_this(segment.c.tenant_id)
)
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


def _longest(connection: Connection, epoch: Epoch) -> int:
    c = series.c
    query = select(c.longest_us).where(
        c.gateway == epoch.gateway,
        c.store == epoch.store,
        c.group_number == epoch.group,
        c.epoch == epoch.epoch,
    )
    return int(connection.execute(query).scalar() or 0)


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
    query = select(c.number).where(group_is(member, epoch), c.epoch == epoch.epoch)
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
