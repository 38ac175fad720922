"""Receipts: what the aggregator has committed, as a watermark and ranges above it.

`SequenceSet` is the arithmetic both sides share: the aggregator adds what it commits, the
gateway asks what is missing. A receipt states the whole set (up to 64 ranges), so a lost,
doubled or reordered one does no harm; it under-claims at worst.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from typing import Annotated

import msgspec
from msgspec import Meta

from contract.wire.records import Lane

RANGES_MAX = 64


class Held(msgspec.Struct, frozen=True):
    """Everything up to `watermark`, and the closed ranges above it."""

    watermark: Annotated[int, Meta(ge=0)] = 0
    ranges: Annotated[tuple[tuple[int, int], ...], Meta(max_length=RANGES_MAX)] = ()


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """What one ingest process holds of one store of one gateway.

    `ingest` names the process (random at its start). `session` echoes the birth it answers,
    0 for all later receipts. Only a receipt that echoes the gateway's fresh, unanswered
    session may take a claim back: that is how an aggregator restored from a backup gets the
    missing days again. All others only ever add.
    """

    ingest: int
    store: int
    session: int = 0
    held: dict[Lane, Held]


class SequenceSet:
    """A set of sequence numbers ≥ 1 kept as sorted, disjoint, non-touching closed ranges."""

    __slots__ = ("_first", "_last")

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._first: list[int] = []
        self._last: list[int] = []
        for first, last in ranges:
            self.add(first, last)

    @classmethod
    def of(cls, held: Held) -> "SequenceSet":
        """The set a receipt states."""
        whole = cls([(1, held.watermark)] if held.watermark else [])
        for first, last in held.ranges:
            whole.add(first, last)
        return whole

    def add(self, first: int, last: int | None = None) -> None:
        """Put first…last (or the one number) in; ValueError for an empty or non-positive range."""
        last = first if last is None else last
        if first < 1 or last < first:
            raise ValueError(f"{first}…{last} is no range of sequence numbers")
        i = bisect_left(self._last, first - 1)
        j = bisect_right(self._first, last + 1)
        if i < j:
            first = min(first, self._first[i])
            last = max(last, self._last[j - 1])
        self._first[i:j] = [first]
        self._last[i:j] = [last]

    def update(self, other: "SequenceSet") -> None:
        """Put all of another set in."""
        for first, last in other.ranges():
            self.add(first, last)

    def __contains__(self, seq: int) -> bool:
        i = bisect_left(self._last, seq)
        return i < len(self._first) and self._first[i] <= seq

    def __len__(self) -> int:
        return sum(last - first + 1 for first, last in self.ranges())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SequenceSet) and self._first == other._first and self._last == other._last

    __hash__ = None  # type: ignore[assignment]  # mutable

    def __repr__(self) -> str:
        return f"SequenceSet({list(self.ranges())})"

    def copy(self) -> "SequenceSet":
        """An independent copy."""
        other = SequenceSet()
        other._first, other._last = self._first.copy(), self._last.copy()
        return other

    def ranges(self) -> Iterator[tuple[int, int]]:
        """The closed ranges, ascending."""
        return zip(self._first, self._last, strict=True)

    @property
    def watermark(self) -> int:
        """Highest number up to which all are held; 0 if 1 is not."""
        return self._last[0] if self._first and self._first[0] == 1 else 0

    def missing(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """Closed ranges of first…last that are not in the set, ascending."""
        at = first
        for have_first, have_last in list(self.ranges()):
            if have_last < at:
                continue
            if have_first > last:
                break
            if have_first > at:
                yield at, have_first - 1
            at = have_last + 1
        if at <= last:
            yield at, last

    def held(self) -> Held:
        """What a receipt may say: the watermark and the lowest RANGES_MAX ranges above it."""
        watermark = self.watermark
        above = [r for r in self.ranges() if r[0] > max(watermark, 1) or (watermark == 0)]
        return Held(watermark, tuple(above[:RANGES_MAX]))
