"""What one ingest does with one message after the other."""

import tempfile
from pathlib import Path
from zlib import crc32

import msgspec
import numpy as np
import pytest
import zstandard
from fakes.databases import opened
from fakes.gateway import FakeGateway, Sent
from fakes.network import Killed, dying
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from aggregator.alarms import store as alarms
from aggregator.db.engine import Databases, reading, writing
from aggregator.gateways.change import Changed
from aggregator.history import store as history
from aggregator.history.service import query
from aggregator.ingest import core
from aggregator.ingest import store as keeping
from aggregator.ingest.core import Ingest
from aggregator.ingest.service import quarantined
from aggregator.ingest.store import Holding, Kind, Quarantined
from aggregator.scope import Right, process
from contract.model.config import Configuration, Device, Gateway, Group
from contract.model.signal import Signal
from contract.segment.layout import PACKED_MAX
from contract.wire import topics
from contract.wire.command import Answer, Outcome
from contract.wire.envelope import pack, unpack
from contract.wire.receipt import Held, Receipt, SequenceSet
from contract.wire.records import Lane, SegmentRecord
from contract.wire.status import Applied, Health, LaneRange, Status
from contract.wire.topics import Up

VIEW = process("ada", [Right.VIEW, Right.AUDIT])
INGEST = process("_ingest", [Right.INGEST])
NOW = 1_700_000_100_000_000


@pytest.fixture
def ingest(databases: Databases) -> Ingest:
    return Ingest(databases)


@pytest.fixture
def gateway() -> FakeGateway:
    return FakeGateway()


def put(ingest: Ingest, *messages: Sent) -> list[Receipt]:
    """Take and commit; the receipts that came of it."""
    for message in messages:
        ingest.take(*message, NOW)
    return receipts(ingest.commit(NOW))


def receipts(outgoing: list) -> list[Receipt]:  # type: ignore[type-arg]  # Outgoing, or Sent in a fake
    return [unpack(m.payload, Receipt) for m in outgoing if m.topic.endswith("/down/receipt")]


def segments(gateway: FakeGateway, count: int) -> list[SegmentRecord]:
    for _ in range(count):
        gateway.record(0, 3)
        gateway.seal(0)
    return list(gateway.segments.values())[-count:]


def aside(databases: Databases) -> list[Quarantined]:
    return quarantined(VIEW, databases)


def holding(databases: Databases, gateway: FakeGateway, lane: Lane) -> Holding:
    with reading(databases.main if lane is Lane.EVENT else databases.history) as connection:
        return keeping.load_holding(INGEST, connection, gateway.name, gateway.store, lane)


# --- Receipts --------------------------------------------------------------------------------


def test_a_birth_is_answered_with_its_session_and_all_that_is_held(
    ingest: Ingest, gateway: FakeGateway
) -> None:
    first, second = segments(gateway, 2)
    event = gateway.event()
    put(ingest, gateway.send(Up.SEGMENT, second), gateway.send(Up.EVENT, event))
    birth = gateway.birth()
    (receipt,) = put(ingest, gateway.send(Up.BIRTH, birth))
    assert receipt == Receipt(
        ingest=ingest.id,
        store=gateway.store,
        session=birth.session,
        held={Lane.EVENT: Held(1), Lane.SEGMENT: Held(0, ((2, 2),))},
    )
    (later,) = put(ingest, gateway.send(Up.SEGMENT, first))
    assert later.session == 0
    assert later.held[Lane.SEGMENT] == Held(2)


def test_every_birth_of_one_commit_is_answered(ingest: Ingest, gateway: FakeGateway) -> None:
    births = [gateway.birth(), gateway.birth()]
    answered = put(ingest, *(gateway.send(Up.BIRTH, birth) for birth in births))
    assert [receipt.session for receipt in answered] == [birth.session for birth in births]


def test_a_new_process_names_itself_anew(databases: Databases) -> None:
    assert Ingest(databases).id != Ingest(databases).id


def test_one_that_did_not_listen_for_a_while_names_itself_anew_too(
    ingest: Ingest, gateway: FakeGateway
) -> None:
    before = ingest.id
    ingest.begin_listening()
    (receipt,) = put(ingest, gateway.send(Up.BIRTH, gateway.birth()))
    assert receipt.ingest == ingest.id != before


