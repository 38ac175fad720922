"""Parts of a curve: points out of a column or out of a head, put together with the holes between. Pure."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from math import isnan
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from aggregator.history.pieces import Piece, Values
from contract.history.decimate import HOLE, Line, choose, choose_changes, with_holes
from contract.model.batch import EXACT_INTEGER, Batch, Bools, Float64s, Int64s, UInt8s
from contract.model.config import Configuration
from contract.model.signal import DataType
from contract.segment.decode import Segment
from contract.segment.layout import Kind

HOLE_FACTOR: Final = 2.5
THINNED_S: Final = 60.0
"""How often a gateway on a metered link sends its tail."""


class Manner(NamedTuple):
    """How a signal speaks: the pause it makes by itself, None if it may be silent for ever."""

    pause_us: int | None
    is_held: bool


class Part(NamedTuple):
    """Some points of one signal by time, with their holes, and how far apart its samples may lie."""

    time_us: Int64s
    values: Values
    quality: UInt8s
    samples: int
    pause_us: int | None
    coarse_us: int = 0


SILENT: Final = Manner(None, is_held=False)
NOTHING: Final = Part(np.empty(0, np.int64), np.empty(0), np.empty(0, np.uint8), 0, None)


def manner_of(configuration: Configuration, uid: str) -> Manner:
    """How a signal of this configuration speaks."""
    signal = configuration.signals.get(uid)
    if signal is None:
        return Manner(None, is_held=False)
    is_switch = signal.type in {DataType.BOOLEAN, DataType.TEXT}
    cycle_s = configuration.groups[signal.group].cycle_s
    if any(uplink.thinned for uplink in configuration.uplinks):
        cycle_s = max(cycle_s, THINNED_S)
    if signal.archive.mode == "every":
        return Manner(round(cycle_s * 1e6), is_switch)
    longest_s = signal.archive.max_interval_s
    pause_us = None if longest_s is None else round((cycle_s + longest_s) * 1e6)
    return Manner(pause_us, is_held=True)


def part_of(piece: Piece, manner: Manner, cycle_us: int = 0) -> Part:
    """A piece with its holes; `cycle_us` as its axis has it, 0: not known."""
    values = _drawable(piece.values)
    samples = len(piece.time_us)
    if manner.pause_us is None:
        return Part(piece.time_us, values, piece.quality, samples, None)
    step_us = float(cycle_us)
    if not cycle_us and samples > 1:
        step_us = float(np.median(np.diff(piece.time_us)))
    pause_us = round(HOLE_FACTOR * max(manner.pause_us, step_us))
    if samples < 2 or int((piece.time_us[1:] - piece.time_us[:-1]).max()) <= pause_us:
        return Part(piece.time_us, values, piece.quality, samples, pause_us)
    rows = Line(piece.time_us, np.arange(samples, dtype=np.float64), piece.quality)
    holed = with_holes(rows, pause_us)
    return Part(holed.time_us, _picked(values, holed.values), holed.quality, samples, pause_us)


def _drawable(values: Values) -> Float64s | list[Any]:
    """Values as float64 where that keeps each of them, else as they are."""
    if isinstance(values, list):
        return values
    if values.dtype == np.int64 and bool(((values >= EXACT_INTEGER) | (values <= -EXACT_INTEGER)).any()):
        whole: list[Any] = values.tolist()
        return whole
    return values.astype(np.float64, copy=False)


def _picked(values: Values, rows: Float64s) -> Values:
    """Values by row number; NaN where that is no row."""
    if isinstance(values, list):
        return [float("nan") if np.isnan(row) else values[int(row)] for row in rows.tolist()]
    if len(rows) == len(values):
        return values
    there = ~np.isnan(rows)
    picked = np.full(len(rows), np.nan)
    picked[there] = values[rows[there].astype(np.intp)]
    return picked


class Brief(NamedTuple):
    """What a head says of one column: exact values; the instants of lowest and highest are not known."""

    first_us: int
    last_us: int
    first: float
    minimum: float
    maximum: float
    last: float
    samples: int
    pause_us: int | None


def brief(segment: Segment, i: int, manner: Manner, *, has_body: bool) -> Brief | None:
    """Column `i` out of the head alone; None where that would not show what it holds."""
    kind, axis = segment.kind(i), segment.axis_of(i)
    if kind == Kind.TEXT:
        return None
    good, first, low, high, last = segment.extent(i)
    if good == 0 or (kind == Kind.INT64 and max(abs(low), abs(high)) >= EXACT_INTEGER):
        return None
    rows, cycle_us = segment.rows(axis), segment.cycle(axis)
    first_us, last_us = segment.ends(axis)
    pause_us = None
    if manner.pause_us is not None:
        pause_us = round(HOLE_FACTOR * max(manner.pause_us, cycle_us))
        # Where rows are missing the span is longer than so many cycles: then there may be a hole.
        spare_us = last_us - first_us - (rows - 1) * cycle_us
        if has_body and rows > 1 and (cycle_us == 0 or spare_us > pause_us - cycle_us):
            return None
    if has_body and good < rows:
        return None
    return Brief(first_us, last_us, first, low, high, last, good, pause_us)


def briefly(briefs: Sequence[Brief]) -> Part:
    """Briefs, each behind the one before, as points: first, lowest, highest, last."""
    table = np.array([one[:2] for one in briefs], np.int64)
    begins, ends = table[:, 0], table[:, 1]
    third = (ends - begins) // 3
    time = np.stack([begins, begins + third, begins + 2 * third, ends], axis=1).ravel()
    values = np.array([one[2:6] for one in briefs], np.float64).ravel()
    keep = np.ones(len(time), bool)  # a flat or short segment needs fewer points
    keep[1:] = (values[1:] != values[:-1]) | (time[1:] != time[:-1])
    keep[1:-1] &= ~((values[1:-1] == values[:-2]) & (values[1:-1] == values[2:]))
    keep[0::4] = keep[3::4] = True
    pauses = [one.pause_us for one in briefs if one.pause_us is not None]
    pause_us = max(pauses, default=None)
    line = Line(time[keep], values[keep], np.zeros(int(keep.sum()), np.uint8))
    samples, coarse_us = sum(one.samples for one in briefs), int((ends - begins).max())
    if pause_us is not None and len(briefs) > 1:
        gaps = begins[1:] - ends[:-1]
        at = np.flatnonzero(gaps > pause_us)
        rows = np.cumsum(keep)[4 * at + 3]  # the first row of the next segment
        line = Line(
            np.insert(line.time_us, rows, ends[at] + pause_us),
            np.insert(line.values, rows, np.nan),
            np.insert(line.quality, rows, HOLE),
        )
    return Part(line.time_us, line.values, line.quality, samples, pause_us, coarse_us)


def thinned(part: Part, points: int, manner: Manner) -> Part:
    """The part in at most `points` points."""
    if len(part.time_us) <= points:
        return part
    kept = None if manner.is_held else _evenly(part, points)
    if kept is None:
        numbers, _, _ = numbered(part.values)
        line = Line(part.time_us, numbers, part.quality)
        kept = rows_of(line, points, manner, is_listed=isinstance(part.values, list))
    values = part.values
    some = [values[row] for row in kept.tolist()] if isinstance(values, list) else values[kept]
    return part._replace(time_us=part.time_us[kept], values=some, quality=part.quality[kept])


def _evenly(part: Part, points: int) -> npt.NDArray[np.intp] | None:
    """The same rows for a part that is good throughout and beats evenly, at a tenth of the price.

    There equally many rows are an equal time. None: it is another.
    """
    rows, values = len(part.time_us), part.values
    width = -(-2 * rows // (points - 2))
    if isinstance(values, list) or part.quality.any() or not np.isfinite(values).all():
        return None
    steps = part.time_us[1:] - part.time_us[:-1]
    if int(steps.max()) > 2 * int(steps.mean()) + 1:
        return None
    full = rows // width * width
    table = values[:full].reshape(-1, width)
    starts = np.arange(0, full, width)
    found = [starts + table.argmin(axis=1), starts + table.argmax(axis=1)]
    if full < rows:
        rest = values[full:]
        found.append(np.array([full + rest.argmin(), full + rest.argmax()]))
    found.append(np.array([0, rows - 1]))
    mask = np.zeros(rows, bool)
    mask[np.concatenate(found)] = True
    return np.flatnonzero(mask)


def rows_of(line: Line, points: int, manner: Manner, *, is_listed: bool) -> npt.NDArray[np.intp]:
    """Which rows to show; `is_listed`: the values are places in a list."""
    if not len(line.time_us):
        return np.empty(0, np.intp)
    return choose_changes(line, points) if is_listed else choose(line, points, is_held=manner.is_held)


def numbered(values: Values) -> tuple[Float64s, list[str], dict[int, int]]:
    """Values as numbers to choose by; the texts they are places of, or the wide integers, by row."""
    if not isinstance(values, list):
        return values.astype(np.float64, copy=False), [], {}
    if any(isinstance(value, str) for value in values):
        places: dict[str, int] = {}
        codes = [
            value if _is_no_value(value) else places.setdefault(str(value), len(places)) for value in values
        ]
        return np.array(codes, np.float64), list(places), {}
    exact = {
        row: value
        for row, value in enumerate(values)
        if isinstance(value, int) and abs(value) >= EXACT_INTEGER
    }
    if not exact:
        return np.array(values, np.float64), [], {}
    seen: dict[Any, int] = {}
    numbers = [value if _is_no_value(value) else seen.setdefault(value, len(seen)) for value in values]
    return np.array(numbers, np.float64), [], exact


def _is_no_value(value: object) -> bool:
    return isinstance(value, float) and isnan(value)


def hole_at(time_us: int) -> Part:
    """A hole alone."""
    return Part(np.array([time_us], np.int64), np.array([np.nan]), np.array([HOLE], np.uint8), 0, None)


def joined(parts: Iterable[Part]) -> Part:
    """Parts as one, with the holes between them."""
    inside = sorted((part for part in parts if len(part.time_us)), key=lambda part: int(part.time_us[0]))
    if not inside:
        return NOTHING
    if len(inside) == 1:
        return inside[0]
    chain = [inside[0]]
    last_us, is_tangled = int(inside[0].time_us[-1]), False
    for before, part in pairwise(inside):
        pause_us = max(before.pause_us or 0, part.pause_us or 0)
        begins_us = int(part.time_us[0])
        is_tangled |= begins_us < last_us
        if pause_us and before.samples and part.samples and begins_us - last_us > pause_us:
            chain.append(hole_at(last_us + pause_us))
        chain.append(part)
        last_us = max(last_us, int(part.time_us[-1]))
    time = np.concatenate([part.time_us for part in chain])
    quality = np.concatenate([part.quality for part in chain])
    values = _chained([part.values for part in chain])
    pauses = [part.pause_us for part in chain if part.pause_us is not None]
    if is_tangled:
        order = np.argsort(time, kind="stable")
        order = order[_true_holes(time[order], quality[order], max(pauses, default=0))]
        time, quality = time[order], quality[order]
        values = [values[row] for row in order.tolist()] if isinstance(values, list) else values[order]
    return Part(
        time,
        values,
        quality,
        sum(part.samples for part in chain),
        max(pauses, default=None),
        max(part.coarse_us for part in chain),
    )


def _true_holes(time: Int64s, quality: UInt8s, pause_us: int) -> Bools:
    """Mask without the holes that late samples have filled."""
    keep = np.ones(len(time), bool)
    holes = np.flatnonzero(quality == HOLE)
    before, after = time[np.maximum(holes - 1, 0)], time[np.minimum(holes + 1, len(time) - 1)]
    keep[holes[after - before <= pause_us]] = False
    return keep


def _chained(values: Sequence[Values]) -> Values:
    arrays = [one for one in values if not isinstance(one, list)]
    if len(arrays) == len(values):
        return np.concatenate([one.astype(np.float64, copy=False) for one in arrays])
    whole: list[Any] = []
    for one in values:
        whole += one if isinstance(one, list) else one.tolist()
    return whole


def merged(batches: Sequence[Batch]) -> Batch:
    """Batches of one group as one."""
    starts = np.cumsum([0, *(len(batch) for batch in batches)])
    signals = [batch.signal for batch in batches]
    assert all(one is not None for one in signals)
    exact = tuple(
        (row + int(start), value)
        for start, batch in zip(starts, batches, strict=False)
        for row, value in batch.exact
    )
    return Batch(
        batches[0].group,
        np.concatenate([one for one in signals if one is not None]),
        np.concatenate([batch.times() for batch in batches]),
        np.concatenate([batch.value for batch in batches]),
        np.concatenate([np.zeros(len(b), np.uint8) if b.quality is None else b.quality for b in batches]),
        exact,
    )


def size(part: Part) -> int:
    """Bytes it takes in memory, about."""
    values = part.values
    beside = sum(60 + len(str(value)) for value in values) if isinstance(values, list) else values.nbytes
    return part.time_us.nbytes + part.quality.nbytes + beside
