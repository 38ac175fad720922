"""Samples of the past on their way into the historian: what is already there is left out.

They come from a recording, not from a device: they are marked so (`GOOD_RECORDED`), no alarm is
judged by them, and neither tail nor newest values know of them. Blocking; called in the
historian's thread. Where they come from is `importer.py`.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np

from contract.model.batch import EXACT_INTEGER, Batch, Bools, Int64s, Value, batch_of
from contract.model.config import Configuration
from contract.model.quality import Quality
from contract.model.signal import DataType
from edge.config import GroupPlan
from edge.historian.historian import Historian

ALONE_US: Final = 2**62
FAR_US: Final = 86_400_000_000
"""Nobody is that far away and a neighbour still."""


class PastColumn(msgspec.Struct, frozen=True):
    """Samples of one signal in its unit, times rising, µs UTC.

    `before_us` and `after_us` are the neighbours of the first and the last in the recording;
    None where there is none.
    """

    signal: str
    time_us: list[int]
    values: list[Value]
    before_us: int | None = None
    after_us: int | None = None


class Place(NamedTuple):
    """Where a signal's samples go."""

    number: int
    group: int
    type: DataType


def places_of(configuration: Configuration, groups: Sequence[GroupPlan]) -> dict[str, Place]:
    """Where the samples of each configured signal go."""
    return {
        member.uid: Place(member.number, group.number, configuration.signals[member.uid].type)
        for group in groups
        for member in group.members
    }


class Taken(msgspec.Struct, frozen=True):
    """What became of some columns: samples stored, and samples the signals had already."""

    stored: int
    skipped: int


class NotTaken(ValueError):
    """The columns cannot be stored as they are; nothing of them was."""


def take_in(
    historian: Historian, places: Mapping[str, Place], columns: Sequence[PastColumn], now_us: int
) -> Taken:
    """Store what is not there yet.

    A sample is there where its signal has one nearer than half way to the sample's neighbour in the
    recording: so nothing is doubled, gaps are filled, and a recording is not woven into what was
    acquired.

    Raises:
        NotTaken: an unknown signal, a value of another type, times that do not rise or lie ahead.
        HistorianError: the disk refused.
    """
    rows: dict[int, list[tuple[int, int, Value]]] = {}
    skipped = 0
    for column in columns:
        place = places.get(column.signal)
        if place is None:
            raise NotTaken(f"{column.signal}: this gateway has no such signal")
        _check(column, place.type, now_us)
        if not column.time_us:
            continue
        times = np.array(column.time_us, np.int64)
        near = _near(times, column.before_us, column.after_us)
        there = _is_there(times, near, _stored(historian, place.number, times, near))
        skipped += int(there.sum())
        fresh = np.flatnonzero(~there).tolist()
        rows.setdefault(place.group, []).extend(
            (column.time_us[row], place.number, column.values[row]) for row in fresh
        )
    stored = 0
    for group, samples in rows.items():
        if samples:
            historian.take_in(_batch(group, samples))
            stored += len(samples)
    return Taken(stored, skipped)


def _check(column: PastColumn, type_: DataType, now_us: int) -> None:
    if len(column.time_us) != len(column.values):
        raise NotTaken(f"{column.signal}: {len(column.time_us)} times and {len(column.values)} values")
    times = np.array(column.time_us, np.int64)
    if (np.diff(times) <= 0).any():
        raise NotTaken(f"{column.signal}: the times do not rise")
    if len(times) and int(times[-1]) > now_us:
        raise NotTaken(f"{column.signal}: the last sample lies ahead of the gateway's clock")
    for value in column.values:
        if not fits(value, type_):
            raise NotTaken(f"{column.signal}: {value!r} is no {type_}")


def fits(value: Value, type_: DataType) -> bool:
    """Whether a signal of this type can have the value."""
    if isinstance(value, str):
        return type_ is DataType.TEXT
    if type_ is DataType.BOOLEAN:
        return value in {0, 1}
    if type_ is DataType.INTEGER:
        return isinstance(value, int) or (value.is_integer() and abs(value) <= EXACT_INTEGER)
    return type_ is DataType.FLOAT


def _near(times: Int64s, before_us: int | None, after_us: int | None) -> Int64s:
    """Half way to the nearer neighbour of each sample; 0 for one that has none."""
    to_before = np.diff(times, prepend=times[0] - ALONE_US if before_us is None else before_us)
    to_after = np.diff(times, append=times[-1] + ALONE_US if after_us is None else after_us)
    nearer = np.minimum(to_before, to_after)
    near: Int64s = np.where(nearer >= ALONE_US, 0, np.minimum(nearer, FAR_US)) // 2
    return near


def _stored(historian: Historian, number: int, times: Int64s, near: Int64s) -> Int64s:
    """Times of what the signal has around these, in order."""
    begin, end = int(times[0] - near[0]), int(times[-1] + near[-1])
    found = [piece.time_us for piece in historian.history([number], begin, end)]
    return np.sort(np.concatenate(found)) if found else np.zeros(0, np.int64)


def _is_there(times: Int64s, near: Int64s, stored: Int64s) -> Bools:
    """Which of these have a stored sample near."""
    if not len(stored):
        return np.zeros(len(times), np.bool_)
    at = np.searchsorted(stored, times)
    before = times - stored[np.maximum(at - 1, 0)]
    after = stored[np.minimum(at, len(stored) - 1)] - times
    there: Bools = np.minimum(np.abs(before), np.abs(after)) <= near
    return there


def _batch(group: int, samples: list[tuple[int, int, Value]]) -> Batch:
    times, numbers, values = zip(*samples, strict=True)
    return batch_of(group, numbers, times, values, [Quality.GOOD_RECORDED] * len(samples))
