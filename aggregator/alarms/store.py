"""SQL of the journal and of the alarms derived from it, in one transaction.

Events come in any order and more than once. So an alarm's row is a sum that does not ask for
order: raised, ended and acknowledged each fill their own columns. Whether it stands follows from
those when it is read. What operators here acknowledge is a row of its own until the gateway's event
is there.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, NamedTuple
from zlib import crc32

import msgspec
from sqlalchemy import (
    ColumnElement,
    Select,
    String,
    Table,
    and_,
    bindparam,
    case,
    cast,
    exists,
    false,
    func,
    insert,
    or_,
    select,
    true,
    tuple_,
    update,
)

from aggregator.alarms.line import Line, State, WhyNot, Wish, carried, is_alarm, line_of
from aggregator.db.engine import Connection, Row
from aggregator.db.schema import account, acknowledgement, alarm, event, gateway, message, signal
from aggregator.scope import Right, Scope, needs
from contract.model.batch import Value
from contract.model.message import Source
from contract.wire.records import EventKind, EventRecord

LOOKED_AT = 20_000
"""Occurrences that one question for the history looks through, where no index helps."""
_BEFORE_ALL = Line("", Source.SYSTEM, "", -(2**63))

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
    """One occurrence. `is_standing`: raised, and nothing says that it is over.

    Who acknowledged it, when and with which comment is said as soon as an operator here has done
    so; `acknowledge_state` tells how far it has come, `acknowledge_text` what the gateway answered.
    """

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
    comment: str = ""
    acknowledge_state: State = State.NONE
    acknowledge_text: str = ""
    acknowledged_name: str = ""
    needs_acknowledgement: bool = True
    gateway_name: str = ""
    site: str = ""
    zone: str = "UTC"
    area: str = ""
    signal_name: str = ""
    unit: str = ""

    @property
    def line(self) -> Line:
        """What names it."""
        return Line(self.gateway, self.source, self.message, self.occurrence_us)

    @property
    def why_not(self) -> WhyNot | None:
        """Why it cannot be acknowledged, whoever asks; None: it can."""
        if self.acknowledge_state is not State.NONE:
            return WhyNot.ALREADY
        return None if self.needs_acknowledgement else WhyNot.NOT_NEEDED


class Position(NamedTuple):
    """Where a page of the history ended; the next one goes on behind it."""

    raised_us: int
    line: Line


class Asked(NamedTuple):
    """What of the history is asked for; None and "": everything.

    `state`: standing, over, acknowledged or unacknowledged. `words` is looked for in texts, names
    and comments.
    """

    from_us: int
    to_us: int
    gateway: str = ""
    priority: int | None = None
    state: str = ""
    words: str = ""


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
    if is_alarm(record):
        _merge_alarm(connection, scope.tenant, line_of(gateway_id, record), record)
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
_OF_MESSAGE = and_(
    alarm.c.gateway == bindparam("of_gateway"),
    alarm.c.source == bindparam("of_source"),
    alarm.c.message == bindparam("of_message"),
)
_OF_LINE = and_(_OF_MESSAGE, alarm.c.occurrence_us == bindparam("of_occurrence"))
_earlier, _later = alarm.alias(), alarm.alias()
_RAISED_AGAIN = exists().where(
    _later.c.gateway == alarm.c.gateway,
    _later.c.source == alarm.c.source,
    _later.c.message == alarm.c.message,
    _later.c.occurrence_us > alarm.c.occurrence_us,
    _later.c.raised_us.is_not(None),
)
_SET_OPEN = (
    update(alarm)
    .where(_OF_LINE)
    .values(
        is_open=and_(
            alarm.c.raised_us.is_not(None),
            or_(alarm.c.ended_us.is_(None), alarm.c.acknowledged_us.is_(None)),
            ~_RAISED_AGAIN,
        )
    )
)
_CLOSE_FORERUNNER = (
    update(alarm)
    .where(
        _OF_MESSAGE,
        alarm.c.occurrence_us
        == select(_earlier.c.occurrence_us)
        .where(
            _earlier.c.gateway == bindparam("of_gateway"),
            _earlier.c.source == bindparam("of_source"),
            _earlier.c.message == bindparam("of_message"),
            _earlier.c.occurrence_us < bindparam("of_occurrence"),
            _earlier.c.raised_us.is_not(None),
        )
        .order_by(_earlier.c.occurrence_us.desc())
        .limit(1)
        .scalar_subquery(),
    )
    .values(is_open=false())
)


def _stand_in(connection: Connection, gateway_id: str, raised: EventRecord, store: int) -> None:
    """The store a gateway writes to now says again what was raised in an earlier one: it still stands.

    A late copy out of a store that is gone says nothing of the kind.
    """
    present = select(gateway.c.store).where(gateway.c.id == gateway_id).scalar_subquery()
    this = and_(*_is(alarm, line_of(gateway_id, raised)))
    connection.execute(update(alarm).where(this, present == store).values(store=store))


def _is(table: Table, line: Line) -> tuple[ColumnElement[bool], ...]:
    """A message's number may change while it stands, so it is no part of what names a line."""
    c = table.c
    return (
        c.gateway == line.gateway,
        c.source == line.source.value,
        c.message == line.message,
        c.occurrence_us == line.occurrence_us,
    )


