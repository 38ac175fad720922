"""Samples of signals over time, wherever they lie: segments and tail, all stores, all gateways.

Segments and tail are read in one transaction, and a segment takes the place of its tail in one
transaction; of a tail message that reaches beyond a segment only the rest is given. So there is
neither hole nor doubled point. What cannot be given as samples (the body
was let go, a stored segment is damaged) is named as a range, never left out in silence.
"""

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import takewhile
from operator import attrgetter
from typing import Any, NamedTuple, TypeAlias

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

LIMIT = 1_000_000
"""Samples per signal in one answer, unless asked for fewer."""
LOOKBACK = 200
"""Segments of one epoch in which a last value is searched, newest first."""


class Range(NamedTuple):
    """A closed range of time, and why there are no samples in it."""

    from_us: int
    to_us: int
    reason: str


class Samples(NamedTuple):
    """Samples of one signal by time; `quality` as in contract.model.quality.

    `missing` names what is known to have been there. `more_from_us` is where to go on asking if
    the limit cut the answer; None: that was all.
    """

    time_us: Int64s
    values: Values
    quality: UInt8s
    missing: tuple[Range, ...] = ()
    more_from_us: int | None = None


class Sample(NamedTuple):
    """One sample."""

    time_us: int
    value: Value
    quality: int


class _Piece(NamedTuple):
    time_us: Int64s
    values: Values
    quality: UInt8s


class _Fresh(NamedTuple):
    """A tail message, and the segments that hold a part of its positions already."""

    batch: Batch
    sealed: Sequence[SegmentRow]


def query(
    scope: Scope,
    databases: Databases,
    uids: Sequence[str],
    from_us: int,
    to_us: int,
    *,
    limit: int = LIMIT,
) -> dict[str, Samples]:
    """Samples with from_us ≤ t < to_us of each signal, at most `limit` each, oldest first.

    A signal that is unknown, or that the scope does not reach, has no samples.
    """
    bound, types = _bound(scope, databases, uids)
    gathered = {uid: _Gathered() for uid in uids}
    if from_us < to_us:
        with reading(databases.history) as connection:
            _gather(scope, connection, bound, types, gathered, from_us, to_us, limit)
    return {uid: one.samples(limit) for uid, one in gathered.items()}


def last_before(scope: Scope, databases: Databases, uids: Sequence[str], before_us: int) -> dict[str, Sample]:
    """The newest sample of each signal with t < before_us: what a step-held line begins with.

    A signal without one, or with none in the LOOKBACK newest segments, is left out.
    """
    bound, types = _bound(scope, databases, uids)
    best: dict[str, Sample] = {}
    with reading(databases.history) as connection:
        for epoch, claims in _by_epoch(scope, connection, bound).items():
            for tail in reversed(store.tail_between(scope, connection, epoch, -(2**62), before_us - 1)):
                if all(uid in best for uid in claims.uids()):
                    break
                batch = _unpacked(tail)
                if batch is not None:
                    for claim in claims.of(batch.signal):
                        piece = _tail_piece(batch, claim.number, types.get(claim.uid))
                        _better(best, claim, piece, before_us)
            for row in _newest_first(store.segments_before(scope, connection, epoch, before_us)):
                if all(uid in best and best[uid].time_us >= row.t_max_us for uid in claims.uids()):
                    break
                segment = _opened(scope, connection, row)
                if isinstance(segment, Segment) and segment.has_body:
                    for claim in claims.of(segment.signals):
                        found = _segment_piece(segment, claim.number)
                        if isinstance(found, _Piece):
                            _better(best, claim, found, before_us)
    return best


def _newest_first(rows: Iterable[SegmentRow]) -> Iterator[SegmentRow]:
    for walked, row in enumerate(rows):
        if walked == LOOKBACK:
            return
        yield row


def _better(best: dict[str, Sample], claim: "_Claim", piece: _Piece, before_us: int) -> None:
    end = before_us if claim.to_us is None else min(before_us, claim.to_us)
    at = int(np.searchsorted(piece.time_us, end, "left")) - 1
    if at < 0 or (claim.from_us is not None and piece.time_us[at] < claim.from_us):
        return
    time_us = int(piece.time_us[at])
    if claim.uid not in best or time_us >= best[claim.uid].time_us:
        best[claim.uid] = Sample(time_us, _plain(piece.values, at), int(piece.quality[at]))


def _plain(values: Values, at: int) -> Value:
    if isinstance(values, list):
        return values[at]
    value: Value = values[at].item()
    return value


