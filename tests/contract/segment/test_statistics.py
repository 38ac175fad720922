"""Statistics against a slow loop over samples."""

import math
from typing import Any

import hypothesis.extra.numpy as npst
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.segment.decode import Segment
from contract.segment.encode import encode
from contract.segment.layout import Axis, Column, Damaged, Kind, Statistics
from contract.segment.statistics import blank_figures, statistics_from

FIELDS = ("minimum", "maximum", "first", "last", "sum", "area")


def slow(time_us: Any, values: Any, quality: Any) -> dict[str, float]:
    """One sample at a time."""
    n = len(time_us)
    good = [i for i in range(n) if (quality is None or quality[i] < 64) and not math.isnan(values[i])]
    v = [float(values[i]) for i in good]
    held = {i: int(time_us[i + 1]) - int(time_us[i]) if i + 1 < n else 0 for i in good}
    found = {"good": float(len(good)), "held_us": float(sum(held.values()))}
    if good:
        found |= {"minimum": min(v), "maximum": max(v), "first": v[0], "last": v[-1]}
        found |= {"sum": math.fsum(v), "area": math.fsum(float(values[i]) * held[i] / 1e6 for i in good)}
        found |= {
            "size": math.fsum(map(abs, v)),
            "reach": math.fsum(abs(float(values[i])) * held[i] / 1e6 for i in good),
        }
    return found


def check_statistics(got: Statistics, i: int, time_us: Any, values: Any, quality: Any) -> None:
    want = slow(time_us, values, quality)
    assert got.good[i] == want["good"]
    assert got.held_us[i] == want["held_us"]
    if not want["good"]:
        assert all(math.isnan(getattr(got, name)[i]) for name in FIELDS)
        return
    for name in FIELDS[:4]:
        assert getattr(got, name)[i] == want[name], name
    assert math.isclose(got.sum[i], want["sum"], rel_tol=1e-12, abs_tol=1e-12 * want["size"])
    assert math.isclose(got.area[i], want["area"], rel_tol=1e-12, abs_tol=1e-12 * want["reach"])


@st.composite
def cases(draw: st.DrawFn) -> tuple[Any, list[Column]]:
    rows = draw(st.integers(1, 40))
    unit = draw(st.sampled_from([1, 1000]))
    time = (
        np.cumsum(draw(st.lists(st.integers(0, 10**6), min_size=rows, max_size=rows)), dtype=np.int64) * unit
    )
    columns = []
    for i in range(draw(st.integers(1, 4))):
        values: Any = draw(
            npst.arrays(np.int64, rows, elements=st.integers(-(10**6), 10**6)).map(lambda raw: raw / 100)
            | npst.arrays(np.float64, rows, elements=st.floats(-1e9, 1e9) | st.just(math.nan))
            | npst.arrays(np.float64, rows, elements=st.sampled_from([-0.0, 0.5, math.nan, 1.5]))
            | npst.arrays(np.int64, rows)
            | npst.arrays(np.int64, rows, elements=st.integers(-9, 9))
            | npst.arrays(np.bool_, rows)
        )
        kind = {"f": Kind.FLOAT64, "i": Kind.INT64, "b": Kind.BOOL}[values.dtype.kind]
        quality = draw(
            st.none() | npst.arrays(np.uint8, rows, elements=st.sampled_from([0, 0, 0, 2, 63, 64, 0x81, 255]))
        )
        columns.append(Column(i, kind, 0, values, quality))
    return time, columns


@settings(max_examples=200, deadline=None)
@given(cases())
def test_statistics_are_those_of_a_loop_over_the_good_samples(case: tuple[Any, list[Column]]) -> None:
    time, columns = case
    packed = encode([Axis(time, 0)], columns, group=1, epoch=1)
    dropped = Segment(packed.head, None)
    assert not dropped.has_body
    for i, column in enumerate(columns):
        check_statistics(dropped.statistics, i, time, column.values, column.quality)


def test_area_holds_each_value_until_the_next_sample_even_a_bad_one() -> None:
    time = np.array([0, 10, 40, 60], np.int64) * 1_000_000
    values = np.array([1.0, 2.0, 100.0, 4.0])
    quality = np.array([0, 0, 0x81, 0], np.uint8)
    packed = encode([Axis(time, 0)], [Column(1, Kind.FLOAT64, 0, values, quality)], group=1, epoch=1)
    found = Segment(packed.head, None).statistics
    assert found.area[0] == 1.0 * 10 + 2.0 * 30
    assert found.held_us[0] == 40_000_000
    assert (found.good[0], found.maximum[0], found.last[0], found.sum[0]) == (3, 4.0, 4.0, 7.0)


def test_sums_too_large_for_integers_are_kept_as_floats() -> None:
    rows = 2000
    time = np.arange(rows, dtype=np.int64) * 10**9
    values = np.where(np.arange(rows) % 2 == 0, 2.0**52, 2.0**52 - 2)
    columns = [
        Column(1, Kind.FLOAT64, 0, values, None),
        Column(2, Kind.INT64, 0, np.full(rows, 2**63 - 1), None),
        Column(3, Kind.FLOAT64, 0, np.where(np.arange(rows) == 5, np.inf, 1.0), None),
        Column(4, Kind.FLOAT64, 0, np.where(np.arange(rows) == 5, -0.0, 1.0), None),
    ]
    packed = encode([Axis(time, 10**9)], columns, group=1, epoch=1)
    segment = Segment(packed.head, packed.body)
    for i, column in enumerate(columns):
        if i != 2:
            check_statistics(segment.statistics, i, time, column.values, None)
    assert segment.statistics.maximum[2] == segment.statistics.sum[2] == math.inf
    segment.check(deep=True)


def test_integers_beyond_a_double_are_rounded_once() -> None:
    values = np.array([2**53 + 1, 2**53 + 2, 2**53 + 1])
    time = np.array([0, 1, 1], np.int64)
    packed = encode([Axis(time, 0)], [Column(1, Kind.INT64, 0, values, None)], group=1, epoch=1)
    check_statistics(Segment(packed.head, None).statistics, 0, time, values.astype(np.float64), None)


def test_texts_count_and_nothing_else() -> None:
    quality = np.array([0, 0x81, 0], np.uint8)
    column = Column(1, Kind.TEXT, 0, ["a", "b", "a"], quality)
    packed = encode([Axis(np.arange(3, dtype=np.int64), 0)], [column], group=1, epoch=1)
    found = Segment(packed.head, packed.body).statistics
    assert (found.good[0], found.held_us[0]) == (2, 1)
    assert all(math.isnan(getattr(found, name)[0]) for name in FIELDS)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("missing", 11),
        ("missing", -1),
        ("unheld", 101),
        ("unheld", -1),
        ("scale", 16),
        ("scale", -3),
    ],
)
def test_figures_that_cannot_be_are_refused(field: str, value: int) -> None:
    record = blank_figures(1)
    getattr(record, field)[0] = value
    with pytest.raises(Damaged):
        statistics_from(record, np.array([10]), np.array([100]), 1)
    getattr(record, field).append(0)
    with pytest.raises(Damaged):
        statistics_from(record, np.array([10]), np.array([100]), 1)
