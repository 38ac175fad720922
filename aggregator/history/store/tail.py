"""SQL of the tail: fresh messages, kept until a segment takes their place."""

from collections.abc import Iterable, Iterator

from sqlalchemy import and_, bindparam, delete, func, insert, select, update

from aggregator.db.engine import Connection
from aggregator.db.schema import covered, segment, tail
from aggregator.history.store.epochs import add_members
from aggregator.history.store.rows import Epoch, KnownMembers, TailRow, group_key, of_this_group
from aggregator.scope import Right, Scope, needs

TAIL_BYTES_MAX = 64 * 1024 * 1024
"""Tail kept per gateway; it is not for keeps, and a gateway that never seals must not fill the disk."""
_DROP_OVERLAPPED = delete(tail).where(
    of_this_group(tail), tail.c.last >= bindparam("this_first"), tail.c.first <= bindparam("this_last")
)
_ADD_TAIL = insert(tail)
_PASSED = select(covered.c.head_last).where(
    of_this_group(covered), covered.c.head_last >= bindparam("this_last")
)
_SEALED = (
    select(segment.c.seq)
    .where(
        of_this_group(segment),
        segment.c.head_last >= bindparam("this_last"),
        segment.c.head_first <= bindparam("this_first"),
    )
    .limit(1)
)


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
    span = group_key(row) | {"this_first": row.first, "this_last": row.last}
    if connection.execute(_PASSED, span).first() or connection.execute(_SEALED, span).first():
        return False
    connection.execute(_DROP_OVERLAPPED, span)
    columns = {"gateway": row.gateway, "store": row.store, "group_number": row.group, "epoch": epoch}
    columns |= {"first": row.first, "last": row.last, "t_min_us": times[0], "t_max_us": times[1]}
    connection.execute(_ADD_TAIL, {**columns, "tenant_id": scope.tenant, "message": row.message})
    add_members(scope, connection, known, row, epoch, signals)
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


@needs(Right.VERIFY)
def all_tail(_scope: Scope, connection: Connection) -> Iterator[TailRow]:
    """Every tail message."""
    t = tail.c
    query = select(t.gateway, t.store, t.group_number, t.first, t.last, t.message)
    for row in connection.execute(query):
        yield TailRow(*row)
