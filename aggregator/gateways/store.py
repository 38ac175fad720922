"""SQL of gateways, signals, bindings and configured messages.

A number belongs to one signal of its store for ever, so a binding has no clock: it is cut in time
only where a signal moved to another gateway. Whether a claim counts is decided in `claim_signals`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import ColumnElement, and_, delete, insert, select, true, update

from aggregator.db import audit
from aggregator.db.engine import Connection, Row
from aggregator.db.schema import binding, gateway, group_binding, message, signal
from aggregator.scope import Right, Scope, needs
from contract.model.config import Configuration
from contract.wire.status import Applied, Birth, GroupEpoch, SignalNumber, Status

CLOCK_AGREES_US = 3600 * 1_000_000
"""A gateway whose clock differs more from ours does not say when a signal moved."""

_status = msgspec.msgpack.Decoder(Status)
_document = msgspec.json.Decoder(Configuration)


class NumberTaken(ValueError):
    """A store gives a number a second meaning; it was copied or restored, and must be drawn anew."""


class Gateway(NamedTuple):
    """One gateway as the list shows it."""

    id: str
    site: str
    name: str
    zone: str
    first_seen_us: int
    last_seen_us: int
    online: bool
    store: int | None
    program: str
    applied_digest: str
    status: Status | None


class InForce(NamedTuple):
    """A gateway with its configuration, as it said itself; `faults` are of a newer one it refused."""

    gateway: Gateway
    document: bytes | None
    digest: str
    applied_us: int | None
    refused: str
    faults: Sequence[str]
    boot: str


class SignalRow(NamedTuple):
    """One signal with the gateway that has it now."""

    uid: str
    name: str
    unit: str
    type: str
    group: str
    writable: bool
    low: float | None
    high: float | None
    gateway: str


class Binding(NamedTuple):
    """Samples of `number` in this store are the signal's, from_us ≤ t < to_us; None: without end."""

    uid: str
    gateway: str
    store: int
    number: int
    from_us: int | None
    to_us: int | None


NEVER_HELD = 0
"""End of a binding that has not begun: its gateway claims a signal that another one has."""


class _Holder(NamedTuple):
    binding: Binding
    listed: bool


@needs(Right.INGEST)
def tenants(_scope: Scope, connection: Connection, gateways: Sequence[str]) -> dict[str, str]:
    """Tenant of each of these gateways that is known, whichever it is."""
    found: dict[str, str] = {}
    for at in range(0, len(gateways), 500):
        some = gateways[at : at + 500]
        query = select(gateway.c.id, gateway.c.tenant_id).where(gateway.c.id.in_(some))
        found.update((str(row.id), str(row.tenant_id)) for row in connection.execute(query))
    return found


@needs(Right.INGEST)
def see(scope: Scope, connection: Connection, gateway_id: str, now_us: int) -> None:
    """Note that a gateway spoke; make its row if this is the first time."""
    seen = connection.execute(update(gateway).where(gateway.c.id == gateway_id).values(last_seen_us=now_us))
    if seen.rowcount:
        return
    connection.execute(
        insert(gateway).values(
            id=gateway_id, tenant_id=scope.tenant, first_seen_us=now_us, last_seen_us=now_us
        )
    )
    audit.note(scope, connection, now_us, "gateway.new", gateway_id)


@needs(Right.INGEST)
def put_birth(scope: Scope, connection: Connection, birth: Birth, now_us: int) -> None:
    """Take in who a gateway says it is, and its numbers.

    Raises:
        NumberTaken: nothing may be kept of this birth.
    """
    see(scope, connection, birth.gateway, now_us)
    before = connection.execute(select(gateway.c.store).where(gateway.c.id == birth.gateway)).scalar()
    moved_us = _moment_of(birth, now_us)
    for winner in claim_signals(
        scope, connection, birth.gateway, birth.store, birth.signals, moved_us, now_us
    ):
        _name_signals_again(scope, connection, winner)
    _put_groups(scope, connection, birth.gateway, birth.store, birth.groups)
    connection.execute(
        update(gateway)
        .where(gateway.c.id == birth.gateway)
        .values(store=birth.store, boot=birth.boot, program=birth.program)
    )
    if before != birth.store:
        audit.note(
            scope,
            connection,
            now_us,
            "gateway.store",
            birth.gateway,
            before="" if before is None else str(before),
            after=str(birth.store),
        )


