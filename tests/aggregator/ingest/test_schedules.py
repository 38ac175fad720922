"""Whatever the way does to messages and receipts, and wherever ingest dies: exactly what was recorded.

The gateways are the oracle: what they recorded, against what the databases say in the end.
"""

import tempfile
from pathlib import Path

from fakes.gateway import FakeGateway
from fakes.network import Site
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from aggregator.db.engine import reading
from aggregator.history.service import query
from aggregator.scope import Right, process
from aggregator.verify import verify
from contract.wire.records import EventKind
from contract.wire.topics import Up

VIEW = process("ada", [Right.VIEW])
NOISE = st.sampled_from([0.0, 0.3, 0.7])

STEP = st.one_of(
    st.tuples(st.just("record"), st.integers(0, 1), st.integers(0, 1), st.integers(1, 4)),
    st.tuples(st.just("seal"), st.integers(0, 1), st.integers(0, 1)),
    st.tuples(st.just("event"), st.integers(0, 1)),
    st.tuples(st.just("session"), st.integers(0, 1)),
    st.tuples(st.just("send"), st.integers(0, 1)),
    st.tuples(st.just("carry"), NOISE, NOISE, st.booleans()),
    st.tuples(st.just("commit")),
    st.tuples(st.just("hear"), NOISE, NOISE, st.booleans()),
    st.tuples(st.just("die"), st.integers(1, 60)),
    st.tuples(st.just("restart")),
    st.tuples(st.just("back up")),
    st.tuples(st.just("restore")),
)


def do(site: Site, gateways: list[FakeGateway], step: tuple) -> None:  # type: ignore[type-arg]  # drawn
    match step:
        case ("record", g, group, rows):
            site.up += [gateways[g].send(Up.TAIL, tail) for tail in gateways[g].record(group, rows)]
        case ("seal", g, group):
            gateways[g].seal(group)
        case ("event", g):
            gateways[g].event(EventKind.SYSTEM)
        case ("session", g):
            site.open_session(gateways[g])
        case ("send", g):
            site.up += gateways[g].owed()
        case ("carry", drop, double, swap):
            site.carry(drop, double, swap)
        case ("commit",):
            site.commit()
        case ("hear", drop, double, swap):
            site.hear(drop, double, swap)
        case ("die", statement):
            site.die_at(statement)
        case ("restart",):
            site.restart()
        case ("back up",):
            site.back_up()
        case ("restore",):
            site.restore()
        case _:
            raise AssertionError(step)


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(STEP, min_size=5, max_size=40), st.integers(0, 2**32))
def test_in_the_end_everything_is_there_exactly_once(steps: list, seed: int) -> None:  # type: ignore[type-arg]
    with tempfile.TemporaryDirectory() as folder:
        gateways = [FakeGateway("gw-1", seed=seed), FakeGateway("gw-2", seed=seed)]
        site = Site(Path(folder), gateways, seed)
        try:
            for gateway in gateways:
                site.open_session(gateway)
            for step in steps:
                do(site, gateways, step)
            site.settle()
            for gateway in gateways:
                holds_what_was_recorded(site, gateway)
            report = verify(site.databases, deep=True)
            assert report.findings == ()
        finally:
            site.stop()


def holds_what_was_recorded(site: Site, gateway: FakeGateway) -> None:
    with reading(site.databases.main) as connection:
        found = connection.execute(
            text("SELECT seq FROM event WHERE gateway = :g ORDER BY seq"), {"g": gateway.name}
        )
        assert found.scalars().all() == sorted(gateway.events)
    with reading(site.databases.history) as connection:
        rows = connection.execute(
            text("SELECT seq, head, body FROM segment WHERE gateway = :g ORDER BY seq"),
            {"g": gateway.name},
        )
        assert [(row.seq, row.head + row.body) for row in rows] == [
            (s, gateway.segments[s].blob) for s in sorted(gateway.segments)
        ]
    samples = query(VIEW, site.databases, gateway.uids(), 0, 2**62)
    for uid in gateway.uids():
        one = samples[uid]
        found_here = list(zip(one.time_us.tolist(), list(one.values), one.quality.tolist(), strict=True))
        assert found_here == gateway.recorded.get(uid, [])
        assert one.missing == ()


def test_an_ingest_that_dies_at_each_statement_in_turn_loses_and_doubles_nothing(tmp_path: Path) -> None:
    gateway = FakeGateway(groups=2, width=2)
    site = Site(tmp_path, [gateway], 1)
    site.settle()
    statement = 0
    while True:
        statement += 1
        site.up += [gateway.send(Up.TAIL, tail) for tail in gateway.record(statement % 2, 2)]
        gateway.event()
        gateway.seal(statement % 2)
        site.up += gateway.owed()
        site.carry()
        before = len(site.down)
        if not site.die_at(statement):
            break
        assert len(site.down) == before, "a receipt left before the commit"
        site.settle()
    assert statement > 40
    site.settle()
    holds_what_was_recorded(site, gateway)
    assert verify(site.databases, deep=True).findings == ()
    site.stop()