# --- Whose numbers ---------------------------------------------------------------------------


class _Claim(NamedTuple):
    """In one epoch, `number` is the signal `uid` within from_us ≤ t < to_us."""

    number: int
    uid: str
    from_us: int | None
    to_us: int | None


class _Claims:
    def __init__(self) -> None:
        self._claims: list[_Claim] = []

    def add(self, claim: _Claim) -> None:
        self._claims.append(claim)

    def uids(self) -> set[str]:
        return {claim.uid for claim in self._claims}

    def numbers(self) -> list[int]:
        return [claim.number for claim in self._claims]

    def of(self, signals: Sequence[int] | Int32s | None) -> list[_Claim]:
        """Those whose number is among these signals."""
        present = set() if signals is None else {int(number) for number in signals}
        return [claim for claim in self._claims if claim.number in present]


def _bound(
    scope: Scope, databases: Databases, uids: Sequence[str]
) -> tuple[list[Binding], Mapping[str, str]]:
    with reading(databases.main) as connection:
        bound = gateways.bindings(scope, connection, uids)
        types = {row.uid: row.type for row in gateways.signals(scope, connection, uids)}
    return bound, types


def _by_epoch(scope: Scope, connection: Connection, bound: Sequence[Binding]) -> dict[Epoch, _Claims]:
    by_source = {Source(b.gateway, b.store, b.number): b for b in bound}
    found: dict[Epoch, _Claims] = {}
    for epoch, numbers in store.epochs(scope, connection, list(by_source)).items():
        claims = found.setdefault(epoch, _Claims())
        for number in numbers:
            b = by_source[Source(epoch.gateway, epoch.store, number)]
            claims.add(_Claim(number, b.uid, b.from_us, b.to_us))
    return found


# --- Gathering -------------------------------------------------------------------------------


class _Gathered:
    """What was found of one signal so far, in any order."""

    def __init__(self) -> None:
        self.pieces: list[_Piece] = []
        self.missing: list[Range] = []
        self.count = 0

    def add(self, piece: _Piece) -> None:
        """Put one piece in."""
        self.pieces.append(piece)
        self.count += len(piece.time_us)

    def has(self, enough: int, time_us: int) -> bool:
        """Whether more than `enough` samples lie before an instant, and all still to come behind it."""
        if self.count <= enough:
            return False
        return sum(int(np.searchsorted(p.time_us, time_us, "left")) for p in self.pieces) > enough

    def samples(self, limit: int) -> Samples:
        """All of it by time, cut at the limit but not within one instant."""
        missing = tuple(self.missing)
        if not self.pieces:
            return Samples(np.empty(0, np.int64), np.empty(0, np.float64), np.empty(0, np.uint8), missing)
        time = np.concatenate([piece.time_us for piece in self.pieces])
        quality = np.concatenate([piece.quality for piece in self.pieces])
        values = _joined([piece.values for piece in self.pieces])
        if len(time) > 1 and bool((np.diff(time) < 0).any()):
            order = np.argsort(time, kind="stable")
            time, quality = time[order], quality[order]
            values = [values[i] for i in order.tolist()] if isinstance(values, list) else values[order]
        more: int | None = None
        if len(time) > limit:
            end = int(np.searchsorted(time, time[limit - 1], "right"))
            more = int(time[end]) if end < len(time) else None
            time, values, quality = time[:end], values[:end], quality[:end]
        return Samples(time, values, quality, missing, more)


def _joined(values: Sequence[Values]) -> Values:
    arrays: list[Any] = [one for one in values if isinstance(one, np.ndarray)]
    if len(arrays) == len(values) and len({one.dtype for one in arrays}) == 1:
        return np.concatenate(arrays)
    whole: list[Value] = []
    for one in values:  # the signal's type changed on the way
        whole += one if isinstance(one, list) else one.tolist()
    return whole


