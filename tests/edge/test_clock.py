"""The machine's clock, and the one whose hands the tests turn."""

import asyncio
import time

from fakes.clock import FakeClock

from edge.clock import EARLIEST_US, Clock, StepWatch


def test_the_clock_tells_the_machines_time() -> None:
    clock = Clock()
    assert abs(clock.now_us() - time.time() * 1e6) < 1e6
    assert abs(clock.monotonic_s() - time.monotonic()) < 1
    assert clock.trusted == (time.time() * 1e6 >= EARLIEST_US)


def test_sleep_until_never_returns_early_and_not_at_all_late_for_the_past() -> None:
    async def run() -> None:
        clock = Clock()
        until = clock.monotonic_s() + 0.02
        await clock.sleep_until(until)
        assert clock.monotonic_s() >= until - 0.001
        before = clock.monotonic_s()
        await clock.sleep_until(before - 100)
        assert clock.monotonic_s() - before < 5

    asyncio.run(run())


def test_a_wall_clock_that_was_never_set_is_not_trusted() -> None:
    class Unset(Clock):
        def now_us(self) -> int:
            return EARLIEST_US - 1

    class Set(Clock):
        def now_us(self) -> int:
            return EARLIEST_US

    assert not Unset().trusted
    assert Set().trusted


def test_the_fake_clock_wakes_sleepers_each_at_its_moment() -> None:
    async def run() -> None:
        clock = FakeClock()
        begin, woken = clock.monotonic_s(), []

        async def sleep(seconds: float) -> None:
            await clock.sleep_until(begin + seconds)
            woken.append((seconds, round(clock.monotonic_s() - begin, 6)))

        tasks = [asyncio.create_task(sleep(s)) for s in (3.0, 1.0, 2.0)]
        await clock.advance(0.999)
        assert woken == []
        await clock.advance(1.5)
        assert woken == [(1.0, 1.0), (2.0, 2.0)]
        assert clock.sleepers == 1
        await clock.advance(1)
        await asyncio.gather(*tasks)
        assert woken[-1] == (3.0, 3.0)

    asyncio.run(run())


def test_a_step_of_the_wall_clock_is_told_once_and_drift_is_not() -> None:
    watch = StepWatch(1_000_000_000, 10.0)
    assert watch.look(1_001_000_000, 11.0) == 0
    assert watch.look(1_002_300_000, 12.0) == 0, "0.3 s is a clock being slewed"
    assert watch.look(1_003_300_000 - 3_600_000_000, 13.0) == -3_600_000_000
    assert watch.look(1_004_300_000 - 3_600_000_000, 14.0) == 0
    assert watch.look(1_005_300_000, 15.0) == 3_600_000_000


def test_slow_drift_never_adds_up_to_a_step() -> None:
    watch = StepWatch(0, 0.0)
    steps = [watch.look(round(s * 1_000_500), float(s)) for s in range(10_000)]
    assert set(steps) == {0}