def test_no_receipt_leaves_while_the_database_is_in_trouble_and_all_come_after(
    ingest: Ingest, gateway: FakeGateway, databases: Databases
) -> None:
    (segment,) = segments(gateway, 1)
    birth, event = gateway.birth(), gateway.event()
    for message in (
        gateway.send(Up.BIRTH, birth),
        gateway.send(Up.EVENT, event),
        gateway.send(Up.SEGMENT, segment),
    ):
        ingest.take(*message, NOW)
    with dying((databases.history,), 3), pytest.raises(Killed):
        ingest.commit(NOW)
    assert ingest.waiting == 1  # the event is stored, the segment waits
    (receipt,) = receipts(ingest.commit(NOW))
    assert receipt.session == birth.session
    assert receipt.held == {Lane.EVENT: Held(1), Lane.SEGMENT: Held(1)}


def test_a_note_says_which_gateway_brought_what(ingest: Ingest, gateway: FakeGateway) -> None:
    other = FakeGateway("gw-2")
    ingest.take(*gateway.send(Up.EVENT, gateway.event()), NOW)
    ingest.take(*other.send(Up.TAIL, other.record(0)[0]), NOW)
    (note,) = [m for m in ingest.commit(NOW) if m.topic == topics.CHANGED]
    assert unpack(note.payload, Changed).gateways == {"gw-1": (Up.EVENT,), "gw-2": (Up.TAIL,)}
    assert ingest.commit(NOW) == []


def test_topics_that_are_none_of_ours_are_counted_only(ingest: Ingest, databases: Databases) -> None:
    for topic in ("x", "fw/1/GW/up/event", "fw/1/gw/up/other", "fw/1/a/b/up/event", "fw/1/_web/up/birth"):
        ingest.take(topic, b"?", NOW)
    assert ingest.commit(NOW) == []
    assert ingest.strangers == 5
    assert aside(databases) == []


# --- Records again, others under the same number ---------------------------------------------


def test_a_record_that_comes_again_is_receipted_again_and_stored_once(
    ingest: Ingest, gateway: FakeGateway, databases: Databases
) -> None:
    (segment,) = segments(gateway, 1)
    event = gateway.event()
    messages = (gateway.send(Up.SEGMENT, segment), gateway.send(Up.EVENT, event))
    for _ in range(2):
        (receipt,) = put(ingest, *messages, *messages)
        assert receipt.held == {Lane.EVENT: Held(1), Lane.SEGMENT: Held(1)}
    assert aside(databases) == []


def test_another_segment_under_a_number_is_put_aside_and_overwrites_nothing(
    ingest: Ingest, gateway: FakeGateway, databases: Databases
) -> None:
    first, other = segments(gateway, 2)
    false = msgspec.structs.replace(other, seq=1)
    put(ingest, gateway.send(Up.SEGMENT, first))
    (receipt,) = put(ingest, gateway.send(Up.SEGMENT, false))
    assert receipt.held[Lane.SEGMENT] == Held(1)
    (row,) = aside(databases)
    assert (row.store, row.seq, row.kept) == (gateway.store, 1, row.size)
    assert "contradicts" in row.reason
    with reading(databases.history) as connection:
        digest = connection.execute(text("SELECT digest FROM segment")).scalar_one()
    assert history.to_unsigned(digest) == first.digest


def test_another_event_under_a_number_or_an_id_is_put_aside(
    ingest: Ingest, gateway: FakeGateway, databases: Databases
) -> None:
    event = gateway.event()
    put(ingest, gateway.send(Up.EVENT, event))
    put(ingest, gateway.send(Up.EVENT, msgspec.structs.replace(event, text="another")))
    put(ingest, gateway.send(Up.EVENT, msgspec.structs.replace(event, seq=2, time_us=5)))
    assert [(row.seq, row.times) for row in aside(databases)] == [(1, 1), (2, 1)]
    held = holding(databases, gateway, Lane.EVENT)
    assert list(held.by_kind[Kind.STORED].ranges()) == [(1, 1)]
    assert list(held.by_kind[Kind.QUARANTINED].ranges()) == [(2, 2)]


