"""Alarms are the same whatever the order in which their events came."""

import itertools

import pytest
from msgspec.structs import replace
from sqlalchemy import text

from aggregator.alarms import store
from aggregator.alarms.service import current, events
from aggregator.alarms.store import Alarm, Put
from aggregator.db.engine import Databases, reading, writing
from aggregator.gateways import store as gateways
from aggregator.scope import Right, process
from contract.model.message import Source
from contract.wire.records import EventKind, EventRecord
from contract.wire.status import Birth

INGEST = process("_ingest", [Right.INGEST])
VIEW = process("ada", [Right.VIEW])


@pytest.fixture
def known(databases: Databases) -> Databases:
    begin_store(databases, 1)
    return databases


def begin_store(databases: Databases, number: int) -> None:
    birth = Birth(gateway="a", store=number, session=1, boot="", time_us=1, lanes={})
    with writing(databases.main) as connection:
        gateways.put_birth(INGEST, connection, birth, 1)


def event(seq: int, kind: EventKind, at: int, occurrence: int = 10, **more: object) -> EventRecord:
    fields: dict[str, object] = {
        "id": f"hot|{occurrence}|{kind}|{more.get('actor', '')}",
        "message": "hot",
        "number": 7,
        "store": 1,
    }
    return EventRecord(seq=seq, kind=kind, time_us=at, occurrence_us=occurrence, **{**fields, **more})  # type: ignore[arg-type]  # built by name


def put(databases: Databases, *records: EventRecord) -> list[Put]:
    with writing(databases.main) as connection:
        return [store.put_event(INGEST, connection, "a", record, 1) for record in records]


RAISED = event(1, EventKind.RAISED, 10, text="Too hot", signal="t1", value=80.5, priority=1)
ENDED = event(2, EventKind.ENDED, 20)
FIRST = event(3, EventKind.ACKNOWLEDGED, 30, actor="ada")
SECOND = event(4, EventKind.ACKNOWLEDGED, 35, actor="bob")


def rows(databases: Databases) -> list[tuple[object, ...]]:
    with reading(databases.main) as connection:
        return [tuple(row) for row in connection.execute(text("SELECT * FROM alarm"))]


@pytest.mark.parametrize("order", list(itertools.permutations([RAISED, ENDED, FIRST, SECOND])))
def test_the_order_of_arrival_does_not_matter(known: Databases, order: list[EventRecord]) -> None:
    put(known, *order)
    with reading(known.main) as connection:
        (row,) = connection.execute(text("SELECT * FROM alarm")).all()
    assert (row.raised_us, row.ended_us, row.acknowledged_us, row.acknowledged_by) == (10, 20, 30, "ada")
    assert (row.text, row.signal, row.priority) == ("Too hot", "t1", 1)
    assert current(VIEW, known) == []


def test_an_alarm_stands_until_it_has_ended_and_asks_until_it_is_acknowledged(known: Databases) -> None:
    put(known, RAISED)
    (one,) = current(VIEW, known)
    assert one == Alarm(
        "a", Source.USER, 7, "hot", 10, 1, "Too hot", "t1", 80.5, 10, None, None, "", is_standing=True
    )
    put(known, ENDED)
    (one,) = current(VIEW, known)
    assert (one.is_standing, one.ended_us, one.acknowledged_us) == (False, 20, None)
    put(known, FIRST)
    assert current(VIEW, known) == []


def test_an_acknowledged_alarm_that_stands_is_shown(known: Databases) -> None:
    put(known, RAISED, FIRST)
    (one,) = current(VIEW, known)
    assert (one.is_standing, one.acknowledged_by) == (True, "ada")


def test_an_end_before_its_beginning_shows_nothing_yet(known: Databases) -> None:
    put(known, ENDED)
    assert current(VIEW, known) == []


def test_a_notice_that_needs_no_acknowledgement_leaves_with_its_end(known: Databases) -> None:
    with writing(known.main) as connection:
        values = "'a', 'hot', 'default', 7, 'x', 3, 0, ''"
        columns = "gateway, uid, tenant_id, number, text, priority, acknowledge, area"
        connection.execute(text(f"INSERT INTO message ({columns}) VALUES ({values})"))
    put(known, RAISED)
    assert len(current(VIEW, known)) == 1
    put(known, ENDED)
    assert current(VIEW, known) == []


