"""A sample's way: scaled, judged before the deadband, kept or not, stored and shown."""

import numpy as np
import pytest

from contract.alarm.engine import AlarmEvent, Engine
from contract.model.batch import Batch, batch_of
from contract.model.message import Condition, Message
from contract.model.quality import Quality
from contract.model.signal import Archive, DataType, Scaling, Signal
from contract.wire.records import EventKind, unpack_tail
from edge.flow import Flow, Newest
from edge.signals.plan import Member, Plan
from edge.sync.tail import TailBuffer

SECOND = 1_000_000
NOW = 100 * SECOND


class Card:
    """A head that remembers, or that has no room."""

    def __init__(self) -> None:
        self.kept: list[Batch] = []
        self.is_full = False

    def append(self, batch: Batch) -> int | None:
        if self.is_full:
            return None
        self.kept.append(batch)
        return len(self.kept)


def flow(signal: Signal, *messages: Message) -> tuple[Flow, Card, list[AlarmEvent], TailBuffer]:
    card, events, tail = Card(), list[AlarmEvent](), TailBuffer(1)
    made = Flow(card, Newest(), events.extend)
    tail.is_open = True
    made.tails.append(tail)
    made.plans = {2: Plan(2, [Member(5, "level", signal)])}
    made.engine = Engine({f"m{i}": m for i, m in enumerate(messages)}, {"level": 5})
    made.newest.grow(5)
    tail.configure(2, 1, np.array([5], np.int32))
    return made, card, events, tail


def poll(time_s: float, value: float | str, quality: int = 0) -> Batch:
    return batch_of(2, None, round(time_s * SECOND), [value], [quality] if quality else None)


HIGH = Message(number=1, text="high", any_of=((Condition(signal="level", operator=">", limit=80.0),),))


def test_a_small_excursion_over_the_limit_is_one_alarm_and_its_samples_are_stored() -> None:
    made, card, events, _ = flow(Signal(group="g", archive=Archive(mode="delta", deadband=5.0)), HIGH)
    for i, value in enumerate([79.0, 79.5, 80.5, 80.4, 79.0, 78.9]):
        made.take(poll(i, value), NOW)
    assert [e.kind for e in events] == [EventKind.RAISED, EventKind.ENDED]
    assert [e.value for e in events] == [80.5, 79.0]
    assert [float(b.value[0]) for b in card.kept] == [79.0, 80.5, 79.0]


def test_values_are_scaled_before_they_are_judged_stored_and_shown() -> None:
    made, card, events, tail = flow(Signal(group="g", scaling=Scaling(divisor=10)), HIGH)
    made.take(poll(1, 805), NOW)
    assert float(card.kept[0].value[0]) == 80.5
    assert events[0].value == 80.5
    assert made.newest[5] == (SECOND, 80.5, Quality.GOOD)
    (message,) = tail.take(1.0)
    assert unpack_tail(message).value.tolist() == [80.5]


def test_a_signal_nobody_has_read_yet_has_no_value_and_says_why() -> None:
    made, *_ = flow(Signal(group="g"))
    assert made.newest[5] == (0, None, Quality.BAD_WAITING_FOR_INITIAL_DATA)


def test_texts_are_shown_as_texts_until_a_number_replaces_them() -> None:
    made, *_ = flow(Signal(group="g", type=DataType.TEXT))
    made.take(poll(1, "auto"), NOW)
    assert made.newest[5].value == "auto"
    made.take(poll(2, "hand"), NOW)
    assert made.newest[5].value == "hand"


def test_a_bad_reading_after_a_text_or_a_large_number_does_not_show_the_old_value() -> None:
    for value in ("auto", 2**60):
        made, *_ = flow(Signal(group="g", type=DataType.TEXT if value == "auto" else DataType.INTEGER))
        made.take(poll(1, value), NOW)
        assert made.newest[5].value == value
        made.take(batch_of(2, None, 2 * SECOND, [float("nan")], [Quality.BAD_NO_COMMUNICATION]), NOW)
        assert made.newest[5] == (2 * SECOND, None, Quality.BAD_NO_COMMUNICATION)


def test_a_batch_of_a_group_that_is_no_longer_configured_is_dropped() -> None:
    made, card, *_ = flow(Signal(group="g"))
    made.take(batch_of(9, None, 1, [1.0]), NOW)
    assert card.kept == []


def test_alarms_go_on_when_the_card_takes_nothing() -> None:
    made, card, events, tail = flow(Signal(group="g"), HIGH)
    card.is_full = True
    made.take(poll(1, 90), NOW)
    assert [e.kind for e in events] == [EventKind.RAISED]
    assert list(tail.take(1.0)) == [], "what has no position cannot be told apart later"
    assert made.position == 0


def test_judging_again_stores_nothing_and_gives_the_same_events() -> None:
    made, card, events, _ = flow(Signal(group="g"), HIGH)
    made.take(poll(1, 90), NOW)
    again, other_card, same_events, _ = flow(Signal(group="g"), HIGH)
    again.judge(card.kept[0])
    assert [e.id for e in same_events] == [e.id for e in events]
    assert other_card.kept == []


@pytest.mark.parametrize(("now_s", "raised"), [(10.999999, False), (11.0, True)])
def test_a_delay_runs_out_exactly_when_it_is_due(now_s: float, raised: bool) -> None:
    delayed = Message(number=1, text="high", any_of=HIGH.any_of, on_delay_s=10)
    made, _, events, _ = flow(Signal(group="g"), delayed)
    made.take(poll(1, 90), NOW)
    made.tick(round(now_s * SECOND))
    assert [e.time_us for e in events] == ([11 * SECOND] if raised else [])


def test_a_poll_stamped_before_the_clock_was_set_back_is_of_now() -> None:
    """Otherwise every later reading would be late, and no alarm judged, until the clock caught up."""
    made, card, events, _ = flow(Signal(group="g"), HIGH)
    made.take(poll(3600, 20), NOW)
    assert card.kept[0].time == NOW
    made.take(poll(101, 90), 101 * SECOND)
    assert [e.kind for e in events] == [EventKind.RAISED]


def test_after_a_restart_with_a_clock_put_right_readings_are_judged() -> None:
    made, _, events, _ = flow(Signal(group="g"), HIGH)
    made.engine.feed(batch_of(2, [5], 10_000 * SECOND, [20.0]))
    made.follow_clock(NOW)
    made.take(poll(101, 90), 101 * SECOND)
    assert [e.kind for e in events] == [EventKind.RAISED]


def test_rows_named_in_the_groups_order_are_a_full_poll_and_others_find_their_own_signal() -> None:
    made, card, *_ = flow(Signal(group="g"))
    made.take(batch_of(2, [5], SECOND, [1.0]), NOW)
    assert card.kept[0].signal is None
    made.take(batch_of(2, [9], 2 * SECOND, [2.0]), NOW)
    assert len(card.kept) == 1, "a row of a signal that is not in the group any more is dropped"


def test_while_no_uplink_serves_the_tail_costs_nothing() -> None:
    made, card, _, tail = flow(Signal(group="g"))
    tail.is_open = False
    made.take(poll(1, 1), NOW)
    made.end_segment(2, 1)
    assert len(card.kept) == 1
    assert list(tail.take(1.0)) == []
    assert tail._ends == {}
