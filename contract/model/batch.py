"""Batch: what a driver yields and everything behind it takes. Columns, never rows.

A batch of a polled group has one instant for all its signals; event-driven readings come
with a time per row. Values are float64; what a double cannot hold (texts, integers beyond
2**53) travels beside them in `exact`. Plan and flow live in `edge.flow`.
"""

from collections.abc import Sequence
from typing import TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

Int64s: TypeAlias = npt.NDArray[np.int64]
Int32s: TypeAlias = npt.NDArray[np.int32]
Float64s: TypeAlias = npt.NDArray[np.float64]
UInt8s: TypeAlias = npt.NDArray[np.uint8]
Bools: TypeAlias = npt.NDArray[np.bool_]
Value: TypeAlias = bool | int | float | str
Exact: TypeAlias = tuple[tuple[int, int | str], ...]

EXACT_INTEGER = 2**53
"""Largest magnitude up to which every integer is a double."""


class Batch(msgspec.Struct, frozen=True, eq=False):
    """Readings of one acquisition group, in the order in which they came.

    Args:
        group: number of the acquisition group all rows belong to.
        signal: signal number per row, int32[n]; None: exactly the group's members in order.
        time: one instant for all rows or one per row, int64[n], µs UTC.
        value: float64[n]; NaN where `exact` holds a text or where there is no value.
        quality: uint8[n], codes of `contract.model.quality`; None: all good.
        exact: (row, text or integer) for rows whose value a double cannot hold.
    """

    group: int
    signal: Int32s | None
    time: int | Int64s
    value: Float64s
    quality: UInt8s | None = None
    exact: Exact = ()

    def __len__(self) -> int:
        return len(self.value)

    def times(self) -> Int64s:
        """Time of each row, int64[n], µs UTC."""
        if isinstance(self.time, int):
            return np.full(len(self.value), self.time, np.int64)
        return self.time


def number(value: Value) -> float:
    """The double that stands for a value in a batch's `value` column; NaN for a text."""
    return float("nan") if isinstance(value, str) else float(value)


def needs_exact(value: Value) -> bool:
    """True where a double would not give the value back: texts, integers beyond 2**53."""
    if isinstance(value, str):
        return True
    return isinstance(value, int) and abs(value) > EXACT_INTEGER


def batch_of(
    group: int,
    signals: Sequence[int] | None,
    time_us: int | Sequence[int],
    values: Sequence[Value],
    quality: Sequence[int] | None = None,
) -> Batch:
    """Batch from plain lists; the one place where Python values become columns."""
    return Batch(
        group=group,
        signal=None if signals is None else np.asarray(signals, np.int32),
        time=time_us if isinstance(time_us, int) else np.asarray(time_us, np.int64),
        value=np.array([number(v) for v in values], np.float64),
        quality=None if quality is None else np.asarray(quality, np.uint8),
        exact=tuple((row, v) for row, v in enumerate(values) if needs_exact(v) and isinstance(v, int | str)),
    )