def _moment_of(birth: Birth, now_us: int) -> int:
    """When the birth was; now, where its clock may be wrong: it would hide another gateway's past."""
    agrees = birth.clock_trusted and abs(birth.time_us - now_us) <= CLOCK_AGREES_US
    return birth.time_us if agrees else now_us


@needs(Right.INGEST)
def claim_signals(
    scope: Scope,
    connection: Connection,
    gateway_id: str,
    store: int,
    numbers: Sequence[SignalNumber],
    time_us: int,
    now_us: int,
) -> set[str]:
    """Bind the numbers of one store to signals; the gateways that gained one that was not theirs.

    1. A number that is known keeps its signal, for ever.
    2. A signal stays with the gateway that has it for as long as that one lists it, so that no
       certificate can take another's signals. A second claim is noted once and waits.
    3. When the holder no longer lists it, it moves to a gateway that does: the holder's samples
       count up to `time_us`, the other's without beginning (they may have waited for the link).
    """
    b = binding.c
    here = and_(b.gateway == gateway_id, b.store == store)
    known = {row.number: row for row in connection.execute(select(binding).where(here))}
    for number, uid in ((n.number, n.uid) for n in numbers):
        if number in known and known[number].uid != uid:
            raise NumberTaken(
                f"store {store} gave number {number} to {known[number].uid!r}, now to {uid!r};"
                " set the gateway's data folder aside, so that it draws a new store"
            )
    listed = {n.number for n in numbers}
    gone = [n for n, row in known.items() if row.listed and n not in listed]
    back = [n for n, row in known.items() if not row.listed and n in listed]
    for some, value in ((gone, False), (back, True)):
        for at in range(0, len(some), 500):
            these = b.number.in_(some[at : at + 500])
            connection.execute(update(binding).where(here, these).values(listed=value))
    earlier_stores = and_(b.gateway == gateway_id, b.store != store, b.listed)
    connection.execute(update(binding).where(earlier_stores).values(listed=False))
    gained = set[str]()
    for number in gone:
        gained |= _hand_over(scope, connection, gateway_id, known[number].uid, time_us, now_us)
    others = _holders_elsewhere(scope, connection, gateway_id, [n.uid for n in numbers])
    constant = {"gateway": gateway_id, "store": store, "tenant_id": scope.tenant, "to_us": NEVER_HELD}
    fresh = [constant | {"number": n.number, "uid": n.uid} for n in numbers if n.number not in known]
    if fresh:
        connection.execute(insert(binding), fresh)
    held: list[int] = []
    for number, uid in ((n.number, n.uid) for n in numbers):
        other = others.get(uid)
        if number in known and known[number].to_us is None:
            continue
        if other is not None and other.listed:
            _note_quarrel(scope, connection, uid, other.binding.gateway, gateway_id, now_us)
            continue
        if other is not None:
            _move(scope, connection, other.binding, gateway_id, time_us, now_us)
        held.append(number)
        if other is not None or number in known:
            gained.add(gateway_id)
    for at in range(0, len(held), 500):
        connection.execute(update(binding).where(here, b.number.in_(held[at : at + 500])).values(to_us=None))
    return gained


def _note_quarrel(
    scope: Scope, connection: Connection, uid: str, holder: str, claimant: str, now_us: int
) -> None:
    subject = f"{uid} {claimant}"
    if not audit.has(scope, connection, "signal.claimed-by-two", subject):
        what = "signal.claimed-by-two"
        audit.note(scope, connection, now_us, what, subject, before=holder, after=claimant)


