"""The plan of a group: all that happens to its batches between driver and head, compiled once.

`scale` first, then the alarm engine judges every reading (`named`), then `keep` decides what
is stored. Columns and scratch are made when the configuration changes; a stage no member asks
for is absent.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from contract.model.batch import Batch, Bools, Int32s, Int64s
from contract.model.signal import Signal
from edge.signals.deadband import Deadband
from edge.signals.scaling import Rows, ScaleStage


class Member(NamedTuple):
    """A signal of a group, with its number in the gateway's store."""

    number: int
    uid: str
    signal: Signal


class Plan:
    """One group's way of its batches.

    Attributes:
        members: signal numbers in the order of the group; a batch that names no signals has them all.
    """

    def __init__(self, group: int, members: Sequence[Member]) -> None:
        signals = [member.signal for member in members]
        modes = [signal.archive.mode for signal in signals]
        self.group = group
        self.members: Int32s = np.array([member.number for member in members], np.int32)
        self._order = np.argsort(self.members)
        self._sorted = self.members[self._order]
        self._seen: tuple[Int32s, Rows] = (self.members, np.arange(len(members)))  # newest names, and whose
        self._scale = ScaleStage(signals)
        self._deadband = Deadband(signals) if "delta" in modes else None
        self._delta: Bools = np.array([mode == "delta" for mode in modes], bool)
        self._every: Bools = np.array([mode == "every" for mode in modes], bool)
        self._mixed = not self._delta.all()
        self._has_off = "off" in modes
        self._fixed = np.flatnonzero(self._every)
        self._fixed_members = self.members[self._fixed]

    def named(self, batch: Batch) -> Batch:
        """The same readings with their signals named; a full poll always by the same array."""
        if batch.signal is not None:
            return batch
        return Batch(batch.group, self.members, batch.time, batch.value, batch.quality, batch.exact)

    def scale(self, batch: Batch) -> Batch:
        """The batch in the signals' units, range checked; the same object if nothing changes.

        Rows of signals that are not in the group (any more) are left out.

        Raises:
            ValueError: a full poll with another number of rows than the group has members.
        """
        members: Rows | None = None
        if batch.signal is None:
            if len(batch) != len(self.members):
                raise ValueError(
                    f"group {self.group} has {len(self.members)} members, its batch {len(batch)} rows"
                )
        else:
            batch, members = self._known(batch)
        value = self._scale.values(batch.value, members)
        exact = batch.exact
        if exact and value is not batch.value:
            exact = self._scale.exact(exact, members, value)
        quality = self._scale.quality(value, batch.quality, members)
        if value is batch.value and quality is batch.quality:
            return batch
        return Batch(batch.group, batch.signal, batch.time, value, quality, exact)

    def _known(self, batch: Batch) -> tuple[Batch, Rows]:
        """The batch without rows of foreign signals, and the member of each row."""
        assert batch.signal is not None
        if batch.signal is self._seen[0]:
            return batch, self._seen[1]
        at = np.searchsorted(self._sorted, batch.signal)
        at[at == len(self._sorted)] = 0
        known = self._sorted[at] == batch.signal if len(self._sorted) else np.zeros(len(at), bool)
        if known.all():
            self._seen = batch.signal, self._order[at]
            return batch, self._seen[1]
        rows = np.flatnonzero(known)
        return select(batch, rows, batch.signal[rows]), self._order[at[rows]]

    def keep(self, batch: Batch, flipped: Int64s | None) -> Batch | None:
        """The rows to store, or None. Rows named in `flipped` are kept whatever their deadband.

        A full poll that is kept whole comes back as it is; otherwise the signals are named.
        Signals with archive `off` are never stored.
        """
        if self._deadband is None and not self._has_off:
            return batch if len(batch) else None
        if batch.signal is None:
            if self._deadband is None:
                return select(batch, self._fixed, self._fixed_members) if len(self._fixed) else None
            rows = self._kept(self._deadband, batch, None, flipped)
            return self._selected(batch, rows, self.members)
        kept, members = self._known(batch)
        if kept is not batch:
            raise ValueError(
                f"batch of group {self.group} names signals the group does not have; scale it first"
            )
        if self._deadband is None:
            rows = np.flatnonzero(self._every[members])
        elif len(set(members.tolist())) == len(members):
            rows = self._kept(self._deadband, batch, members, flipped)
        else:
            parts = [
                first + self._kept(self._deadband, *part) for first, part in _parts(batch, members, flipped)
            ]
            rows = np.concatenate(parts)
        return self._selected(batch, rows, batch.signal)

    def _kept(self, deadband: Deadband, batch: Batch, members: Rows | None, flipped: Int64s | None) -> Rows:
        """Rows to keep of a batch in which each signal comes once; the deadband moves on."""
        columns = batch.time, batch.value, batch.quality, batch.exact
        kept = deadband.differs(members, *columns)
        if flipped is not None:
            kept[flipped] = True
        if self._mixed:
            kept &= self._delta if members is None else self._delta[members]
        rows = np.flatnonzero(kept)
        if len(rows):
            deadband.advance(rows, members, *columns)
        if not self._mixed:
            return rows
        kept |= self._every if members is None else self._every[members]
        return np.flatnonzero(kept)

    def _selected(self, batch: Batch, rows: Rows, signal: Int32s) -> Batch | None:
        if not len(rows):
            return None
        return batch if len(rows) == len(batch) else select(batch, rows, signal[rows])


def select(batch: Batch, rows: Rows, signal: Int32s) -> Batch:
    """Some rows of a batch, ascending, as a batch of their own; `signal`: theirs."""
    exact = batch.exact
    if exact:
        place = {row: i for i, row in enumerate(rows.tolist())}
        exact = tuple((place[row], value) for row, value in exact if row in place)
    quality = None if batch.quality is None else batch.quality[rows]
    if quality is not None and not quality.any():
        quality = None
    time = batch.time if isinstance(batch.time, int) else batch.time[rows]
    return Batch(batch.group, signal, time, batch.value[rows], quality, exact)


def _parts(
    batch: Batch, members: Rows, flipped: Int64s | None
) -> Iterator[tuple[int, tuple[Batch, Rows, Int64s | None]]]:
    """Runs of rows in which each signal comes once, each with its first row."""
    assert batch.signal is not None
    order = members.tolist()
    first = 0
    while first < len(order):
        seen: set[int] = set()
        end = first
        while end < len(order) and order[end] not in seen:
            seen.add(order[end])
            end += 1
        rows = np.arange(first, end)
        part = None if flipped is None else flipped[(flipped >= first) & (flipped < end)] - first
        yield first, (select(batch, rows, batch.signal[rows]), members[rows], part)
        first = end
