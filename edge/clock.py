"""The gateway's two clocks: wall time for stamps, monotonic time for rhythms and deadlines.

Handed to everything that needs time, so that a test can turn the hands itself
(`tests/fakes/clock.py`). Rules take `now` as an argument and never see this.
"""

import asyncio
import time
from typing import Final

EARLIEST_US: Final = 1_767_225_600_000_000
"""2026-01-01: a wall clock before this has lost its battery and was not set since."""
STEP_US: Final = 500_000
"""A smaller difference between two looks is drift, not a clock that was set."""


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


class StepWatch:
    """Notices that the wall clock was set, by the monotonic one. Pure: both are passed in.

    Differences below `STEP_US` are drift or slewing and are followed in silence.
    """

    def __init__(self, wall_us: int, monotonic_s: float) -> None:
        self._offset_us = wall_us - round(monotonic_s * 1e6)

    def look(self, wall_us: int, monotonic_s: float) -> int:
        """By how much the wall clock was set since the last look, µs; 0 if it was not."""
        offset_us = wall_us - round(monotonic_s * 1e6)
        by_us, self._offset_us = offset_us - self._offset_us, offset_us
        return by_us if abs(by_us) >= STEP_US else 0