def _merge_alarm(connection: Connection, tenant: str, line: Line, record: EventRecord) -> None:
    """1. The event's own columns.  2. Whether the line is open.  3. What it takes the place of."""
    a = alarm.c
    found: dict[str, object] = {}
    match record.kind:
        case EventKind.RAISED | EventKind.SYSTEM:
            found = {
                "number": record.number,
                "raised_us": record.time_us,
                "store": record.store,
                "priority": record.priority,
                "text": record.text,
                "signal": record.signal,
                "value": _encoded(record.value),
            }
            if record.kind is EventKind.SYSTEM:
                found["ended_us"] = record.time_us  # it tells of a moment
        case EventKind.ENDED:
            found = {"ended_us": record.time_us}
        case _:
            found = {
                "acknowledged_us": record.time_us,
                "acknowledged_by": record.actor,
                "comment": record.comment,
            }
    this = and_(*_is(alarm, line))
    if record.kind is EventKind.ACKNOWLEDGED:
        # Two operators at two places: the earlier one did it, whoever is heard of first.
        later = or_(a.acknowledged_us.is_(None), a.acknowledged_us > record.time_us)
        if connection.execute(select(a.occurrence_us).where(this, ~later)).first():
            return
    changed = connection.execute(update(alarm).where(this).values(found))
    if not changed.rowcount:
        key = line.columns() | {"number": record.number}
        connection.execute(insert(alarm).values({"store": record.store, **key, **found, "tenant_id": tenant}))
    connection.execute(_SET_OPEN, _of(line))
    if "raised_us" in found:
        connection.execute(_CLOSE_FORERUNNER, _of(line))


def _of(line: Line) -> dict[str, object]:
    """Parameters of `_OF_LINE`."""
    return {
        "of_gateway": line.gateway,
        "of_source": line.source.value,
        "of_message": line.message,
        "of_occurrence": line.occurrence_us,
    }


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
    """A field that joined later counts only where it says something: rows from before stay sound."""
    said = msgspec.structs.asdict(record)
    if not record.comment:
        del said["comment"]
    return crc32(msgspec.msgpack.encode((gateway_id, tenant, received_us, said)))


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
def current(scope: Scope, connection: Connection, limit: int | None = 1000) -> list[Alarm]:
    """Alarms that stand, or that nobody has acknowledged although they must be; newest first.

    A message has one line: what was raised before it was raised again is history. An occurrence
    without an end stops standing when its gateway began a new store and did not say again that it
    stands.
    """
    a = alarm.c
    is_taken = func.coalesce(acknowledgement.c.state, "") == Wish.TAKEN.value
    asks = and_(a.acknowledged_us.is_(None), _MUST, ~is_taken)
    query = (
        _lines(scope)
        .where(a.is_open, or_(_STANDING, asks))
        .order_by(a.raised_us.desc(), a.gateway, a.message)
        .limit(limit)
    )
    return [_alarm(row) for row in connection.execute(query)]


