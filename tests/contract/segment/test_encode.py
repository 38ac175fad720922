"""What the writer promises: limits, refusals, bounded memory, and that one column is read alone."""

import tracemalloc
from typing import Any

import numpy as np
import pytest

from contract.segment.decode import Segment
from contract.segment.encode import encode
from contract.segment.layout import (
    PACK_MAX,
    PACKED_MAX,
    UNPACKED_MAX,
    Axis,
    Column,
    Kind,
    SegmentError,
    TooLarge,
    fits,
)

TIME = np.arange(4, dtype=np.int64) * 1000
NUMBERS: Any = [1.0, 2.0, 3.0, 4.0]
GOOD = Column(1, Kind.FLOAT64, 0, np.zeros(4), None)


@pytest.mark.parametrize(
    ("axes", "columns", "says"),
    [
        ([], [GOOD], "at least one"),
        ([Axis(TIME, 0)], [], "at least one"),
        ([Axis(TIME[:0], 0)], [GOOD], "axis 0"),
        ([Axis(TIME.astype(np.float64), 0)], [GOOD], "axis 0"),
        ([Axis(TIME[::-1], 0)], [GOOD], "axis 0: times decrease"),
        # Differences of these wrap around to positive numbers.
        ([Axis(np.array([0, 2**63 - 1, -(2**63), -1, 5]), 0)], [GOOD], "axis 0: times decrease"),
        ([Axis(TIME + 2**62, 0)], [GOOD], "axis 0.*beyond"),
        ([Axis(TIME - 2**62, 0)], [GOOD], "axis 0.*beyond"),
        ([Axis(TIME, 2**60)], [GOOD], "axis 0.*beyond"),
        ([Axis(TIME, -1)], [GOOD], "axis 0.*beyond"),
        ([Axis(TIME, 0)], [GOOD._replace(axis=1)], "no axis 1"),
        ([Axis(TIME, 0)], [GOOD._replace(axis=-1)], "no axis -1"),
        ([Axis(TIME, 0)], [GOOD._replace(signal=-1)], "signal -1"),
        ([Axis(TIME, 0)], [GOOD._replace(signal=2**53)], "signal"),
        ([Axis(TIME, 0)], [GOOD._replace(values=np.zeros(3))], "3 values on an axis of 4"),
        ([Axis(TIME, 0)], [GOOD._replace(kind=Kind.INT64)], "not INT64"),
        ([Axis(TIME, 0)], [GOOD._replace(values=NUMBERS)], "not FLOAT64"),
        ([Axis(TIME, 0)], [GOOD._replace(quality=np.zeros(3, np.uint8))], "quality"),
        ([Axis(TIME, 0)], [GOOD._replace(quality=np.zeros(4, np.int64))], "quality"),
        ([Axis(TIME, 0)], [GOOD._replace(kind=Kind.TEXT, values=["\ud800"] * 4)], "column 0.*UTF-8"),
        ([Axis(TIME, 0)], [GOOD._replace(kind=Kind.TEXT, values=NUMBERS)], "column 0.*text"),
    ],
)
def test_what_is_no_segment_is_refused_by_name(axes: Any, columns: Any, says: str) -> None:
    with pytest.raises(SegmentError, match=says):
        encode(axes, columns, group=1, epoch=1)


@pytest.mark.parametrize(("group", "epoch"), [(-1, 0), (0, -1), (2**53, 0)])
def test_group_and_epoch_are_small_numbers(group: int, epoch: int) -> None:
    with pytest.raises(SegmentError, match="group"):
        encode([Axis(TIME, 0)], [GOOD], group=group, epoch=epoch)


def random_columns(columns: int, rows: int, *, quality: bool = True) -> tuple[list[Axis], list[Column]]:
    """Nothing in here can be packed."""
    rng = np.random.default_rng(1)
    time = np.cumsum(rng.integers(0, 2**40, rows))
    made = [
        Column(
            i,
            Kind.FLOAT64,
            0,
            rng.integers(0, 2**64, rows, dtype=np.uint64).view(np.float64),
            rng.integers(0, 256, rows).astype(np.uint8) if quality else None,
        )
        for i in range(columns)
    ]
    return [Axis(time, 0)], made


@pytest.mark.parametrize("columns", [1, 20, 1000, 3000])
def test_rows_that_certainly_fit_do_whatever_the_values_are(columns: int) -> None:
    rows = fits(columns, certain=True)
    assert rows > 0
    axes, made = random_columns(columns, rows)
    packed = encode(axes, made, group=1, epoch=1)
    size = len(packed.head) + len(packed.body)
    assert 0.8 * PACKED_MAX < size <= PACKED_MAX or columns > 1000


def test_more_than_the_packed_limit_is_refused() -> None:
    axes, made = random_columns(1, 600_000, quality=False)
    with pytest.raises(TooLarge, match="packs to"):
        encode(axes, made, group=1, epoch=1)


def test_a_wide_poll_group_fits_with_room() -> None:
    assert fits(1000) > 4096
    assert fits(1000, certain=True) > 400
    assert fits(20, axes=20) < fits(20)
    assert fits(1, text_bytes=UNPACKED_MAX) == 0


def test_the_unpacked_limit_is_exact() -> None:
    columns = 100
    rows = fits(columns)
    quality = np.zeros(rows + 1, np.uint8)
    for extra, refused in ((0, False), (1, True)):
        n = rows + extra
        axis = Axis(np.arange(n, dtype=np.int64), 1)
        made = [Column(i, Kind.FLOAT64, 0, np.zeros(n), quality[:n]) for i in range(columns)]
        if refused:
            with pytest.raises(TooLarge, match="unpack"):
                encode([axis], made, group=1, epoch=1)
        else:
            packed = encode([axis], made, group=1, epoch=1)
            assert Segment.parse(packed.blob).count == n * columns