def test_the_same_happening_under_a_second_number_is_held_but_not_doubled(
    ingest: Ingest, gateway: FakeGateway, databases: Databases
) -> None:
    event = gateway.event()
    again = msgspec.structs.replace(event, seq=2)
    for _ in range(2):
        (receipt,) = put(ingest, gateway.send(Up.EVENT, event), gateway.send(Up.EVENT, again))
        assert receipt.held[Lane.EVENT] == Held(2)
    with reading(databases.main) as connection:
        assert len(alarms.events(VIEW, connection)) == 1
    assert list(holding(databases, gateway, Lane.EVENT).by_kind[Kind.REPEAT].ranges()) == [(2, 2)]


def test_a_head_whose_body_was_gone_is_completed_when_the_body_turns_up(
    ingest: Ingest, gateway: FakeGateway, databases: Databases
) -> None:
    (whole,) = segments(gateway, 1)
    head = msgspec.structs.replace(whole, blob=whole.blob[: whole.head_bytes])
    put(ingest, gateway.send(Up.BIRTH, gateway.birth()), gateway.send(Up.SEGMENT, head))
    uid = gateway.uid(0, 0)
    one = query(VIEW, databases, [uid], 0, 2**62)[uid]
    assert len(one.time_us) == 0
    assert [m.reason for m in one.missing] == ["only statistics are kept of this time"]
    put(ingest, gateway.send(Up.SEGMENT, whole))
    put(ingest, gateway.send(Up.SEGMENT, head))
    one = query(VIEW, databases, [uid], 0, 2**62)[uid]
    assert len(one.time_us) == 3
    assert one.missing == ()
    assert aside(databases) == []


# --- What can never be taken -----------------------------------------------------------------


def test_a_damaged_segment_is_kept_whole_receipted_and_disturbs_no_neighbour(
    ingest: Ingest, gateway: FakeGateway, databases: Databases
) -> None:
    first, second, third = segments(gateway, 3)
    blob = bytearray(second.blob)
    blob[-20] ^= 1
    broken = msgspec.structs.replace(second, blob=bytes(blob))
    (receipt,) = put(ingest, *(gateway.send(Up.SEGMENT, s) for s in (first, broken, third)))
    assert receipt.held[Lane.SEGMENT] == Held(3)
    held = holding(databases, gateway, Lane.SEGMENT)
    assert list(held.by_kind[Kind.STORED].ranges()) == [(1, 1), (3, 3)]
    assert list(held.by_kind[Kind.QUARANTINED].ranges()) == [(2, 2)]
    (row,) = aside(databases)
    assert row.kept == row.size
    assert ingest.refusals() == [(gateway.name, row.reason)]
    put(ingest, gateway.send(Up.SEGMENT, second))  # a gateway that was repaired sends it right
    held = holding(databases, gateway, Lane.SEGMENT)
    assert list(held.by_kind[Kind.STORED].ranges()) == [(1, 3)]
    assert len(held.by_kind[Kind.QUARANTINED]) == 0


def test_what_is_no_envelope_is_counted_once_per_content_and_not_receipted(
    ingest: Ingest, gateway: FakeGateway, databases: Databases
) -> None:
    noise = Sent(topics.up("gw-1", Up.SEGMENT), b"noise" * 100_000)
    assert put(ingest, noise, noise) == []
    (row,) = aside(databases)
    assert (row.times, row.size, row.kept) == (2, 500_000, keeping.SAMPLE_MAX)


def test_the_quarantine_is_bounded_and_goes_on_counting(
    ingest: Ingest, databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "SAMPLES_MAX", 10)
    for i in range(100):
        put(ingest, Sent(topics.up("gw-1", Up.EVENT), b"%d" % i * 8))
    rows = aside(databases)
    assert len(rows) == 11
    assert sum(row.times for row in rows) == 100
    assert rows[-1].topic == keeping.OVERFLOW
    assert rows[-1].kept == 0


def unreadable(gateway: FakeGateway, count: int) -> list[Sent]:
    """Events that were damaged before they were packed: each has a number, none can be taken."""
    events = [gateway.event() for _ in range(count)]
    return [gateway.send(Up.EVENT, msgspec.structs.replace(e, actor="x" * 401)) for e in events]