@needs(Right.VIEW)
def lines(scope: Scope, connection: Connection, wanted: Sequence[Line]) -> dict[Line, Alarm]:
    """Those of these lines that the scope reaches."""
    query = _lines(scope).where(_OF_LINE)
    rows = (connection.execute(query, _of(line)).one_or_none() for line in wanted)
    return {one.line: one for one in map(_alarm, filter(None, rows))}


@needs(Right.VIEW)
def history(
    scope: Scope, connection: Connection, asked: Asked, after: Position | None, limit: int
) -> tuple[list[Alarm], Position | None]:
    """Occurrences raised in from_us…to_us, newest first, behind `after`; and where to go on.

    What no index finds is looked for among the next `LOOKED_AT` only, so that no question takes
    long; it may give few or none and still go on.
    """
    a = alarm.c
    within = [a.raised_us >= asked.from_us, a.raised_us <= asked.to_us]
    if after is not None:
        line = (a.gateway, a.source, a.message, a.occurrence_us)
        behind = tuple_(*line) > (after.line.gateway, after.line.source.value, *after.line[2:])
        within += [a.raised_us <= after.raised_us, or_(a.raised_us < after.raised_us, behind)]
    if asked.gateway:
        within.append(a.gateway == asked.gateway)
    sifted = _sifted(asked)
    end: Position | None = None
    if sifted or scope.sites is not None:
        # Of one gateway its own index is the right one, so the tenant's is hidden.
        tenant = func.coalesce(a.tenant_id, "") if asked.gateway else a.tenant_id
        ordered = select(a.raised_us).where(tenant == scope.tenant, *within).order_by(a.raised_us.desc())
        looked_at = ordered.offset(LOOKED_AT).limit(1)
        until_us = connection.execute(looked_at).scalar()
        if until_us is not None:
            within.append(a.raised_us >= until_us)
            end = Position(until_us - 1, _BEFORE_ALL)
    query = (
        _lines(scope)
        .where(*within, *sifted)
        .order_by(a.raised_us.desc(), a.gateway, a.source, a.message, a.occurrence_us)
        .limit(limit + 1)
    )
    found = [_alarm(row) for row in connection.execute(query)]
    if len(found) > limit:
        last = found[limit - 1]
        return found[:limit], Position(last.raised_us, last.line)
    return found, end


def _sifted(asked: Asked) -> list[ColumnElement[bool]]:
    """What is asked for beyond time and gateway."""
    sifted: list[ColumnElement[bool]] = []
    if asked.priority is not None:
        sifted.append(alarm.c.priority == asked.priority)
    match asked.state:
        case "standing":
            sifted.append(_STANDING)
        case "over":
            sifted.append(~_STANDING)
        case "acknowledged":
            sifted.append(_ACKNOWLEDGED)
        case "unacknowledged":
            sifted += [~_ACKNOWLEDGED, _MUST]
    if asked.words:
        sifted.append(_has(asked.words))
    return sifted


_MUST = func.coalesce(message.c.acknowledge, true())
_STANDING = and_(
    alarm.c.is_open,
    alarm.c.ended_us.is_(None),
    or_(gateway.c.store.is_(None), gateway.c.store == alarm.c.store),
)
_ACKNOWLEDGED = or_(
    alarm.c.acknowledged_us.is_not(None),
    func.coalesce(acknowledgement.c.state, "").in_([Wish.WAITING.value, Wish.TAKEN.value]),
)
_BY = func.coalesce(
    func.nullif(alarm.c.acknowledged_by, ""), acknowledgement.c.first_by, acknowledgement.c.actor
)


