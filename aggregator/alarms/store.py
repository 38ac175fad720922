"""SQL of the journal and of the alarms derived from it, in one transaction.

Events come in any order and more than once. So an alarm's row is a sum that does not ask for
order: raised, ended and acknowledged each fill their own columns. Whether it stands follows from
those when it is read.
"""

from enum import StrEnum
from typing import Any, NamedTuple
from zlib import crc32

import msgspec
from sqlalchemy import ColumnElement, and_, bindparam, case, exists, func, insert, or_, select, true, update

from aggregator.db.engine import Connection, Row
from aggregator.db.schema import alarm, event, gateway, message
from aggregator.scope import Right, Scope, needs
from contract.model.batch import Value
from contract.model.message import Source
from contract.wire.records import EventKind, EventRecord

_value_decoder = msgspec.msgpack.Decoder(Value | None)


class Put(StrEnum):
    """What became of an event that was offered."""

    NEW = "new"
    SAME = "same"
    REPEAT = "repeat"
    """The same happening is there under another number."""
    CONTRADICTS = "contradicts"
    """Another event has this number, or this id; nothing was changed."""


class StoredEvent(NamedTuple):
    """One event of one gateway."""

    gateway: str
    record: EventRecord
    received_us: int


class CheckedEvent(NamedTuple):
    """An event as verify sees it: what was stored as checksum, what it computes to now."""

    event: StoredEvent
    tenant: str
    stored: int
    computed: int


class Alarm(NamedTuple):
    """One occurrence. `is_standing`: raised, and nothing says that it is over."""

    gateway: str
    source: Source
    number: int
    message: str
    occurrence_us: int
    priority: int
    text: str
    signal: str
    value: Value | None
    raised_us: int
    ended_us: int | None
    acknowledged_us: int | None
    acknowledged_by: str
    is_standing: bool


@needs(Right.INGEST)
def put_event(scope: Scope, connection: Connection, gateway_id: str, record: EventRecord, now_us: int) -> Put:
    """Store one checked event and bring its alarm up to date."""
    key = {
        "this_gateway": gateway_id,
        "this_store": record.store,
        "this_seq": record.seq,
        "this_id": record.id,
    }
    there = [_record(row) for row in connection.execute(_SAME_EVENT, key)]
    for other in there:
        if (other.store, other.seq) == (record.store, record.seq):
            return Put.SAME if _said(other) == _said(record) else Put.CONTRADICTS
    if there:
        if _happening(there[0]) != _happening(record):
            return Put.CONTRADICTS
        if record.kind is EventKind.RAISED:
            _stand_in(connection, gateway_id, there[0], record.store)
        return Put.REPEAT
    columns = {name: getattr(record, name) for name in record.__struct_fields__}
    columns |= {"kind": record.kind.value, "source": record.source.value, "value": _encoded(record.value)}
    columns |= {"gateway": gateway_id, "tenant_id": scope.tenant, "received_us": now_us}
    columns["checksum"] = _checksum(gateway_id, scope.tenant, now_us, record)
    connection.execute(_ADD_EVENT, columns)
    if record.kind in _ALARM_KINDS:
        _merge_alarm(connection, scope.tenant, gateway_id, record)
    return Put.NEW


# Built once: putting a statement together costs more than running it.
_SAME_EVENT = select(event).where(
    event.c.gateway == bindparam("this_gateway"),
    or_(
        and_(event.c.store == bindparam("this_store"), event.c.seq == bindparam("this_seq")),
        event.c.id == bindparam("this_id"),
    ),
)
_ADD_EVENT = insert(event)
_ALARM_KINDS = (EventKind.RAISED, EventKind.ENDED, EventKind.ACKNOWLEDGED)


def _stand_in(connection: Connection, gateway_id: str, raised: EventRecord, store: int) -> None:
    """The store a gateway writes to now says again what was raised in an earlier one: it still stands.

    A late copy out of a store that is gone says nothing of the kind.
    """
    this = and_(*(alarm.c[name] == value for name, value in _alarm_key(gateway_id, raised).items()))
    present = select(gateway.c.store).where(gateway.c.id == gateway_id).scalar_subquery()
    connection.execute(update(alarm).where(this, present == store).values(store=store))


def _alarm_key(gateway_id: str, record: EventRecord) -> dict[str, object]:
    return {
        "gateway": gateway_id,
        "source": record.source.value,
        "message": record.message,
        "number": record.number,
        "occurrence_us": record.occurrence_us or record.time_us,
    }


def _merge_alarm(connection: Connection, tenant: str, gateway_id: str, record: EventRecord) -> None:
    a = alarm.c
    key = _alarm_key(gateway_id, record)
    found: dict[str, object] = {}
    match record.kind:
        case EventKind.RAISED:
            found = {
                "raised_us": record.time_us,
                "store": record.store,
                "priority": record.priority,
                "text": record.text,
                "signal": record.signal,
                "value": _encoded(record.value),
            }
        case EventKind.ENDED:
            found = {"ended_us": record.time_us}
        case _:
            found = {"acknowledged_us": record.time_us, "acknowledged_by": record.actor}
    this = and_(*(a[name] == value for name, value in key.items()))
    if record.kind is EventKind.ACKNOWLEDGED:
        # Two operators at two places: the earlier one did it, whoever is heard of first.
        later = or_(a.acknowledged_us.is_(None), a.acknowledged_us > record.time_us)
        if connection.execute(select(a.occurrence_us).where(this, ~later)).first():
            return
    changed = connection.execute(update(alarm).where(this).values(found))
    if not changed.rowcount:
        connection.execute(insert(alarm).values({"store": record.store, **key, **found, "tenant_id": tenant}))


