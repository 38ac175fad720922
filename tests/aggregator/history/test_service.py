"""Samples over time: segments and tail as one line, whoever keeps them and however they came."""

import numpy as np
import pytest
from fakes.gateway import SECOND, START_US, FakeGateway, Sent
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from aggregator.db.engine import Connection, Databases, reading, writing
from aggregator.history import service, store
from aggregator.history.service import Sample, last_before, query
from aggregator.history.store import Epoch
from aggregator.ingest.core import Ingest
from aggregator.scope import Forbidden, Right, Scope, process
from contract.model.batch import batch_of
from contract.model.config import Configuration, Device, Gateway, Group
from contract.model.signal import DataType, Signal
from contract.segment.encode import encode
from contract.segment.layout import Axis, Column, Kind
from contract.wire import topics
from contract.wire.envelope import pack
from contract.wire.records import SegmentRecord, pack_tail
from contract.wire.status import Applied
from contract.wire.topics import Up

VIEW = process("ada", [Right.VIEW])
EVER = 2**62


def put(databases: Databases, *messages: Sent) -> None:
    ingest = Ingest(databases)
    for message in messages:
        ingest.take(*message, 1)
    ingest.commit(1)


def fill(databases: Databases, gateway: FakeGateway, pattern: str) -> None:
    """A birth, then per letter: r records 5 rows in each group, s seals and sends, t sends the tail."""
    messages = [gateway.send(Up.BIRTH, gateway.birth())]
    for letter in pattern:
        for group in range(gateway.groups):
            if letter == "r":
                gateway.record(group, 5)
            elif letter == "t":
                messages += [gateway.send(Up.TAIL, t) for t in gateway.open_head() if t.group == group]
            else:
                segment = gateway.seal(group)
                assert segment is not None
                messages.append(gateway.send(Up.SEGMENT, segment))
    put(databases, *messages)


def listed(one: service.Samples) -> list[tuple[int, float, int]]:
    return list(zip(one.time_us.tolist(), list(one.values), one.quality.tolist(), strict=True))


def test_segments_and_tail_are_one_line_and_the_end_is_not_in_it(databases: Databases) -> None:
    gateway = FakeGateway()
    fill(databases, gateway, "rsrsrt")
    for uid in gateway.uids():
        truth = gateway.recorded[uid]
        assert listed(query(VIEW, databases, [uid], 0, EVER)[uid]) == truth
        for a, b in ((0, 3), (3, 8), (4, 11), (11, 14), (14, 15), (7, 7)):
            asked = query(VIEW, databases, [uid], truth[a][0], truth[min(b, 14)][0])[uid]
            assert listed(asked) == truth[a : min(b, 14)]


def test_nobody_asks_without_the_right_nor_beyond_tenant_and_sites(databases: Databases) -> None:
    gateway = FakeGateway()
    fill(databases, gateway, "rsrt")
    uid = gateway.uid(0, 0)
    with pytest.raises(Forbidden):
        query(Scope("default", None, frozenset(), "eve"), databases, [uid], 0, EVER)
    for scope in (VIEW._replace(tenant="other"), VIEW._replace(sites=frozenset({"Works"}))):
        assert listed(query(scope, databases, [uid], 0, EVER)[uid]) == []
        assert last_before(scope, databases, [uid], EVER) == {}
    with reading(databases.history) as connection:
        other = VIEW._replace(tenant="other")
        source = store.Source(gateway.name, gateway.store, 0)
        assert store.epochs(other, connection, [source]) == {}
        epoch = Epoch(gateway.name, gateway.store, 0, 1)
        assert store.segments_between(other, connection, epoch, 0, EVER) == []
        assert list(store.segments_before(other, connection, epoch, EVER)) == []
        assert store.tail_between(other, connection, epoch, 0, EVER) == []


def test_an_answer_is_cut_at_the_limit_and_says_where_to_go_on(databases: Databases) -> None:
    gateway = FakeGateway()
    fill(databases, gateway, "rsrsrsrt")
    uid = gateway.uid(0, 1)
    truth = gateway.recorded[uid]
    gathered: list[tuple[int, float, int]] = []
    from_us: int | None = 0
    pages = 0
    while from_us is not None:
        page = query(VIEW, databases, [uid], from_us, EVER, limit=7)[uid]
        gathered += listed(page)
        from_us = page.more_from_us
        pages += 1
    assert gathered == truth
    assert pages == 3


