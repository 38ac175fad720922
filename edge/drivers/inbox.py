"""Collects the single readings of a pushed bus and hands them on as one batch.

Drained when the bus falls silent or after 20 ms, so that a telegram costs a row and not a
batch. Order is kept: a mixed batch may hold a signal twice, and order is meaning.
"""

import asyncio
from typing import Final

from contract.model.batch import Batch, Value, batch_of
from contract.model.quality import Quality
from edge.clock import Clock

DRAIN_S: Final = 0.020
CAPACITY: Final = 100_000


class Inbox:
    """Readings of one group, in the order in which they came.

    Args:
        group: number of the group they belong to.
        capacity: rows that wait at most; what comes on top is dropped and counted.

    Attributes:
        dropped: readings that found no room.
    """

    def __init__(self, group: int, capacity: int = CAPACITY) -> None:
        self._group = group
        self._capacity = capacity
        self._signal: list[int] = []
        self._time: list[int] = []
        self._value: list[Value] = []
        self._quality: list[int] = []
        self._filled = asyncio.Event()
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._signal)

    def put(self, signal: int, time_us: int, value: Value, quality: int = Quality.GOOD) -> None:
        """Take one reading; called from the event loop."""
        if len(self._signal) >= self._capacity:
            self.dropped += 1
            return
        self._signal.append(signal)
        self._time.append(time_us)
        self._value.append(value)
        self._quality.append(quality)
        self._filled.set()

    def drain(self) -> Batch | None:
        """All readings as one batch, None where there are none; empty afterwards."""
        if not self._signal:
            return None
        quality = self._quality if any(self._quality) else None
        batch = batch_of(self._group, self._signal, self._time, self._value, quality)
        self._signal, self._time, self._value, self._quality = [], [], [], []
        self._filled.clear()
        return batch

    async def next(self, clock: Clock) -> Batch:
        """The next batch: waits for a reading, then 20 ms for its companions."""
        while True:
            await self._filled.wait()
            await clock.sleep_until(clock.monotonic_s() + DRAIN_S)
            batch = self.drain()
            if batch is not None:
                return batch