def _encoded(value: Value | None) -> bytes | None:
    return None if value is None else msgspec.msgpack.encode(value)


def _decoded(value: bytes | None) -> Value | None:
    return None if value is None else _value_decoder.decode(value)


def _happening(record: EventRecord) -> tuple[object, ...]:
    return record.kind, record.time_us, record.message, record.occurrence_us


def _said(record: EventRecord) -> bytes:
    """Bytes that are equal exactly when the records are, NaN included."""
    return msgspec.msgpack.encode(record)


def _checksum(gateway_id: str, tenant: str, received_us: int, record: EventRecord) -> int:
    return crc32(msgspec.msgpack.encode((gateway_id, tenant, received_us, record)))


def _record(row: Row[Any]) -> EventRecord:
    fields = {name: getattr(row, name) for name in EventRecord.__struct_fields__}
    fields["kind"] = EventKind(row.kind)
    fields["source"] = Source(row.source)
    fields["value"] = _decoded(row.value)
    return EventRecord(**fields)


@needs(Right.VIEW)
def events(
    scope: Scope,
    connection: Connection,
    *,
    from_us: int | None = None,
    to_us: int | None = None,
    gateway_id: str | None = None,
    limit: int = 1000,
) -> list[StoredEvent]:
    """Events of the scope, newest first, in from_us…to_us."""
    e = event.c
    query = (
        select(event)
        .join(gateway, gateway.c.id == e.gateway)
        .where(e.tenant_id == scope.tenant, _in_sites(scope))
        .order_by(e.time_us.desc(), e.gateway, e.store, e.seq.desc())
        .limit(limit)
    )
    if from_us is not None:
        query = query.where(e.time_us >= from_us)
    if to_us is not None:
        query = query.where(e.time_us <= to_us)
    if gateway_id is not None:
        query = query.where(e.gateway == gateway_id)
    return [StoredEvent(row.gateway, _record(row), row.received_us) for row in connection.execute(query)]


@needs(Right.VIEW)
def current(scope: Scope, connection: Connection, limit: int = 1000) -> list[Alarm]:
    """Alarms that stand, or that nobody has acknowledged although they must be; newest first.

    A message stands at most once: an occurrence without an end stops standing when the same message
    is raised again, or when its gateway began a new store and did not say again that it stands.
    """
    a, m, g = alarm.c, message.c, gateway.c
    later = alarm.alias()
    again = exists().where(
        later.c.gateway == a.gateway,
        later.c.source == a.source,
        later.c.message == a.message,
        later.c.number == a.number,
        later.c.occurrence_us > a.occurrence_us,
        later.c.raised_us.is_not(None),
    )
    standing = and_(a.ended_us.is_(None), or_(g.store.is_(None), g.store == a.store), ~again)
    must = func.coalesce(m.acknowledge, true())
    query = (
        select(alarm, case((standing, 1), else_=0).label("standing"))
        .join(gateway, g.id == a.gateway)
        .outerjoin(message, and_(m.gateway == a.gateway, m.uid == a.message))
        .where(
            a.tenant_id == scope.tenant,
            _in_sites(scope),
            a.raised_us.is_not(None),
            or_(standing, and_(a.acknowledged_us.is_(None), must)),
        )
        .order_by(a.raised_us.desc(), a.gateway, a.message)
        .limit(limit)
    )
    return [
        Alarm(
            row.gateway,
            Source(row.source),
            row.number,
            row.message,
            row.occurrence_us,
            row.priority,
            row.text,
            row.signal,
            _decoded(row.value),
            row.raised_us,
            row.ended_us,
            row.acknowledged_us,
            row.acknowledged_by,
            bool(row.standing),
        )
        for row in connection.execute(query)
    ]


def _in_sites(scope: Scope) -> ColumnElement[bool]:
    if scope.sites is None:
        return true()
    return gateway.c.site.in_(sorted(scope.sites))


@needs(Right.VERIFY)
def event_stores(_scope: Scope, connection: Connection) -> list[tuple[str, int]]:
    """(gateway, store) of everything that has events."""
    e = event.c
    query = select(e.gateway, e.store).distinct().order_by(e.gateway, e.store)
    return [(str(gateway_id), int(store)) for gateway_id, store in connection.execute(query)]


@needs(Right.VERIFY)
def event_keys(_scope: Scope, connection: Connection, gateway_id: str, store: int) -> list[tuple[int, int]]:
    """(seq, time_us) of every stored event of a store, by seq."""
    e = event.c
    query = select(e.seq, e.time_us).where(e.gateway == gateway_id, e.store == store).order_by(e.seq)
    return [(int(seq), int(time_us)) for seq, time_us in connection.execute(query)]


@needs(Right.VERIFY)
def checked_event(
    _scope: Scope, connection: Connection, gateway_id: str, store: int, seq: int
) -> CheckedEvent | None:
    """One event with both checksums; ValueError where a column can no longer be read."""
    e = event.c
    query = select(event).where(e.gateway == gateway_id, e.store == store, e.seq == seq)
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    record = _record(row)
    computed = _checksum(row.gateway, row.tenant_id, row.received_us, record)
    return CheckedEvent(
        StoredEvent(row.gateway, record, row.received_us), row.tenant_id, row.checksum, computed
    )
