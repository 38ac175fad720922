"""The tail gives back what was put in, in order, and never straddles the end of a segment."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from contract.model.batch import Batch, batch_of
from contract.wire.records import Tail, unpack_tail
from edge.sync.tail import ROWS_MAX, TailBuffer

MEMBERS = np.array([4, 9, 11], np.int32)


def buffer() -> TailBuffer:
    tail = TailBuffer(77)
    tail.configure(2, 5, MEMBERS)
    tail.is_open = True
    return tail


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
    (message,) = tail.take()
    assert (message.store, message.group, message.epoch, message.first, message.last) == (77, 2, 5, 10, 12)
    assert rows(message) == [
        (4, 1_000, 1.0, 0),
        (9, 1_000, 2.0, 0),
        (11, 1_000, 3.0, 0),
        (9, 2_000, 2.5, 0x81),
    ]
    assert list(tail.take()) == []


def test_texts_and_large_integers_keep_their_rows_when_batches_are_joined() -> None:
    tail = buffer()
    tail.put(1, batch_of(2, [4, 9], 1, ["an", 1.0]))
    tail.put(2, batch_of(2, [4, 11], 2, [2**60, "aus"]))
    (message,) = tail.take()
    assert unpack_tail(message).exact == ((0, "an"), (2, 2**60), (3, "aus"))


def test_a_message_ends_where_a_segment_ends() -> None:
    tail = buffer()
    for position in (3, 4, 5):
        tail.put(position, full(position, [0.0, 0.0, 0.0]))
    tail.end_segment(2, 4)
    tail.put(6, full(6, [0.0, 0.0, 0.0]))
    assert [(m.first, m.last) for m in tail.take()] == [(3, 4), (5, 6)]


def test_an_end_that_comes_after_its_samples_were_sent_splits_nothing() -> None:
    tail = buffer()
    tail.put(3, full(3, [0.0, 0.0, 0.0]))
    list(tail.take())
    tail.end_segment(2, 3)
    tail.put(4, full(4, [0.0, 0.0, 0.0]))
    assert [(m.first, m.last) for m in tail.take()] == [(4, 4)]


def test_what_nobody_takes_is_bounded_and_the_oldest_goes_first() -> None:
    tail = buffer()
    for position in range(1, ROWS_MAX // 3 + 10):
        tail.put(position, full(position, [0.0, 0.0, 0.0]))
    (message,) = tail.take()
    assert message.rows <= ROWS_MAX
    assert message.last == ROWS_MAX // 3 + 9
    assert tail.dropped == (ROWS_MAX // 3 + 9) * 3 - message.rows


def test_a_new_epoch_drops_what_belongs_to_the_old_one() -> None:
    tail = buffer()
    tail.put(1, full(1, [0.0, 0.0, 0.0]))
    tail.configure(2, 6, MEMBERS[:2])
    tail.put(2, full(2, [0.0, 0.0]))
    assert [(m.epoch, m.first, m.rows) for m in tail.take()] == [(6, 2, 2)]


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
            got += list(tail.take())
    for end in ends:
        tail.end_segment(2, end)
    last = list(tail.take())
    assert not any(m.first <= end < m.last for m in last for end in ends)
    assert [time for m in got + last for _, time, _, _ in rows(m)][::3] == sent