def _hand_over(
    scope: Scope, connection: Connection, holder: str, uid: str, time_us: int, now_us: int
) -> set[str]:
    """A signal its holder no longer lists goes to the gateway that waits for it; that one, or none."""
    b = binding.c
    of_signal = and_(b.tenant_id == scope.tenant, b.uid == uid)
    held = select(*_BINDING).where(of_signal, b.gateway == holder, b.to_us.is_(None))
    waiting = select(*_BINDING).where(of_signal, b.gateway != holder, b.to_us.is_not(None), b.listed)
    ours = connection.execute(held).first()
    theirs = connection.execute(waiting.order_by(b.gateway).limit(1)).first()
    if ours is None or theirs is None:
        return set()
    claimant = Binding._make(theirs)
    _move(scope, connection, Binding._make(ours), claimant.gateway, time_us, now_us)
    this = and_(b.gateway == claimant.gateway, b.store == claimant.store, b.number == claimant.number)
    connection.execute(update(binding).where(this).values(to_us=None))
    return {claimant.gateway}


def _holders_elsewhere(
    scope: Scope, connection: Connection, gateway_id: str, uids: Sequence[str]
) -> dict[str, _Holder]:
    """Of each of these signals, the open binding at another gateway, if there is one."""
    b = binding.c
    found: dict[str, _Holder] = {}
    for at in range(0, len(uids), 500):
        query = select(*_BINDING, b.listed).where(
            b.tenant_id == scope.tenant,
            b.uid.in_(uids[at : at + 500]),
            b.gateway != gateway_id,
            b.to_us.is_(None),
        )
        for row in connection.execute(query):
            holder = _Holder(Binding._make(row[:6]), bool(row.listed))
            there = found.get(holder.binding.uid)
            if there is None or (holder.listed and not there.listed):
                found[holder.binding.uid] = holder
    return found


def _move(
    scope: Scope, connection: Connection, old: Binding, gateway_id: str, time_us: int, now_us: int
) -> None:
    b = binding.c
    connection.execute(
        update(binding)
        .where(b.tenant_id == scope.tenant, b.uid == old.uid, b.gateway == old.gateway, b.to_us.is_(None))
        .values(to_us=time_us)
    )
    subject = f"{old.uid} {gateway_id}"
    audit.note(scope, connection, now_us, "signal.moved", subject, before=old.gateway, after=gateway_id)


def _put_groups(
    scope: Scope, connection: Connection, gateway_id: str, store: int, groups: Sequence[GroupEpoch]
) -> None:
    g = group_binding.c
    here = and_(g.gateway == gateway_id, g.store == store)
    known = {row.number: row for row in connection.execute(select(group_binding).where(here))}
    for group in groups:
        row = known.get(group.number)
        if row is None:
            connection.execute(
                insert(group_binding).values(
                    gateway=gateway_id,
                    store=store,
                    number=group.number,
                    tenant_id=scope.tenant,
                    uid=group.uid,
                    epoch=group.epoch,
                )
            )
        elif row.uid != group.uid:
            raise NumberTaken(
                f"store {store} gave group number {group.number} to {row.uid!r}, now to {group.uid!r};"
                " set the gateway's data folder aside, so that it draws a new store"
            )
        elif row.epoch < group.epoch:
            this = and_(here, g.number == group.number)
            connection.execute(update(group_binding).where(this).values(epoch=group.epoch))


@needs(Right.INGEST)
def put_status(scope: Scope, connection: Connection, status: Status, now_us: int) -> None:
    """Note whether a gateway is there and how it fares; its last will tells nothing but that it is gone."""
    g = gateway.c
    known = connection.execute(select(g.id).where(g.id == status.gateway)).first()
    if known is None:
        see(scope, connection, status.gateway, now_us)
    values: dict[str, object] = {"online": status.online}
    if status.online:
        values |= {"status": msgspec.msgpack.encode(status), "last_seen_us": now_us}
    connection.execute(update(gateway).where(g.id == status.gateway).values(values))


