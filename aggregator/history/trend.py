"""Curves: what of stored samples the eye can tell apart, at most some points per signal.

A range is cut into buckets, about one per two points. How a segment enters depends on the bucket:

- within one bucket: first, minimum, maximum and last out of its head; the body stays unread.
  Values are exact, the instants of minimum and maximum are not: `coarse_us` says by how much;
- longer: its column is unpacked and thinned to four times what will be shown;
- across the end of the range: its column as it is.

What was worked out is kept in a cache by segment, so that moving a view costs what is new in it.
A hole is a pause longer than HOLE_FACTOR times the signal's own: its cycle by the configuration in
force or, where samples lie further apart, the median of their steps in that segment. A signal kept
on change, without a longest interval, has no pause and no holes: its last value holds.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np

from aggregator.db.engine import Connection, Databases, reading
from aggregator.gateways import store as gateways
from aggregator.gateways.store import Binding
from aggregator.history import store
from aggregator.history.cache import Cache
from aggregator.history.parts import (
    HOLE_FACTOR,
    NOTHING,
    SILENT,
    Brief,
    Manner,
    Part,
    brief,
    briefly,
    hole_at,
    joined,
    manner_of,
    merged,
    numbered,
    part_of,
    rows_of,
    size,
    thinned,
)
from aggregator.history.pieces import (
    Claim,
    Claims,
    Piece,
    Range,
    bound,
    by_epoch,
    cut,
    opened,
    overlapped,
    segment_piece,
    tail_piece,
    unpacked,
    without_sealed,
)
from aggregator.history.service import Sample, last_before
from aggregator.history.store import Day, Epoch, SegmentRow, TailRow
from aggregator.scope import Scope
from contract.history.decimate import Line
from contract.model.batch import Batch, Float64s, Int64s, UInt8s
from contract.model.config import Configuration
from contract.model.signal import DataType
from contract.segment.decode import Segment
from contract.segment.layout import SegmentError

BODILESS: Final = "only statistics are kept of this time"
FINER: Final = 4
"""How much finer than shown a thinned column stays, so that it serves views that lie otherwise."""

_document = msgspec.json.Decoder(Configuration)


class Curve(NamedTuple):
    """Points of one signal. A point without a drawable value is a break; quality HOLE: no sample at all.

    Of texts `values` are places in `texts`. `exact` has the digits of integers that a double rounds,
    by point. `samples` lie in the range, however many are shown; `coarse_us`: so far may the instant
    of a point be from where it is drawn.
    """

    time_us: Int64s
    values: Float64s
    quality: UInt8s
    is_held: bool
    samples: int
    coarse_us: int
    texts: tuple[str, ...]
    exact: tuple[tuple[int, str], ...]
    before: Sample | None
    missing: tuple[Range, ...]


def curves(
    scope: Scope,
    databases: Databases,
    cache: Cache,
    uids: Sequence[str],
    span: tuple[int, int],
    now_us: int,
    points: int,
) -> dict[str, Curve]:
    """Curves of signals within from ≤ t < to, each of at most `points` points.

    Up to `now_us` it can be said that nothing came.
    """
    from_us, to_us = span
    bindings, types = bound(scope, databases, uids)
    manners = _manners(scope, databases, cache, bindings, types)
    view = _View(scope, cache, manners, types, span, now_us, max(1, 2 * (to_us - from_us) // points))
    with reading(databases.history) as connection:
        for epoch, claims in by_epoch(scope, connection, bindings).items():
            view.take(connection, epoch, claims)
    before = last_before(scope, databases, uids, from_us)
    return {uid: view.curve(uid, points, before.get(uid)) for uid in uids}


# --- How a signal speaks ---------------------------------------------------------------------


def _manners(
    scope: Scope, databases: Databases, cache: Cache, bindings: Sequence[Binding], types: Mapping[str, str]
) -> dict[str, Manner]:
    present = {one.uid: one.gateway for one in bindings if one.to_us is None}
    with reading(databases.main) as connection:
        documents = gateways.documents(scope, connection, sorted(set(present.values())))
    read: dict[str, Configuration | None] = {}
    for gateway, (digest, document) in documents.items():
        found = cache.get(("configuration", gateway, digest))
        if found is None:
            found = _readable(document)
            cache.put(("configuration", gateway, digest), found, 4 * len(document))
        read[gateway] = found
    manners = {}
    for uid in {one.uid for one in bindings}:
        configuration = read.get(present.get(uid, ""))
        if configuration is None:
            kind = types.get(uid)
            manners[uid] = Manner(None, is_held=kind in {DataType.BOOLEAN, DataType.TEXT})
        else:
            manners[uid] = manner_of(configuration, uid)
    return manners


def _readable(document: bytes) -> Configuration | None:
    try:
        return _document.decode(document)
    except msgspec.DecodeError:  # stored by another version of the program: the next one said counts
        return None


# --- Walking ---------------------------------------------------------------------------------


class _View:
    """One range at one width of bucket, and what was found in it so far."""

    def __init__(
        self,
        scope: Scope,
        cache: Cache,
        manners: Mapping[str, Manner],
        types: Mapping[str, str],
        span: tuple[int, int],
        now_us: int,
        bucket_us: int,
    ) -> None:
        self._scope, self._cache, self._manners, self._types = scope, cache, manners, types
        self._from_us, self._to_us = span
        self._end_us = min(self._to_us, now_us)
        self._level = bucket_us.bit_length() - 1
        self._width_us = 1 << self._level
        self._parts: dict[str, list[Part]] = {}
        self._missing: dict[str, dict[Range, None]] = {}

    def take(self, connection: Connection, epoch: Epoch, claims: Claims) -> None:
        """Everything of one epoch."""
        for day in store.days_between(self._scope, connection, epoch, self._from_us, self._to_us - 1):
            self._take_day(connection, epoch, claims, day)
        tails = store.tail_between(self._scope, connection, epoch, self._from_us, self._to_us - 1)
        if tails:
            self._take_tail(connection, epoch, claims, tails)

    def _take_day(self, connection: Connection, epoch: Epoch, claims: Claims, day: Day) -> None:
        """One part of each signal that has the whole day; of the others segment by segment."""
        is_coarse = day.longest_us <= self._width_us
        level = None if is_coarse else self._level
        missed, single = [], []
        for claim in claims.all():
            if not self._holds(claim, day.t_min_us, day.t_max_us):
                single.append(claim)
                continue
            found = self._cache.get(self._name(level, epoch, day, claim))
            if found is None:
                missed.append(claim)
            else:
                self._add(claim, found)
        if missed and is_coarse:
            gathered, troubled = self._briefly(connection, epoch, day, missed)
        else:
            gathered, troubled = self._fully(connection, epoch, day, missed)
        for claim, parts in gathered.items():
            whole = joined(parts)
            if claim not in troubled:
                self._cache.put(self._name(level, epoch, day, claim), whole, size(whole))
            self._add(claim, whole)
        for row in store.segments_of_day(self._scope, connection, epoch, day) if single else ():
            if row.t_max_us < self._from_us or row.t_min_us >= self._to_us:
                continue
            for claim, part in self._row(connection, row, single, is_kept=True):
                if isinstance(part, Range):
                    self._miss(claim, part)
                else:
                    self._add(claim, part)

    def _name(self, level: int | None, epoch: Epoch, day: Day, claim: Claim) -> tuple[object, ...]:
        return ("day", level, epoch, day.begins_us, day.mark, claim.number, self._manners[claim.uid])

    def _fully(
        self, connection: Connection, epoch: Epoch, day: Day, claims: Sequence[Claim]
    ) -> tuple[dict[Claim, list[Part]], set[Claim]]:
        """Parts of a day out of bodies, and of which claims something is missing."""
        gathered: dict[Claim, list[Part]] = {claim: [] for claim in claims}
        troubled: set[Claim] = set()
        for row in store.segments_of_day(self._scope, connection, epoch, day) if claims else ():
            for claim, part in self._row(connection, row, claims, is_kept=False):
                if isinstance(part, Range):
                    troubled.add(claim)
                    self._miss(claim, part)
                else:
                    gathered[claim].append(part)
        return gathered, troubled

    def _briefly(
        self, connection: Connection, epoch: Epoch, day: Day, claims: Sequence[Claim]
    ) -> tuple[dict[Claim, list[Part]], set[Claim]]:
        """Parts of a day out of heads where these tell enough, and of which claims something is missing."""
        gathered: dict[Claim, list[Part]] = {claim: [] for claim in claims}
        runs: dict[Claim, list[Brief]] = {claim: [] for claim in claims}
        troubled: set[Claim] = set()
        for row, head, has_body in store.heads_of_day(self._scope, connection, epoch, day):
            rest: list[Claim] = []
            for claim, told in self._heads(head, claims, has_body=has_body):
                run = runs[claim]
                if told is None:
                    rest.append(claim)
                    if run:
                        gathered[claim].append(briefly(run))
                        run.clear()
                    continue
                if run and told.first_us < run[-1].last_us:  # came late
                    gathered[claim].append(briefly([told]))
                else:
                    run.append(told)
                if not has_body:
                    troubled.add(claim)
                    self._miss(claim, Range(row.t_min_us, row.t_max_us, BODILESS))
            for claim, part in self._row(connection, row, rest, is_kept=False) if rest else ():
                if isinstance(part, Range):
                    troubled.add(claim)
                    self._miss(claim, part)
                else:
                    gathered[claim].append(part)
        for claim, run in runs.items():
            if run:
                gathered[claim].append(briefly(run))
        return gathered, troubled

    def _heads(
        self, head: bytes, claims: Sequence[Claim], *, has_body: bool
    ) -> list[tuple[Claim, Brief | None]]:
        """What a head tells of each claim that it has; None: its body has to be asked."""
        try:
            segment = Segment(head, None)
            places = {number: i for i, number in enumerate(segment.signals)}
            return [
                (claim, brief(segment, places[claim.number], self._manners[claim.uid], has_body=has_body))
                for claim in claims
                if claim.number in places
            ]
        except SegmentError:  # whoever opens the body names the damage
            return [(claim, None) for claim in claims]

    def _holds(self, claim: Claim, first_us: int, last_us: int) -> bool:
        """Whether a stretch of time lies wholly in the range and is the signal's."""
        from_us = self._from_us if claim.from_us is None else max(self._from_us, claim.from_us)
        to_us = self._to_us if claim.to_us is None else min(self._to_us, claim.to_us)
        return from_us <= first_us and last_us < to_us

    def _inside(self, part: Part, claim: Claim) -> Part:
        """What of some points lies in the range and is the signal's."""
        inside = [row for row, time in enumerate(part.time_us.tolist()) if self._holds(claim, time, time)]
        values = np.asarray(part.values)[inside]
        return part._replace(time_us=part.time_us[inside], values=values, quality=part.quality[inside])

    def _miss(self, claim: Claim, told: Range) -> None:
        self._missing.setdefault(claim.uid, {})[told] = None

    def _add(self, claim: Claim, part: Part) -> None:
        if len(part.time_us):
            self._parts.setdefault(claim.uid, []).append(part)

    def _row(
        self, connection: Connection, row: SegmentRow, claims: Sequence[Claim], *, is_kept: bool
    ) -> Iterator[tuple[Claim, "Part | Range"]]:
        """What one segment gives to each of these claims that has something in it.

        `is_kept`: in the cache, by itself.
        """
        missed = []
        for claim in claims:
            key = self._key(row, claim) if is_kept else None
            found = None if key is None else self._cache.get(key)
            if found is None:
                missed.append(claim)
            elif len(found.time_us):
                yield claim, found
        if not missed:
            return
        segment = opened(self._scope, connection, row)
        told = Range(row.t_min_us, row.t_max_us, segment if isinstance(segment, str) else "")
        if isinstance(segment, str):
            yield from ((claim, told) for claim in missed)
            return
        places = {number: i for i, number in enumerate(segment.signals)}
        for claim in missed:
            i = places.get(claim.number)
            part = NOTHING if i is None else self._part(segment, i, row, claim)
            if isinstance(part, str):
                yield claim, told._replace(reason=part)
                continue
            key = self._key(row, claim) if is_kept else None
            if not segment.has_body:
                yield claim, told._replace(reason=BODILESS)
            elif key is not None:
                self._cache.put(key, part, size(part))
            if len(part.time_us):
                yield claim, part

    def _key(self, row: SegmentRow, claim: Claim) -> tuple[object, ...] | None:
        """Name of what a segment gives to a view; None: only to this one, as an end of it cuts through."""
        if not self._holds(claim, row.t_min_us, row.t_max_us):
            return None
        manner = self._manners[claim.uid]
        return ("part", self._level, row.gateway, row.store, row.seq, claim.number, manner)

    def _part(self, segment: Segment, i: int, row: SegmentRow, claim: Claim) -> "Part | str":
        """What one column gives to the view."""
        manner, is_whole = self._manners[claim.uid], self._holds(claim, row.t_min_us, row.t_max_us)
        span_us = row.t_max_us - row.t_min_us
        try:
            if (span_us <= self._width_us and is_whole) or not segment.has_body:
                short = brief(segment, i, manner, has_body=segment.has_body)
                if short is not None or not segment.has_body:
                    return NOTHING if short is None else self._inside(briefly([short]), claim)
            found = segment_piece(segment, claim.number)
        except SegmentError as error:
            return f"segment {row.seq} is damaged: {error}"
        if isinstance(found, str):
            return found
        cycle_us = segment.cycle(segment.axis_of(i))
        part = part_of(cut(found, claim, self._from_us, self._to_us), manner, cycle_us)
        return thinned(part, 8 + FINER * 2 * (1 + span_us // self._width_us), manner) if is_whole else part

    def _take_tail(
        self, connection: Connection, epoch: Epoch, claims: Claims, tails: Sequence[TailRow]
    ) -> None:
        """Messages that no segment shares positions with as one; the others each by itself."""
        first, last = min(tail.first for tail in tails), max(tail.last for tail in tails)
        rows = store.segments_sharing(self._scope, connection, epoch, first, last)
        alone: list[Batch] = []
        for tail in tails:
            batch = self._batch(tail)
            if batch is None or not len(batch):
                continue
            shared = overlapped(rows, tail)
            if not shared:
                alone.append(batch)
                continue
            sealed = [opened(self._scope, connection, row) for row in shared]
            for claim in claims.of(batch.signal):
                piece = tail_piece(batch, claim.number, self._types.get(claim.uid))
                self._add_fresh(claim, without_sealed(piece, sealed, claim.number))
        if alone:
            whole = merged(alone)
            for claim in claims.of(np.unique(whole.signal) if whole.signal is not None else None):
                self._add_fresh(claim, tail_piece(whole, claim.number, self._types.get(claim.uid)))

    def _batch(self, tail: TailRow) -> Batch | None:
        key = ("tail", tail.gateway, tail.store, tail.group, tail.first, tail.last, len(tail.message))
        found: Batch | None = self._cache.get(key)
        if found is None:
            found = unpacked(tail)
            if found is not None:
                self._cache.put(key, found, 25 * len(found))
        return found

    def _add_fresh(self, claim: Claim, piece: Piece) -> None:
        piece = cut(piece, claim, self._from_us, self._to_us)
        if len(piece.time_us):
            self._add(claim, part_of(piece, self._manners[claim.uid]))

    def _with_ends(self, whole: Part, manner: Manner, before: Sample | None) -> list[Part]:
        """With a hole before the first sample, or behind the last, where nothing is known any more."""
        if manner.pause_us is None:
            return [whole]
        pause_us = whole.pause_us or round(HOLE_FACTOR * manner.pause_us)
        parts = [whole]
        begins_us = int(whole.time_us[0]) if len(whole.time_us) else self._end_us
        if before is not None and begins_us - before.time_us > pause_us:
            parts.append(hole_at(max(self._from_us, before.time_us + pause_us)))
        if len(whole.time_us) and self._end_us - int(whole.time_us[-1]) > pause_us:
            parts.append(hole_at(int(whole.time_us[-1]) + pause_us))
        return parts

    def curve(self, uid: str, points: int, before: Sample | None) -> Curve:
        """What was found of one signal as a curve."""
        manner = self._manners.get(uid, SILENT)
        whole = joined(self._with_ends(joined(self._parts.get(uid, ())), manner, before))
        values, texts, exact = numbered(whole.values)
        line = Line(whole.time_us, values, whole.quality)
        kept = rows_of(line, points, manner, is_listed=values is not whole.values)
        shown = line.values[kept]
        said: tuple[str, ...] = ()
        if texts:
            some = np.unique(shown[~np.isnan(shown)])
            said = tuple(texts[int(code)] for code in some.tolist())
            shown = np.where(np.isnan(shown), np.nan, np.searchsorted(some, shown).astype(np.float64))
        wide: tuple[tuple[int, str], ...] = ()
        if exact:
            wide = tuple((at, str(exact[row])) for at, row in enumerate(kept.tolist()) if row in exact)
            shown = np.array([float(whole.values[row]) for row in kept.tolist()])
        return Curve(
            line.time_us[kept],
            shown,
            line.quality[kept],
            manner.is_held or bool(texts),
            whole.samples,
            whole.coarse_us,
            said,
            wide,
            before,
            tuple(self._missing.get(uid, ())),
        )
