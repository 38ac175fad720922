"""What must not be lost when many samples become few points, against a slow way of looking at each."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.history.decimate import HOLE, POINTS_MIN, Line, choose, choose_changes, is_break, with_holes

GOOD, UNCERTAIN, BAD = 0x00, 0x43, 0x81
S = 1_000_000


def line_of(samples: list[tuple[int, float, int]]) -> Line:
    time, values, quality = zip(*samples, strict=True)
    return Line(np.array(time, np.int64), np.array(values, float), np.array(quality, np.uint8))


def steady(values: list[float], step_us: int = S) -> Line:
    return line_of([(i * step_us, value, GOOD) for i, value in enumerate(values)])


@st.composite
def lines(draw: st.DrawFn, rows: int = 300) -> Line:
    """Unequally spaced, equal instants too, with a few values that come again, infinities, breaks."""
    count = draw(st.integers(1, rows))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    pauses = rng.choice([0, 1, S, S, S, 1000 * S], count)
    values = rng.choice(
        [*rng.normal(size=5), 0.0, -0.0, math.inf, -math.inf, math.nan], count, p=[0.17] * 5 + [0.03] * 5
    )
    runs = np.repeat(rng.choice([GOOD, GOOD, UNCERTAIN, BAD], count), rng.integers(1, 9, count))[:count]
    return Line(np.cumsum(pauses).astype(np.int64), values, runs.astype(np.uint8))


def family(quality: int, value: float) -> str:
    if quality >= 128 or math.isnan(value):
        return "break"
    return "uncertain" if quality >= 64 else "good"


def by_bucket(line: Line, buckets: int) -> list[list[int]]:
    """Rows of each bucket, each row looked at alone, in whole numbers of Python."""
    first, last = int(line.time_us[0]), int(line.time_us[-1])
    found: list[list[int]] = [[] for _ in range(buckets)]
    for row, time in enumerate(line.time_us.tolist()):
        at = 0
        while at + 1 < buckets and time >= first + (last - first + 1) * (at + 1) // buckets:
            at += 1
        found[at].append(row)
    return [rows for rows in found if rows]


def expected(line: Line, buckets: int, *, is_held: bool) -> list[int]:
    values, kept = line.values.tolist(), {0, len(line.time_us) - 1}
    families = [family(q, v) for q, v in zip(line.quality.tolist(), values, strict=True)]
    for rows in by_bucket(line, buckets):
        drawable = [row for row in rows if families[row] != "break"]
        if drawable:
            kept |= {min(drawable, key=lambda row: values[row]), max(drawable, key=lambda row: values[row])}
        kinds = {families[row] for row in rows}
        if is_held or len(kinds) > 1 or not drawable:
            kept |= {rows[0], rows[-1]}
        kept |= {next(row for row in rows if families[row] == kind) for kind in kinds if len(kinds) > 1}
    return sorted(kept)


@given(lines(), st.integers(POINTS_MIN, 60), st.booleans())
def test_what_stays_is_what_looking_at_each_sample_finds(line: Line, points: int, is_held: bool) -> None:
    kept = choose(line, points, is_held=is_held).tolist()
    assert len(kept) <= points
    rows = len(line.time_us)
    if rows <= points:
        assert kept == list(range(rows))
        return
    buckets = (points - 2) // (4 if is_held else 2)
    while len(found := expected(line, buckets, is_held=is_held)) > points:
        buckets = max(1, buckets * 2 // 3)
    assert kept == found


@given(st.integers(0, 9_999), st.booleans(), st.sampled_from([50.0, -50.0]))
def test_a_peak_of_one_sample_survives_wherever_it_is(at: int, is_held: bool, peak: float) -> None:
    values = np.sin(np.arange(10_000) / 700)
    values[at] = peak
    line = steady(values.tolist())
    kept = choose(line, 200, is_held=is_held)
    assert at in kept
    assert len(kept) <= 200


def test_each_stretch_of_a_line_keeps_its_envelope() -> None:
    values = np.random.default_rng(3).normal(size=86_400)
    kept = choose(steady(values.tolist()), 2000, is_held=False)
    for a, b in pairwise(range(0, 86_401, 864)):  # ten buckets at a time
        inside = kept[(kept >= a) & (kept < b)]
        rest = np.setdiff1d(np.arange(a + 87, b - 87), inside)
        assert values[inside].max() >= values[rest].max()
        assert values[inside].min() <= values[rest].min()


def test_buckets_are_of_time_not_of_samples() -> None:
    crowd = [(i, float(i % 7), GOOD) for i in range(5000)]  # 5000 samples within 5 ms
    lone = [(S * (i + 1), 100.0 + i, GOOD) for i in range(40)]
    kept = choose(line_of(crowd + lone), 100, is_held=False)
    assert set(range(5000, 5040)) <= set(kept.tolist())


def test_a_step_is_where_it_was() -> None:
    values = [0.0] * 4321 + [1.0] * 3000 + [0.0] * 2679
    kept = choose(steady(values), 100, is_held=True)
    shown = np.array(values)[kept]
    edge = int(np.flatnonzero(shown == 1)[0])
    assert kept[edge] == 4321
    # what is held at each kept instant is what was held: every bucket ends as it really ended
    for row in range(0, 10_000, 97):
        held = shown[np.searchsorted(kept, row, "right") - 1]
        if not (4200 < row < 4422 or 7200 < row < 7442):
            assert held == values[row]


def test_a_bad_run_breaks_the_line_and_an_uncertain_one_is_still_seen() -> None:
    quality = np.zeros(10_000, np.uint8)
    quality[3000], quality[7000:7002] = BAD, UNCERTAIN
    line = Line(np.arange(10_000) * S, np.sin(np.arange(10_000) / 99), quality)
    kept = choose(line, 100, is_held=False)
    assert 3000 in kept
    assert 7000 in kept
    assert is_break(line)[3000]
    assert len(kept) <= 100


def test_a_long_outage_leaves_no_value_in_it() -> None:
    quality = np.where((np.arange(10_000) >= 4000) & (np.arange(10_000) < 6000), BAD, GOOD).astype(np.uint8)
    line = Line(np.arange(10_000) * S, np.ones(10_000), quality)
    kept = choose(line, 50, is_held=False)
    before = kept[kept < 4000].max()
    assert kept[np.searchsorted(kept, before) + 1] >= 4000
    assert is_break(line)[kept[(kept >= 4000) & (kept < 6000)]].all()
    assert len(kept[(kept >= 4000) & (kept < 6000)]) >= 2


def test_a_line_of_breaks_alone_is_shown_as_such() -> None:
    line = Line(np.arange(1000) * S, np.full(1000, np.nan), np.zeros(1000, np.uint8))
    kept = choose(line, 20, is_held=False)
    assert 2 <= len(kept) <= 20


def test_a_pause_that_a_speaking_signal_does_not_make_is_a_hole() -> None:
    line = line_of([(0, 1.0, GOOD), (S, 2.0, GOOD), (10 * S, 3.0, GOOD), (11 * S, 4.0, GOOD)])
    shown = with_holes(line, 2 * S)
    assert shown.time_us.tolist() == [0, S, 3 * S, 10 * S, 11 * S]
    assert shown.quality.tolist() == [GOOD, GOOD, HOLE, GOOD, GOOD]
    assert is_break(shown).tolist() == [False, False, True, False, False]
    assert math.isnan(shown.values[2])
    assert with_holes(line, 9 * S) is line
    assert with_holes(line, None) is line


def test_texts_keep_their_changes_and_nothing_between() -> None:
    codes = [0.0] * 4000 + [1.0] * 10 + [0.0] * 4000 + [2.0] * 1990
    kept = choose_changes(steady(codes), 50)
    assert kept.tolist() == [0, 4000, 4010, 8010, 9999]


def test_texts_that_change_too_often_keep_what_each_stretch_begins_and_ends_with() -> None:
    codes = np.arange(10_000.0)
    quality = np.zeros(10_000, np.uint8)
    quality[5555] = BAD
    line = Line(np.arange(10_000) * S, codes, quality)
    kept = choose_changes(line, 100)
    assert len(kept) <= 100
    assert {0, 5555, 9999} <= set(kept.tolist())
    assert np.diff(kept).max() <= 10_000 * 3 // 98 * 2


@given(lines(), st.integers(POINTS_MIN, 40))
def test_changes_are_within_their_number_and_hold_what_they_show(line: Line, points: int) -> None:
    kept = choose_changes(line, points)
    assert len(kept) <= points
    assert {0, len(line.time_us) - 1} <= set(kept.tolist())


@pytest.mark.parametrize("choice", [choose_changes, lambda line, points: choose(line, points, is_held=True)])
def test_too_few_points_are_refused_in_words(choice: object) -> None:
    assert callable(choice)
    with pytest.raises(ValueError, match="at least 8"):
        choice(steady([1.0] * 100), 7)
