"""Samples of signals over time, wherever they lie: segments and tail, all stores, all gateways.

Segments and tail are read in one transaction, and a segment takes the place of its tail in one
transaction; of a tail message that reaches beyond a segment only the rest is given. So there is
neither hole nor doubled point. What cannot be given as samples (the body
was let go, a stored segment is damaged) is named as a range, never left out in silence.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np

from aggregator.db.engine import Connection, Databases, reading
from aggregator.gateways.store import Binding
from aggregator.history import store
from aggregator.history.pieces import (
    Claim,
    Claims,
    Fresh,
    Piece,
    Range,
    Values,
    bound,
    by_epoch,
    cut,
    opened,
    overlapped,
    plain,
    segment_piece,
    tail_piece,
    unpacked,
    without_sealed,
)
from aggregator.history.store import SegmentRow
from aggregator.scope import Scope
from contract.model.batch import Int64s, UInt8s, Value
from contract.segment.decode import Segment

LIMIT = 1_000_000
"""Samples per signal in one answer, unless asked for fewer."""
LOOKBACK = 200
"""Segments of one epoch in which a last value is searched, newest first."""


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
    bindings, types = bound(scope, databases, uids)
    gathered = {uid: _Gathered() for uid in uids}
    if from_us < to_us:
        with reading(databases.history) as connection:
            _gather(scope, connection, bindings, types, gathered, from_us, to_us, limit)
    return {uid: one.samples(limit) for uid, one in gathered.items()}


def last_before(scope: Scope, databases: Databases, uids: Sequence[str], before_us: int) -> dict[str, Sample]:
    """The newest sample of each signal with t < before_us: what a step-held line begins with.

    A signal without one, or with none in the LOOKBACK newest segments, is left out.
    """
    bindings, types = bound(scope, databases, uids)
    best: dict[str, Sample] = {}
    with reading(databases.history) as connection:
        for epoch, claims in by_epoch(scope, connection, bindings).items():
            for tail in reversed(store.tail_between(scope, connection, epoch, -(2**62), before_us - 1)):
                if all(uid in best for uid in claims.uids()):
                    break
                batch = unpacked(tail)
                if batch is not None:
                    for claim in claims.of(batch.signal):
                        piece = tail_piece(batch, claim.number, types.get(claim.uid))
                        _better(best, claim, piece, before_us)
            for row in _newest_first(store.segments_before(scope, connection, epoch, before_us)):
                if all(uid in best and best[uid].time_us >= row.t_max_us for uid in claims.uids()):
                    break
                segment = opened(scope, connection, row)
                if isinstance(segment, Segment) and segment.has_body:
                    for claim in claims.of(segment.signals):
                        found = segment_piece(segment, claim.number)
                        if isinstance(found, Piece):
                            _better(best, claim, found, before_us)
    return best


def _newest_first(rows: Iterable[SegmentRow]) -> Iterator[SegmentRow]:
    for walked, row in enumerate(rows):
        if walked == LOOKBACK:
            return
        yield row


def _better(best: dict[str, Sample], claim: "Claim", piece: Piece, before_us: int) -> None:
    end = before_us if claim.to_us is None else min(before_us, claim.to_us)
    at = int(np.searchsorted(piece.time_us, end, "left")) - 1
    if at < 0 or (claim.from_us is not None and piece.time_us[at] < claim.from_us):
        return
    time_us = int(piece.time_us[at])
    if claim.uid not in best or time_us >= best[claim.uid].time_us:
        best[claim.uid] = Sample(time_us, plain(piece.values, at), int(piece.quality[at]))


# --- Gathering -------------------------------------------------------------------------------


class _Gathered:
    """What was found of one signal so far, in any order."""

    def __init__(self) -> None:
        self.pieces: list[Piece] = []
        self.missing: list[Range] = []
        self.count = 0

    def add(self, piece: Piece) -> None:
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
    bindings: Sequence[Binding],
    types: Mapping[str, str],
    gathered: dict[str, _Gathered],
    from_us: int,
    to_us: int,
    limit: int,
) -> None:
    """Walk segments and tail by their first time until every signal has enough."""
    items: list[tuple[int, Claims, SegmentRow | Fresh]] = []
    for epoch, claims in by_epoch(scope, connection, bindings).items():
        rows = store.segments_between(scope, connection, epoch, from_us, to_us - 1)
        items += [(row.t_min_us, claims, row) for row in rows]
        rows.sort(key=attrgetter("head_last"))
        for tail in store.tail_between(scope, connection, epoch, from_us, to_us - 1):
            batch = unpacked(tail)
            if batch is not None and len(batch):
                fresh = Fresh(batch, overlapped(rows, tail))
                items.append((int(batch.times().min()), claims, fresh))
    items.sort(key=lambda item: item[0])
    for begins_us, claims, item in items:
        if all(one.has(limit, begins_us) for one in gathered.values()):
            break
        if isinstance(item, Fresh):
            sealed = [opened(scope, connection, row) for row in item.sealed]
            for claim in claims.of(item.batch.signal):
                piece = tail_piece(item.batch, claim.number, types.get(claim.uid))
                piece = without_sealed(piece, sealed, claim.number)
                gathered[claim.uid].add(cut(piece, claim, from_us, to_us))
            continue
        segment = opened(scope, connection, item)
        told = Range(item.t_min_us, item.t_max_us, segment if isinstance(segment, str) else "")
        wanted = claims.of(segment.signals) if isinstance(segment, Segment) else claims.of(claims.numbers())
        for claim in wanted:
            found = segment_piece(segment, claim.number) if isinstance(segment, Segment) else segment
            if isinstance(found, str):
                gathered[claim.uid].missing.append(told._replace(reason=found))
            else:
                gathered[claim.uid].add(cut(found, claim, from_us, to_us))
