"""The outbox against a model aggregator: whatever happens on the way, exactly what was given arrives."""

import random
from typing import NamedTuple

import pytest

from contract.wire.receipt import Receipt, SequenceSet
from contract.wire.records import Lane
from contract.wire.status import LaneRange
from edge.sync.outbox import (
    GREETING_PATIENCE_US,
    LOST_RANGES_MAX,
    LOST_US,
    PATIENCE_US,
    UNTOLD_MAX,
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
    assert box.next(Lane.SEGMENT, LaneRange(1, 10), 8, 5) == []
    assert not box.is_open


def test_segments_go_oldest_first_and_events_newest_first() -> None:
    box = opened()
    assert box.next(Lane.SEGMENT, LaneRange(3, 8), 3, 5) == [3, 4, 5]
    assert box.next(Lane.EVENT, LaneRange(3, 8), 3, 5) == [7, 6, 5]


def test_what_is_on_its_way_is_not_sent_again_and_the_window_bounds_it() -> None:
    box = opened()
    for seq in box.next(Lane.SEGMENT, LaneRange(1, 100), 100, 5):
        box.sent(Lane.SEGMENT, seq, 10, 5)
    assert box.in_flight == WINDOW_MESSAGES
    assert box.next(Lane.EVENT, LaneRange(1, 100), 8, 5) == []
    box.receive(receipt(segment=SequenceSet([(1, 4), (6, 6)])), 6)
    assert box.in_flight == WINDOW_MESSAGES - 5
    assert box.next(Lane.SEGMENT, LaneRange(1, 100), 8, 5) == [33, 34, 35, 36, 37]


def test_large_segments_fill_the_window_by_their_bytes() -> None:
    box = opened()
    box.sent(Lane.SEGMENT, 1, WINDOW_BYTES, 5)
    assert box.next(Lane.SEGMENT, LaneRange(1, 100), 8, 5) == []


def test_a_receipt_of_another_store_or_of_an_old_session_says_nothing() -> None:
    box = opened()
    everything = SequenceSet([(1, 50)])
    assert box.receive(receipt(store=8, segment=everything), 2) is None
    assert box.receive(receipt(session=98, segment=everything), 2) is None
    assert box.receive(receipt(session=99, segment=everything), 2) is None, "the session was answered"
    assert box.next(Lane.SEGMENT, LaneRange(1, 3), 8, 5) == [1, 2]


def test_a_receipt_of_another_ingest_process_is_not_believed_but_asks_for_a_session() -> None:
    box = opened()
    stale = receipt(ingest=2, segment=SequenceSet([(1, 50)]))
    assert box.receive(stale, 2) is None
    assert box.wants_session(stale)
    assert box.next(Lane.SEGMENT, LaneRange(1, 3), 8, 5) == [1, 2]


def test_an_aggregator_restored_from_a_backup_gets_the_missing_again() -> None:
    box = opened()
    box.receive(receipt(segment=SequenceSet([(1, 50)])), 2)
    assert box.next(Lane.SEGMENT, LaneRange(1, 51), 8, 5) == []
    box.begin(100, 3)
    settled = box.receive(
        receipt(ingest=2, session=100, event=SequenceSet(), segment=SequenceSet([(1, 47)])), 4
    )
    assert settled is not None
    assert settled.backwards
    assert box.next(Lane.SEGMENT, LaneRange(1, 51), 8, 5) == [48, 49, 50]


def test_a_later_receipt_that_says_less_takes_nothing_back() -> None:
    box = opened()
    box.receive(receipt(segment=SequenceSet([(1, 50)])), 2)
    settled = box.receive(receipt(segment=SequenceSet([(1, 20)])), 3)
    assert settled is not None
    assert settled.lanes == ()
    assert box.next(Lane.SEGMENT, LaneRange(1, 51), 8, 5) == []


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
    assert box.next(Lane.SEGMENT, LaneRange(1, 3), 8, 5) == [1]
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
    asked = box.next(Lane.SEGMENT, LaneRange(1, 6), 8, 5)
    assert asked == [1, 2, 3, 4, 5]
    box.read(Lane.SEGMENT, asked, {1, 3}, 5)
    for seq in (1, 3):
        box.sent(Lane.SEGMENT, seq, 10, 5)
    assert box.next(Lane.SEGMENT, LaneRange(1, 6), 8, 5) == [4, 5]
    box.read(Lane.SEGMENT, [4, 5], set(), 5)
    assert box.next(Lane.SEGMENT, LaneRange(1, 6), 8, 5) == []


@pytest.mark.parametrize("later", [0, 1])
def test_a_read_error_that_passes_holds_a_record_back_for_a_while_only(later: int) -> None:
    box = opened()
    box.read(Lane.EVENT, box.next(Lane.EVENT, LaneRange(1, 4), 8, SECOND), set(), SECOND)
    end = SECOND + PATIENCE_US + later
    assert box.next(Lane.EVENT, LaneRange(1, 4), 8, end) == ([3, 2, 1] if later else [])


def test_what_was_read_after_all_is_not_called_lost() -> None:
    box = opened()
    lanes = dict.fromkeys(Lane, LaneRange(1, 4))
    for now, found in ((0, set[int]()), (LOST_US - 1, set()), (LOST_US, {1, 3})):
        assert box.lost(lanes) == {}
        box.read(Lane.SEGMENT, [1, 2, 3], found, now)
    assert box.lost(lanes) == {Lane.SEGMENT: ((2, 2),)}
    box.read(Lane.SEGMENT, [2], {2}, LOST_US + 1)
    assert box.lost(lanes) == {}


def test_the_ring_and_the_aggregator_end_the_talk_of_lost_records() -> None:
    box = opened()
    for now in (0, LOST_US):
        box.read(Lane.SEGMENT, [1, 2, 3, 5], set(), now)
    assert box.lost(dict.fromkeys(Lane, LaneRange(1, 9))) == {Lane.SEGMENT: ((1, 3), (5, 5))}
    assert box.lost(dict.fromkeys(Lane, LaneRange(2, 9))) == {Lane.SEGMENT: ((2, 3), (5, 5))}
    box.receive(receipt(segment=SequenceSet([(1, 3)])), LOST_US)
    assert box.lost(dict.fromkeys(Lane, LaneRange(2, 9))) == {Lane.SEGMENT: ((5, 5),)}


@pytest.mark.parametrize("count", [UNTOLD_MAX, UNTOLD_MAX + 1])
def test_many_lost_records_are_told_at_once_and_once(count: int) -> None:
    box = opened()
    lanes = dict.fromkeys(Lane, LaneRange(1, 999))
    for now in (0, LOST_US):
        box.read(Lane.SEGMENT, list(range(1, count + 1)), set(), now)
    assert box.needs_session(LOST_US) == (count > UNTOLD_MAX)
    box.begin(100, LOST_US)
    assert box.lost(lanes) == {Lane.SEGMENT: ((1, count),)}
    box.receive(receipt(session=100, segment=SequenceSet()), LOST_US)
    assert not box.needs_session(LOST_US), "an aggregator that does not listen is not told for ever"
    box.begin(101, LOST_US)
    box.receive(receipt(ingest=2, session=101, segment=SequenceSet()), LOST_US)
    assert box.needs_session(LOST_US) == (count > UNTOLD_MAX), "one that was restored is told again"


def test_a_birth_names_so_many_ranges_and_the_next_one_others() -> None:
    box = opened()
    lanes = dict.fromkeys(Lane, LaneRange(1, 9999))
    for now in (0, LOST_US):
        box.read(Lane.SEGMENT, list(range(1, 2 * LOST_RANGES_MAX + 100, 2)), set(), now)
    told = box.lost(lanes)[Lane.SEGMENT]
    assert told[0] == (1, 1)
    assert len(told) == LOST_RANGES_MAX
    box.begin(100, LOST_US)
    assert box.receive(receipt(session=100, segment=SequenceSet([(1, told[-1][1])])), LOST_US)
    assert box.needs_session(LOST_US), "there are more"
    assert box.lost(lanes)[Lane.SEGMENT][0] == (told[-1][1] + 2, told[-1][1] + 2)


def test_more_damaged_segments_than_a_receipt_has_gaps_for_do_not_stop_the_lane() -> None:
    last, damaged = 1000, set(range(3, 400, 3))
    box, held = outbox(), SequenceSet()
    now = session = 0
    while len(held) < last - UNTOLD_MAX:
        now += SECOND // 10
        assert now < 3 * LOST_US, f"stands at {len(held)} of {last}"
        if not box.is_open or box.needs_session(now):
            session += 1
            box.begin(session, now)
            for first, end in box.lost(dict.fromkeys(Lane, LaneRange(1, last + 1))).get(Lane.SEGMENT, ()):
                held.add(first, end)
            box.receive(receipt(session=session, segment=held), now)
        asked = box.next(Lane.SEGMENT, LaneRange(1, last + 1), 8, now)
        found = [seq for seq in asked if seq not in damaged]
        box.read(Lane.SEGMENT, asked, set(found), now)
        for seq in found:
            box.sent(Lane.SEGMENT, seq, 1000, now)
            held.add(seq)
        box.receive(receipt(segment=held), now)
    assert all(seq in held for seq in range(1, last + 1) if seq not in damaged)


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
            for seq in box.next(lane, LaneRange(1, ranges[lane]), rng.randrange(1, 9), now):
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