def test_a_short_answer_does_not_open_every_segment(
    databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = FakeGateway(groups=1)
    fill(databases, gateway, "rs" * 20)
    opened: list[int] = []
    real = store.blob_of

    def blob_of(
        scope: Scope, connection: Connection, row: store.SegmentRow
    ) -> tuple[bytes, bytes | None] | None:
        opened.append(row.seq)
        return real(scope, connection, row)

    monkeypatch.setattr(store, "blob_of", blob_of)
    query(VIEW, databases, [gateway.uid(0, 0)], 0, EVER, limit=3)
    assert opened == [1]
    opened.clear()
    last_before(VIEW, databases, [gateway.uid(0, 0)], EVER)
    assert opened == [20]


def test_the_last_value_before_an_instant(databases: Databases) -> None:
    gateway = FakeGateway()
    fill(databases, gateway, "rsrsrt")
    uid = gateway.uid(1, 2)
    truth = gateway.recorded[uid]
    for i, (time_us, value, quality) in enumerate(truth):
        assert last_before(VIEW, databases, [uid], time_us + 1) == {uid: Sample(time_us, value, quality)}
        before = last_before(VIEW, databases, [uid], time_us)
        assert before == ({uid: Sample(*truth[i - 1])} if i else {})


def segment_of(
    gateway: FakeGateway, seq: int, times: list[int], values: list[float], *, position: int, epoch: int = 1
) -> Sent:
    axis = Axis(np.array(times, np.int64), 0)
    column = Column(0, Kind.FLOAT64, 0, np.array(values), None)
    packed = encode([axis], [column], group=0, epoch=epoch)
    record = SegmentRecord(
        store=gateway.store,
        seq=seq,
        group=0,
        epoch=epoch,
        head_first=position,
        head_last=position,
        head_bytes=len(packed.head),
        count=packed.count,
        digest=packed.digest,
        t_min_us=packed.t_min_us,
        t_max_us=packed.t_max_us,
        blob=packed.blob,
    )
    return gateway.send(Up.SEGMENT, record)


def straddling(gateway: FakeGateway) -> tuple[list[Sent], Sent, Sent]:
    """Tail of the positions 1, 2 … 6 and 7…10, and segments of 1…8 and 9…10.

    A gateway may come to that: a head too large for one segment is sealed into two.
    """
    tails = gateway.record(0, 6)
    gateway.record(0, 4)
    whole = gateway.head[0]
    gateway.head[0] = whole[6:]
    tails += gateway.open_head()
    sealed = []
    for part in (whole[:8], whole[8:]):
        gateway.head[0] = part
        segment = gateway.seal(0)
        assert segment is not None
        sealed.append(gateway.send(Up.SEGMENT, segment))
    return [gateway.send(Up.TAIL, t) for t in tails], sealed[0], sealed[1]


ORDERS = ["t", "tA", "At", "tB", "Bt", "tAB", "tBA", "AtB", "BtA", "ABt", "BAt", "tAtB", "AtBt"]


@pytest.mark.parametrize("order", ORDERS)
def test_tail_across_a_boundary_is_neither_doubled_nor_missing(databases: Databases, order: str) -> None:
    gateway = FakeGateway(groups=1)
    put(databases, gateway.send(Up.BIRTH, gateway.birth()))
    tails, a, b = straddling(gateway)
    for letter in order:
        put(databases, *{"t": tails, "A": [a], "B": [b]}[letter])
    for uid in gateway.uids():
        truth = gateway.recorded[uid]
        assert listed(query(VIEW, databases, [uid], 0, EVER)[uid]) == truth
        for start, end in ((0, 5), (5, 8), (6, 7), (7, 9), (8, 9)):
            window = query(VIEW, databases, [uid], truth[start][0], truth[end][0])[uid]
            assert listed(window) == truth[start:end]
        assert last_before(VIEW, databases, [uid], EVER) == {uid: Sample(*truth[-1])}


def test_tail_stands_in_for_the_sealed_part_that_cannot_be_read(databases: Databases) -> None:
    gateway = FakeGateway(groups=1)
    tails, a, _ = straddling(gateway)
    put(databases, gateway.send(Up.BIRTH, gateway.birth()), *tails, a)
    with writing(databases.history) as connection:
        connection.execute(text("UPDATE segment SET body = NULL"))
    uid = gateway.uid(0, 0)
    one = query(VIEW, databases, [uid], 0, EVER)[uid]
    assert listed(one) == gateway.recorded[uid][6:]
    assert [m.reason for m in one.missing] == ["only statistics are kept of this time"]


@pytest.mark.parametrize("position", [1, 3])
def test_what_has_the_same_time_and_does_not_overlap_is_another_sample(
    databases: Databases, position: int
) -> None:
    """Positions decide: a clock set back gives times that were there already."""
    gateway = FakeGateway(groups=1, width=1)
    tail = pack_tail(gateway.store, 1, 2, 2, batch_of(0, [0], [START_US], [2.0]))
    put(
        databases,
        gateway.send(Up.BIRTH, gateway.birth()),
        segment_of(gateway, 2, [START_US], [1.0], position=position),
        gateway.send(Up.TAIL, tail),
    )
    uid = gateway.uid(0, 0)
    assert listed(query(VIEW, databases, [uid], 0, EVER)[uid]) == [(START_US, 1.0, 0), (START_US, 2.0, 0)]


SPANS = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 40), st.integers(1, 3)), min_size=1, max_size=12
)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(SPANS, st.lists(st.integers(-5, 110), min_size=1, max_size=8))
def test_segments_that_overlap_and_come_late_are_found_and_merged(
    databases: Databases, spans: list[tuple[int, int, int]], instants: list[int]
) -> None:
    """Late samples get segments of their own, which reach into the time of others."""
    gateway = FakeGateway(groups=1, width=1, seed=len(spans) + 7 * instants[0])
    gateway.name = f"gw-{abs(hash((tuple(spans), tuple(instants))))}"[:60]
    messages = [gateway.send(Up.BIRTH, gateway.birth())]
    truth: list[tuple[int, float]] = []
    for seq, (start, length, epoch) in enumerate(spans, 1):
        times = [start * 1000 + seq, (start + length) * 1000 + seq + 100]
        truth += [(t, float(seq)) for t in times]
        messages.append(segment_of(gateway, seq, times, [float(seq)] * 2, position=seq, epoch=epoch))
    put(databases, *messages)
    uid = gateway.uid(0, 0)
    truth.sort()
    for instant in (i * 1000 for i in instants):
        found = last_before(VIEW, databases, [uid], instant)
        earlier = [one for one in truth if one[0] < instant]
        assert [(s.time_us, s.value) for s in found.values()] == earlier[-1:]
        window = query(VIEW, databases, [uid], instant, instant + 9000)[uid]
        assert [(t, v) for t, v, _ in listed(window)] == [
            one for one in truth if instant <= one[0] < instant + 9000
        ]