def test_texts_count_towards_the_unpacked_limit() -> None:
    column = Column(1, Kind.TEXT, 0, ["x" * UNPACKED_MAX], None)
    with pytest.raises(TooLarge, match="unpack"):
        encode([Axis(TIME[:1], 0)], [column], group=1, epoch=1)


def test_too_many_columns_for_a_head_are_refused() -> None:
    values = np.array([0.1, 0.7])
    made = [Column(i * 1000 % 999_983, Kind.FLOAT64, 0, values * (i + 0.1), None) for i in range(30_000)]
    with pytest.raises(TooLarge, match="head"):
        encode([Axis(TIME[:2], 0)], made, group=1, epoch=1)


def test_a_thousand_columns_are_packed_in_bounded_memory() -> None:
    rows = 1024
    rng = np.random.default_rng(4)
    block = np.round(np.cumsum(rng.normal(0, 1, (1000, rows)), axis=1), 1)
    axis = Axis(1_700_000_000_000_000 + np.arange(rows, dtype=np.int64) * 1_000_000, 1_000_000)
    made = [Column(i, Kind.FLOAT64, 0, block[i], None) for i in range(1000)]
    tracemalloc.start()
    try:
        packed = encode([axis], made, group=1, epoch=1)
        assert tracemalloc.get_traced_memory()[1] < 16 * 1024 * 1024
    finally:
        tracemalloc.stop()
    assert packed.count == 1_024_000
    segment = Segment(packed.head, packed.body)
    for i in (0, 500, 999):
        assert np.array_equal(segment.values(i), block[i])


def test_one_column_is_read_alone() -> None:
    rng = np.random.default_rng(4)
    rows = 1024
    slow = [np.repeat(rng.integers(0, 50, rows), 30)[:rows] / 10 for _ in range(60)]
    fast = np.round(rng.normal(50, 1, rows), 2)
    made = [Column(i, Kind.FLOAT64, 0, values, None) for i, values in enumerate([*slow, fast])]
    packed = encode([Axis(np.arange(rows, dtype=np.int64) * 10**6, 10**6)], made, group=1, epoch=1)
    read: list[tuple[int, int]] = []

    def body(offset: int, size: int) -> bytes:
        read.append((offset, size))
        return packed.body[offset : offset + size]

    segment = Segment(packed.head, body)
    _ = segment.statistics, segment.signals, segment.quality(0), segment.axis_of(60)
    assert read == []
    assert np.array_equal(segment.values(60), fast)
    assert len(read) == 1
    assert np.array_equal(segment.values(3), slow[3])
    assert len(read) == 2
    assert sum(size for _, size in read) < len(packed.body)
    assert max(segment._layout()[2]) <= PACK_MAX


def test_times_are_shared_and_cannot_be_written() -> None:
    packed = encode([Axis(TIME, 1000)], [GOOD], group=1, epoch=1)
    segment = Segment(packed.head, packed.body)
    assert segment.times(0) is segment.times(0)
    with pytest.raises(ValueError, match="read-only"):
        segment.times(0)[0] = 5


def test_arrays_given_to_the_writer_stay_as_they_are() -> None:
    time, values = TIME.copy(), np.array([1.5, np.nan, -0.0, 2.5])
    quality = np.array([0, 1, 2, 3], np.uint8)
    for array in (time, values, quality):
        array.setflags(write=False)
    packed = encode([Axis(time, 0)], [Column(1, Kind.FLOAT64, 0, values, quality)], group=1, epoch=1)
    assert packed.blob == packed.head + packed.body


def test_views_with_strides_are_taken_as_they_are() -> None:
    table = np.arange(40, dtype=np.int64).reshape(10, 4)
    made = [
        Column(1, Kind.INT64, 0, table[:, 1], None),
        Column(2, Kind.INT64, 0, table[:, 1], None),
        Column(3, Kind.FLOAT64, 0, (table / 8)[:, 2], (table % 3).astype(np.uint8)[:, 0]),
    ]
    packed = encode([Axis(table[:, 0], 0)], made, group=1, epoch=1)
    segment = Segment(packed.head, packed.body)
    segment.check(deep=True)
    assert np.array_equal(segment.values(1), table[:, 1])
    assert np.array_equal(segment.values(2), table[:, 2] / 8)


def test_a_poll_group_stays_small() -> None:
    """62 slow and noisy columns at 1 s with ms jitter: a tenth of a byte more per sample would be a fault."""
    rng = np.random.default_rng(11)
    rows = 1024
    time = np.arange(rows, dtype=np.int64) * 10**6 + np.abs(rng.normal(0, 3, rows)).astype(np.int64) * 1000
    made = []
    for i in range(62):
        walk = np.cumsum(rng.normal(0, 0.05, rows) * (rng.random(rows) < 0.02 * i)) + 20
        made.append(Column(i, Kind.FLOAT64, 0, np.round(walk, 1), None))
    packed = encode([Axis(time, 10**6)], made, group=1, epoch=1)
    thorough = encode([Axis(time, 10**6)], made, group=1, epoch=1, thorough=True)
    assert len(packed.blob) / packed.count < 0.21
    assert len(thorough.blob) < len(packed.blob)
    assert thorough.digest == packed.digest


def test_columns_are_counted_from_the_front_only() -> None:
    packed = encode([Axis(TIME, 1000)], [GOOD], group=1, epoch=1)
    segment = Segment(packed.head, packed.body)
    for ask in (segment.values, segment.quality, segment.axis_of):
        for i in (-1, 1):
            with pytest.raises(IndexError):
                ask(i)
