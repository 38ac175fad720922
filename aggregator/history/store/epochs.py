"""SQL of epochs: in which sets of members of which groups a signal ever was."""

from collections.abc import Iterable, Iterator, Sequence

from sqlalchemy import ColumnElement, and_, exists, insert, select

from aggregator.db.engine import Connection
from aggregator.db.schema import member, series
from aggregator.history.store.rows import (
    Columns,
    Epoch,
    KnownMembers,
    Source,
    TailRow,
    WholeSegment,
    group_is,
)
from aggregator.scope import Right, Scope, needs


@needs(Right.INGEST)
def add_members(
    _scope: Scope,
    connection: Connection,
    known: KnownMembers,
    row: "WholeSegment | TailRow",
    epoch: int,
    signals: Iterable[int],
) -> None:
    """Note that these signals are members of an epoch."""
    key = (row.gateway, row.store, row.group, epoch)
    if key not in known:
        c = member.c
        query = select(c.number).where(group_is(member, row), c.epoch == epoch)
        known[key] = set(connection.execute(query).scalars())
    new = set(signals) - known[key]
    if new:
        columns = ("gateway", "store", "group_number", "epoch", "number")
        connection.execute(insert(member), [dict(zip(columns, (*key, n), strict=True)) for n in sorted(new)])
        known[key] |= new


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


def _group_of(one: Columns, other: Columns) -> ColumnElement[bool]:
    return and_(
        one.gateway == other.gateway, one.store == other.store, one.group_number == other.group_number
    )


def _portions(numbers: Sequence[int], size: int = 500) -> Iterator[Sequence[int]]:
    """Parts small enough for one statement's parameters."""
    for at in range(0, len(numbers), size):
        yield numbers[at : at + size]
