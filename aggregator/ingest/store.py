"""SQL of what both databases keep for ingest: what is held, and what is in quarantine.

Kinds of holding, all of them receipted; `stored` alone says that there is a row:

    stored       the record lies in its table
    repeat       an event that is there already under another number
    quarantined  could not be taken; its bytes are in quarantine
    gone         the gateway said it has it no longer, or cannot read it, before it was ever sent here
"""

from collections.abc import Iterable
from enum import StrEnum
from hashlib import sha256
from typing import NamedTuple

from sqlalchemy import Table, and_, delete, func, insert, select, update

from aggregator.db.engine import Connection
from aggregator.db.schema import history_holding, history_quarantine, main_holding, main_quarantine
from aggregator.scope import Right, Scope, needs
from contract.wire.receipt import SequenceSet
from contract.wire.records import Lane

SAMPLE_MAX = 64 * 1024
"""Bytes kept of what is no record."""
SAMPLES_MAX = 200
"""Rows of what is no record, per gateway and database; beyond them it is only counted."""
ROWS_MAX = 1000
BYTES_MAX = 64 * 1024 * 1024
"""Bounds of the records in quarantine, likewise; noise does not use them up."""
OVERFLOW = "overflow"


class Kind(StrEnum):
    """Why a number counts as held."""

    STORED = "stored"
    REPEAT = "repeat"
    QUARANTINED = "quarantined"
    GONE = "gone"


