"""The rhythm of polled buses: on the grid, without drift, never piled up."""

import asyncio
from collections.abc import Iterator
from contextlib import aclosing

import pytest
from fakes.clock import FakeClock
from hypothesis import given
from hypothesis import strategies as st

from contract.model.batch import Batch, batch_of
from edge.drivers.driver import PointGroup
from edge.drivers.polling import Polling, Schedule, poll_stamp

S = 1_000_000


def group(number: int, cycle_us: int) -> PointGroup:
    return PointGroup(number, f"g{number}", cycle_us, ())


def polled(
    durations: dict[int, Iterator[float]], cycles: dict[int, int], count: int
) -> list[tuple[int, float]]:
    """(group, seconds after the first poll) of the first polls; each takes its duration."""

    async def run() -> list[tuple[int, float]]:
        clock = FakeClock()
        begin = clock.monotonic_s()
        seen = []

        async def read(polled_group: PointGroup, stamp_us: int) -> Batch:
            seen.append((polled_group.number, round(clock.monotonic_s() - begin, 6)))
            clock.skip(next(durations[polled_group.number]))
            return batch_of(polled_group.number, None, stamp_us, [])

        polling = Polling([group(n, c) for n, c in cycles.items()], clock, read)

        async def take() -> None:
            async with aclosing(polling.batches()) as batches:
                async for _ in batches:
                    if len(seen) == count:
                        return

        task = asyncio.create_task(take())
        while not task.done():
            await clock.advance(clock.next_due_s or 0)
        await task
        return seen

    return asyncio.run(run())


def always(seconds: float) -> Iterator[float]:
    while True:
        yield seconds


def test_slow_polls_do_not_make_the_rhythm_drift() -> None:
    times = [t for _, t in polled({1: always(0.3)}, {1: S}, 5)]
    assert times == [0, 1, 2, 3, 4]


def test_a_poll_longer_than_its_cycle_goes_on_at_once_and_then_back_on_the_grid() -> None:
    times = [t for _, t in polled({1: iter([1.4, 0.1, 0.1, 0.1])}, {1: S}, 4)]
    assert times == [0, 1.4, 2, 3]


def test_a_stall_of_many_cycles_is_not_made_up_for() -> None:
    times = [t for _, t in polled({1: iter([5.5, 0.1, 0.1, 0.1])}, {1: S}, 4)]
    assert times == [0, 5.5, 6, 7]


def test_groups_of_different_cycles_share_a_connection() -> None:
    seen = polled({1: always(0), 2: always(0)}, {1: S, 2: 3 * S}, 8)
    assert [t for n, t in seen if n == 1] == [0, 1, 2, 3, 4, 5]
    assert [t for n, t in seen if n == 2] == [0, 3]


def test_an_overloaded_bus_starves_no_group() -> None:
    seen = polled({1: always(0.8), 2: always(0.8)}, {1: S, 2: S}, 20)
    assert min(sum(n == g for n, _ in seen) for g in (1, 2)) >= 9


def test_missed_moments_are_counted() -> None:
    schedule = Schedule([S], 0)
    assert schedule.next() == (0, 0)
    assert schedule.done(0, S - 1) == 0
    assert schedule.next() == (S, 0)
    assert schedule.done(0, 3 * S) == 1  # 2 s is skipped, 3 s is now
    assert schedule.next() == (3 * S, 0)
    assert schedule.done(0, 4 * S - 1) == 0
    assert schedule.next() == (4 * S, 0)


@given(st.lists(st.integers(0, 10 * S), min_size=1, max_size=50), st.integers(100_000, 2 * S))
def test_every_moment_of_the_grid_is_polled_or_counted_as_missed(durations: list[int], cycle: int) -> None:
    schedule = Schedule([cycle], 0)
    now, polls, missed = 0, 0, 0
    for duration in durations:
        due, _ = schedule.next()
        assert due % cycle == 0
        now = max(now, due) + duration
        polls += 1
        missed += schedule.done(0, now)
        assert now - schedule.next()[0] < cycle  # at most one poll is ever owed
    assert schedule.next()[0] == (polls + missed) * cycle


@pytest.mark.parametrize(
    ("now_us", "stamp_us"), [(1_000_499, 1_000_000), (1_000_500, 1_001_000), (1_001_000, 1_001_000)]
)
def test_stamps_are_whole_milliseconds(now_us: int, stamp_us: int) -> None:
    assert poll_stamp(now_us) == stamp_us
