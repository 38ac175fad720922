"""The rhythm of a polled bus: one schedule for all groups of a connection, free of drift.

Due moments lie on a grid, first poll + n cycles, whatever a poll takes. A group whose next
moment has passed is polled at once; moments that passed before that one are counted as
missed and never made up for. The requests are the driver's.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Final

import numpy as np

from contract.model.batch import Batch
from edge.clock import Clock
from edge.drivers.driver import PointGroup

MILLISECOND_US: Final = 1000


def poll_stamp(now_us: int) -> int:
    """The time a poll's samples carry: whole milliseconds, which pack to almost nothing."""
    return (now_us + MILLISECOND_US // 2) // MILLISECOND_US * MILLISECOND_US


class Schedule:
    """Which group is due when; pure. All times are monotonic µs.

    Args:
        cycles_us: cycle of each group; they are named by their index here.
        now_us: when all of them are due for the first time.
    """

    def __init__(self, cycles_us: Sequence[int], now_us: int) -> None:
        self._cycle = tuple(cycles_us)
        self._due = [now_us] * len(self._cycle)

    def next(self) -> tuple[int, int]:
        """(due moment, group) of what comes next; of two due together, the shorter cycle first."""
        due, _, index = min((due, self._cycle[i], i) for i, due in enumerate(self._due))
        return due, index

    def done(self, index: int, now_us: int) -> int:
        """Move a polled group to its next moment; returns how many moments were missed."""
        due, cycle = self._due[index] + self._cycle[index], self._cycle[index]
        missed = max(0, (now_us - due) // cycle)
        self._due[index] = due + missed * cycle
        return missed


class Polling:
    """Polls groups one after the other for as long as its batches are taken.

    Args:
        groups: all on one connection.
        read: one poll of a group, stamped with the time it is given [µs UTC].

    Attributes:
        missed: cycles skipped so far.
    """

    def __init__(
        self,
        groups: Sequence[PointGroup],
        clock: Clock,
        read: Callable[[PointGroup, int], Awaitable[Batch]],
    ) -> None:
        self._groups = tuple(groups)
        self._clock = clock
        self._read = read
        self.missed = 0

    async def batches(self) -> AsyncGenerator[Batch, None]:
        """What the polls give, for ever; what `read` raises ends it.

        Without a group it is one empty batch: the link is there, for writing.
        """
        if not self._groups:
            yield Batch(0, np.empty(0, np.int32), self._clock.now_us(), np.empty(0))
            await asyncio.Event().wait()
        schedule = Schedule([group.cycle_us for group in self._groups], self._now_us())
        while True:
            due_us, index = schedule.next()
            await self._clock.sleep_until(due_us / 1e6)
            yield await self._read(self._groups[index], poll_stamp(self._clock.now_us()))
            self.missed += schedule.done(index, self._now_us())

    def _now_us(self) -> int:
        return round(self._clock.monotonic_s() * 1e6)
