"""The outbox against a model aggregator: whatever happens on the way, exactly what was given arrives."""

import random
from typing import NamedTuple

import pytest

from contract.wire.receipt import Receipt, SequenceSet
from contract.wire.records import Lane
from contract.wire.status import LaneRange
from edge.sync.outbox import (
    GREETING_PATIENCE_US,
    PATIENCE_US,
    WINDOW_BYTES,
    WINDOW_MESSAGES,
    Outbox,
)

STORE = 7
SECOND = 1_000_000


def outbox() -> Outbox:
    return Outbox(STORE, {lane: SequenceSet() for lane in Lane})


def receipt(*, ingest: int = 1, session: int = 0, store: int = STORE, **held: SequenceSet) -> Receipt:
    return Receipt(
        ingest=ingest, store=store, session=session, held={Lane(k): v.held() for k, v in held.items()}
    )


def opened() -> Outbox:
    box = outbox()
    box.begin(99, 0)
    assert box.receive(receipt(session=99, event=SequenceSet(), segment=SequenceSet()), 1)
    return box


def test_nothing_but_the_tail_is_sent_before_the_aggregator_has_said_what_it_holds() -> None:
    box = outbox()
    box.begin(99, 0)
    assert box.next(Lane.SEGMENT, LaneRange(1, 10), 8) == []
    assert not box.is_open


def test_segments_go_oldest_first_and_events_newest_first() -> None:
    box = opened()
    assert box.next(Lane.SEGMENT, LaneRange(3, 8), 3) == [3, 4, 5]
    assert box.next(Lane.EVENT, LaneRange(3, 8), 3) == [7, 6, 5]


def test_what_is_on_its_way_is_not_sent_again_and_the_window_bounds_it() -> None:
    box = opened()
    for seq in box.next(Lane.SEGMENT, LaneRange(1, 100), 100):
        box.sent(Lane.SEGMENT, seq, 10, 5)
    assert box.in_flight == WINDOW_MESSAGES
    assert box.next(Lane.EVENT, LaneRange(1, 100), 8) == []
    box.receive(receipt(segment=SequenceSet([(1, 4), (6, 6)])), 6)
    assert box.in_flight == WINDOW_MESSAGES - 5
    assert box.next(Lane.SEGMENT, LaneRange(1, 100), 8) == [33, 34, 35, 36, 37]


def test_large_segments_fill_the_window_by_their_bytes() -> None:
    box = opened()
    box.sent(Lane.SEGMENT, 1, WINDOW_BYTES, 5)
    assert box.next(Lane.SEGMENT, LaneRange(1, 100), 8) == []


def test_a_receipt_of_another_store_or_of_an_old_session_says_nothing() -> None:
    box = opened()
    everything = SequenceSet([(1, 50)])
    assert box.receive(receipt(store=8, segment=everything), 2) is None
    assert box.receive(receipt(session=98, segment=everything), 2) is None
    assert box.receive(receipt(session=99, segment=everything), 2) is None, "the session was answered"
    assert box.next(Lane.SEGMENT, LaneRange(1, 3), 8) == [1, 2]


def test_a_receipt_of_another_ingest_process_is_not_believed_but_asks_for_a_session() -> None:
    box = opened()
    stale = receipt(ingest=2, segment=SequenceSet([(1, 50)]))
    assert box.receive(stale, 2) is None
    assert box.wants_session(stale)
    assert box.next(Lane.SEGMENT, LaneRange(1, 3), 8) == [1, 2]


def test_an_aggregator_restored_from_a_backup_gets_the_missing_again() -> None:
    box = opened()
    box.receive(receipt(segment=SequenceSet([(1, 50)])), 2)
    assert box.next(Lane.SEGMENT, LaneRange(1, 51), 8) == []
    box.begin(100, 3)
    settled = box.receive(
        receipt(ingest=2, session=100, event=SequenceSet(), segment=SequenceSet([(1, 47)])), 4
    )
    assert settled is not None
    assert settled.backwards
    assert box.next(Lane.SEGMENT, LaneRange(1, 51), 8) == [48, 49, 50]


def test_a_later_receipt_that_says_less_takes_nothing_back() -> None:
    box = opened()
    box.receive(receipt(segment=SequenceSet([(1, 50)])), 2)
    settled = box.receive(receipt(segment=SequenceSet([(1, 20)])), 3)
    assert settled is not None
    assert settled.lanes == ()
    assert box.next(Lane.SEGMENT, LaneRange(1, 51), 8) == []


@pytest.mark.parametrize("later", [0, 1])
def test_silence_opens_a_new_session_exactly_after_the_patience(later: int) -> None:
    box = outbox()
    box.begin(99, 0)
    assert box.needs_session(GREETING_PATIENCE_US + later) == bool(later)
    box = opened()
    assert not box.needs_session(10 * PATIENCE_US), "nothing is out, nobody owes an answer"
    box.sent(Lane.EVENT, 1, 10, SECOND)
    assert box.needs_session(SECOND + PATIENCE_US + later) == bool(later)


