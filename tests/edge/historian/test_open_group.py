"""From kept batches to columns and segments, against samples counted one by one."""

import tracemalloc
from collections import Counter

import numpy as np
import pytest
from fakes.samples import Sample, plain
from hypothesis import given
from hypothesis import strategies as st

from contract.model.batch import Batch
from contract.model.quality import Quality
from contract.segment.decode import Segment
from contract.segment.layout import Kind
from edge.historian import open_group
from edge.historian.head import Record
from edge.historian.layout import MemberLayout
from edge.historian.open_group import OpenGroup, columns_of, pack, restate

FLOATS = tuple(MemberLayout(number, Kind.FLOAT64) for number in (4, 7, 9))


def unpacked(records: list[Record], members: tuple[MemberLayout, ...]) -> Counter[Sample]:
    found: Counter[Sample] = Counter()
    packed = pack(1, records, {record.epoch: members for record in records})
    assert packed.refused == []
    for piece in packed.pieces:
        segment = Segment(piece.encoded.head, piece.encoded.body)
        segment.check(deep=True)
        for i, signal in enumerate(segment.signals):
            quality = segment.quality(i)
            values = segment.values(i)
            for row, time in enumerate(segment.times(segment.axis_of(i)).tolist()):
                mark = 0 if quality is None else int(quality[row])
                found[signal, time, plain(values[row]), mark] += 1
    return found


