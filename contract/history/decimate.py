"""Few points out of many samples, such that the eye loses nothing it could have seen.

A *line* is samples of one signal by time with its *breaks*: rows without a value, where nothing may
be drawn. A break is a sample of bad quality or without a number, or a hole: a pause in which the
signal, which speaks by itself, said nothing (quality HOLE, put in by `with_holes`). What is chosen
are rows of the line, never new values: each point drawn was measured.
"""

from typing import Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from contract.model.batch import Bools, Float64s, Int64s, UInt8s
from contract.model.quality import Quality

HOLE: Final = 0xFF
"""In place of a quality: here is no sample. No quality has both family bits."""
POINTS_MIN: Final = 8
"""What one bucket may need, and the two ends."""

_Rows: TypeAlias = npt.NDArray[np.intp]


class Line(NamedTuple):
    """Samples and holes of one signal by time; `values` are NaN, or mean nothing, where there is a break."""

    time_us: Int64s
    values: Float64s
    quality: UInt8s


def is_break(line: Line) -> Bools:
    """Rows at which nothing may be drawn."""
    return np.asarray((line.quality >= np.uint8(Quality.BAD)) | np.isnan(line.values))


def with_holes(line: Line, pause_us: int | None) -> Line:
    """The line with a row of quality HOLE wherever more than `pause_us` passed without a sample.

    The row lies `pause_us` behind the last sample: until then that one may be believed. None: the
    signal speaks only when it has something to say, no silence of it is a hole.
    """
    if pause_us is None or len(line.time_us) < 2:
        return line
    before = np.flatnonzero(np.diff(line.time_us) > pause_us)
    if not len(before):
        return line
    return Line(
        np.insert(line.time_us, before + 1, line.time_us[before] + pause_us),
        np.insert(line.values, before + 1, np.nan),
        np.insert(line.quality, before + 1, np.uint8(HOLE)),
    )


def choose(line: Line, points: int, *, is_held: bool) -> _Rows:
    """Rows of at most `points` points that look as the whole line does.

    Time is cut into equal buckets from the first row to the last. Of each bucket stay

    1. the first lowest and the first highest drawable value;
    2. where it holds more than one of good, uncertain and break: the first row of each of these,
       and the bucket's first and last row;
    3. of a held line always its first and last row, so that what the next bucket begins with, and
       the instant of each step that can be told apart, are right.

    The line's first and last row always stay. All rows stay where they are few enough.

    Args:
        line: times never decreasing.
        points: at least POINTS_MIN.
        is_held: drawn in steps, each value holding until the next.
    """
    if points < POINTS_MIN:
        raise ValueError(f"{points} points: at least {POINTS_MIN} are needed")
    rows = len(line.time_us)
    if rows <= points:
        return np.arange(rows)
    family = _families(line)
    buckets = (points - 2) // (4 if is_held else 2)
    while True:
        starts, counts = _cut(line.time_us, buckets)
        kept = _marked(rows, _stay(line.values, family, starts, counts, is_held=is_held))
        if len(kept) <= points:
            return kept
        buckets = max(1, buckets * 2 // 3)


def choose_changes(line: Line, points: int) -> _Rows:
    """Rows of at most `points` points for values without a size: `values` are numbers of a list.

    So are texts drawn, and integers that a double would round.

    Only rows that differ from the row before them, by value or family of quality, and the ends are
    looked at. Where these are too many, the first and the last of them in each bucket of time stay,
    and the first of each family.
    """
    if points < POINTS_MIN:
        raise ValueError(f"{points} points: at least {POINTS_MIN} are needed")
    rows = len(line.time_us)
    if rows <= points:
        return np.arange(rows)
    family = _families(line)
    differs = np.ones(rows, bool)
    differs[1:] = (family[1:] != family[:-1]) | (
        (line.values[1:] != line.values[:-1]) & (family[1:] < _BROKEN)
    )
    differs[-1] = True
    changes = np.flatnonzero(differs)
    if len(changes) <= points:
        return changes
    time, family = line.time_us[changes], family[changes]
    buckets = (points - 2) // 2
    while True:
        starts, counts = _cut(time, buckets)
        ends = [starts, starts + counts - 1]
        kept = _marked(len(time), [*ends, *_first_of_each(family, starts, counts), _ends(len(time))])
        if len(kept) <= points:
            return np.asarray(changes[kept])
        buckets = max(1, buckets * 2 // 3)


_GOOD, _UNCERTAIN, _BROKEN = np.uint8(0), np.uint8(1), np.uint8(2)


def _families(line: Line) -> UInt8s:
    family = (line.quality >= np.uint8(Quality.UNCERTAIN)).astype(np.uint8)
    family[is_break(line)] = _BROKEN
    return family


def _marked(rows: int, kept: list[_Rows]) -> _Rows:
    """All of these in order, each once."""
    mask = np.zeros(rows, bool)
    for some in kept:
        mask[some] = True
    return np.flatnonzero(mask)


def _ends(rows: int) -> _Rows:
    return np.array([0, rows - 1])


def bucket_edges(first_us: int, last_us: int, buckets: int) -> Int64s:
    """First instants of equal buckets over first…last, both in them; exact, in µs."""
    span = last_us - first_us + 1
    if span < 2**62 // buckets:
        return first_us + span * np.arange(buckets, dtype=np.int64) // buckets
    return np.array([first_us + span * i // buckets for i in range(buckets)], np.int64)


def _cut(time_us: Int64s, buckets: int) -> tuple[_Rows, _Rows]:
    """First row and number of rows of each bucket that has any."""
    edges = bucket_edges(int(time_us[0]), int(time_us[-1]), buckets)
    starts = np.searchsorted(time_us, edges, "left")
    ends = np.append(starts[1:], len(time_us))
    has_rows = ends > starts
    return starts[has_rows], (ends - starts)[has_rows]


def _stay(values: Float64s, family: UInt8s, starts: _Rows, counts: _Rows, *, is_held: bool) -> list[_Rows]:
    lowest_family = np.minimum.reduceat(family, starts)
    mixed = lowest_family != np.maximum.reduceat(family, starts)
    ends = mixed | (lowest_family == _BROKEN)
    if is_held:
        ends[:] = True
    stay = [_ends(len(values)), starts[ends], (starts + counts - 1)[ends]]
    stay += _extremes(values, family < _BROKEN, starts, counts)
    stay += _first_of_each(family, starts[mixed], counts[mixed])
    return stay


def _extremes(values: Float64s, drawable: Bools, starts: _Rows, counts: _Rows) -> list[_Rows]:
    """First row of the lowest and of the highest drawable value of each bucket that has one."""
    is_whole = bool(drawable.all())
    found = []
    for best, worst in ((np.minimum, np.inf), (np.maximum, -np.inf)):
        seen = values if is_whole else np.where(drawable, values, worst)
        is_best = seen == np.repeat(best.reduceat(seen, starts), counts)
        if not is_whole:
            is_best &= drawable
        found.append(_firsts(np.flatnonzero(is_best), starts, counts))
    return found


def _first_of_each(family: UInt8s, starts: _Rows, counts: _Rows) -> list[_Rows]:
    return [_firsts(np.flatnonzero(family == one), starts, counts) for one in (_GOOD, _UNCERTAIN, _BROKEN)]


def _firsts(rows: _Rows, starts: _Rows, counts: _Rows) -> _Rows:
    """Of these rows the first in each bucket that has one of them."""
    if not len(rows):
        return rows
    at = np.searchsorted(rows, starts, "left")
    inside = at < len(rows)
    found = rows[at[inside]]
    return np.asarray(found[found < (starts + counts)[inside]])
