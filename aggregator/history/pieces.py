"""Pieces: what one segment, or one message of the tail, holds of one signal.

Here stored bytes become columns, and numbers of a store become signals. Who asks puts pieces together:
service.py all of them, trend.py as many as the eye can tell apart.
"""

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import takewhile
from operator import attrgetter
from typing import NamedTuple, TypeAlias

import numpy as np

from aggregator.db.engine import Connection, Databases, reading
from aggregator.gateways import store as gateways
from aggregator.gateways.store import Binding
from aggregator.history import store
from aggregator.history.store import Epoch, SegmentRow, Source, TailRow
from aggregator.scope import Scope
from contract.model.batch import Batch, Bools, Float64s, Int32s, Int64s, UInt8s, Value
from contract.model.signal import DataType
from contract.segment.decode import Segment
from contract.segment.layout import SegmentError
from contract.wire.envelope import EnvelopeError, unpack
from contract.wire.records import Tail, TailError, unpack_tail

Values: TypeAlias = Float64s | Int64s | Bools | list[Value]


class Range(NamedTuple):
    """A closed range of time, and why there are no samples in it."""

    from_us: int
    to_us: int
    reason: str


class Piece(NamedTuple):
    """Samples by time."""

    time_us: Int64s
    values: Values
    quality: UInt8s


class Fresh(NamedTuple):
    """A tail message, and the segments that hold a part of its positions already."""

    batch: Batch
    sealed: Sequence[SegmentRow]


# --- Whose numbers ---------------------------------------------------------------------------


class Claim(NamedTuple):
    """In one epoch, `number` is the signal `uid` within from_us ≤ t < to_us."""

    number: int
    uid: str
    from_us: int | None
    to_us: int | None


class Claims:
    """Claims in one epoch."""

    def __init__(self) -> None:
        self._claims: list[Claim] = []

    def add(self, claim: Claim) -> None:
        self._claims.append(claim)

    def all(self) -> list[Claim]:
        """Each of them."""
        return list(self._claims)

    def uids(self) -> set[str]:
        return {claim.uid for claim in self._claims}

    def numbers(self) -> list[int]:
        return [claim.number for claim in self._claims]

    def of(self, signals: Sequence[int] | Int32s | None) -> list[Claim]:
        """Those whose number is among these signals."""
        present = set() if signals is None else {int(number) for number in signals}
        return [claim for claim in self._claims if claim.number in present]


def bound(scope: Scope, databases: Databases, uids: Sequence[str]) -> tuple[list[Binding], Mapping[str, str]]:
    """Where the samples of these signals lie, and the types of those that some gateway has now."""
    with reading(databases.main) as connection:
        bindings = gateways.bindings(scope, connection, uids)
        types = {row.uid: row.type for row in gateways.signals(scope, connection, uids)}
    return bindings, types


def by_epoch(scope: Scope, connection: Connection, bindings: Sequence[Binding]) -> dict[Epoch, Claims]:
    """In which epochs these signals are, and under which numbers."""
    by_source = {Source(b.gateway, b.store, b.number): b for b in bindings}
    found: dict[Epoch, Claims] = {}
    for epoch, numbers in store.epochs(scope, connection, list(by_source)).items():
        claims = found.setdefault(epoch, Claims())
        for number in numbers:
            b = by_source[Source(epoch.gateway, epoch.store, number)]
            claims.add(Claim(number, b.uid, b.from_us, b.to_us))
    return found


# --- Out of the bytes ------------------------------------------------------------------------


def overlapped(rows: Sequence[SegmentRow], tail: TailRow) -> list[SegmentRow]:
    """Which of these segments, by their last position, share positions with a tail message."""
    begin = bisect_left(rows, tail.first, key=attrgetter("head_last"))
    return list(takewhile(lambda row: row.head_first <= tail.last, rows[begin:]))


def without_sealed(piece: Piece, sealed: Sequence[Segment | str], number: int) -> Piece:
    """What of a tail message is not in a segment yet that overlaps it, by the instants in there."""
    for segment in sealed:
        if isinstance(segment, str) or number not in segment.signals:
            continue
        found = segment_piece(segment, number)
        if isinstance(found, Piece):
            rows = np.flatnonzero(~np.isin(piece.time_us, found.time_us))
            values = piece.values
            some = [values[i] for i in rows.tolist()] if isinstance(values, list) else values[rows]
            piece = Piece(piece.time_us[rows], some, piece.quality[rows])
    return piece


def cut(piece: Piece, claim: Claim, from_us: int, to_us: int) -> Piece:
    """What of a piece is the signal's, from_us ≤ t < to_us."""
    begin = from_us if claim.from_us is None else max(from_us, claim.from_us)
    end = to_us if claim.to_us is None else min(to_us, claim.to_us)
    a, b = np.searchsorted(piece.time_us, (begin, max(begin, end)), "left").tolist()
    return Piece(piece.time_us[a:b], piece.values[a:b], piece.quality[a:b])


def opened(scope: Scope, connection: Connection, row: SegmentRow) -> Segment | str:
    """The segment, or why it cannot be opened."""
    blob = store.blob_of(scope, connection, row)
    if blob is None:
        return "the segment is gone"
    try:
        return Segment(*blob)
    except SegmentError as error:
        return f"segment {row.seq} is damaged: {error}"


def segment_piece(segment: Segment, number: int) -> Piece | str:
    """One column, or why it cannot be read."""
    if not segment.has_body:
        return "only statistics are kept of this time"
    i = segment.signals.index(number)
    try:
        time, values, quality = segment.times(segment.axis_of(i)), segment.values(i), segment.quality(i)
    except SegmentError as error:
        return f"segment is damaged: {error}"
    good = np.zeros(len(time), np.uint8) if quality is None else quality
    return Piece(time, list(values) if isinstance(values, list) else values, good)


def unpacked(row: TailRow) -> Batch | None:
    """The batch of a stored tail message; None if it is damaged: its segment brings it again."""
    try:
        return unpack_tail(unpack(row.message, Tail))
    except (EnvelopeError, TailError):
        return None


def tail_piece(batch: Batch, number: int, kind: str | None) -> Piece:
    """Samples of one signal in a tail batch, as the column of its segment will have them."""
    assert batch.signal is not None
    rows = np.flatnonzero(batch.signal == number)
    time = batch.times()[rows]
    order = np.argsort(time, kind="stable")
    rows, time = rows[order], time[order]
    quality = np.zeros(len(rows), np.uint8) if batch.quality is None else batch.quality[rows]
    return Piece(time, _typed(batch, rows, kind), quality)


def _typed(batch: Batch, rows: Int64s, kind: str | None) -> Values:
    """Values as the signal's type has them; as float64 where one of them (a lost device's NaN) is none."""
    raw = batch.value[rows]
    exact = dict(batch.exact)
    if kind == DataType.TEXT:
        beside = zip(rows.tolist(), raw.tolist(), strict=True)
        return [str(exact.get(row, "" if math.isnan(value) else repr(value))) for row, value in beside]
    whole = np.isfinite(raw) & (raw == np.trunc(raw))
    if kind == DataType.INTEGER and bool(whole.all()):
        beside = zip(rows.tolist(), raw.tolist(), strict=True)
        return np.array([int(exact.get(row, value)) for row, value in beside], np.int64)
    if kind == DataType.BOOLEAN and bool(np.isin(raw, (0.0, 1.0)).all()):
        return np.asarray(raw == 1.0)
    return raw


def plain(values: Values, at: int) -> Value:
    """One value as Python has it."""
    if isinstance(values, list):
        return values[at]
    value: Value = values[at].item()
    return value