class Holding:
    """What one lane of one store holds, by kind."""

    def __init__(self) -> None:
        self.by_kind: dict[Kind, SequenceSet] = {kind: SequenceSet() for kind in Kind}

    def __contains__(self, seq: int) -> bool:
        return any(seq in held for held in self.by_kind.values())

    def all(self) -> SequenceSet:
        """Everything a receipt may claim."""
        whole = SequenceSet()
        for held in self.by_kind.values():
            whole.update(held)
        return whole

    def add(self, kind: Kind, first: int, last: int | None = None) -> None:
        """Put in what is not held yet; a number that is stored stays so, and stored ends other kinds."""
        last = first if last is None else last
        if kind is Kind.STORED:
            for other in (Kind.REPEAT, Kind.QUARANTINED, Kind.GONE):
                self.by_kind[other] = _without(self.by_kind[other], first, last)
            self.by_kind[kind].add(first, last)
            return
        for missing in self.all().missing(first, last):
            self.by_kind[kind].add(*missing)

    def lose(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Count what is not held of these closed ranges as gone."""
        held = self.all()
        for first, last in ranges:
            for missing in held.missing(first, last):
                self.by_kind[Kind.GONE].add(*missing)


class Quarantined(NamedTuple):
    """One kind of bytes that could not be taken, and how often it came."""

    gateway: str
    topic: str
    store: int | None
    seq: int | None
    reason: str
    size: int
    kept: int
    times: int
    first_us: int
    last_us: int


def _without(whole: SequenceSet, first: int, last: int) -> SequenceSet:
    kept = SequenceSet()
    for a, b in whole.ranges():
        if a < first:
            kept.add(a, min(b, first - 1))
        if b > last:
            kept.add(max(a, last + 1), b)
    return kept


def _holding(lane: Lane) -> Table:
    return main_holding if lane is Lane.EVENT else history_holding


@needs(Right.INGEST)
def load_holding(_scope: Scope, connection: Connection, gateway: str, store: int, lane: Lane) -> Holding:
    """What is held of one lane, read from the database that keeps the lane."""
    return _load(connection, gateway, store, lane)


@needs(Right.VERIFY)
def holdings(_scope: Scope, connection: Connection, lane: Lane) -> dict[tuple[str, int], Holding]:
    """What is held, of all gateways and stores."""
    table = _holding(lane)
    query = select(table.c.gateway, table.c.store).distinct().order_by(table.c.gateway, table.c.store)
    pairs = [(str(row.gateway), int(row.store)) for row in connection.execute(query)]
    return {pair: _load(connection, *pair, lane) for pair in pairs}


def _load(connection: Connection, gateway: str, store: int, lane: Lane) -> Holding:
    table = _holding(lane)
    holding = Holding()
    query = select(table.c.kind, table.c.first, table.c.last).where(
        table.c.gateway == gateway, table.c.store == store
    )
    for kind, first, last in connection.execute(query):
        holding.by_kind[Kind(kind)].add(first, last)
    return holding


@needs(Right.INGEST)
def save_holding(
    scope: Scope, connection: Connection, gateway: str, store: int, lane: Lane, holding: Holding
) -> None:
    """Write what changed since the transaction began."""
    table = _holding(lane)
    before = _load(connection, gateway, store, lane)
    key = and_(table.c.gateway == gateway, table.c.store == store)
    for kind in Kind:
        old, new = set(before.by_kind[kind].ranges()), set(holding.by_kind[kind].ranges())
        for first, _ in old - new:
            connection.execute(delete(table).where(key, table.c.kind == kind.value, table.c.first == first))
        for first, last in new - old:
            connection.execute(
                insert(table).values(
                    gateway=gateway,
                    store=store,
                    kind=kind.value,
                    first=first,
                    last=last,
                    tenant_id=scope.tenant,
                )
            )


@needs(Right.INGEST)
def put_aside(  # noqa: PLR0913  # a row has these many columns, and each is named
    scope: Scope,
    connection: Connection,
    lane: Lane,
    *,
    gateway: str,
    topic: str,
    payload: bytes,
    reason: str,
    now_us: int,
    record: tuple[int, int] | None = None,
    alike: str = "",
) -> bool:
    """Keep bytes that could not be taken, once each, within the bounds; whether all of them are kept.

    Args:
        lane: which database; EVENT is main.db, SEGMENT history.db.
        record: (store, seq) where the message said them: then all its bytes are kept or none, and
            only what is kept may be receipted. Otherwise SAMPLE_MAX of them.
        alike: two messages count as one if this is the same; their bytes if it is empty.
    """
    table = main_quarantine if lane is Lane.EVENT else history_quarantine
    fingerprint = sha256(alike.encode() or payload).hexdigest()
    topic = topic[:200]
    there = _count_again(connection, table, gateway, topic, fingerprint, now_us)
    if there is not None:
        return there
    c = table.c
    used = connection.execute(
        select(func.count(), func.coalesce(func.sum(func.length(c.kept)), 0)).where(
            c.gateway == gateway, c.store.is_(None) if record is None else c.store.is_not(None)
        )
    ).one()
    rows, used_bytes = int(used[0]), int(used[1])
    kept = payload if record else payload[:SAMPLE_MAX]
    if rows >= (ROWS_MAX if record else SAMPLES_MAX) or used_bytes + len(kept) > BYTES_MAX:
        topic, fingerprint, record, kept = OVERFLOW, OVERFLOW, None, b""
        reason = "more than is kept of one gateway; counted only, the first one was: " + reason
        if _count_again(connection, table, gateway, topic, fingerprint, now_us) is not None:
            return False
    store, seq = record or (None, None)
    connection.execute(
        insert(table).values(
            tenant_id=scope.tenant,
            gateway=gateway,
            topic=topic,
            store=store,
            seq=seq,
            reason=reason[:2000],
            size=len(payload),
            fingerprint=fingerprint,
            first_us=now_us,
            last_us=now_us,
            count=1,
            kept=kept,
        )
    )
    return len(kept) == len(payload)


def _count_again(
    connection: Connection, table: Table, gateway: str, topic: str, fingerprint: str, now_us: int
) -> bool | None:
    """Count once more what is there already; whether it is there whole, None if it is not there."""
    c = table.c
    this = and_(c.gateway == gateway, c.topic == topic, c.fingerprint == fingerprint)
    again = connection.execute(update(table).where(this).values(count=c.count + 1, last_us=now_us))
    if not again.rowcount:
        return None
    row = connection.execute(select(c.size, func.length(c.kept)).where(this)).one()
    return bool(row[0] == row[1])


def _quarantined(connection: Connection, lane: Lane, tenant: str | None) -> list[Quarantined]:
    t = main_quarantine if lane is Lane.EVENT else history_quarantine
    query = select(
        t.c.gateway,
        t.c.topic,
        t.c.store,
        t.c.seq,
        t.c.reason,
        t.c.size,
        func.length(t.c.kept),
        t.c.count,
        t.c.first_us,
        t.c.last_us,
    ).order_by(t.c.id)
    if tenant is not None:
        query = query.where(t.c.tenant_id == tenant)
    return [Quarantined._make(row) for row in connection.execute(query)]


@needs(Right.AUDIT)
def quarantined(scope: Scope, connection: Connection, lane: Lane) -> list[Quarantined]:
    """What is in quarantine of the scope's tenant."""
    return _quarantined(connection, lane, scope.tenant)


@needs(Right.VERIFY)
def quarantined_of_all(_scope: Scope, connection: Connection, lane: Lane) -> list[Quarantined]:
    """What is in quarantine, of every tenant."""
    return _quarantined(connection, lane, None)
