"""The gateway's two clocks: wall time for stamps, monotonic time for rhythms and deadlines.

Handed to everything that needs time, so that a test can turn the hands itself
(`tests/fakes/clock.py`). Rules take `now` as an argument and never see this.
"""

import asyncio
import time
from typing import Final

EARLIEST_US: Final = 1_767_225_600_000_000
"""2026-01-01: a wall clock before this has lost its battery and was not set since."""


class Clock:
    """The machine's own clocks."""

    @property
    def trusted(self) -> bool:
        """Whether the wall clock can be right; stamps of a clock that was never set are doubtful."""
        return self.now_us() >= EARLIEST_US

    def now_us(self) -> int:
        """Wall time, µs UTC; it may jump when the clock is set."""
        return time.time_ns() // 1000

    def monotonic_s(self) -> float:
        """Seconds since some fixed moment; never jumps, never goes back."""
        return time.monotonic()

    async def sleep_until(self, monotonic_s: float) -> None:
        """Return at this monotonic moment, or at the loop's next turn where it is past."""
        await asyncio.sleep(max(0.0, monotonic_s - time.monotonic()))
