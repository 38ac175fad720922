"""Alarms are the same whatever the order in which their events came."""

import itertools
import random
from typing import Any
from zlib import crc32

import msgspec
import pytest
from msgspec.structs import asdict, replace
from sqlalchemy import event as listening
from sqlalchemy import text

from aggregator.alarms import store
from aggregator.alarms.line import line_of
from aggregator.alarms.service import current, events, history
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


# --- Comments, and rows of before ------------------------------------------------------------


def checked(databases: Databases) -> list[tuple[int, int]]:
    verify = process("verify", [Right.VERIFY])
    with reading(databases.main) as connection:
        keys = store.event_keys(verify, connection, "a", 1)
        found = [store.checked_event(verify, connection, "a", 1, seq) for seq, _ in keys]
    return [(one.stored, one.computed) for one in found if one is not None]


def test_a_comment_is_kept_with_the_event_and_its_alarm(known: Databases) -> None:
    put(known, RAISED, replace(FIRST, comment="Fühler getauscht"))
    (one,) = current(VIEW, known)
    assert (one.acknowledge_state, one.comment) == ("done", "Fühler getauscht")
    assert [e.record.comment for e in events(VIEW, known)] == ["Fühler getauscht", ""]
    assert all(stored == computed for stored, computed in checked(known))
    with writing(known.main) as connection:
        connection.execute(text("UPDATE event SET comment = 'another'"))
    assert all(stored != computed for stored, computed in checked(known)), "the checksum covers it"


def test_a_row_stored_before_there_were_comments_is_still_sound(known: Databases) -> None:
    """Its checksum is over the fields that there were; computed here the way it was then."""
    put(known, RAISED)
    fields = {name: value for name, value in asdict(RAISED).items() if name != "comment"}
    then = crc32(msgspec.msgpack.encode(("a", "default", 1, fields)))
    assert checked(known) == [(then, then)]


def test_the_same_record_with_another_comment_contradicts(known: Databases) -> None:
    assert put(known, FIRST, replace(FIRST, comment="x")) == [Put.NEW, Put.CONTRADICTS]


# --- Lines -----------------------------------------------------------------------------------


def test_an_end_without_a_number_ends_the_alarm_that_had_one(known: Databases) -> None:
    """The message left the configuration while it stood; the gateway no longer knows its number."""
    put(known, RAISED, replace(ENDED, number=0), replace(FIRST, number=0))
    assert current(VIEW, known) == []
    with reading(known.main) as connection:
        assert connection.execute(text("SELECT number, ended_us FROM alarm")).all() == [(7, 20)]


def test_the_number_is_that_of_the_raise_whatever_came_first(known: Databases) -> None:
    put(known, replace(ENDED, number=0), RAISED)
    assert [alarm.number for alarm in current(VIEW, known)] == [7]


def system(seq: int, at: int, words: str) -> EventRecord:
    return event(
        seq,
        EventKind.SYSTEM,
        at,
        0,
        id=f"s{seq}",
        message="",
        number=996210,
        text=words,
        source=Source.SYSTEM,
    )


def test_a_system_message_said_again_is_one_line_and_others_are_others(known: Databases) -> None:
    put(known, system(1, 10, "plc: lost"), system(2, 20, "meter: lost"), system(3, 30, "plc: lost"))
    (again, other) = current(VIEW, known)
    assert [(a.text, a.raised_us, a.is_standing) for a in (again, other)] == [
        ("plc: lost", 30, False),
        ("meter: lost", 20, False),
    ]
    seen = replace(FIRST, source=Source.SYSTEM, message=again.message, occurrence_us=30, number=996210, seq=4)
    put(known, seen)
    assert current(VIEW, known) == [other]


def test_a_note_without_a_number_is_no_line(known: Databases) -> None:
    put(known, replace(system(1, 10, "plc: answers again"), number=0))
    assert current(VIEW, known) == []
    assert len(events(VIEW, known)) == 1


STORY = [
    event(1, EventKind.RAISED, 10, 10),
    event(2, EventKind.ENDED, 15, 10),
    event(3, EventKind.RAISED, 20, 20),
    event(4, EventKind.ACKNOWLEDGED, 22, 20, actor="ada"),
    event(5, EventKind.ENDED, 25, 20),
    event(6, EventKind.RAISED, 30, 30),
]


def test_which_line_is_open_does_not_ask_for_the_order_either(known: Databases) -> None:
    orders = random.Random(7).sample(list(itertools.permutations(STORY)), 60)
    for n, order in enumerate(orders):
        for record in order:
            put(known, replace(record, message=f"hot-{n}", id=f"{n}/{record.id}", seq=10 * n + record.seq))
            with reading(known.main) as connection:
                wrong = connection.execute(text(OPEN)).all()
            assert wrong == [], f"after {record.kind} in {order}"
    assert {alarm.occurrence_us for alarm in current(VIEW, known)} == {30}


OPEN = """
SELECT * FROM alarm WHERE is_open <> (
    raised_us IS NOT NULL AND (ended_us IS NULL OR acknowledged_us IS NULL)
    AND occurrence_us = (
        SELECT max(occurrence_us) FROM alarm AS raised
        WHERE raised.message = alarm.message AND raised.raised_us IS NOT NULL
    )
)
"""


def test_the_list_finds_its_lines_without_looking_at_the_history(known: Databases) -> None:
    """What the database says it will do; on a million rows the difference is that of 30 ms and minutes."""
    asked: list[tuple[str, Any]] = []

    def listen(_connection: object, _cursor: object, statement: str, values: Any, *_: object) -> None:
        asked.append((statement, values))

    listening.listen(known.main, "before_cursor_execute", listen)
    current(VIEW, known)
    history(VIEW, known, store.Asked(0, 99), None, 10)
    history(VIEW, known, store.Asked(0, 99, gateway="a"), None, 10)
    with reading(known.main) as connection:
        store.lines(VIEW, connection, [line_of("a", RAISED)])
    listening.remove(known.main, "before_cursor_execute", listen)
    with reading(known.main) as connection:
        plans = [
            next(
                row[3]
                for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
                if "alarm" in row[3]
            )
            for statement, values in asked
            if statement.startswith("SELECT")
        ]
    for plan, index in zip(
        plans,
        (
            "ix_alarm_tenant_id_is_open_raised_us (tenant_id=? AND is_open=?",
            "ix_alarm_tenant_id_raised_us (tenant_id=? AND raised_us>?",
            "ix_alarm_gateway_raised_us (gateway=? AND raised_us>?",
            "ix_alarm_gateway_source_message_occurrence_us (gateway=? AND source=? AND message=? AND",
        ),
        strict=True,
    ):
        assert index in plan
