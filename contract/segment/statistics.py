"""Statistics of columns that share an axis, for many columns at once, and their form in the head.

Writer and deep check compute them here. What the fields mean: layout.Statistics; their bytes:
docs/segment-format.md section 5.
"""

from collections.abc import Sequence
from math import nan
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from contract.segment.layout import DECIMALS_MAX, NONE, RAW, Bools, Damaged, Figures, Int64s, Statistics

_EXACT = 2.0**62
_POWERS = 10.0 ** np.arange(DECIMALS_MAX + 1)


class Numbers(NamedTuple):
    """Statistics of some columns in the columns' own numbers: int64 at 10^-scale, or float64.

    `area` and `held` are in the unit of time given. Where `good` is 0 only `good` and `held` mean anything.
    """

    good: Int64s
    minimum: npt.NDArray[Any]
    maximum: npt.NDArray[Any]
    first: npt.NDArray[Any]
    last: npt.NDArray[Any]
    sum: npt.NDArray[Any]
    area: npt.NDArray[Any]
    held: Int64s


def numbers(values: npt.NDArray[Any], good: Bools | None, step: Int64s) -> Numbers:
    """Statistics of `values` [columns, rows], int64 or float64.

    Args:
        values: no NaN among the good.
        good: [columns, rows]; None = all.
        step: [rows - 1], from each time to the next.
    """
    columns, rows = values.shape
    with np.errstate(invalid="ignore", over="ignore"):  # infinities are values too
        if good is None:
            return Numbers(
                np.full(columns, rows),
                values.min(axis=1),
                values.max(axis=1),
                values[:, 0],
                values[:, -1],
                values.sum(axis=1),
                (values[:, :-1] * step).sum(axis=1),
                np.full(columns, int(step.sum())),
            )
        is_float = values.dtype == np.float64
        top: float = np.inf if is_float else np.iinfo(np.int64).max
        floor: float = -np.inf if is_float else np.iinfo(np.int64).min
        kept = np.where(good, values, values.dtype.type(0))
        every = np.arange(columns)
        return Numbers(
            good.sum(axis=1),
            np.where(good, values, top).min(axis=1),
            np.where(good, values, floor).max(axis=1),
            values[every, good.argmax(axis=1)],
            values[every, rows - 1 - good[:, ::-1].argmax(axis=1)],
            kept.sum(axis=1),
            (kept[:, :-1] * step).sum(axis=1),
            (good[:, :-1] * step).sum(axis=1),
        )


def sums_are_exact(values: npt.NDArray[np.int64], step: Int64s) -> Bools:
    """Per column of `values` [columns, rows]: sum and area stay within int64, and each value is a double."""
    largest = np.maximum(values.max(axis=1).astype(np.float64), -values.min(axis=1).astype(np.float64))
    reach = float(max(values.shape[1], int(step.sum())))
    return np.asarray((largest * reach < _EXACT) & (largest < 2.0**53))


def blank_figures(columns: int) -> Figures:
    """The record before anything is entered."""

    def zeros() -> list[int | float]:
        return [0] * columns

    return Figures(
        scale=[NONE] * columns,
        missing=[0] * columns,
        minimum=zeros(),
        maximum=zeros(),
        first=zeros(),
        last=zeros(),
        sum=zeros(),
        area=zeros(),
        unheld=[0] * columns,
    )


def enter(
    record: Figures, columns: Sequence[int], scale: Sequence[int], size: tuple[int, int], found: Numbers
) -> None:
    """Enter figures of `columns` into the record.

    Args:
        record: changed in place.
        columns: places in the segment, in the order of `found`.
        scale: of each column's integers; RAW where `found` is float64; NONE for texts.
        size: rows of the axis, and its last time minus its first in the unit of `found.held`.
        found: the figures.
    """
    rows, span = size
    for i, k, count, low, high, first, last, total, area, held in zip(
        columns, scale, *(part.tolist() for part in found), strict=True
    ):
        record.missing[i] = rows - count
        record.unheld[i] = span - held
        if count == 0 or k == NONE:
            continue
        record.scale[i] = k
        record.minimum[i] = low
        if k == RAW:
            record.maximum[i], record.first[i], record.last[i] = high, first, last
            record.sum[i], record.area[i] = total, area
        else:
            record.maximum[i], record.first[i], record.last[i] = high - low, first - low, last - low
            record.sum[i], record.area[i] = total - count * low, area - held * low


class Extent(NamedTuple):
    """Of one column: good samples, and their first, lowest, highest and last value; NaN where none is."""

    good: int
    first: float
    minimum: float
    maximum: float
    last: float


def check_length(record: Figures, columns: int) -> None:
    """Raise Damaged unless there is one figure per column."""
    if any(len(getattr(record, name)) != columns for name in record.__struct_fields__):
        raise Damaged("statistics: not one figure per column")


def extent_from(record: Figures, i: int, rows: int) -> Extent:
    """Extent of column `i`, without a look at the others: a long range asks for few columns of many heads.

    Raises:
        Damaged: its numbers cannot be.
    """
    scale, missing, low = record.scale[i], record.missing[i], record.minimum[i]
    good = rows - missing
    if missing < 0 or good < 0 or not NONE <= scale <= DECIMALS_MAX:
        raise Damaged("statistics: figures that cannot be")
    if scale == NONE:
        return Extent(good, nan, nan, nan, nan)
    if scale == RAW:
        return Extent(
            good, float(record.first[i]), float(low), float(record.maximum[i]), float(record.last[i])
        )
    base, divisor = float(low), 10.0**scale
    return Extent(
        good,
        (base + float(record.first[i])) / divisor,
        base / divisor,
        (base + float(record.maximum[i])) / divisor,
        (base + float(record.last[i])) / divisor,
    )


def statistics_from(record: Figures, rows: Int64s, span: Int64s, unit_us: int) -> Statistics:
    """Statistics as the reader gives them.

    Args:
        record: as read from the head.
        rows: length of each column's axis. span: last minus first time of each column's axis, in the unit.
        unit_us: µs per unit of time.

    Raises:
        Damaged: the record is not as long as the columns, or its numbers cannot be.
    """
    check_length(record, len(rows))
    parts = [getattr(record, name) for name in record.__struct_fields__]
    scale, missing, unheld = (
        np.array(part, np.int64) for part in (record.scale, record.missing, record.unheld)
    )
    low, high, first, last, total, area = (np.array(part, np.float64) for part in parts[2:8])
    good, held = rows - missing, span - unheld
    if (
        (missing < 0).any()
        or (good < 0).any()
        or (unheld < 0).any()
        or (held < 0).any()
        or (scale < NONE).any()
        or (scale > DECIMALS_MAX).any()
    ):
        raise Damaged("statistics: figures that cannot be")
    decimal = scale >= 0
    with np.errstate(invalid="ignore", over="ignore"):
        base = np.where(decimal, low, 0.0)
        divisor = np.where(decimal, _POWERS[np.where(decimal, scale, 0)], 1.0)
        divisor[scale == NONE] = np.nan
        return Statistics(
            good,
            low / divisor,
            (base + high) / divisor,
            (base + first) / divisor,
            (base + last) / divisor,
            (total + good * base) / divisor,
            (area + held * base) / divisor / (1e6 / unit_us),
            held * unit_us,
        )
