"""What goes into a segment comes out to the bit, whatever the values, axes and qualities are."""

from collections.abc import Sequence
from typing import Any

import hypothesis.extra.numpy as npst
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.segment.decode import Segment
from contract.segment.encode import encode
from contract.segment.layout import Axis, Codec, Column, Kind

TEXTS = ["", "Störung", "läuft", "🔥 zu heiß", "\U0010ffff", "a\x00b", "line\nline", "x" * 5000]
ODD_FLOATS = np.array(
    [
        0x7FF8000000000001,
        0xFFF8DEADBEEF0000,
        1 << 63,
        0x7FF0000000000000,
        0xFFF0000000000000,
        1,
        (1 << 63) | 5,
    ],
    np.uint64,
).view(np.float64)


def values_of(kind: Kind, rows: int) -> st.SearchStrategy[Any]:
    if kind == Kind.TEXT:
        return st.lists(st.sampled_from(TEXTS) | st.text(max_size=6), min_size=rows, max_size=rows)
    if kind == Kind.BOOL:
        return npst.arrays(np.bool_, rows)
    if kind == Kind.INT64:
        return npst.arrays(np.int64, rows) | npst.arrays(np.int64, rows, elements=st.integers(-5, 300))
    wild = npst.arrays(np.uint64, rows).map(lambda bits: bits.view(np.float64))
    tenths = npst.arrays(np.int64, rows, elements=st.integers(-30_000, 30_000)).map(lambda raw: raw / 10)
    odd = st.builds(
        lambda base, at: np.where(np.arange(rows) % 7 == at, ODD_FLOATS[at], base), tenths, st.integers(0, 6)
    )
    return wild | tenths | odd


def qualities(rows: int) -> st.SearchStrategy[Any]:
    few = npst.arrays(np.uint8, rows, elements=st.sampled_from([0, 0x40, 0x81]), fill=st.just(0))
    return st.none() | few | npst.arrays(np.uint8, rows) | st.just(np.full(rows, 0x81, np.uint8))