@st.composite
def histories(draw: st.DrawFn) -> list[Record]:
    """Batches of three float signals: full or not, repeated, out of order, good or bad."""
    records = []
    for position in range(1, draw(st.integers(1, 12)) + 1):
        rows = 3
        signal = None
        if draw(st.booleans()):
            numbers = draw(st.lists(st.sampled_from([4, 7, 9]), min_size=1, max_size=6))
            signal = np.array(numbers, np.int32)
            rows = len(numbers)
        instants = st.integers(-50, 50)
        time = draw(
            instants if signal is None else instants | st.lists(instants, min_size=rows, max_size=rows)
        )
        marks = draw(st.none() | st.lists(st.sampled_from([0, 64, 129]), min_size=rows, max_size=rows))
        bits = draw(st.lists(st.integers(0, 2**64 - 1), min_size=rows, max_size=rows))
        batch = Batch(
            1,
            signal,
            time if isinstance(time, int) else np.array(time, np.int64),
            np.array(bits, np.uint64).view(np.float64),
            None if marks is None else np.array(marks, np.uint8),
        )
        records.append(Record(position, 1 + position // 7, batch))
    return records


@pytest.mark.parametrize("at_once", [open_group.SORTED_ROWS, 4])
@given(records=histories())
def test_each_sample_is_in_the_segments_exactly_once(at_once: int, records: list[Record]) -> None:
    expected: Counter[Sample] = Counter()
    for _, _, batch in records:
        times = batch.times().tolist()
        for row, value in enumerate(batch.value.tolist()):
            signal = FLOATS[row].number if batch.signal is None else int(batch.signal[row])
            mark = 0 if batch.quality is None else int(batch.quality[row])
            # Through the array, for tolist() keeps a NaN's payload as struct does.
            expected[signal, times[row], plain(value), mark] += 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(open_group, "SORTED_ROWS", at_once)
        assert unpacked(records, FLOATS) == expected


def test_polls_share_one_axis_and_parts_of_polls_one_per_set_of_instants() -> None:
    full = [Record(k, 1, Batch(1, None, k * 1000, np.zeros(3))) for k in range(1, 9)]
    axes, columns = columns_of(full, FLOATS)
    assert len(axes) == 1
    assert axes[0].cycle_us == 1000
    assert [c.axis for c in columns] == [0, 0, 0]
    part = np.array([4, 9], np.int32)
    mixed = [*full, Record(9, 1, Batch(1, part, 9000, np.ones(2)))]
    axes, columns = columns_of(mixed, FLOATS)
    assert len(axes) == 2
    assert [c.axis for c in columns] == [0, 1, 0]


@pytest.mark.parametrize("at_once", [open_group.SORTED_ROWS, 2])
def test_samples_of_one_instant_stay_in_the_order_in_which_they_came(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_group, "SORTED_ROWS", at_once)
    one = np.array([4], np.int32)
    values = [5.0, 3.0, 4.0, 1.0]
    records = [Record(k, 1, Batch(1, one, 10 if k else 11, np.array([v]))) for k, v in enumerate(values)]
    _, (column,) = columns_of(records, FLOATS)
    assert list(column.values) == [3.0, 4.0, 1.0, 5.0]


@pytest.mark.parametrize("at_once", [open_group.SORTED_ROWS, 2])
def test_exact_values_stay_with_their_instants_when_those_are_put_in_order(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_group, "SORTED_ROWS", at_once)
    big = 2**60
    records = [
        Record(k, 1, Batch(1, np.array([9, 4], np.int32), time, np.zeros(2), None, exact))
        for k, (time, exact) in enumerate([(30, ((1, big + 30),)), (10, ((1, big + 10),)), (20, ())])
    ]
    axes, columns = columns_of(records, (MemberLayout(4, Kind.INT64), MemberLayout(9, Kind.INT64)))
    assert [list(c.values) for c in columns] == [[big + 10, 0, big + 30], [0, 0, 0]]
    assert [axis.time_us.tolist() for axis in axes] == [[10, 20, 30]]


def column_of(
    kind: Kind, values: list[float], exact: tuple[tuple[int, int | str], ...] = ()
) -> tuple[Kind, list[object], list[int] | None]:
    """What becomes of a single signal's values."""
    member = (MemberLayout(4, kind),)
    signal = np.full(len(values), 4, np.int32)
    time = np.arange(len(values), dtype=np.int64)
    _, (column,) = columns_of([Record(1, 1, Batch(1, signal, time, np.array(values), None, exact))], member)
    quality = None if column.quality is None else column.quality.tolist()
    return column.kind, list(column.values), quality


def test_integers_beyond_a_double_stay_exact() -> None:
    big = ((1, 2**63 - 1), (2, -(2**63)))
    assert column_of(Kind.INT64, [1.0, 9.2e18, -9.2e18], big) == (
        Kind.INT64,
        [1, 2**63 - 1, -(2**63)],
        None,
    )


def test_a_lost_counter_keeps_its_nan_where_doubles_hold_the_rest() -> None:
    kind, values, quality = column_of(Kind.INT64, [5.0, float("nan"), 7.0])
    assert kind is Kind.FLOAT64
    assert values[0] == 5.0
    assert values[1] != values[1]
    assert quality is None


def test_a_lost_counter_beside_integers_no_double_holds_is_zero_and_bad() -> None:
    found = column_of(Kind.INT64, [0.0, float("nan")], ((0, 2**60 + 1),))
    assert found == (Kind.INT64, [2**60 + 1, 0], [0, Quality.BAD_TYPE_MISMATCH])


def test_booleans_and_what_is_none() -> None:
    assert column_of(Kind.BOOL, [0.0, 1.0]) == (Kind.BOOL, [False, True], None)
    assert column_of(Kind.BOOL, [0.0, 2.0])[0] is Kind.FLOAT64
    assert column_of(Kind.BOOL, [0.0, -0.0])[0] is Kind.FLOAT64


def test_texts_and_a_text_where_a_number_belongs() -> None:
    assert column_of(Kind.TEXT, [float("nan"), float("nan")], ((1, "on"),)) == (Kind.TEXT, ["", "on"], None)
    kind, _, quality = column_of(Kind.FLOAT64, [1.0, float("nan")], ((1, "on"),))
    assert (kind, quality) == (Kind.FLOAT64, [0, Quality.BAD_TYPE_MISMATCH])


def test_what_is_too_large_for_a_segment_becomes_two() -> None:
    texts = (MemberLayout(4, Kind.TEXT),)
    rng = np.random.default_rng(3)
    signal = np.full(64, 4, np.int32)
    records = []
    for position in (1, 2):
        noise = [(row, rng.bytes(32_000).hex()) for row in range(64)]
        batch = Batch(1, signal, np.arange(64) + 100 * position, np.full(64, np.nan), None, tuple(noise))
        records.append(Record(position, 1, batch))
    packed = pack(1, records, {1: texts})
    assert len(packed.pieces) > 1
    assert sum(piece.encoded.count for piece in packed.pieces) == 128
    assert packed.pieces[0].first == 1
    assert packed.pieces[-1].last == 2
    assert unpacked(records, texts).total() == 128


def test_a_batch_no_segment_takes_does_not_keep_the_others_out() -> None:
    records = [Record(k, 1, Batch(1, None, k, np.zeros(3))) for k in range(1, 6)]
    wild = np.array([4], np.int32)
    records[2] = Record(3, 1, Batch(1, wild, np.array([2**62 + 1]), np.zeros(1)))
    packed = pack(1, records, {1: FLOATS})
    assert len(packed.refused) == 1
    assert "position 3" in packed.refused[0]
    assert sum(piece.encoded.count for piece in packed.pieces) == 12


def test_a_group_is_due_by_samples_per_member_and_by_age() -> None:
    group = OpenGroup()
    group.members = FLOATS
    assert not group.is_due(0, 4, 1000)
    for k in range(3):
        group.append(Record(k + 1, 1, Batch(1, None, k, np.zeros(3))))
    assert not group.is_due(50, 4, 1000)
    assert not group.is_due(1049, 4, 1000)
    assert group.is_due(1050, 4, 1000)
    group.append(Record(4, 1, Batch(1, None, 4, np.zeros(3))))
    assert group.is_due(51, 4, 1000)


def test_a_clock_set_back_does_not_put_the_seal_off_for_ever() -> None:
    group = OpenGroup()
    group.members = FLOATS
    group.append(Record(1, 1, Batch(1, None, 1, np.zeros(3))))
    assert not group.is_due(10**9, 4, 1000)
    assert not group.is_due(0, 4, 1000)
    assert group.is_due(1000, 4, 1000)


def test_what_is_appended_after_the_boundary_waits_for_the_next_seal() -> None:
    group = OpenGroup()
    for k in (1, 2, 3):
        group.append(Record(k, 1, Batch(1, None, k, np.zeros(3))))
    assert group.fix_boundary() == 3
    group.append(Record(4, 1, Batch(1, None, 4, np.zeros(3))))
    assert [r.position for r in group.sealing()] == [1, 2, 3]
    assert group.cut(3) == 9
    assert [r.position for r in group.records] == [4]
    assert group.samples == 3


@pytest.mark.parametrize("rows", [1, 30_000])
def test_the_head_is_restated_in_bounded_parts_that_straddle_nothing(rows: int) -> None:
    numbers = np.full(rows, 4, np.int32)
    records = [Record(k, 1 + k // 5, Batch(1, numbers, k, np.full(rows, k))) for k in range(1, 8)]
    members = {epoch: np.array([4, 7, 9], np.int32) for epoch in (1, 2)}
    parts = list(restate(records, 2, members))
    limits = [(1, 2), (3, 4), (5, 7)] if rows == 1 else [(k, k) for k in range(1, 8)]
    assert [(first, last) for first, last, _ in parts] == limits
    assert all(len(batch) <= 50_000 for _, _, batch in parts)
    assert sum(len(batch) for _, _, batch in parts) == 7 * rows


def test_a_standstill_among_whole_polls_costs_no_more_memory_than_they_do() -> None:
    members = tuple(MemberLayout(number, Kind.FLOAT64) for number in range(1, 201))
    bad = np.full(200, Quality.BAD_NOT_RUNNING, np.uint8)
    named = Batch(1, np.arange(1, 201, dtype=np.int32), 20_500_000, np.full(200, np.nan), bad)
    polls = [Batch(1, None, row * 1_000_000, np.arange(200.0) + row) for row in range(500)]
    records = [Record(i + 1, 1, batch) for i, batch in enumerate([*polls[:21], named, *polls[21:]])]
    tracemalloc.start()
    try:
        axes, columns = columns_of(records, members)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 * 9 * 200 * 501, "a byte of quality and eight of value per sample, and a copy"
    assert len(axes) == 1
    assert axes[0].time_us[20:23].tolist() == [20_000_000, 20_500_000, 21_000_000]
    assert np.isnan(columns[7].values[21])
    assert columns[7].quality is not None
    assert columns[7].quality.nonzero()[0].tolist() == [21]


def test_parts_of_polls_take_little_more_memory_than_their_samples() -> None:
    members = tuple(MemberLayout(number, Kind.FLOAT64) for number in range(1, 201))
    kept = np.arange(1, 200, dtype=np.int32)  # one signal lay still
    records = [Record(row, 1, Batch(1, kept, row * 1_000_000, np.arange(199.0) + row)) for row in range(2000)]
    tracemalloc.start()
    try:
        _, columns = columns_of(records, members)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    samples = 199 * 2000
    assert sum(len(column.values) for column in columns) == samples
    assert peak < 32 * samples, "16 bytes of time and value, the rest passes by"