def test_noise_leaves_the_room_for_records_alone(
    ingest: Ingest, gateway: FakeGateway, databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "SAMPLES_MAX", 2)
    monkeypatch.setattr(keeping, "ROWS_MAX", 3)
    put(ingest, *(Sent(topics.up("gw-1", Up.EVENT), b"noise %d" % i) for i in range(20)))
    (receipt,) = put(ingest, *unreadable(gateway, 3))
    assert receipt.held[Lane.EVENT] == Held(3)
    assert [row.kept == row.size for row in aside(databases) if row.seq] == [True] * 3


def test_what_is_not_kept_whole_is_not_receipted_and_holds_up_none_of_its_neighbours(
    ingest: Ingest, gateway: FakeGateway, databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = unreadable(gateway, 3)
    good = gateway.send(Up.EVENT, gateway.event())
    monkeypatch.setattr(keeping, "BYTES_MAX", len(first.payload) + len(second.payload))
    (receipt,) = put(ingest, first, second, third, good)
    assert receipt.held[Lane.EVENT] == Held(2, ((4, 4),))
    *_, (name, reason) = ingest.refusals()
    assert name == gateway.name
    assert "not receipted" in reason
    for _ in range(2):
        (receipt,) = put(ingest, third, second, good)
        assert receipt.held[Lane.EVENT] == Held(2, ((4, 4),))
    assert sum(row.times for row in aside(databases)) == 7
    monkeypatch.setattr(keeping, "BYTES_MAX", 10**9)
    (receipt,) = put(ingest, third)
    assert receipt.held[Lane.EVENT] == Held(4)


def test_records_are_bounded_in_number_too(
    ingest: Ingest, gateway: FakeGateway, databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "ROWS_MAX", 2)
    (receipt,) = put(ingest, *unreadable(gateway, 3))
    assert receipt.held[Lane.EVENT] == Held(2)
    assert len([row for row in aside(databases) if row.seq]) == 2


def test_bytes_of_which_only_a_sample_is_kept_do_not_stand_for_the_record(
    ingest: Ingest, gateway: FakeGateway, databases: Databases
) -> None:
    """What an earlier program could not read as a record was cut off; this one can."""
    event = msgspec.structs.replace(gateway.event(), text="x" * (keeping.SAMPLE_MAX + 1))
    message = gateway.send(Up.EVENT, event)
    with writing(databases.main) as connection:
        whole = keeping.put_aside(
            INGEST,
            connection,
            Lane.EVENT,
            gateway=gateway.name,
            topic=message.topic,
            payload=message.payload,
            reason="?",
            now_us=1,
        )
    assert not whole
    assert put(ingest, message) == []


def test_a_gateway_that_keeps_coming_back_with_a_refused_birth_takes_one_row(
    ingest: Ingest, gateway: FakeGateway, databases: Databases
) -> None:
    """Each birth has a fresh session and time, and the lanes have grown; it is the same refusal."""
    for contract in (*[99] * 20, 98):
        gateway.event()
        gateway.now_us += 10_000_000
        put(ingest, gateway.send(Up.BIRTH, msgspec.structs.replace(gateway.birth(), contract=contract)))
    assert [row.times for row in aside(databases)] == [20, 1]


@settings(max_examples=3)
@given(st.integers(0, 2**32))
def test_bit_flips_of_a_valid_segment_message_are_refused_and_its_neighbours_stored(seed: int) -> None:
    random = np.random.default_rng(seed)
    gateway = FakeGateway(seed=seed)
    first, flipped, third = segments(gateway, 3)
    message = gateway.send(Up.SEGMENT, flipped)
    bits = random.choice(len(message.payload) * 8, 700, replace=False)

    with tempfile.TemporaryDirectory() as folder, opened(Path(folder)) as databases:
        ingest = Ingest(databases)
        ingest.take(*gateway.send(Up.SEGMENT, first), NOW)
        for bit in bits.tolist():
            payload = bytearray(message.payload)
            payload[bit // 8] ^= 1 << bit % 8
            ingest.take(message.topic, bytes(payload), NOW)
        ingest.take(*gateway.send(Up.SEGMENT, third), NOW)
        (receipt,) = receipts(ingest.commit(NOW))
        assert receipt.held[Lane.SEGMENT] == Held(1, ((3, 3),))
        assert sum(row.times for row in aside(databases)) == len(bits)


@settings(max_examples=3)
@given(st.integers(0, 2**32))
def test_bit_flips_behind_a_right_envelope_never_reach_the_segments(seed: int) -> None:
    """The gateway itself is broken: the envelope is right, the record is not."""
    random = np.random.default_rng(seed)
    gateway = FakeGateway(seed=seed)
    first, flipped, third = segments(gateway, 3)
    body = bytearray(msgspec.msgpack.encode(flipped))
    bits = random.choice(len(body) * 8, 700, replace=False)

    with tempfile.TemporaryDirectory() as folder, opened(Path(folder)) as databases:
        ingest = Ingest(databases)
        ingest.take(*gateway.send(Up.SEGMENT, first), NOW)
        for bit in bits.tolist():
            wrong = bytearray(body)
            wrong[bit // 8] ^= 1 << bit % 8
            payload = b"\x01" + crc32(wrong).to_bytes(4, "big") + bytes(wrong)
            ingest.take(topics.up(gateway.name, Up.SEGMENT), payload, NOW)
        ingest.take(*gateway.send(Up.SEGMENT, third), NOW)
        (receipt,) = [r for r in receipts(ingest.commit(NOW)) if r.store == gateway.store]
        assert {1, 3} <= set(_numbers(receipt.held[Lane.SEGMENT]))
        with reading(databases.history) as connection:
            stored = connection.execute(text("SELECT store, seq, digest, head, body FROM segment")).all()
        for row in stored:
            # A flip in a field that only the gateway knows (store, seq, positions, clock) stays unseen.
            known = {s.digest: s for s in (first, flipped, third)}[history.to_unsigned(row.digest)]
            assert row.head + (row.body or b"") in (known.blob, known.blob[: known.head_bytes])
        assert sum(row.times for row in aside(databases)) > len(bits) * 0.9


def _numbers(held: Held) -> list[int]:
    return [n for first, last in SequenceSet.of(held).ranges() for n in range(first, min(last, 100) + 1)]


def test_a_bomb_is_refused_before_it_is_unpacked(
    ingest: Ingest, gateway: FakeGateway, databases: Databases
) -> None:

    (tail,) = gateway.record(0)
    bomb = zstandard.ZstdCompressor(level=19).compress(bytes(64 * 1024 * 1024))
    assert len(bomb) < 10_000
    put(ingest, gateway.send(Up.TAIL, msgspec.structs.replace(tail, columns=bomb)))
    (segment,) = segments(gateway, 1)
    put(
        ingest,
        gateway.send(Up.SEGMENT, msgspec.structs.replace(segment, blob=bomb, head_bytes=len(bomb))),
        gateway.send(Up.SEGMENT, msgspec.structs.replace(segment, blob=bytes(PACKED_MAX + 1), seq=2)),
    )
    reasons = [row.reason for row in aside(databases)]
    assert len(reasons) == 3
    assert "rows ask for" in reasons[0]
    assert f"at most {PACKED_MAX}" in reasons[2]


def test_numbers_beyond_64_bit_are_refused_and_not_only_by_the_database(
    ingest: Ingest, gateway: FakeGateway, databases: Databases
) -> None:
    event = gateway.event()
    for wide in (
        msgspec.structs.replace(event, seq=2**63),
        msgspec.structs.replace(event, time_us=2**63),
        msgspec.structs.replace(event, number=2**64 - 1),
        msgspec.structs.replace(event, text="a\0b"),
        msgspec.structs.replace(event, actor="x" * 401),
    ):
        put(ingest, gateway.send(Up.EVENT, wide))
    assert len(aside(databases)) == 5
    assert not any("cannot be stored" in row.reason for row in aside(databases))
    put(ingest, gateway.send(Up.EVENT, msgspec.structs.replace(event, value=2**64 - 1)))
    with reading(databases.main) as connection:
        assert alarms.events(VIEW, connection)[0].record.value == 2**64 - 1


# --- Births, status, configuration, answers --------------------------------------------------


def test_numbers_the_gateway_let_go_count_as_gone_so_that_the_watermark_moves(
    ingest: Ingest, gateway: FakeGateway, databases: Databases
) -> None:
    records = segments(gateway, 5)
    put(ingest, gateway.send(Up.SEGMENT, records[1]), gateway.send(Up.SEGMENT, records[4]))
    gateway.drop_below(Lane.SEGMENT, 4)
    (receipt,) = put(ingest, gateway.send(Up.BIRTH, gateway.birth()))
    assert receipt.held[Lane.SEGMENT] == Held(3, ((5, 5),))
    held = holding(databases, gateway, Lane.SEGMENT)
    assert list(held.by_kind[Kind.GONE].ranges()) == [(1, 1), (3, 3)]
    (receipt,) = put(ingest, gateway.send(Up.SEGMENT, records[2]))  # it was on its way all the time
    held = holding(databases, gateway, Lane.SEGMENT)
    assert list(held.by_kind[Kind.GONE].ranges()) == [(1, 1)]
    assert list(held.by_kind[Kind.STORED].ranges()) == [(2, 3), (5, 5)]


def test_numbers_the_gateway_cannot_read_count_as_gone_until_it_can(
    ingest: Ingest, gateway: FakeGateway, databases: Databases
) -> None:
    records = segments(gateway, 5)
    events = [gateway.event() for _ in range(3)]
    put(ingest, *(gateway.send(Up.SEGMENT, records[i]) for i in (0, 2, 4)))
    put(ingest, gateway.send(Up.EVENT, events[0]))
    birth = msgspec.structs.replace(
        gateway.birth(), unreadable={Lane.SEGMENT: ((1, 2), (4, 4)), Lane.EVENT: ((3, 3),)}
    )
    (receipt,) = put(ingest, gateway.send(Up.BIRTH, birth))
    assert receipt.held == {Lane.SEGMENT: Held(5), Lane.EVENT: Held(1, ((3, 3),))}
    held = holding(databases, gateway, Lane.SEGMENT)
    assert list(held.by_kind[Kind.GONE].ranges()) == [(2, 2), (4, 4)]
    assert list(held.by_kind[Kind.STORED].ranges()) == [(1, 1), (3, 3), (5, 5)]
    put(ingest, gateway.send(Up.SEGMENT, records[3]))  # the disk could be read after all
    held = holding(databases, gateway, Lane.SEGMENT)
    assert list(held.by_kind[Kind.GONE].ranges()) == [(2, 2)]
    assert list(held.by_kind[Kind.STORED].ranges()) == [(1, 1), (3, 5)]


def test_more_gaps_than_a_receipt_can_name_do_not_hold_the_watermark_when_they_are_unreadable(
    ingest: Ingest, gateway: FakeGateway
) -> None:
    events = [gateway.event() for _ in range(200)]
    (receipt,) = put(ingest, *(gateway.send(Up.EVENT, event) for event in events[::2]))
    assert receipt.held[Lane.EVENT].watermark == 1
    unreadable = tuple((event.seq, event.seq) for event in events[1::2])
    birth = msgspec.structs.replace(gateway.birth(), unreadable={Lane.EVENT: unreadable})
    (receipt,) = put(ingest, gateway.send(Up.BIRTH, birth))
    assert receipt.held[Lane.EVENT] == Held(200)


def test_only_so_many_unreadable_ranges_are_noted_of_one_birth(
    ingest: Ingest, gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core, "UNREADABLE_MAX", 2)
    for _ in range(6):
        gateway.event()
    birth = msgspec.structs.replace(gateway.birth(), unreadable={Lane.EVENT: ((1, 1), (3, 3), (5, 5))})
    (receipt,) = put(ingest, gateway.send(Up.BIRTH, birth))
    assert receipt.held[Lane.EVENT] == Held(1, ((3, 3),))


def test_a_gateway_speaks_for_itself_only(ingest: Ingest, gateway: FakeGateway, databases: Databases) -> None:
    other = topics.up("gw-2", Up.BIRTH)
    assert put(ingest, Sent(other, pack(gateway.birth()))) == []
    put(ingest, Sent(topics.up("gw-2", Up.STATUS), pack(Status(gateway="gw-1", online=False))))
    assert [row.gateway for row in aside(databases)] == ["gw-2", "gw-2"]
    with reading(databases.main) as connection:
        assert connection.execute(text("SELECT count(*) FROM gateway")).scalar() == 0


@pytest.mark.parametrize(
    "change",
    [
        {"contract": 3},
        {"lanes": {Lane.EVENT: LaneRange(5, 4)}},
        {"unreadable": {Lane.EVENT: ((1, 1),)}},  # a number that was never given
        {"unreadable": {Lane.EVENT: ((0, 2),)}, "lanes": {Lane.EVENT: LaneRange(1, 9)}},
        {"unreadable": {Lane.EVENT: ((3, 2),)}, "lanes": {Lane.EVENT: LaneRange(1, 9)}},
        {"unreadable": {Lane.EVENT: ((8, 9),)}, "lanes": {Lane.EVENT: LaneRange(1, 9)}},
        {"unreadable": {Lane.EVENT: ((1, 1),)}, "lanes": {}},
    ],
)
def test_a_birth_that_makes_no_sense_is_not_answered(
    ingest: Ingest, gateway: FakeGateway, databases: Databases, change: dict[str, object]
) -> None:
    birth = msgspec.structs.replace(gateway.birth(), **change)
    assert put(ingest, gateway.send(Up.BIRTH, birth)) == []
    assert len(aside(databases)) == 1


def test_a_number_with_a_second_meaning_is_refused_whole(
    ingest: Ingest, gateway: FakeGateway, databases: Databases
) -> None:
    put(ingest, gateway.send(Up.BIRTH, gateway.birth()))
    birth = gateway.birth()
    first, *others = birth.signals
    swapped = msgspec.structs.replace(birth, signals=(type(first)(first.number, "new"), *others), boot="x")
    assert put(ingest, gateway.send(Up.BIRTH, swapped)) == []
    assert "draws a new store" in aside(databases)[0].reason
    with reading(databases.main) as connection:
        assert connection.execute(text("SELECT boot FROM gateway")).scalar() == "1"


def test_status_and_last_will(ingest: Ingest, gateway: FakeGateway, databases: Databases) -> None:
    from aggregator.gateways.service import gateways

    status = Status(gateway="gw-1", online=True, boot="1", time_us=5, health=Health(unsent_events=7))
    put(ingest, Sent(topics.up("gw-1", Up.STATUS), pack(status)))
    (row,) = gateways(VIEW, databases)
    assert (row.online, row.status, row.last_seen_us) == (True, status, NOW)
    will = Status(gateway="gw-1", online=False)
    put(ingest, Sent(topics.up("gw-1", Up.STATUS), pack(will)))
    (row,) = gateways(VIEW, databases)
    assert (row.online, row.status) == (False, status)


def test_the_applied_configuration_gives_names_units_and_messages(
    ingest: Ingest, gateway: FakeGateway, databases: Databases
) -> None:
    from aggregator.gateways.service import gateways, signals

    configuration = Configuration(
        format=1,
        gateway=Gateway(id="gw-1", site="Works", name="Boiler house", zone="Europe/Rome"),
        devices={"d": Device(driver="simulation")},
        groups={"g": Group(device="d")},
        signals={
            "gw-1.0.1": Signal(group="g", name="Return", unit="°C"),
            "gw-1.0.0": Signal(group="g", name="Flow", unit="°C", writable=True),
        },
    )
    applied = Applied(gateway="gw-1", time_us=1, digest="said", configuration=configuration)
    message = Sent(topics.up("gw-1", Up.APPLIED), pack(applied))
    put(ingest, gateway.send(Up.BIRTH, gateway.birth()), message, message)
    (row,) = gateways(VIEW, databases)
    assert (row.site, row.name, row.zone) == ("Works", "Boiler house", "Europe/Rome")
    assert [(s.uid, s.name, s.unit, s.writable) for s in signals(VIEW, databases)] == [
        ("gw-1.0.1", "Return", "°C", False),
        ("gw-1.0.0", "Flow", "°C", True),
    ]
    with reading(databases.main) as connection:
        actions = connection.execute(text("SELECT action FROM audit ORDER BY id")).scalars().all()
    assert actions == ["gateway.new", "gateway.store", "configuration.applied"]


def test_an_answer_is_in_the_audit_trail_once(ingest: Ingest, databases: Databases) -> None:
    answer = Answer(id="c1", outcome=Outcome.EXPIRED, text="too late", time_us=1)
    message = Sent(topics.up("gw-1", Up.ANSWER), pack(answer))
    put(ingest, message, message)
    put(ingest, message)
    with reading(databases.main) as connection:
        rows = connection.execute(text("SELECT subject, after FROM audit")).all()
    assert [tuple(row) for row in rows] == [("gw-1 c1", "expired: too late")]


# --- Tail and segments -----------------------------------------------------------------------


def tail_positions(databases: Databases) -> list[tuple[int, int]]:
    with reading(databases.history) as connection:
        rows = connection.execute(text("SELECT first, last FROM tail ORDER BY group_number, first"))
        return [(row.first, row.last) for row in rows]


def test_a_segment_takes_the_place_of_its_tail_and_late_tail_stays_away(
    ingest: Ingest, gateway: FakeGateway, databases: Databases
) -> None:
    tails = gateway.record(0, 4)
    put(ingest, gateway.send(Up.BIRTH, gateway.birth()), *(gateway.send(Up.TAIL, t) for t in tails))
    assert len(tail_positions(databases)) == 4
    segment = gateway.seal(0)
    assert segment is not None
    (next_tail,) = gateway.record(0)
    put(ingest, gateway.send(Up.TAIL, next_tail), gateway.send(Up.SEGMENT, segment))
    assert tail_positions(databases) == [(5, 5)]
    put(ingest, *(gateway.send(Up.TAIL, t) for t in tails))
    assert tail_positions(databases) == [(5, 5)]


def test_a_segment_that_overtakes_another_leaves_the_others_tail_alone(
    ingest: Ingest, gateway: FakeGateway, databases: Databases
) -> None:
    put(ingest, gateway.send(Up.BIRTH, gateway.birth()))
    put(ingest, *(gateway.send(Up.TAIL, t) for t in gateway.record(0, 2)))
    early = gateway.seal(0)
    its_tail = [gateway.send(Up.TAIL, t) for t in gateway.record(0, 2)]
    put(ingest, *its_tail)
    late = gateway.seal(0)
    assert early is not None
    assert late is not None
    put(ingest, gateway.send(Up.SEGMENT, late))
    assert tail_positions(databases) == [(1, 1), (2, 2)]
    put(ingest, *its_tail)
    assert tail_positions(databases) == [(1, 1), (2, 2)]
    put(ingest, gateway.send(Up.SEGMENT, early))
    assert tail_positions(databases) == []


def test_tail_that_no_segment_ever_covers_goes_when_all_earlier_segments_are_here(
    ingest: Ingest, gateway: FakeGateway, databases: Databases
) -> None:
    put(ingest, *(gateway.send(Up.TAIL, t) for t in gateway.record(0, 2)))
    gateway.head[0].clear()  # a power cut took what was not synced
    (segment,) = segments(gateway, 1)
    put(ingest, gateway.send(Up.SEGMENT, segment))
    assert tail_positions(databases) == []


def test_a_restated_tail_replaces_what_it_overlaps(
    ingest: Ingest, gateway: FakeGateway, databases: Databases
) -> None:
    put(ingest, *(gateway.send(Up.TAIL, t) for t in gateway.record(0, 4)))
    put(ingest, *(gateway.send(Up.TAIL, t) for t in gateway.open_head()))
    assert tail_positions(databases) == [(1, 4)]


def test_tail_of_a_gateway_that_never_seals_is_bounded(
    ingest: Ingest, gateway: FakeGateway, databases: Databases
) -> None:
    messages = [gateway.send(Up.TAIL, t) for t in gateway.record(0, 20)]
    put(ingest, *messages)
    size = len(messages[0].payload)
    with writing(databases.history) as connection:
        assert history.trim_tail(INGEST, connection, "gw-1", bytes_max=5 * size + 10) >= 14
    left = tail_positions(databases)
    assert left
    assert left[-1] == (20, 20)


def test_what_is_held_survives_as_ranges(databases: Databases) -> None:
    held = Holding()
    held.add(Kind.GONE, 1, 10)
    held.add(Kind.STORED, 4, 5)
    held.add(Kind.QUARANTINED, 5, 12)
    with writing(databases.main) as connection:
        keeping.save_holding(INGEST, connection, "gw", 1, Lane.EVENT, held)
    with writing(databases.main) as connection:
        found = keeping.load_holding(INGEST, connection, "gw", 1, Lane.EVENT)
    ranges = {kind: list(one.ranges()) for kind, one in found.by_kind.items() if len(one)}
    assert ranges == {
        Kind.GONE: [(1, 3), (6, 10)],
        Kind.STORED: [(4, 5)],
        Kind.QUARANTINED: [(11, 12)],
    }
