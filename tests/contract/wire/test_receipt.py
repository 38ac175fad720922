"""Receipts: sets of sequence numbers against Python's own sets."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.wire.envelope import EnvelopeError, pack, unpack
from contract.wire.receipt import RANGES_MAX, Held, Receipt, SequenceSet
from contract.wire.records import Lane

RANGES = st.lists(
    st.tuples(st.integers(1, 60), st.integers(0, 8)).map(lambda r: (r[0], r[0] + r[1])), max_size=20
)


def numbers(ranges: list[tuple[int, int]]) -> set[int]:
    return {n for first, last in ranges for n in range(first, last + 1)}


@given(RANGES)
def test_a_sequence_set_is_a_set(ranges: list[tuple[int, int]]) -> None:
    ours, plain = SequenceSet(ranges), numbers(ranges)
    assert [n in ours for n in range(-1, 80)] == [n in plain for n in range(-1, 80)]
    assert len(ours) == len(plain)
    kept = list(ours.ranges())
    assert numbers(kept) == plain
    assert all(b[0] - a[1] >= 2 for a, b in pairwise(kept))  # apart, not touching
    assert ours.watermark == next(n for n in range(100) if n + 1 not in plain)


@given(RANGES, st.integers(1, 70), st.integers(0, 70))
def test_missing_is_what_the_plain_set_lacks(ranges: list[tuple[int, int]], first: int, length: int) -> None:
    ours, plain = SequenceSet(ranges), numbers(ranges)
    missing = list(ours.missing(first, first + length))
    assert numbers(missing) == set(range(first, first + length + 1)) - plain
    assert all(b[0] - a[1] >= 2 for a, b in pairwise(missing))


@given(RANGES, RANGES)
def test_update_is_union_and_order_does_not_matter(
    one: list[tuple[int, int]], other: list[tuple[int, int]]
) -> None:
    union = SequenceSet(one)
    union.update(SequenceSet(other))
    assert union == SequenceSet([*other[::-1], *one])
    assert numbers(list(union.ranges())) == numbers(one) | numbers(other)


@given(RANGES)
def test_a_receipt_states_the_whole_set(ranges: list[tuple[int, int]]) -> None:
    ours = SequenceSet(ranges)
    held = ours.held()
    assert held.watermark == ours.watermark
    assert all(first > held.watermark + 1 for first, _ in held.ranges)
    assert SequenceSet.of(held) == ours


def test_numbers_added_one_by_one_in_any_order() -> None:
    ours = SequenceSet()
    for n in (5, 1, 3, 2, 9, 4):
        ours.add(n)
    assert list(ours.ranges()) == [(1, 5), (9, 9)]
    assert ours.watermark == 5
    assert repr(ours) == "SequenceSet([(1, 5), (9, 9)])"


def test_one_is_missing() -> None:
    ours = SequenceSet([(2, 5)])
    assert ours.watermark == 0
    assert ours.held() == Held(0, ((2, 5),))
    assert list(ours.missing(1, 6)) == [(1, 1), (6, 6)]


def test_beyond_64_ranges_a_receipt_claims_the_lowest_and_never_too_much() -> None:
    ours = SequenceSet([(1, 10), *((n, n) for n in range(20, 20 + 2 * 100, 2))])
    held = ours.held()
    assert held.watermark == 10
    assert len(held.ranges) == RANGES_MAX == 64
    assert held.ranges[0] == (20, 20)
    assert held.ranges[-1] == (20 + 2 * 63, 20 + 2 * 63)
    stated = SequenceSet.of(held)
    assert all(n in ours for n in range(300) if n in stated)


def test_64_ranges_travel_and_65_are_refused() -> None:
    def receipt(n: int) -> Receipt:
        return Receipt(
            ingest=1, store=2, held={Lane.EVENT: Held(1, tuple((3 * i, 3 * i) for i in range(1, n + 1)))}
        )

    assert unpack(pack(receipt(64)), Receipt) == receipt(64)
    with pytest.raises(EnvelopeError):
        unpack(pack(receipt(65)), Receipt)


@pytest.mark.parametrize(("first", "last"), [(0, 5), (-3, -1), (5, 4), (0, None)])
def test_what_is_no_range_is_refused(first: int, last: int | None) -> None:
    ours = SequenceSet([(2, 3)])
    with pytest.raises(ValueError, match="no range"):
        ours.add(first, last)
    assert list(ours.ranges()) == [(2, 3)]


def test_a_hostile_range_in_a_receipt_is_refused() -> None:
    with pytest.raises(ValueError, match="no range"):
        SequenceSet.of(Held(0, ((9, 3),)))


def test_a_copy_is_independent() -> None:
    ours = SequenceSet([(1, 2)])
    copy = ours.copy()
    copy.add(3)
    assert list(ours.ranges()) == [(1, 2)]
    assert copy != ours


def test_very_large_numbers_cost_nothing() -> None:
    ours = SequenceSet([(1, 2**62)])
    assert 2**61 in ours
    assert ours.watermark == 2**62
    assert list(ours.missing(2**62, 2**62 + 1)) == [(2**62 + 1, 2**62 + 1)]