@needs(Right.INGEST)
def put_applied(
    scope: Scope, connection: Connection, applied: Applied, digest: str, document: bytes, now_us: int
) -> None:
    """Take names, units and messages from the configuration in force.

    Args:
        digest: of that configuration, computed here. document: as it came, for showing.
    """
    g = gateway.c
    see(scope, connection, applied.gateway, now_us)
    this = g.id == applied.gateway
    before = connection.execute(select(g.applied_digest).where(this)).scalar_one()
    said = {
        "applied_us": applied.time_us,
        "refused": applied.refused,
        "faults": "\n".join(fault.replace("\n", " ") for fault in applied.faults),
    }
    connection.execute(update(gateway).where(this).values(said))
    if before == digest:
        return
    site = applied.configuration.gateway
    connection.execute(
        update(gateway)
        .where(this)
        .values(site=site.site, name=site.name, zone=site.zone, applied_digest=digest, applied=document)
    )
    _put_signals(scope, connection, applied.gateway, applied.configuration)
    _put_messages(scope, connection, applied)
    audit.note(
        scope, connection, now_us, "configuration.applied", applied.gateway, before=before, after=digest
    )


@needs(Right.VIEW)
def in_force(scope: Scope, connection: Connection, gateway_id: str) -> InForce | None:
    """The configuration of a gateway of the scope; None: there is no such gateway."""
    g = gateway.c
    query = select(gateway).where(g.tenant_id == scope.tenant, g.id == gateway_id, _in_sites(scope))
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    document = None if row.applied is None else bytes(row.applied)
    faults = row.faults.split("\n") if row.faults else []
    return InForce(
        _gateway_of(row), document, row.applied_digest, row.applied_us, row.refused, faults, row.boot
    )


def _name_signals_again(scope: Scope, connection: Connection, gateway_id: str) -> None:
    """Take names and units out of the stored configuration, now that signals came from another gateway.

    It was stored before the birth, when the other gateway still named them, and the same one said
    again changes nothing.
    """
    this = gateway.c.id == gateway_id
    document = connection.execute(select(gateway.c.applied).where(this)).scalar()
    if document is None:
        return
    try:
        configuration = _document.decode(document)
    except msgspec.DecodeError:  # stored by another version: the next one said counts whole again
        connection.execute(update(gateway).where(this).values(applied_digest=""))
        return
    _put_signals(scope, connection, gateway_id, configuration)


def _put_signals(scope: Scope, connection: Connection, gateway_id: str, configuration: Configuration) -> None:
    s = signal.c
    signals = configuration.signals
    elsewhere = _holders_elsewhere(scope, connection, gateway_id, list(signals))
    ours = _holds(scope, connection, gateway_id)
    known: dict[str, dict[str, object]] = {}
    uids = list(signals)
    for at in range(0, len(uids), 500):
        some = s.uid.in_(uids[at : at + 500])
        query = select(signal).where(s.tenant_id == scope.tenant, some)
        known |= {row.uid: row._asdict() for row in connection.execute(query)}
    fresh: list[dict[str, object]] = []
    for position, (uid, said) in enumerate(signals.items()):
        if uid in elsewhere and uid not in ours:
            continue  # another gateway has it and says what it is called
        values: dict[str, object] = {
            "name": said.name or uid,
            "unit": said.unit,
            "type": said.type.value,
            "group_uid": said.group,
            "writable": said.writable,
            "low": said.limits.low,
            "high": said.limits.high,
            "position": position,
        }
        there: dict[str, object] | None = known.get(uid)
        if there is None:
            fresh.append({"tenant_id": scope.tenant, "uid": uid, **values})
        elif any(there[name] != value for name, value in values.items()):
            this = and_(s.tenant_id == scope.tenant, s.uid == uid)
            connection.execute(update(signal).where(this).values(values))
    if fresh:
        connection.execute(insert(signal), fresh)


def _holds(scope: Scope, connection: Connection, gateway_id: str) -> set[str]:
    b = binding.c
    query = select(b.uid).where(b.tenant_id == scope.tenant, b.gateway == gateway_id, b.to_us.is_(None))
    return set(connection.execute(query).scalars())


def _put_messages(scope: Scope, connection: Connection, applied: Applied) -> None:
    m = message.c
    connection.execute(delete(message).where(m.gateway == applied.gateway))
    rows = [
        {
            "gateway": applied.gateway,
            "uid": uid,
            "tenant_id": scope.tenant,
            "number": said.number,
            "text": said.text,
            "priority": said.priority,
            "acknowledge": said.acknowledge,
            "area": said.area,
        }
        for uid, said in applied.configuration.messages.items()
    ]
    if rows:
        connection.execute(insert(message), rows)


# --- Reading ---------------------------------------------------------------------------------