def test_an_early_segment_that_reaches_far_has_the_last_value(databases: Databases) -> None:
    gateway = FakeGateway(groups=1, width=1)
    put(
        databases,
        gateway.send(Up.BIRTH, gateway.birth()),
        segment_of(gateway, 1, [1, 40], [1.0, 2.0], position=1),
        segment_of(gateway, 2, [5, 6], [3.0, 4.0], position=2),
        segment_of(gateway, 3, [10, 11], [5.0, 6.0], position=3),
    )
    uid = gateway.uid(0, 0)
    assert last_before(VIEW, databases, [uid], 50) == {uid: Sample(40, 2.0, 0)}
    assert last_before(VIEW, databases, [uid], 40) == {uid: Sample(11, 6.0, 0)}


def test_one_segment_with_a_wild_clock_hides_no_other(databases: Databases) -> None:
    gateway = FakeGateway(groups=1, width=1)
    put(
        databases,
        gateway.send(Up.BIRTH, gateway.birth()),
        segment_of(gateway, 1, [0, START_US], [1.0, 2.0], position=1),
        segment_of(gateway, 2, [START_US + 5, START_US + 6], [3.0, 4.0], position=2),
    )
    uid = gateway.uid(0, 0)
    window = query(VIEW, databases, [uid], START_US, START_US + 6)[uid]
    assert [(t, v) for t, v, _ in listed(window)] == [(START_US, 2.0), (START_US + 5, 3.0)]


