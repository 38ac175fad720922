"""Tail: the newest kept samples on their way to the eye, coalesced per group.

Pure buffers, time is given: put in after each append, taken out at once where the group was quiet
before, else when its pause is over. A message never straddles the end of a segment, so that the
centre can drop whole messages when the segment comes. What cannot be sent is dropped here: the
head has it, and it is restated when the link is back.
"""

import math
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import numpy as np

from contract.model.batch import Batch, Exact, Int32s
from contract.wire.records import TAIL_ROWS_MAX, Tail, pack_tail

ROWS_MAX: Final = 50_000
"""Rows kept per group while nobody takes them; the oldest go first."""

LATE_S: Final = 0.1
"""A poll that comes this much after its moment does not put off the next one."""


class Kept(NamedTuple):
    """One kept batch and its position in the head."""

    position: int
    batch: Batch


class TailBuffer:
    """Kept batches of all groups since the last message."""

    def __init__(self, store: int) -> None:
        self._store = store
        self._epochs: dict[int, int] = {}
        self._members: dict[int, Int32s] = {}
        self._kept: dict[int, list[Kept]] = {}
        self._rows: dict[int, int] = {}
        self._ends: dict[int, list[int]] = {}
        self.dropped = 0
        self.is_open = False
        """Whether somebody takes what is put in; while nobody does, nothing is kept."""
        self._pause_s = 0.0
        self._turn_s = -math.inf
        self._has_turns = False
        self._due: dict[int, float] = {}
        self._ring: Callable[[], None] = lambda: None

    def open(self, now_s: float, pause_s: float, ring: Callable[[], None], *, in_turns: bool = False) -> None:
        """Somebody takes from now on, of each group at most one message in `pause_s`.

        Args:
            ring: called when a group has something that may be taken sooner than all before.
            in_turns: all groups together each `pause_s`, so that a metered link rests between.
        """
        self._pause_s, self._ring = pause_s, ring
        self._has_turns, self._turn_s = in_turns, now_s + pause_s
        self._due.clear()
        self.is_open = True

    def close(self) -> None:
        """Nobody takes any more."""
        self.is_open = False
        self.clear()

    def configure(self, group: int, epoch: int, members: Int32s) -> None:
        """Members of a group in order, for batches that do not name their signals."""
        if self._epochs.get(group, epoch) != epoch:
            self._kept.pop(group, None)
            self._rows.pop(group, None)
        self._epochs[group] = epoch
        self._members[group] = members

    def put(self, position: int, batch: Batch) -> None:
        """One kept batch; O(1)."""
        if not self.is_open:
            return
        kept = self._kept.get(batch.group)
        if kept is None:
            kept = self._kept[batch.group] = []
            if not self._has_turns:
                self._ring()
        kept.append(Kept(position, batch))
        rows = self._rows.get(batch.group, 0) + len(batch)
        while rows > ROWS_MAX and len(kept) > 1:
            oldest = kept.pop(0)
            rows -= len(oldest.batch)
            self.dropped += len(oldest.batch)
        self._rows[batch.group] = rows

    def end_segment(self, group: int, position: int) -> None:
        """The head of a group was closed after `position`: no message may straddle it."""
        if group in self._kept:
            self._ends.setdefault(group, []).append(position)

    def clear(self) -> None:
        """Forget all; the next session restates the head."""
        self._kept.clear()
        self._rows.clear()
        self._ends.clear()

    def next_s(self) -> float:
        """The moment at which there is something to take; infinite: something has to be put in first."""
        if self._has_turns:
            return self._turn_s
        return min((self._due.get(group, -math.inf) for group in self._kept), default=math.inf)

    def take(self, now_s: float) -> Iterator[Tail]:
        """Messages of the groups whose moment it is; nothing of them is kept afterwards."""
        if self._has_turns:
            if now_s < self._turn_s:
                return
            self._turn_s = self._after(self._turn_s, now_s)
        for group in list(self._kept):
            due_s = self._due.get(group, -math.inf)
            if not self._has_turns and now_s < due_s:
                continue
            self._due[group] = self._after(due_s, now_s)
            del self._rows[group]
            for part in _split(self._kept.pop(group), self._ends.pop(group, [])):
                yield self.message(part)

    def _after(self, due_s: float, now_s: float) -> float:
        """The next moment: on the grid of before, unless that was left."""
        return (due_s if now_s - due_s <= LATE_S else now_s) + self._pause_s

    def message(self, items: list[Kept]) -> Tail:
        """One message of consecutive batches of one group."""
        group = items[0].batch.group
        batch = concatenate([item.batch for item in items], self._members[group])
        return pack_tail(self._store, self._epochs[group], items[0].position, items[-1].position, batch)


def concatenate(batches: list[Batch], members: Int32s) -> Batch:
    """One batch with a signal and a time per row, in the order given."""
    first = batches[0]
    if len(batches) == 1:
        named = members if first.signal is None else first.signal
        return Batch(first.group, named, first.time, first.value, first.quality, first.exact)
    exact: list[tuple[int, int | str]] = []
    start = 0
    for batch in batches:
        exact.extend((start + row, value) for row, value in batch.exact)
        start += len(batch)
    all_good = all(batch.quality is None for batch in batches)
    joined: Exact = tuple(exact)
    return Batch(
        group=first.group,
        signal=np.concatenate([members if b.signal is None else b.signal for b in batches]),
        time=np.concatenate([b.times() for b in batches]),
        value=np.concatenate([b.value for b in batches]),
        quality=None
        if all_good
        else np.concatenate(
            [np.zeros(len(b), np.uint8) if b.quality is None else b.quality for b in batches]
        ),
        exact=joined,
    )


def _split(items: list[Kept], ends: list[int]) -> Iterator[list[Kept]]:
    part: list[Kept] = []
    rows = 0
    for item in items:
        crosses = part and any(part[-1].position <= end < item.position for end in ends)
        if part and (crosses or rows + len(item.batch) > TAIL_ROWS_MAX):
            yield part
            part, rows = [], 0
        part.append(item)
        rows += len(item.batch)
    if part:
        yield part
