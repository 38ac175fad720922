"""The tail gives back what was put in, in order, and never straddles the end of a segment."""

import math
from itertools import count, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.model.batch import Batch, batch_of
from contract.wire.records import Tail, unpack_tail
from edge.sync.tail import ROWS_MAX, TailBuffer

MEMBERS = np.array([4, 9, 11], np.int32)


PAUSE_S = 0.25
MOMENTS = count(1)


def nobody() -> None: ...


def buffer() -> TailBuffer:
    tail = TailBuffer(77)
    tail.configure(2, 5, MEMBERS)
    tail.open(0.0, PAUSE_S, nobody)
    return tail


def taken(tail: TailBuffer) -> list[Tail]:
    """All that is there, long after the last time."""
    return list(tail.take(float(next(MOMENTS))))


def full(time_us: int, values: list[float]) -> Batch:
    return batch_of(2, None, time_us, values)


def rows(tail: Tail) -> list[tuple[int, int, float, int]]:
    batch = unpack_tail(tail)
    assert batch.signal is not None
    quality = np.zeros(len(batch), np.uint8) if batch.quality is None else batch.quality
    return list(
        zip(
            batch.signal.tolist(), batch.times().tolist(), batch.value.tolist(), quality.tolist(), strict=True
        )
    )


def test_full_and_partial_batches_of_a_group_become_one_message() -> None:
    tail = buffer()
    tail.put(10, full(1_000, [1.0, 2.0, 3.0]))
    tail.put(12, batch_of(2, [9], 2_000, [2.5], [0x81]))
    (message,) = taken(tail)
    assert (message.store, message.group, message.epoch, message.first, message.last) == (77, 2, 5, 10, 12)
    assert rows(message) == [
        (4, 1_000, 1.0, 0),
        (9, 1_000, 2.0, 0),
        (11, 1_000, 3.0, 0),
        (9, 2_000, 2.5, 0x81),
    ]
    assert taken(tail) == []


def test_texts_and_large_integers_keep_their_rows_when_batches_are_joined() -> None:
    tail = buffer()
    tail.put(1, batch_of(2, [4, 9], 1, ["an", 1.0]))
    tail.put(2, batch_of(2, [4, 11], 2, [2**60, "aus"]))
    (message,) = taken(tail)
    assert unpack_tail(message).exact == ((0, "an"), (2, 2**60), (3, "aus"))


def test_a_message_ends_where_a_segment_ends() -> None:
    tail = buffer()
    for position in (3, 4, 5):
        tail.put(position, full(position, [0.0, 0.0, 0.0]))
    tail.end_segment(2, 4)
    tail.put(6, full(6, [0.0, 0.0, 0.0]))
    assert [(m.first, m.last) for m in taken(tail)] == [(3, 4), (5, 6)]


def test_an_end_that_comes_after_its_samples_were_sent_splits_nothing() -> None:
    tail = buffer()
    tail.put(3, full(3, [0.0, 0.0, 0.0]))
    taken(tail)
    tail.end_segment(2, 3)
    tail.put(4, full(4, [0.0, 0.0, 0.0]))
    assert [(m.first, m.last) for m in taken(tail)] == [(4, 4)]


