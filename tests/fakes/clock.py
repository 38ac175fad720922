"""A clock whose hands a test turns.

    clock = FakeClock()
    await clock.advance(2.5)      # wakes every sleeper in the order of their moments

Between two moments the event loop runs until nothing of ours has anything left to do.
"""

import asyncio
import heapq
from itertools import count

from edge.clock import Clock

TURNS = 50
"""Loop turns given to a woken task; no chain of awaits in our code is nearly that long."""


class FakeClock(Clock):
    """Wall and monotonic time that stand still until they are moved.

    Args:
        now_us: wall time at the beginning; 2026-11-21 12:00 UTC.
    """

    def __init__(self, now_us: int = 1_795_262_400_000_000) -> None:
        self._wall_us = now_us
        self._monotonic_us = 1_000_000_000
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = count()
        self.is_trusted = True

    @property
    def trusted(self) -> bool:
        return self.is_trusted

    def now_us(self) -> int:
        return self._wall_us

    def monotonic_s(self) -> float:
        return self._monotonic_us / 1e6

    async def sleep_until(self, monotonic_s: float) -> None:
        due = round(monotonic_s * 1e6)
        if due <= self._monotonic_us:
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (due, next(self._order), woken))
        await woken

    @property
    def sleepers(self) -> int:
        """How many tasks wait for this clock."""
        return sum(not woken.done() for _, _, woken in self._sleepers)

    @property
    def next_due_s(self) -> float | None:
        """Seconds from now until the next sleeper wakes."""
        dues = [due for due, _, woken in self._sleepers if not woken.done()]
        return (min(dues) - self._monotonic_us) / 1e6 if dues else None

    def set_wall(self, now_us: int) -> None:
        """Set the wall clock, as NTP does; monotonic time does not notice."""
        self._wall_us = now_us

    def skip(self, seconds: float) -> None:
        """Let time pass without waking anybody, as a busy processor does."""
        self._wall_us += round(seconds * 1e6)
        self._monotonic_us += round(seconds * 1e6)

    async def advance(self, seconds: float) -> None:
        """Let time pass, waking each sleeper at its own moment."""
        end = self._monotonic_us + round(seconds * 1e6)
        await self.settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            due, _, woken = heapq.heappop(self._sleepers)
            if woken.done():
                continue
            self._move_to(max(due, self._monotonic_us))
            woken.set_result(None)
            await self.settle()
        self._move_to(max(end, self._monotonic_us))
        await self.settle()

    async def settle(self) -> None:
        """Let every task that can run, run."""
        for _ in range(TURNS):
            await asyncio.sleep(0)

    def _move_to(self, monotonic_us: int) -> None:
        self._wall_us += monotonic_us - self._monotonic_us
        self._monotonic_us = monotonic_us
