"""Operators acknowledge: who may, who is first, what is kept."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from fakes.databases import opened
from fakes.people import operators_token
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from aggregator.alarms import service, store
from aggregator.alarms.line import Line, State, WhyNot
from aggregator.alarms.service import Became
from aggregator.alarms.store import Asked
from aggregator.alarms.wishes import store as wishing
from aggregator.alarms.wishes.store import Wished
from aggregator.db import engine
from aggregator.db.engine import Connection, Databases, Engine, reading, writing
from aggregator.gateways import store as gateways
from aggregator.scope import Forbidden, Right, Scope, process
from contract.model.message import Source
from contract.wire.records import EventKind, EventRecord

INGEST = process("_ingest", [Right.INGEST])
ADA, BOB = (process(name, [Right.VIEW, Right.ACKNOWLEDGE]) for name in ("ada", "bob"))
HOT = Line("a", Source.USER, "hot", 10)


def put(databases: Databases, *records: EventRecord) -> None:
    with writing(databases.main) as connection:
        gateways.see(INGEST, connection, "a", 1)
        for record in records:
            store.put_event(INGEST, connection, "a", record, 1)


def event(seq: int, kind: EventKind, at: int, **more: object) -> EventRecord:
    fields = {"id": f"{kind}/{seq}", "message": "hot", "occurrence_us": 10} | more
    return EventRecord(store=1, seq=seq, kind=kind, time_us=at, **fields)  # type: ignore[arg-type]  # built by name


RAISED = event(1, EventKind.RAISED, 10)


@pytest.fixture
def hot(databases: Databases) -> Databases:
    put(databases, RAISED)
    return databases


def test_of_two_operators_in_one_moment_exactly_one_is_kept(hot: Databases) -> None:
    def acknowledges(who: Scope) -> service.Acknowledged:
        (found,) = service.acknowledge(who, hot, [HOT], f"by {who.actor}", 50)
        return found

    people = [ADA._replace(actor=f"operator-{i}") for i in range(8)]
    with ThreadPoolExecutor(len(people)) as all_of_them:
        found = list(all_of_them.map(acknowledges, people))
    (winner,) = (one for one in found if one.became is Became.WAITING)
    assert {(one.by, one.at_us, one.comment) for one in found} == {(winner.by, 50, f"by {winner.by}")}
    with reading(hot.main) as connection:
        assert connection.execute(text("SELECT actor FROM acknowledgement")).scalars().all() == [winner.by]
        trail = connection.execute(text("SELECT action FROM audit WHERE action LIKE 'acknowledge%'"))
        assert Counter(trail.scalars()) == {"acknowledge.asked": 1, "acknowledge.already": 7}


def test_who_lost_the_race_against_another_server_is_told(
    hot: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Elsewhere than on SQLite two transactions may both have read that nobody acknowledged."""
    keep, begin = wishing.put, engine.writing
    tried: list[Scope] = []

    def put_late(scope: Scope, connection: Connection, wishes: list[Wished]) -> None:
        tried.append(scope)
        if len(tried) == 1:
            raise IntegrityError("INSERT", {}, Exception("UNIQUE constraint failed"))
        keep(scope, connection, wishes)

    @contextmanager
    def with_bob_first(main: Engine) -> Iterator[Connection]:
        if tried:
            with begin(main) as connection:
                keep(BOB, connection, [Wished(HOT, 0, "of-bob", "bob", 40, "quicker")])
        with begin(main) as connection:
            yield connection

    monkeypatch.setattr(wishing, "put", put_late)
    monkeypatch.setattr(service, "writing", with_bob_first)
    (found,) = service.acknowledge(ADA, hot, [HOT], "", 50)
    assert (found.became, found.by, found.at_us) == (Became.ALREADY, "bob", 40)


def test_the_event_makes_it_done_and_its_words_are_those_of_the_record(hot: Databases) -> None:
    service.acknowledge(ADA, hot, [HOT], "mine", 50)
    put(hot, event(2, EventKind.ACKNOWLEDGED, 40, actor="bob", comment="quicker"))
    (alarm,) = service.current(ADA, hot)
    assert (alarm.acknowledge_state, alarm.acknowledged_by, alarm.acknowledged_us) == (State.DONE, "bob", 40)
    assert alarm.comment == "quicker"
    (found,) = service.acknowledge(ADA, hot, [HOT], "", 60)
    assert (found.became, found.by, found.at_us, found.comment) == (Became.ALREADY, "bob", 40, "quicker")


def test_without_the_right_nothing_happens(hot: Databases) -> None:
    with pytest.raises(Forbidden):
        service.acknowledge(process("eve", [Right.VIEW]), hot, [HOT], "", 50)
    assert service.current(ADA, hot)[0].why_not is None


@pytest.mark.parametrize("scope", [ADA._replace(tenant="other"), ADA._replace(sites=frozenset({"North"}))])
def test_what_is_out_of_reach_is_not_there(hot: Databases, scope: Scope) -> None:
    assert [one.became for one in service.acknowledge(scope, hot, [HOT], "", 50)] == [Became.UNKNOWN]
    assert service.current(scope, hot) == []
    assert service.history(scope, hot, Asked(0, 99), None, 10) == ([], None)


def test_an_account_is_shown_by_the_name_people_know(tmp_path: Path) -> None:
    operators_token(tmp_path, "ada")
    with opened(tmp_path) as databases:
        put(databases, RAISED)
        with writing(databases.main) as connection:
            connection.execute(text("UPDATE account SET display_name = 'Ada L.'"))
        service.acknowledge(ADA, databases, [HOT], "", 50)
        (alarm,) = service.current(ADA, databases)
        assert (alarm.acknowledged_by, alarm.acknowledged_name) == ("ada", "Ada L.")


def test_a_long_history_is_looked_through_in_pieces(
    databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "LOOKED_AT", 7)
    put(
        databases,
        *(
            event(i, EventKind.RAISED, i // 3, occurrence_us=i, priority=1 if i % 20 == 0 else 3)
            for i in range(1, 101)
        ),
    )
    found: list[int] = []
    after, pages = None, 0
    while True:
        some, after = service.history(ADA, databases, Asked(0, 99, priority=1), after, 3)
        found += [alarm.occurrence_us for alarm in some]
        pages += 1
        if after is None:
            break
    assert found == [100, 80, 60, 40, 20]
    assert pages > 10, "no page looked at more than a few"


def test_why_not_is_said(hot: Databases) -> None:
    with writing(hot.main) as connection:
        columns = "gateway, uid, tenant_id, number, text, priority, acknowledge, area"
        connection.execute(text(f"INSERT INTO message ({columns}) VALUES ('a','hot','default',7,'x',3,0,'')"))
    (alarm,) = service.current(ADA, hot)
    assert alarm.why_not is WhyNot.NOT_NEEDED
    assert [one.became for one in service.acknowledge(ADA, hot, [HOT], "", 50)] == [Became.NOT_NEEDED]