def test_what_nobody_takes_is_bounded_and_the_oldest_goes_first() -> None:
    tail = buffer()
    for position in range(1, ROWS_MAX // 3 + 10):
        tail.put(position, full(position, [0.0, 0.0, 0.0]))
    (message,) = taken(tail)
    assert message.rows <= ROWS_MAX
    assert message.last == ROWS_MAX // 3 + 9
    assert tail.dropped == (ROWS_MAX // 3 + 9) * 3 - message.rows


def test_a_new_epoch_drops_what_belongs_to_the_old_one() -> None:
    tail = buffer()
    tail.put(1, full(1, [0.0, 0.0, 0.0]))
    tail.configure(2, 6, MEMBERS[:2])
    tail.put(2, full(2, [0.0, 0.0]))
    assert [(m.epoch, m.first, m.rows) for m in taken(tail)] == [(6, 2, 2)]


@given(
    st.lists(st.integers(1, 3), min_size=1, max_size=30),
    st.lists(st.integers(0, 60), max_size=5),
    st.lists(st.integers(0, 29), max_size=5),
)
def test_nothing_is_lost_doubled_or_reordered_wherever_messages_are_cut(
    steps: list[int], ends: list[int], takes: list[int]
) -> None:
    tail = buffer()
    position, sent, got = 0, [], []
    for i, step in enumerate(steps):
        position += step
        tail.put(position, full(position, [1.0, 2.0, 3.0]))
        sent.append(position)
        if i in takes:
            got += taken(tail)
    for end in ends:
        tail.end_segment(2, end)
    last = taken(tail)
    assert not any(m.first <= end < m.last for m in last for end in ends)
    assert [time for m in got + last for _, time, _, _ in rows(m)][::3] == sent


def moments(tail: TailBuffer, polls_s: list[float]) -> list[float]:
    """When a group leaves that is put in at these moments, by one who takes whenever something is due."""
    left: list[float] = []
    for position, (poll_s, next_s) in enumerate(pairwise([*polls_s, polls_s[-1] + 10.0])):
        tail.put(position, full(position, [0.0, 0.0, 0.0]))
        for moment in (poll_s, max(poll_s, tail.next_s())):
            if moment < next_s:
                left.extend(round(moment, 3) for _ in tail.take(moment))
    return left


def test_a_group_that_was_quiet_leaves_at_once_and_a_quick_one_four_times_a_second() -> None:
    slow = [1.0, 2.0, 3.0]
    assert moments(buffer(), slow) == slow
    quick = [1.0 + i / 10 for i in range(11)]
    assert moments(buffer(), quick) == [1.0, 1.25, 1.5, 1.75, 2.0]


def test_polls_at_the_pace_of_the_tail_wait_for_nothing_though_they_waver() -> None:
    polls = [1.0, 1.25, 1.53, 1.75, 2.04, 2.25, 2.5]
    assert moments(buffer(), polls) == polls


def test_a_storm_of_late_polls_is_no_reason_to_send_more() -> None:
    left = moments(buffer(), [1.0, 2.0, 2.01, 2.02, 2.03, 2.2, 2.3, 2.4, 2.5, 2.6, 2.7, 2.8, 2.9])
    assert left == [1.0, 2.0, 2.25, 2.5, 2.75, 3.0]


def test_each_group_has_its_own_pace() -> None:
    tail = buffer()
    tail.configure(3, 1, MEMBERS)
    tail.put(1, full(1, [0.0, 0.0, 0.0]))
    assert [m.group for m in tail.take(1.0)] == [2]
    assert tail.next_s() == math.inf
    tail.put(2, full(2, [0.0, 0.0, 0.0]))
    assert tail.next_s() == 1.25
    tail.put(3, batch_of(3, None, 3, [0.0, 0.0, 0.0]))
    assert tail.next_s() == -math.inf
    assert [m.group for m in tail.take(1.1)] == [3]
    assert [m.group for m in tail.take(1.25)] == [2]


def test_it_rings_when_a_group_has_something_again() -> None:
    tail = buffer()
    rung: list[int] = []
    tail.open(0.0, PAUSE_S, lambda: rung.append(1))
    for position in range(3):
        tail.put(position, full(position, [0.0, 0.0, 0.0]))
    assert len(rung) == 1
    list(tail.take(1.0))
    tail.put(4, full(4, [0.0, 0.0, 0.0]))
    assert len(rung) == 2


def test_on_a_metered_link_all_groups_leave_together() -> None:
    tail = buffer()
    tail.configure(3, 1, MEMBERS)
    tail.open(100.0, 60.0, lambda: pytest.fail("nobody is to be woken"), in_turns=True)
    tail.put(1, full(1, [0.0, 0.0, 0.0]))
    assert tail.next_s() == 160.0
    assert list(tail.take(159.9)) == []
    tail.put(2, batch_of(3, None, 2, [0.0, 0.0, 0.0]))
    assert [m.group for m in tail.take(160.02)] == [2, 3]
    assert tail.next_s() == 220.0
    assert list(tail.take(220.0)) == []
    assert tail.next_s() == 280.0


def test_an_end_is_remembered_for_a_group_that_has_to_wait() -> None:
    tail = buffer()
    tail.configure(3, 1, MEMBERS)
    tail.put(1, full(1, [0.0, 0.0, 0.0]))
    list(tail.take(1.0))
    tail.put(2, full(2, [0.0, 0.0, 0.0]))
    tail.end_segment(2, 2)
    tail.put(3, full(3, [0.0, 0.0, 0.0]))
    tail.put(4, batch_of(3, None, 4, [0.0, 0.0, 0.0]))
    assert [(m.group, m.first) for m in tail.take(1.1)] == [(3, 4)]
    assert [(m.first, m.last) for m in tail.take(1.25)] == [(2, 2), (3, 3)]


def test_what_is_closed_keeps_nothing() -> None:
    tail = buffer()
    tail.put(1, full(1, [0.0, 0.0, 0.0]))
    tail.close()
    tail.put(2, full(2, [0.0, 0.0, 0.0]))
    tail.end_segment(2, 2)
    assert taken(tail) == []
    assert tail._ends == {}