_BINDING = (
    binding.c.uid,
    binding.c.gateway,
    binding.c.store,
    binding.c.number,
    binding.c.from_us,
    binding.c.to_us,
)


@needs(Right.VIEW)
def gateways(scope: Scope, connection: Connection) -> list[Gateway]:
    """Gateways of the scope, by id."""
    g = gateway.c
    query = select(gateway).where(g.tenant_id == scope.tenant, _in_sites(scope)).order_by(g.id)
    return [_gateway_of(row) for row in connection.execute(query)]


def _gateway_of(row: Row[Any]) -> Gateway:
    return Gateway(
        row.id,
        row.site,
        row.name,
        row.zone,
        row.first_seen_us,
        row.last_seen_us,
        row.online,
        row.store,
        row.program,
        row.applied_digest,
        None if row.status is None else _status.decode(row.status),
    )


@needs(Right.VIEW)
def signals(scope: Scope, connection: Connection, uids: Sequence[str] | None = None) -> list[SignalRow]:
    """Signals of the scope with the gateway that has them now, in the order of its configuration."""
    s, b, g = signal.c, binding.c, gateway.c
    query = (
        select(signal, g.id.label("gateway_id"))
        .join(binding, and_(b.tenant_id == s.tenant_id, b.uid == s.uid, b.to_us.is_(None)))
        .join(gateway, and_(g.id == b.gateway, g.store == b.store))
        .where(s.tenant_id == scope.tenant, _in_sites(scope))
        .order_by(g.id, s.position, s.uid)
    )
    if uids is not None:
        query = query.where(s.uid.in_(list(uids)))
    return [
        SignalRow(
            row.uid,
            row.name,
            row.unit,
            row.type,
            row.group_uid,
            row.writable,
            row.low,
            row.high,
            row.gateway_id,
        )
        for row in connection.execute(query)
    ]


@needs(Right.VIEW)
def documents(
    scope: Scope, connection: Connection, gateway_ids: Sequence[str]
) -> dict[str, tuple[str, bytes]]:
    """Digest and text of the configuration in force of each of these gateways that has told one."""
    g = gateway.c
    query = select(g.id, g.applied_digest, g.applied).where(
        g.tenant_id == scope.tenant, _in_sites(scope), g.id.in_(list(gateway_ids)), g.applied.is_not(None)
    )
    return {str(row.id): (str(row.applied_digest), bytes(row.applied)) for row in connection.execute(query)}


@needs(Right.VIEW)
def known(scope: Scope, connection: Connection, uids: Sequence[str]) -> set[str]:
    """Those of these signals that the tenant has, or once had."""
    s = signal.c
    query = select(s.uid).where(s.tenant_id == scope.tenant, s.uid.in_(list(uids)))
    return set(connection.execute(query).scalars())


@needs(Right.VIEW)
def bindings(scope: Scope, connection: Connection, uids: Sequence[str]) -> list[Binding]:
    """Where the samples of these signals lie, over all their gateways and stores."""
    b, g = binding.c, gateway.c
    found: list[Binding] = []
    for at in range(0, len(uids), 500):
        query = (
            select(*_BINDING)
            .join(gateway, g.id == b.gateway)
            .where(b.tenant_id == scope.tenant, b.uid.in_(uids[at : at + 500]), _in_sites(scope))
            .order_by(b.uid, b.gateway, b.store, b.number)
        )
        found += [Binding._make(row) for row in connection.execute(query)]
    return found


@needs(Right.VIEW)
def present_numbers(scope: Scope, connection: Connection) -> list[Binding]:
    """Every signal's number in the store its gateway writes to now; what live values are keyed by."""
    b, g = binding.c, gateway.c
    query = (
        select(*_BINDING)
        .join(gateway, and_(g.id == b.gateway, g.store == b.store))
        .where(b.tenant_id == scope.tenant, b.to_us.is_(None), _in_sites(scope))
    )
    return [Binding._make(row) for row in connection.execute(query)]


def _in_sites(scope: Scope) -> ColumnElement[bool]:
    if scope.sites is None:
        return true()
    return gateway.c.site.in_(sorted(scope.sites))
