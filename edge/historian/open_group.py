"""Open group: kept batches of one acquisition group that are not sealed yet, in memory.

The event loop appends, the worker cuts off at the front; both are single steps of a list. Turning
batches into axes and columns is here, packing them is `contract.segment`.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Final, NamedTuple

import numpy as np

from contract.model.batch import EXACT_INTEGER, Batch, Bools, Float64s, Int32s, Int64s, UInt8s
from contract.model.quality import Quality
from contract.segment.encode import Encoded, encode
from contract.segment.layout import Axis, Column, Kind, SegmentError, Values
from edge.historian.head import Record, concatenate, named
from edge.historian.layout import MemberLayout

RESTATED_ROWS: Final = 50_000
SORTED_ROWS: Final = 32_768
"""Samples that are sorted by signal at once: a few scratch arrays of 256 KiB."""


class OpenGroup:
    """Rows of one group since its last segment. `members` is its present make-up.

    `appended` counts samples that came, `cut` those that went: each has one writer.
    """

    __slots__ = (
        "_boundary",
        "appended",
        "cut_samples",
        "epoch",
        "has_sealed",
        "members",
        "records",
        "retry_us",
        "since_us",
    )

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.epoch = 0
        self.members: tuple[MemberLayout, ...] = ()
        self.since_us: int | None = None
        self.appended = 0
        self.cut_samples = 0
        self.has_sealed = False
        self.retry_us: int | None = None
        self._boundary = 0

    @property
    def samples(self) -> int:
        """Samples that wait to be sealed."""
        return self.appended - self.cut_samples

    @property
    def boundary(self) -> int:
        """Last position of the seal under way or, if there is none, of the one before."""
        return self._boundary

    def append(self, record: Record) -> None:
        """One more kept batch."""
        self.records.append(record)
        self.appended += len(record.batch)

    def is_due(self, now_us: int, rows: float, age_us: float) -> bool:
        """True when there are `rows` samples per member, or the oldest is seen for `age_us`."""
        if not self.records:
            self.since_us = None
            return False
        if self.retry_us is not None:
            return not self.retry_us - age_us < now_us < self.retry_us
        if self.since_us is None or self.since_us > now_us:
            self.since_us = now_us
        return now_us - self.since_us >= age_us or self.samples >= rows * max(1, len(self.members))

    def fix_boundary(self) -> int:
        """All that is here now belongs to the next seal; its last position."""
        records = self.records
        if records:
            self._boundary = records[-1].position
            self.since_us = None
            self.has_sealed = True
        return self._boundary

    def sealing(self) -> list[Record]:
        """The records the next seal takes."""
        return [record for record in self.records.copy() if record.position <= self._boundary]

    def cut(self, last: int) -> int:
        """Let go of records up to a position; how many samples went. Worker only."""
        going = [record for record in self.records.copy() if record.position <= last]
        del self.records[: len(going)]
        samples = sum(len(record.batch) for record in going)
        self.cut_samples += samples
        return samples


def restate(
    records: Sequence[Record], boundary: int, members_of: Mapping[int, Int32s]
) -> Iterator[tuple[int, int, Batch]]:
    """(first, last, batch) for the tail: rows named, one epoch each, none across `boundary`."""
    part: list[Record] = []
    rows = 0
    for record in records:
        if part and (
            rows + len(record.batch) > RESTATED_ROWS
            or record.epoch != part[0].epoch
            or part[0].position <= boundary < record.position
        ):
            yield _stated(part, members_of)
            part, rows = [], 0
        part.append(record)
        rows += len(record.batch)
    if part:
        yield _stated(part, members_of)


def _stated(part: Sequence[Record], members_of: Mapping[int, Int32s]) -> tuple[int, int, Batch]:
    batch = concatenate([r.batch for r in part], [members_of[r.epoch] for r in part])
    return part[0].position, part[-1].position, batch


class SealedPiece(NamedTuple):
    """A packed segment and the records it holds."""

    first: int
    last: int
    epoch: int
    encoded: Encoded


class Packed(NamedTuple):
    """Segments of some records, and why single batches among them can be stored in none."""

    pieces: list[SealedPiece]
    refused: list[str]


def pack(group: int, records: Sequence[Record], layouts: Mapping[int, Sequence[MemberLayout]]) -> Packed:
    """Segments of records in order: one per epoch, more where the bounds of a segment ask for it."""
    packed = Packed([], [])
    for epoch, same in groupby(records, attrgetter("epoch")):
        _pack_epoch(group, epoch, list(same), layouts[epoch], packed)
    return packed


def _pack_epoch(
    group: int, epoch: int, records: list[Record], members: Sequence[MemberLayout], into: Packed
) -> None:
    try:
        axes, columns = columns_of(records, members)
        encoded = encode(axes, columns, group=group, epoch=epoch)
    except SegmentError as error:
        halves = _halves(records)
        if halves is None:
            into.refused.append(f"group {group}, position {records[0].position}: {error}")
            return
    else:
        into.pieces.append(SealedPiece(records[0].position, records[-1].position, epoch, encoded))
        return
    for half in halves:
        _pack_epoch(group, epoch, half, members, into)


def _halves(records: list[Record]) -> tuple[list[Record], list[Record]] | None:
    """Records in two parts, the rows of a single one if need be; None if that cannot be."""
    middle = len(records) // 2
    if middle:
        return records[:middle], records[middle:]
    record = records[0]
    batch = record.batch
    rows = len(batch)
    if rows < 2 or batch.signal is None:
        return None
    low, high = _slice(batch, 0, rows // 2), _slice(batch, rows // 2, rows)
    return [record._replace(batch=low)], [record._replace(batch=high)]


def _slice(batch: Batch, start: int, end: int) -> Batch:
    return Batch(
        group=batch.group,
        signal=None if batch.signal is None else batch.signal[start:end],
        time=batch.time if isinstance(batch.time, int) else batch.time[start:end],
        value=batch.value[start:end],
        quality=None if batch.quality is None else batch.quality[start:end],
        exact=tuple((row - start, value) for row, value in batch.exact if start <= row < end),
    )


def columns_of(records: Sequence[Record], members: Sequence[MemberLayout]) -> tuple[list[Axis], list[Column]]:
    """Axes and columns of records of one epoch; signals with equal instants share an axis.

    Samples are put in order of time; those of one instant stay in the order in which they came.
    """
    numbers = np.array([member.number for member in members], np.int32)
    if all(_is_poll(r.batch, numbers) for r in records):
        return _shared(records, members)
    return _own(records, members)


def _is_poll(batch: Batch, numbers: Int32s) -> bool:
    """True for a whole poll, be its signals named (as in the row of a standstill) or not."""
    if not isinstance(batch.time, int):
        return False
    return batch.signal is None or np.array_equal(batch.signal, numbers)


def _shared(records: Sequence[Record], members: Sequence[MemberLayout]) -> tuple[list[Axis], list[Column]]:
    """Whole polls: one axis, a matrix of instants × members."""
    time = np.array([r.batch.time for r in records], np.int64)
    exact: dict[int, dict[int, int | str]] = {}
    for row, record in enumerate(records):
        for place, value in record.batch.exact:
            exact.setdefault(place, {})[row] = value
    values = np.stack([r.batch.value for r in records], axis=1)
    quality: UInt8s | None = None
    if any(r.batch.quality is not None for r in records):
        good = np.zeros(len(members), np.uint8)
        quality = np.stack([good if r.batch.quality is None else r.batch.quality for r in records], axis=1)
    order = _order(time)
    if order is not None:
        time, values = time[order], values[:, order]
        quality = None if quality is None else quality[:, order]
        place_of = {int(old): new for new, old in enumerate(order)}
        exact = {k: {place_of[row]: v for row, v in rows.items()} for k, rows in exact.items()}
    columns = []
    for i, member in enumerate(members):
        own = None if quality is None else quality[i]
        columns.append(_column(member, 0, values[i], own, exact.get(i, {})))
    return [Axis(time, _cycle_us(time))], columns


def _own(records: Sequence[Record], members: Sequence[MemberLayout]) -> tuple[list[Axis], list[Column]]:
    """Events and parts of polls: the samples of each signal, with an axis per set of instants."""
    kind_of = {member.number: member.kind for member in members}
    sorted_ = _by_signal(records, np.array([member.number for member in members], np.int32))
    axes: list[Axis] = []
    known: dict[bytes, int] = {}
    columns = []
    for number, start, end in sorted_.runs:
        time, values = sorted_.time[start:end], sorted_.value[start:end]
        quality = None if sorted_.quality is None else sorted_.quality[start:end]
        exact: Mapping[int, int | str] = {}
        if sorted_.exact:
            exact = {row - start: sorted_.exact[row] for row in range(start, end) if row in sorted_.exact}
        order = _order(time)
        if order is not None:
            time, values = time[order], values[order]
            quality = None if quality is None else quality[order]
            if exact:
                exact = {new: exact[old] for new, old in enumerate(order.tolist()) if old in exact}
        key = time.tobytes()
        if key not in known:
            known[key] = len(axes)
            axes.append(Axis(time, _cycle_us(time)))
        member = MemberLayout(number, kind_of.get(number, Kind.FLOAT64))
        columns.append(_column(member, known[key], values, quality, exact))
    return axes, columns


class _Sorted(NamedTuple):
    """Samples by signal; within a signal in the order in which they came. `runs`: (signal, start, end)."""

    runs: list[tuple[int, int, int]]
    time: Int64s
    value: Float64s
    quality: UInt8s | None
    exact: dict[int, int | str]


def _by_signal(records: Sequence[Record], numbers: Int32s) -> _Sorted:
    """Samples of records sorted by signal, some at a time: there may be a million of them.

    1. Count the samples of each signal, which says where each one's begin. 2. Put those of a few
    records in their places, then those of the next.
    """
    counts = np.bincount(np.concatenate([named(r.batch, numbers) for r in records]))
    starts = np.cumsum(counts) - counts
    runs = [(int(n), int(starts[n]), int(starts[n] + counts[n])) for n in np.flatnonzero(counts)]
    time, value = np.empty(counts.sum(), np.int64), np.empty(counts.sum(), np.float64)
    quality: UInt8s | None = None
    if any(r.batch.quality is not None for r in records):
        quality = np.zeros(len(value), np.uint8)
    exact: dict[int, int | str] = {}
    free = starts.copy()
    for part in _portions(records):
        joined = concatenate([r.batch for r in part], [numbers] * len(part))
        signal = named(joined, numbers)
        order = np.argsort(signal, kind="stable")
        signal = signal[order]
        here = np.bincount(signal, minlength=len(counts))
        place = free[signal] + np.arange(len(signal)) - (np.cumsum(here) - here)[signal]
        free += here
        time[place], value[place] = joined.times()[order], joined.value[order]
        if quality is not None and joined.quality is not None:
            quality[place] = joined.quality[order]
        if joined.exact:
            place_of = np.empty(len(order), np.int64)
            place_of[order] = place
            exact.update((int(place_of[row]), one) for row, one in joined.exact)
    return _Sorted(runs, time, value, quality, exact)


def _portions(records: Sequence[Record]) -> Iterator[list[Record]]:
    """Records in order, SORTED_ROWS rows at a time or one record that has more."""
    part: list[Record] = []
    rows = 0
    for record in records:
        if part and rows + len(record.batch) > SORTED_ROWS:
            yield part
            part, rows = [], 0
        part.append(record)
        rows += len(record.batch)
    if part:
        yield part


def _order(time: Int64s) -> Int64s | None:
    """Order of time, or None where it is that already."""
    if len(time) < 2 or bool((time[1:] >= time[:-1]).all()):
        return None
    return np.argsort(time, kind="stable")


def _cycle_us(time: Int64s) -> int:
    """The step most instants keep to, 0 where there is none: it only makes the axis smaller."""
    if len(time) < 4:
        return 0
    steps = np.diff(time)
    cycle = int(np.median(steps))
    near = np.abs(steps - cycle) * 8 <= cycle
    return cycle if cycle > 0 and 2 * int(near.sum()) > len(steps) else 0


def _column(
    member: MemberLayout, axis: int, values: Float64s, quality: UInt8s | None, exact: Mapping[int, int | str]
) -> Column:
    if quality is not None and not quality.any():
        quality = None
    kind, typed, quality = _typed(member.kind, values, quality, exact)
    return Column(member.number, kind, axis, typed, quality)


def _typed(
    kind: Kind, values: Float64s, quality: UInt8s | None, exact: Mapping[int, int | str]
) -> tuple[Kind, Values, UInt8s | None]:
    """Values as the kind asks; as float64 where a value (NaN of a lost device, 0.5) is none of it."""
    if kind is Kind.TEXT:
        return kind, _texts(values, exact), quality
    integers = {row: value for row, value in exact.items() if isinstance(value, int)}
    strays = [row for row, value in exact.items() if isinstance(value, str)]
    if strays:
        quality = _mismatched(quality, len(values), np.array(strays))
    if kind is Kind.BOOL and not integers and _are_bools(values):
        return kind, values != 0.0, quality
    whole = _integer_rows(values)
    whole[list(integers)] = True
    if (kind is Kind.INT64 or integers) and whole.all():
        return Kind.INT64, _integers(values, whole, integers), quality
    if kind is Kind.INT64 and integers:
        # No double holds the integers and no integer the rest, which is nearly always a lost value.
        return (
            kind,
            _integers(values, whole, integers),
            _mismatched(quality, len(values), np.flatnonzero(~whole)),
        )
    return Kind.FLOAT64, np.ascontiguousarray(values), quality


def _mismatched(quality: UInt8s | None, rows: int, where: Int64s) -> UInt8s:
    """Quality with these rows bad, if they are not already for a reason of their own."""
    quality = np.zeros(rows, np.uint8) if quality is None else quality.copy()
    quality[where] = np.where(
        quality[where] < Quality.BAD, np.uint8(Quality.BAD_TYPE_MISMATCH), quality[where]
    )
    return quality


def _integers(values: Float64s, whole: Bools, exact: Mapping[int, int]) -> Int64s:
    """int64 of the rows that are whole, 0 for the others."""
    typed = np.where(whole & np.isfinite(values), values, 0.0)
    typed[list(exact)] = 0.0
    integers = typed.astype(np.int64)
    for row, value in exact.items():
        integers[row] = value
    return integers


def _integer_rows(values: Float64s) -> Bools:
    with np.errstate(invalid="ignore"):
        whole = (values == np.rint(values)) & (np.abs(values) <= EXACT_INTEGER)
    return np.asarray(whole & ~((values == 0.0) & np.signbit(values)))


def _are_bools(values: Float64s) -> bool:
    return bool((((values == 0.0) & ~np.signbit(values)) | (values == 1.0)).all())


def _texts(values: Float64s, exact: Mapping[int, int | str]) -> list[str]:
    """Texts of a column: what came as text, a number as it is written, "" where there was none."""
    texts = ["" if math.isnan(value) else repr(value) for value in values.tolist()]
    for row, value in exact.items():
        texts[row] = str(value)
    return texts
