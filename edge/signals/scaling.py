"""Raw readings to values in the signal's unit, and back for a write.

value = raw * factor / divisor + offset, in this order: a decimal scale is a division, and only
then is the value the double nearest to the decimal. Booleans and texts are never scaled;
integers only where a scaling is set. A value outside its range keeps its number and becomes
uncertain. What is kept of it: `edge.signals.deadband`.
"""

from collections.abc import Sequence
from fractions import Fraction
from math import isfinite
from typing import Final

import numpy as np
import numpy.typing as npt

from contract.model.batch import EXACT_INTEGER, Exact, Float64s, UInt8s, Value
from contract.model.quality import Quality
from contract.model.signal import DataType, Scaling, Signal

Rows = npt.NDArray[np.intp]
"""Indices of rows or members."""

_IDENTITY: Final = Scaling()
_INTEGER_MAX: Final = 2**63 - 1


class WriteRefused(ValueError):
    """A value that may not be written; the text names the signal, the value and the way out."""


class ScaleStage:
    """Scaling and range of a group's signals as columns; a part nobody uses is None."""

    def __init__(self, signals: Sequence[Signal]) -> None:
        self._scaling = [scaling_of(signal) for signal in signals]
        self.factor = _column([s.factor for s in self._scaling], 1.0)
        self.divisor = _column([s.divisor for s in self._scaling], 1.0)
        # Adding -0.0 leaves every double as it is; adding 0.0 would turn -0.0 round.
        self.offset = _column([s.offset or -0.0 for s in self._scaling], -0.0)
        numeric = [s.type in {DataType.FLOAT, DataType.INTEGER} for s in signals]
        low = [
            s.range.low if n and s.range.low is not None else -np.inf
            for n, s in zip(numeric, signals, strict=True)
        ]
        high = [
            s.range.high if n and s.range.high is not None else np.inf
            for n, s in zip(numeric, signals, strict=True)
        ]
        self.low, self.high = _column(low, -np.inf), _column(high, np.inf)

    def values(self, raw: Float64s, members: Rows | None) -> Float64s:
        """Scaled values of the members, or of all; `raw` itself if nothing is scaled."""
        value = raw
        with np.errstate(invalid="ignore", over="ignore"):  # infinities are values too
            if self.factor is not None:
                value = value * (self.factor if members is None else self.factor[members])
            if self.divisor is not None:
                value = value / (self.divisor if members is None else self.divisor[members])
            if self.offset is not None:
                value = value + (self.offset if members is None else self.offset[members])
        return value

    def exact(self, exact: Exact, members: Rows | None, value: Float64s) -> Exact:
        """Exact values after scaling; a row that is scaled gets its correctly rounded `value` here."""
        kept: list[tuple[int, int | str]] = []
        for row, raw in exact:
            scaling = self._scaling[row if members is None else int(members[row])]
            if isinstance(raw, str) or scaling == _IDENTITY:
                kept.append((row, raw))
                continue
            scaled = Fraction(raw) * Fraction(scaling.factor) / Fraction(scaling.divisor) + Fraction(
                scaling.offset
            )
            value[row] = float(scaled)
            if scaled.denominator == 1 and EXACT_INTEGER < abs(scaled) <= _INTEGER_MAX:
                kept.append((row, int(scaled)))
        return tuple(kept)

    def quality(self, value: Float64s, quality: UInt8s | None, members: Rows | None) -> UInt8s | None:
        """Quality after the range check; only what was good becomes uncertain."""
        if self.low is None and self.high is None:
            return quality
        outside = np.zeros(len(value), bool)
        if self.low is not None:
            outside |= value < (self.low if members is None else self.low[members])
        if self.high is not None:
            outside |= value > (self.high if members is None else self.high[members])
        if not outside.any():
            return quality
        checked = np.zeros(len(value), np.uint8) if quality is None else quality.copy()
        checked[outside & (checked < Quality.UNCERTAIN)] = Quality.UNCERTAIN_OUT_OF_RANGE
        return checked


def scaling_of(signal: Signal) -> Scaling:
    """The scaling in force: none for booleans and texts."""
    return signal.scaling if signal.type in {DataType.FLOAT, DataType.INTEGER} else _IDENTITY


def scaled(scaling: Scaling, raw: float) -> float:
    """One value, in the same steps as a whole column."""
    return raw * scaling.factor / scaling.divisor + (scaling.offset or -0.0)


def raw(signal: Signal, value: Value) -> Value:
    """What to write to the device so that the signal takes `value`, given in its unit.

    Raises:
        WriteRefused: not writable, of another type, outside the limits, or not to be had
            through this scaling.
    """
    name = signal.name or "the signal"
    if not signal.writable:
        raise WriteRefused(f"{name} is not writable; set `writable` in the configuration")
    if signal.type is DataType.TEXT:
        if not isinstance(value, str):
            raise WriteRefused(f"{name} is a text; {value!r} is none")
        return value
    if signal.type is DataType.BOOLEAN:
        if not isinstance(value, bool):
            raise WriteRefused(f"{name} is a boolean; write true or false, not {value!r}")
        return value
    if isinstance(value, bool | str):
        raise WriteRefused(f"{name} is a number; {value!r} is none")
    if not isinstance(value, int) and not isfinite(value):
        raise WriteRefused(f"{name} takes finite numbers, not {value!r}")
    _check_limits(signal, name, value)
    if signal.scaling == _IDENTITY:
        return _unscaled(signal, name, value)
    return _inverse(signal, name, value)


def _check_limits(signal: Signal, name: str, value: float) -> None:
    low, high = signal.limits.low, signal.limits.high
    if low is not None and value < low:
        raise WriteRefused(f"{name}: {value!r} is below its lower limit {low:g}")
    if high is not None and value > high:
        raise WriteRefused(f"{name}: {value!r} is above its upper limit {high:g}")


def _unscaled(signal: Signal, name: str, value: float) -> Value:
    if signal.type is DataType.FLOAT:
        return float(value)
    if value != int(value):
        raise WriteRefused(f"{name} is an integer; {value!r} is none")
    return int(value)


def _inverse(signal: Signal, name: str, value: float) -> Value:
    """The raw number whose scaled value is `value`; a whole one where one gives exactly that."""
    scaling = signal.scaling
    if scaling.factor == 0:
        raise WriteRefused(f"{name} has a scaling factor of 0; nothing can be written through it")
    exact = (
        (Fraction(value) - Fraction(scaling.offset)) * Fraction(scaling.divisor) / Fraction(scaling.factor)
    )
    whole = round(exact)
    if scaled(scaling, float(whole)) == value or exact == whole:
        return whole if signal.type is DataType.INTEGER else float(whole)
    if signal.type is DataType.INTEGER:
        raise WriteRefused(
            f"{name}: {value!r} lies between two steps of {scaled(scaling, 1) - scaled(scaling, 0):g}"
        )
    return float(exact)


def _column(values: Sequence[float], idle: float) -> Float64s | None:
    """The values as a column; None where all are `idle`."""
    column = np.array(values, np.float64)
    return None if (column == idle).all() else column