def _lines(scope: Scope) -> Select[Any]:
    """Lines of the scope with all that names them; one SELECT, however many there are."""
    a, g, m, s, w = alarm.c, gateway.c, message.c, signal.c, acknowledgement.c
    same = and_(
        w.gateway == a.gateway,
        w.source == a.source,
        w.message == a.message,
        w.occurrence_us == a.occurrence_us,
    )
    return (
        select(
            alarm,
            case((_STANDING, 1), else_=0).label("standing"),
            _MUST.label("must"),
            g.name.label("gateway_name"),
            g.site,
            g.zone,
            m.area,
            s.name.label("signal_name"),
            s.unit,
            s.type.label("kind"),
            w.state.label("wish"),
            w.actor.label("wish_by"),
            w.time_us.label("wish_us"),
            w.comment.label("wish_comment"),
            w.text.label("wish_text"),
            w.first_by,
            w.first_us,
            w.first_comment,
            account.c.display_name,
        )
        .join(gateway, g.id == a.gateway)
        .outerjoin(message, and_(m.gateway == a.gateway, m.uid == a.message, a.source == Source.USER.value))
        .outerjoin(signal, and_(s.tenant_id == a.tenant_id, s.uid == a.signal))
        .outerjoin(acknowledgement, same)
        .outerjoin(account, and_(account.c.name == _BY, account.c.tenant_id == a.tenant_id))
        .where(a.tenant_id == scope.tenant, a.raised_us.is_not(None), _in_sites(scope))
    )


def _alarm(row: Row[Any]) -> Alarm:
    state, at_us, by, comment = State.NONE, row.acknowledged_us, row.acknowledged_by, row.comment
    if at_us is not None:
        state = State.DONE
    elif row.wish == Wish.TAKEN and row.first_by is not None:
        state, at_us, by, comment = State.TAKEN, row.first_us, row.first_by, row.first_comment
    elif row.wish in {Wish.WAITING, Wish.TAKEN}:
        state, at_us, by, comment = State(row.wish), row.wish_us, row.wish_by, row.wish_comment
    return Alarm(
        gateway=row.gateway,
        source=Source(row.source),
        number=row.number,
        message=row.message,
        occurrence_us=row.occurrence_us,
        priority=row.priority,
        text=row.text,
        signal=row.signal,
        value=carried(_decoded(row.value), row.kind or ""),
        raised_us=row.raised_us,
        ended_us=row.ended_us,
        acknowledged_us=at_us,
        acknowledged_by=by,
        is_standing=bool(row.standing),
        comment=comment,
        acknowledge_state=state,
        acknowledge_text=row.wish_text or "",
        acknowledged_name="" if state is State.NONE else row.display_name or "",
        needs_acknowledgement=bool(row.must),
        gateway_name=row.gateway_name,
        site=row.site,
        zone=row.zone,
        area=row.area or "",
        signal_name=row.signal_name or "",
        unit=row.unit or "",
    )


def _has(words: str) -> ColumnElement[bool]:
    """All of the words somewhere in the line. SQLite folds the case of ASCII letters only."""
    a, w = alarm.c, acknowledgement.c
    always = (a.text, a.message, a.signal, a.acknowledged_by, a.comment, gateway.c.name)
    seldom = (signal.c.name, w.actor, w.comment, account.c.display_name)
    said: ColumnElement[str] = cast(a.number, String)
    for column in (*always, *(func.coalesce(c, "") for c in seldom)):
        said = said + "\n" + column
    return and_(
        *(or_(*(said.icontains(form, autoescape=True) for form in _forms(word))) for word in words.split())
    )


def _forms(word: str) -> set[str]:
    return {word} if word.isascii() else {word, word.lower(), word.upper(), word.capitalize()}


def _in_sites(scope: Scope) -> ColumnElement[bool]:
    if scope.sites is None:
        return true()
    return gateway.c.site.in_(sorted(scope.sites))


# --- Checking ----------------------------------------------------------------------------------


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