def test_a_new_store_goes_on_where_the_old_one_ended(databases: Databases) -> None:
    gateway = FakeGateway()
    fill(databases, gateway, "rsrs")
    gateway.new_store()
    fill(databases, gateway, "rsrt")
    uid = gateway.uid(0, 0)
    assert listed(query(VIEW, databases, [uid], 0, EVER)[uid]) == gateway.recorded[uid]


def test_a_binding_cuts_what_is_not_the_signals(databases: Databases) -> None:
    gateway = FakeGateway()
    fill(databases, gateway, "rsrt")
    uid = gateway.uid(0, 0)
    truth = gateway.recorded[uid]
    with writing(databases.main) as connection:
        values = {"a": truth[2][0], "b": truth[7][0], "u": uid}
        connection.execute(text("UPDATE binding SET from_us = :a, to_us = :b WHERE uid = :u"), values)
    assert listed(query(VIEW, databases, [uid], 0, EVER)[uid]) == truth[2:7]
    assert last_before(VIEW, databases, [uid], EVER) == {uid: Sample(*truth[6])}
    assert last_before(VIEW, databases, [uid], truth[2][0]) == {}


def test_a_damaged_segment_is_named_and_its_neighbours_are_served(databases: Databases) -> None:
    gateway = FakeGateway(groups=1)
    fill(databases, gateway, "rsrsrs")
    with writing(databases.history) as connection:
        connection.execute(text("UPDATE segment SET body = x'00' WHERE seq = 2"))
    uid = gateway.uid(0, 0)
    one = query(VIEW, databases, [uid], 0, EVER)[uid]
    truth = gateway.recorded[uid]
    assert listed(one) == truth[:5] + truth[10:]
    (missing,) = one.missing
    assert (missing.from_us, missing.to_us) == (truth[5][0], truth[9][0])
    assert "damaged" in missing.reason


TYPED = [
    (DataType.FLOAT, [1.5, float("nan")], [1.5, None]),
    (DataType.INTEGER, [3, 2**60], [3, 2**60]),
    (DataType.INTEGER, [3, float("nan")], [3.0, None]),
    (DataType.BOOLEAN, [True, False], [True, False]),
    (DataType.TEXT, ["", "Störung ⚡"], ["", "Störung ⚡"]),
]


@pytest.mark.parametrize(("kind", "values", "wanted"), TYPED)
def test_tail_has_the_values_its_segment_will_have(
    databases: Databases, kind: DataType, values: list[float], wanted: list[float]
) -> None:
    gateway = FakeGateway(groups=1, width=1)
    uid = gateway.uid(0, 0)
    configuration = Configuration(
        format=1,
        gateway=Gateway(id=gateway.name),
        devices={"d": Device(driver="simulation")},
        groups={"g": Group(device="d")},
        signals={uid: Signal(group="g", type=kind)},
    )
    applied = Applied(gateway=gateway.name, time_us=1, digest="", configuration=configuration)
    batch = batch_of(0, [0, 0], [START_US, START_US + SECOND], values)
    put(
        databases,
        gateway.send(Up.BIRTH, gateway.birth()),
        Sent(topics.up(gateway.name, Up.APPLIED), pack(applied)),
        gateway.send(Up.TAIL, pack_tail(gateway.store, 1, 1, 2, batch)),
    )
    found = list(query(VIEW, databases, [uid], 0, EVER)[uid].values)
    assert [None if v != v else v for v in found] == wanted  # noqa: PLR0124  # NaN is what differs from itself
    last = last_before(VIEW, databases, [uid], EVER)[uid].value
    assert (None if last != last else last) == wanted[-1]  # noqa: PLR0124  # the same


def test_a_signal_nobody_knows_has_no_samples(databases: Databases) -> None:
    assert listed(query(VIEW, databases, ["nothing"], 0, EVER)["nothing"]) == []