def _gather(
    scope: Scope,
    connection: Connection,
    bound: Sequence[Binding],
    types: Mapping[str, str],
    gathered: dict[str, _Gathered],
    from_us: int,
    to_us: int,
    limit: int,
) -> None:
    """Walk segments and tail by their first time until every signal has enough."""
    items: list[tuple[int, _Claims, SegmentRow | _Fresh]] = []
    for epoch, claims in _by_epoch(scope, connection, bound).items():
        rows = store.segments_between(scope, connection, epoch, from_us, to_us - 1)
        items += [(row.t_min_us, claims, row) for row in rows]
        rows.sort(key=attrgetter("head_last"))
        for tail in store.tail_between(scope, connection, epoch, from_us, to_us - 1):
            batch = _unpacked(tail)
            if batch is not None and len(batch):
                fresh = _Fresh(batch, _overlapped(rows, tail))
                items.append((int(batch.times().min()), claims, fresh))
    items.sort(key=lambda item: item[0])
    for begins_us, claims, item in items:
        if all(one.has(limit, begins_us) for one in gathered.values()):
            break
        if isinstance(item, _Fresh):
            sealed = [_opened(scope, connection, row) for row in item.sealed]
            for claim in claims.of(item.batch.signal):
                piece = _tail_piece(item.batch, claim.number, types.get(claim.uid))
                piece = _without_sealed(piece, sealed, claim.number)
                gathered[claim.uid].add(_cut(piece, claim, from_us, to_us))
            continue
        segment = _opened(scope, connection, item)
        told = Range(item.t_min_us, item.t_max_us, segment if isinstance(segment, str) else "")
        wanted = claims.of(segment.signals) if isinstance(segment, Segment) else claims.of(claims.numbers())
        for claim in wanted:
            found = _segment_piece(segment, claim.number) if isinstance(segment, Segment) else segment
            if isinstance(found, str):
                gathered[claim.uid].missing.append(told._replace(reason=found))
            else:
                gathered[claim.uid].add(_cut(found, claim, from_us, to_us))


def _overlapped(rows: Sequence[SegmentRow], tail: TailRow) -> list[SegmentRow]:
    """Which of these segments, by their last position, share positions with a tail message."""
    begin = bisect_left(rows, tail.first, key=attrgetter("head_last"))
    return list(takewhile(lambda row: row.head_first <= tail.last, rows[begin:]))


def _without_sealed(piece: _Piece, sealed: Sequence[Segment | str], number: int) -> _Piece:
    """What of a tail message is not in a segment yet that overlaps it, by the instants in there."""
    for segment in sealed:
        if isinstance(segment, str) or number not in segment.signals:
            continue
        found = _segment_piece(segment, number)
        if isinstance(found, _Piece):
            rows = np.flatnonzero(~np.isin(piece.time_us, found.time_us))
            values = piece.values
            some = [values[i] for i in rows.tolist()] if isinstance(values, list) else values[rows]
            piece = _Piece(piece.time_us[rows], some, piece.quality[rows])
    return piece


def _cut(piece: _Piece, claim: _Claim, from_us: int, to_us: int) -> _Piece:
    begin = from_us if claim.from_us is None else max(from_us, claim.from_us)
    end = to_us if claim.to_us is None else min(to_us, claim.to_us)
    a, b = np.searchsorted(piece.time_us, (begin, max(begin, end)), "left").tolist()
    return _Piece(piece.time_us[a:b], piece.values[a:b], piece.quality[a:b])


def _opened(scope: Scope, connection: Connection, row: SegmentRow) -> Segment | str:
    """The segment, or why it cannot be opened."""
    blob = store.blob_of(scope, connection, row)
    if blob is None:
        return "the segment is gone"
    try:
        return Segment(*blob)
    except SegmentError as error:
        return f"segment {row.seq} is damaged: {error}"


def _segment_piece(segment: Segment, number: int) -> _Piece | str:
    """One column, or why it cannot be read."""
    if not segment.has_body:
        return "only statistics are kept of this time"
    i = segment.signals.index(number)
    try:
        time, values, quality = segment.times(segment.axis_of(i)), segment.values(i), segment.quality(i)
    except SegmentError as error:
        return f"segment is damaged: {error}"
    good = np.zeros(len(time), np.uint8) if quality is None else quality
    return _Piece(time, list(values) if isinstance(values, list) else values, good)


def _unpacked(row: TailRow) -> Batch | None:
    """The batch of a stored tail message; None if it is damaged: its segment brings it again."""
    try:
        return unpack_tail(unpack(row.message, Tail))
    except (EnvelopeError, TailError):
        return None


def _tail_piece(batch: Batch, number: int, kind: str | None) -> _Piece:
    """Samples of one signal in a tail batch, as the column of its segment will have them."""
    assert batch.signal is not None
    rows = np.flatnonzero(batch.signal == number)
    time = batch.times()[rows]
    order = np.argsort(time, kind="stable")
    rows, time = rows[order], time[order]
    quality = np.zeros(len(rows), np.uint8) if batch.quality is None else batch.quality[rows]
    return _Piece(time, _typed(batch, rows, kind), quality)


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
