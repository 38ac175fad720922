"""Which readings of `delta` signals are kept: the last kept reading of each, and the comparison with it.

A reading is kept if it is the first, if it differs from the last kept one by more than the
deadband, if its quality differs, or if the last kept one is `max_interval_s` old. Texts and
integers beyond 2**53 are compared exactly. Only kept readings move the state.
"""

from collections.abc import Sequence
from math import isnan
from typing import Final

import numpy as np

from contract.model.batch import Bools, Exact, Float64s, Int64s, UInt8s
from contract.model.signal import Signal
from edge.signals.scaling import Rows

_NONE_KEPT: Final = 0xFF
"""Quality no reading has: whatever comes first differs from it."""
_FOR_EVER: Final = 2**62


class Deadband:
    """Last kept readings of a group's members; `delta` marks those it decides about."""

    def __init__(self, signals: Sequence[Signal]) -> None:
        n = len(signals)
        self._width = np.array([s.archive.deadband for s in signals], np.float64)
        intervals = [s.archive.max_interval_s for s in signals]
        self._interval: Int64s | None = None
        if any(intervals):
            self._interval = np.array(
                [_FOR_EVER if i is None else round(i * 1e6) for i in intervals], np.int64
            )
        self._value: Float64s = np.full(n, np.nan)
        self._quality: UInt8s = np.full(n, _NONE_KEPT, np.uint8)
        self._is_good = n == 0  # every last kept quality is plain good: nothing to compare with
        self._time: Int64s = np.zeros(n, np.int64)
        self._exact: dict[int, int | str] = {}

    def differs(
        self, members: Rows | None, time: int | Int64s, value: Float64s, quality: UInt8s | None, exact: Exact
    ) -> Bools:
        """Mask of the rows to keep; `members`: each row's member, each once; None: all in order."""
        last = self._value if members is None else self._value[members]
        with np.errstate(invalid="ignore", over="ignore"):  # infinities are values too
            change = value - last
        np.abs(change, out=change)
        kept: Bools = change > (self._width if members is None else self._width[members])
        strange = np.isnan(change)
        if strange.any():  # no number, or the same infinity as before
            rows = np.flatnonzero(strange)
            kept[rows] = np.isnan(value[rows]) != np.isnan(last[rows])
        if exact or self._exact:
            self._compare_exactly(members, value, exact, kept)
        if quality is not None or not self._is_good:
            before = self._quality if members is None else self._quality[members]
            kept |= before != (np.uint8(0) if quality is None else quality)
        if self._interval is not None:
            at: Rows | slice = slice(None) if members is None else members
            kept |= time - self._time[at] >= self._interval[at]
        return kept

    def _compare_exactly(self, members: Rows | None, value: Float64s, exact: Exact, kept: Bools) -> None:
        """Decide the rows that have an exact value now, or had one when last kept."""
        now = dict(exact)
        if members is None:
            rows = {member: member for member in self._exact}
            rows.update((row, row) for row in now)
        else:
            rows = {r: m for r, m in enumerate(members.tolist()) if r in now or m in self._exact}
        for row, member in rows.items():
            new = now.get(row, value.item(row))
            old = self._exact.get(member, self._value.item(member))
            kept[row] = _differ(new, old, self._width.item(member))

    def advance(
        self,
        rows: Rows,
        members: Rows | None,
        time: int | Int64s,
        value: Float64s,
        quality: UInt8s | None,
        exact: Exact,
    ) -> None:
        """These rows are kept."""
        at = rows if members is None else members[rows]
        self._value[at] = value[rows]
        if quality is not None or not self._is_good:
            self._quality[at] = 0 if quality is None else quality[rows]
            self._is_good = not self._quality.any()
        if self._interval is not None:
            self._time[at] = time if isinstance(time, int) else time[rows]
        if exact or self._exact:
            now = dict(exact)
            for row, member in zip(rows.tolist(), at.tolist(), strict=True):
                self._exact.pop(member, None)
                if row in now:
                    self._exact[member] = now[row]


def _differ(new: float | str, old: float | str, width: float) -> bool:
    """True if two values differ by more than `width`; integers and texts to the last digit."""
    if isinstance(new, str) or isinstance(old, str):
        return new != old
    if isnan(new) or isnan(old):
        return isnan(new) != isnan(old)
    return new != old and abs(_whole(new) - _whole(old)) > width


def _whole(number: float) -> float:
    """An integer where the number is one: differences of integers are exact."""
    return int(number) if number // 1 == number else number