@pytest.mark.parametrize("order", list(itertools.permutations([10, 50, 70])))
def test_a_message_has_one_line_however_many_ends_were_lost(known: Databases, order: list[int]) -> None:
    """What was raised before is history: at the gateway too, nobody can acknowledge it any more."""
    put(known, *(event(at, EventKind.RAISED, at, at) for at in order))
    assert [(a.occurrence_us, a.is_standing) for a in current(VIEW, known)] == [(70, True)]
    put(known, event(100, EventKind.ENDED, 90, 70), event(101, EventKind.ACKNOWLEDGED, 95, 70))
    assert current(VIEW, known) == []


def test_what_a_lost_store_raised_no_longer_stands(known: Databases) -> None:
    put(known, RAISED, FIRST)
    begin_store(known, 2)
    assert current(VIEW, known) == []


def told_again(record: EventRecord, number: int) -> EventRecord:
    """The same row of a journal that moved into another store."""
    return replace(record, store=number)


def test_what_is_raised_still_stands_once_the_new_store_says_so_too(known: Databases) -> None:
    """The historian's store was set aside; the gateway's alarms still stand and are said again."""
    other = event(7, EventKind.RAISED, 40, 40, message="cold")
    put(known, RAISED, FIRST, other)
    begin_store(known, 2)
    assert put(known, told_again(RAISED, 2)) == [Put.REPEAT]
    assert [(a.message, a.is_standing, a.acknowledged_by) for a in current(VIEW, known)] == [
        ("cold", False, ""),
        ("hot", True, "ada"),
    ]
    put(known, told_again(ENDED, 2))
    assert [a.message for a in current(VIEW, known)] == ["cold"]


def test_what_comes_late_from_the_lost_store_lets_nothing_fall(known: Databases) -> None:
    begin_store(known, 2)
    assert put(known, told_again(RAISED, 2), RAISED) == [Put.NEW, Put.REPEAT]
    assert [a.is_standing for a in current(VIEW, known)] == [True]


def test_an_acknowledgement_said_again_makes_nothing_stand(known: Databases) -> None:
    put(known, RAISED, FIRST)
    begin_store(known, 2)
    assert put(known, told_again(FIRST, 2)) == [Put.REPEAT]
    assert current(VIEW, known) == []


def test_the_same_record_again_changes_nothing(known: Databases) -> None:
    assert put(known, RAISED, RAISED) == [Put.NEW, Put.SAME]
    assert put(known, event(9, EventKind.RAISED, 10)) == [Put.REPEAT]
    assert put(known, event(1, EventKind.RAISED, 11)) == [Put.CONTRADICTS]
    assert put(known, event(9, EventKind.RAISED, 12, id=RAISED.id)) == [Put.CONTRADICTS]
    assert len(rows(known)) == 1


@pytest.mark.parametrize("value", [None, True, 7, 2**63, -(2**63), 1.5, "ä", float("inf"), -0.0])
def test_values_come_back_as_they_were(known: Databases, value: bool | float | str | None) -> None:
    put(known, event(1, EventKind.SYSTEM, 10, value=value))
    (one,) = events(VIEW, known)
    assert one.record.value == value
    assert type(one.record.value) is type(value)
    assert repr(one.record.value) == repr(value)


def test_events_are_asked_for_by_time_and_gateway(known: Databases) -> None:
    put(known, RAISED, ENDED, FIRST)
    assert [e.record.seq for e in events(VIEW, known)] == [3, 2, 1]
    assert [e.record.seq for e in events(VIEW, known, from_us=20)] == [3, 2]
    assert [e.record.seq for e in events(VIEW, known, to_us=20)] == [2, 1]
    assert [e.record.seq for e in events(VIEW, known, limit=1)] == [3]
    assert events(VIEW, known, gateway_id="b") == []
    assert events(VIEW._replace(tenant="other"), known) == []
    assert events(VIEW._replace(sites=frozenset({"North"})), known) == []
    assert current(VIEW._replace(tenant="other"), known) == []
    assert current(VIEW._replace(sites=frozenset({"North"})), known) == []