@st.composite
def segments(draw: st.DrawFn) -> tuple[list[Axis], list[Column]]:
    axes = []
    for _ in range(draw(st.integers(1, 3))):
        steps = draw(st.lists(st.integers(0, 3_000_000) | st.just(1_000_000), min_size=1, max_size=60))
        if draw(st.booleans()):
            steps = [step // 1000 * 1000 for step in steps]
        start = draw(st.integers(-(2**50), 2**52))
        axes.append(
            Axis(np.cumsum([start, *steps[1:]], dtype=np.int64), draw(st.sampled_from([0, 999, 1_000_000])))
        )
    columns = []
    for _ in range(draw(st.integers(1, 6))):
        axis = draw(st.integers(0, len(axes) - 1))
        rows = len(axes[axis].time_us)
        kind = draw(st.sampled_from(list(Kind)))
        signal = draw(st.integers(0, 2**31 - 1))
        columns.append(Column(signal, kind, axis, draw(values_of(kind, rows)), draw(qualities(rows))))
    return axes, columns


def same_values(got: Any, put: Any) -> bool:
    if not isinstance(put, np.ndarray):
        return isinstance(got, list) and got == list(put)
    return bool(got.dtype == put.dtype and got.tobytes() == put.tobytes())


def check_round_trip(axes: Sequence[Axis], columns: Sequence[Column], *, thorough: bool = False) -> Segment:
    packed = encode(axes, columns, group=7, epoch=3, thorough=thorough)
    segment = Segment.parse(packed.head + packed.body)
    assert (segment.group, segment.epoch) == (7, 3)
    assert segment.signals == tuple(column.signal for column in columns)
    assert segment.count == packed.count == sum(len(column.values) for column in columns)
    assert segment.digest == packed.digest
    assert segment.t_min_us == packed.t_min_us == min(int(axis.time_us[0]) for axis in axes)
    assert segment.t_max_us == packed.t_max_us == max(int(axis.time_us[-1]) for axis in axes)
    bare = Segment(packed.head, None)
    for i in range(len(columns)):
        stated = bare.statistics
        parts = (stated.good, stated.first, stated.minimum, stated.maximum, stated.last)
        assert np.array_equal([*bare.extent(i)], [part[i] for part in parts], equal_nan=True)
    assert [bare.ends(i) for i in range(bare.axes)] == [(int(a.time_us[0]), int(a.time_us[-1])) for a in axes]
    for a, axis in enumerate(axes):
        assert np.array_equal(segment.times(a), axis.time_us)
        assert segment.cycle(a) == axis.cycle_us
    for i, column in enumerate(columns):
        assert segment.axis_of(i) == column.axis
        assert segment.kind(i) == column.kind
        assert same_values(segment.values(i), column.values)
        quality = segment.quality(i)
        if quality is None:
            assert column.quality is None or not column.quality.any()
        else:
            assert column.quality is not None
            assert np.array_equal(quality, column.quality)
    segment.check(deep=True)
    return segment


@settings(max_examples=150, deadline=None)
@given(segments())
def test_whatever_goes_in_comes_out_to_the_bit(parts: tuple[list[Axis], list[Column]]) -> None:
    check_round_trip(*parts)


@settings(max_examples=30, deadline=None)
@given(segments())
def test_a_thorough_segment_has_the_same_layout(parts: tuple[list[Axis], list[Column]]) -> None:
    check_round_trip(*parts, thorough=True)


def plant(rows: int) -> tuple[npt.NDArray[np.int64], dict[str, npt.NDArray[Any]]]:
    """Columns that each want another codec."""
    rng = np.random.default_rng(5)
    time = 1_700_000_000_000_000 + np.arange(rows, dtype=np.int64) * 1_000_000
    noise = np.round(np.cumsum(rng.normal(0, 1, rows)), 1)
    slow = np.repeat(rng.integers(0, 50, rows), 40)[:rows] / 10
    return time, {
        "constant": np.full(rows, 21.5),
        "noisy decimal": noise,
        "the same again": noise.copy(),
        "slow decimal": slow,
        "irrational": rng.normal(0, 1, rows),
        "irrational, slow": np.repeat(rng.normal(0, 1, rows), 30)[:rows],
        "wide decimals": np.round(rng.normal(0, 1e6, rows), 3),
        "counter": np.cumsum(rng.integers(0, 1000, rows)) + 2**60,
        "extremes": np.where(rng.random(rows) < 0.5, -(2**63), 2**63 - 1).astype(np.int64),
        "offset integers": rng.integers(70_000, 70_200, rows),
        "valve": (np.arange(rows) // 97) % 2 == 1,
        "rattling": rng.random(rows) < 0.5,
        "held on": np.ones(rows, np.bool_),
    }


@pytest.mark.parametrize("thorough", [False, True])
@pytest.mark.parametrize("rows", [1, 2, 100, 1024, 5000])
def test_a_poll_group_of_every_kind(rows: int, thorough: bool) -> None:
    time, named = plant(rows)
    kinds = {"f": Kind.FLOAT64, "i": Kind.INT64, "b": Kind.BOOL}
    columns = [Column(10 + i, kinds[v.dtype.kind], 0, v, None) for i, v in enumerate(named.values())]
    columns.append(Column(99, Kind.TEXT, 0, [TEXTS[i // 50 % len(TEXTS)] for i in range(rows)], None))
    check_round_trip([Axis(time, 1_000_000)], columns, thorough=thorough)


def test_a_device_that_was_away_keeps_its_column_decimal() -> None:
    time = np.arange(1024, dtype=np.int64) * 1_000_000
    values = np.round(np.random.default_rng(1).normal(50, 3, 1024), 1)
    whole = encode([Axis(time, 1_000_000)], [Column(1, Kind.FLOAT64, 0, values, None)], group=1, epoch=1)
    away = values.copy()
    away[300:420] = np.nan
    quality = np.where(np.isnan(away), 0x81, 0).astype(np.uint8)
    columns = [Column(1, Kind.FLOAT64, 0, away, quality)]
    check_round_trip([Axis(time, 1_000_000)], columns)
    holed = encode([Axis(time, 1_000_000)], columns, group=1, epoch=1)
    assert len(holed.head + holed.body) < len(whole.head + whole.body) + 100


@pytest.mark.parametrize(
    "huge", [1e300, -1e300, 2.0**53, 2.0**53 + 2, 2.0**63, -(2.0**63), 9.3e18, 1e15 + 0.3]
)
def test_one_huge_value_among_decimals_survives(huge: float) -> None:
    time = np.arange(100, dtype=np.int64) * 1_000_000
    for small in (0.5, 1.0, 0.123456):
        values = np.full(100, small)
        values[7:90:9] = small * 3
        values[4] = huge
        check_round_trip([Axis(time, 1_000_000)], [Column(1, Kind.FLOAT64, 0, values, None)])


EDGES = sorted(edge + near for edge in (2**7, 2**8, 2**15, 2**16, 2**31, 2**32, 2**62) for near in (-1, 0, 1))


@pytest.mark.parametrize("edge", EDGES)
def test_numbers_at_the_edge_of_a_width_survive(edge: int) -> None:
    rows = 600
    rng = np.random.default_rng(edge)
    rises = np.where(np.arange(rows) % 9 == 8, edge, 0)
    rises[200:] = 0
    stairs = np.cumsum(rises if edge < 2**40 else np.where(np.arange(rows) == 8, edge, 0))
    toggles = np.where(np.repeat(rng.random(300) < 0.5, 2), edge, 0)
    noise = rng.integers(-edge, edge, rows, endpoint=True)
    noise[[5, 6]] = [-edge, edge]
    upper = rng.integers(0, edge, rows, endpoint=True)
    upper[[5, 6]] = [0, edge]
    lower = upper - edge
    shifted = upper + 2**40
    low_only = np.maximum(noise, -edge + 1)
    columns = [
        Column(i, Kind.INT64, 0, values.astype(np.int64), None)
        for i, values in enumerate(
            (stairs, -stairs, toggles, -toggles, noise, upper, lower, shifted, -low_only)
        )
    ]
    segment = check_round_trip([Axis(np.arange(rows, dtype=np.int64) * 1000, 1000)], columns)
    codecs = set(segment._shape.series.codec)
    assert {Codec.DELTA, Codec.OFFSET, Codec.PCOI} <= codecs
