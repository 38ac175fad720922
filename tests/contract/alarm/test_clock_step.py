"""A clock that is set must neither fire delays early nor stop the judging."""

import pytest

from contract.alarm.engine import Engine
from contract.model.batch import batch_of
from contract.model.message import Condition, Message
from contract.wire.records import EventKind

SECOND = 1_000_000
NOON = 1_800_000_000 * SECOND
HOUR = 3600 * SECOND


def engine(on_delay_s: float = 0.0) -> Engine:
    hot = Message(
        number=1,
        text="hot",
        any_of=((Condition(signal="t", operator=">", limit=80.0),),),
        on_delay_s=on_delay_s,
    )
    return Engine({"hot": hot}, {"t": 1})


def kinds(running: Engine, time_us: int, value: float) -> list[EventKind]:
    return [event.kind for event in running.feed(batch_of(1, [1], time_us, [value])).events]


@pytest.mark.parametrize("step", [HOUR, -HOUR])
def test_a_delay_runs_for_its_time_whatever_the_clock_says_meanwhile(step: int) -> None:
    running = engine(on_delay_s=10)
    assert kinds(running, NOON, 90) == []
    running.shift(step)
    assert kinds(running, NOON + step + 9 * SECOND, 90) == []
    assert running.next_tick() == NOON + step + 10 * SECOND
    (raised,) = running.tick(NOON + step + 10 * SECOND)
    assert raised.time_us == NOON + step + 10 * SECOND


def test_after_a_step_back_readings_are_judged_at_once() -> None:
    running = engine()
    assert kinds(running, NOON, 70) == []
    assert kinds(running, NOON - HOUR, 90) == [], "older than the last judged: late"
    running.shift(-HOUR)
    assert kinds(running, NOON - HOUR + SECOND, 90) == [EventKind.RAISED]


def test_a_step_leaves_what_was_never_read_unread_and_what_stands_standing() -> None:
    running = engine()
    running.shift(-HOUR)
    assert kinds(running, NOON, 90) == [EventKind.RAISED]
    (before,) = running.standing()
    running.shift(-HOUR)
    assert running.standing() == [before]


def test_a_shifted_engine_survives_a_restart() -> None:
    running = engine(on_delay_s=10)
    kinds(running, NOON, 90)
    running.shift(-HOUR)
    again = engine(on_delay_s=10)
    again.restore(running.snapshot())
    assert again.next_tick() == NOON - HOUR + 10 * SECOND


def test_a_delay_that_begins_after_a_step_back_does_not_wait_for_the_last_event_to_come_again() -> None:
    running = engine(on_delay_s=5)
    kinds(running, NOON - 60 * SECOND, 90)
    running.tick(NOON - 50 * SECOND)
    assert kinds(running, NOON - 40 * SECOND, 70) == [EventKind.ENDED]
    running.shift(-HOUR)
    kinds(running, NOON - HOUR, 90)
    (raised,) = running.tick(NOON - HOUR + 5 * SECOND)
    assert raised.time_us == NOON - HOUR + 5 * SECOND


def test_occurrences_stay_unique_over_a_step_back() -> None:
    running = engine()
    kinds(running, NOON, 90)
    kinds(running, NOON + SECOND, 70)
    running.shift(-HOUR)
    kinds(running, NOON - HOUR + 2 * SECOND, 90)
    (again,) = running.standing()
    assert again.occurrence_us > NOON