@pytest.mark.parametrize("later", [0, 1])
def test_a_record_the_broker_forgot_is_missed_although_receipts_of_others_keep_coming(later: int) -> None:
    box = opened()
    for seq in (1, 2):
        box.sent(Lane.SEGMENT, seq, 10, SECOND)
    box.receive(receipt(segment=SequenceSet([(2, 2)])), 2 * SECOND)
    end = 2 * SECOND + PATIENCE_US + later
    for now in range(3 * SECOND, end, SECOND):
        seq = 2 + now // SECOND
        box.sent(Lane.SEGMENT, seq, 10, now)
        box.receive(receipt(segment=SequenceSet([(seq, seq)])), now)
        assert not box.needs_session(now)
    assert box.needs_session(end) == bool(later)
    box.begin(100, end)
    box.receive(receipt(session=100, segment=SequenceSet([(2, 2)]), event=SequenceSet()), end)
    assert box.next(Lane.SEGMENT, LaneRange(1, 3), 8) == [1]
    assert not box.needs_session(end + PATIENCE_US)


def test_a_record_that_is_only_late_is_not_missed() -> None:
    box = opened()
    for seq in (1, 2):
        box.sent(Lane.SEGMENT, seq, 10, SECOND)
    box.receive(receipt(segment=SequenceSet([(2, 2)])), 2 * SECOND)
    box.receive(receipt(segment=SequenceSet([(1, 2)])), 3 * SECOND)
    box.sent(Lane.SEGMENT, 3, 10, 2 * PATIENCE_US)
    assert not box.needs_session(2 * PATIENCE_US + 1)


def test_what_the_store_cannot_read_is_passed_over_and_what_was_cut_by_size_is_not() -> None:
    box = opened()
    asked = box.next(Lane.SEGMENT, LaneRange(1, 6), 8)
    assert asked == [1, 2, 3, 4, 5]
    box.read(Lane.SEGMENT, asked, {1, 3})
    for seq in (1, 3):
        box.sent(Lane.SEGMENT, seq, 10, 5)
    assert box.next(Lane.SEGMENT, LaneRange(1, 6), 8) == [4, 5]
    box.read(Lane.SEGMENT, [4, 5], set())
    assert box.next(Lane.SEGMENT, LaneRange(1, 6), 8) == [5]


class Post(NamedTuple):
    """One message under way, either way."""

    up: tuple[Lane, int] | None
    down: Receipt | None


class Aggregator:
    """Commits what comes and says so; may be restarted, or restored from an old copy."""

    def __init__(self) -> None:
        self.ingest = 1
        self.held = {lane: SequenceSet() for lane in Lane}
        self.copy = {lane: SequenceSet() for lane in Lane}

    def receipt(self, session: int = 0) -> Receipt:
        held = {lane: s.held() for lane, s in self.held.items()}
        return Receipt(ingest=self.ingest, store=STORE, session=session, held=held)


@pytest.mark.parametrize("seed", range(150))
def test_drops_doubles_reordering_restarts_and_old_copies_lose_nothing(seed: int) -> None:
    rng = random.Random(seed)
    box, aggregator = outbox(), Aggregator()
    ranges = dict.fromkeys(Lane, 1)
    post: list[Post] = []
    now = session = 0

    def greet() -> None:
        nonlocal session
        session += 1
        box.begin(session, now)
        if rng.random() < 0.8:
            post.append(Post(None, aggregator.receipt(session)))

    def turn(trouble: float) -> None:
        nonlocal now
        now += rng.randrange(SECOND)
        if box.needs_session(now):
            greet()
        for lane in Lane:
            for seq in box.next(lane, LaneRange(1, ranges[lane]), rng.randrange(1, 9)):
                box.sent(lane, seq, rng.randrange(1, 500_000), now)
                post.append(Post((lane, seq), None))
        rng.shuffle(post)
        for item in [post.pop() for _ in range(min(len(post), rng.randrange(12)))]:
            for _ in range(0 if rng.random() < trouble else rng.choice((1, 1, 1, 2))):
                if item.up is not None:
                    aggregator.held[item.up[0]].add(item.up[1])
                    post.append(Post(None, aggregator.receipt()))
                elif item.down is not None:
                    settled = box.receive(item.down, now)
                    if settled is None and box.wants_session(item.down):
                        greet()

    for _ in range(150):
        for lane in Lane:
            ranges[lane] += rng.randrange(4)
        chance = rng.random()
        if chance < 0.03:
            aggregator.ingest += 1
            post = [p for p in post if rng.random() < 0.5]
        elif chance < 0.06:
            aggregator.copy = {lane: s.copy() for lane, s in aggregator.held.items()}
        elif chance < 0.08:
            aggregator.held = {lane: s.copy() for lane, s in aggregator.copy.items()}
            aggregator.ingest += 1
            post.append(Post(None, aggregator.receipt(session)))
        turn(0.2)
    greet_again = now + 2 * PATIENCE_US
    now = max(now, greet_again)
    post.clear()
    session += 1
    box.begin(session, now)
    post.append(Post(None, aggregator.receipt(session)))
    for _ in range(2000):
        turn(0.0)
        if all(aggregator.held[lane] == SequenceSet([(1, ranges[lane] - 1)]) for lane in Lane):
            break
    for lane in Lane:
        assert list(aggregator.held[lane].missing(1, ranges[lane] - 1)) == []
        assert all(seq in aggregator.held[lane] for seq in range(1, ranges[lane]))
