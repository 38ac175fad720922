"""The engine as an operator meets it: short stories, exact times."""

import math

import numpy as np
import pytest

from contract.alarm.engine import AlarmEvent, Engine, Standing
from contract.alarm.snapshot import SnapshotError, pack, unpack
from contract.model.batch import batch_of
from contract.model.message import Condition, Message, Operator
from contract.model.quality import Quality

S = 1_000_000
NUMBERS = {"level": 1, "flow": 2, "set": 3, "door": 4}


def message(
    *blocks: tuple[Condition, ...], on: float = 0, off: float = 0, acknowledge: bool = True
) -> Message:
    return Message(number=1, text="", any_of=blocks, on_delay_s=on, off_delay_s=off, acknowledge=acknowledge)


def over(limit: float | str = 80.0, leave: float | str | None = None, operator: Operator = ">") -> Condition:
    return Condition("level", operator, limit, leave)


def engine(**messages: Message) -> Engine:
    return Engine(messages, NUMBERS)


def feed(e: Engine, time: float, quality: int = 0, **values: float) -> list[AlarmEvent]:
    names = [NUMBERS[name] for name in values]
    return e.feed(batch_of(1, names, round(time * S), list(values.values()), [quality] * len(names))).events


def told(events: list[AlarmEvent]) -> list[tuple[str, str, float]]:
    return [(e.message, str(e.kind), e.time_us / S) for e in events]


@pytest.mark.parametrize(
    ("operator", "truths"),
    [
        (">", (False, False, True)),
        (">=", (False, True, True)),
        ("=", (False, True, False)),
        ("<=", (True, True, False)),
        ("<", (True, False, False)),
        ("!=", (True, False, True)),
    ],
)
@pytest.mark.parametrize("limit", [80.0, "set"])
def test_each_operator_below_on_and_above_its_limit(
    operator: Operator, truths: tuple[bool, ...], limit: float | str
) -> None:
    for value, truth in zip((math.nextafter(80, 0), 80.0, math.nextafter(80, 99)), truths, strict=True):
        e = engine(m=message((over(limit, None, operator),)))
        assert bool(feed(e, 1, level=value, set=80.0)) == truth


def test_raised_above_80_and_ended_at_78() -> None:
    e = engine(m=message((over(80.0, 78.0),)))
    values = [80.0, 80.5, 79.0, 78.1, 78.0, 79.0, 80.0, 80.1]
    events = [event for t, v in enumerate(values) for event in feed(e, t, level=v)]
    assert told(events) == [("m", "raised", 1), ("m", "ended", 4), ("m", "raised", 7)]


def test_a_limit_that_is_a_signal_moves() -> None:
    e = engine(m=message((over("set"),)))
    assert feed(e, 0, level=50) == []  # no limit yet: nothing is judged
    assert told(feed(e, 1, set=40)) == [("m", "raised", 1)]
    assert told(feed(e, 2, set=60)) == [("m", "ended", 2)]


def test_the_row_that_flips_is_named_also_when_it_is_the_limit() -> None:
    e = engine(m=message((over("set"),)))
    judged = e.feed(batch_of(1, [4, 3, 1, 99], 0, [0, 40, 50, 0]))
    assert judged.flipped is not None
    assert judged.flipped.tolist() == [1, 2]
    assert judged.flipped.dtype == np.int64
    again = e.feed(batch_of(1, [4, 3], 1, [0, 60]))
    assert again.flipped is not None
    assert again.flipped.tolist() == [1]


def test_and_inside_or() -> None:
    blocks = (over(), Condition("flow", "<", 1.0)), (Condition("door", "=", 1.0),)
    e = engine(m=message(*blocks))
    assert feed(e, 0, level=90, flow=5, door=0) == []
    assert told(feed(e, 1, flow=0)) == [("m", "raised", 1)]
    assert feed(e, 2, door=1) == []  # raised already
    assert feed(e, 3, level=10) == []  # the other block still holds
    assert told(feed(e, 4, door=0)) == [("m", "ended", 4)]


def test_an_or_that_changes_hands_within_one_instant_is_no_event() -> None:
    e = engine(m=message((over(),), (Condition("door", "=", 1.0),)))
    assert told(feed(e, 0, level=90, door=0)) == [("m", "raised", 0)]
    assert feed(e, 1, level=10, door=1) == []


def test_the_event_names_what_raised_it() -> None:
    e = engine(m=message((over(),), (Condition("door", "=", 1.0),)))
    (raised,) = feed(e, 5, level=20, door=1)
    assert raised == AlarmEvent("m", raised.kind, 5 * S, 5 * S, "door", 1.0, 0)
    assert raised.id == "m/5000000/raised"
    (ended,) = feed(e, 6, level=21, door=0)
    assert (ended.signal, ended.value, ended.occurrence_us, ended.id) == (
        "door",
        0.0,
        5 * S,
        "m/5000000/ended",
    )


def test_a_pulse_shorter_than_the_on_delay_raises_nothing() -> None:
    e = engine(m=message((over(),), on=1))
    assert feed(e, 0, level=90) == []
    assert e.next_tick() == 1 * S
    assert e.tick(S - 1) == []
    assert feed(e, 0.9, level=10) == []
    assert e.next_tick() is None
    assert e.tick(10 * S) == []


def test_an_on_delay_that_is_over_raises_at_the_time_it_was_due() -> None:
    e = engine(m=message((over(),), on=1))
    feed(e, 0, level=90)
    assert told(e.tick(7 * S)) == [("m", "raised", 1)]
    late = engine(m=message((over(),), on=1))
    feed(late, 0, level=90)
    assert told(feed(late, 3, level=10)) == [("m", "raised", 1), ("m", "ended", 3)]


def test_a_delay_due_with_the_reading_that_cancels_it_comes_first() -> None:
    e = engine(m=message((over(),), on=1))
    feed(e, 0, level=90)
    assert told(feed(e, 1, level=10)) == [("m", "raised", 1), ("m", "ended", 1)]


def test_a_gap_shorter_than_the_off_delay_does_not_end() -> None:
    e = engine(m=message((over(),), off=2))
    feed(e, 0, level=90)
    assert feed(e, 1, level=10) == []
    assert feed(e, 2, level=90) == []
    assert feed(e, 3, level=10) == []
    assert told(e.tick(60 * S)) == [("m", "ended", 5)]


def test_a_delay_counts_from_the_first_moment_it_held() -> None:
    e = engine(m=message((over(),), on=3))
    for t in range(3):
        assert feed(e, t, level=90 + t) == []
    assert told(feed(e, 4, level=95)) == [("m", "raised", 3)]


def test_a_device_ahead_of_time_moves_nobody_elses_delays() -> None:
    e = engine(a=message((over(),), on=5), b=message((Condition("flow", ">", 1.0),), on=5))
    feed(e, 0, level=90, flow=9)
    assert told(feed(e, 3600, flow=9)) == [("b", "raised", 5)]
    assert feed(e, 2, level=10) == []  # judged: its own signal's time has not gone on
    assert e.tick(60 * S) == []


def test_a_late_reading_is_not_judged() -> None:
    e = engine(m=message((over(),)))
    feed(e, 10, level=50)
    assert feed(e, 9, level=90) == []
    assert told(feed(e, 10, level=90)) == [("m", "raised", 10)]  # same time: order counts
    assert e.feed(batch_of(1, [1, 1], [9 * S, 8 * S], [1, 1])) == ([], None)


def test_an_alarm_never_acts_before_its_previous_event() -> None:
    both = message((over(), Condition("flow", ">", 1.0)))
    e = engine(m=both)
    feed(e, 1, flow=5)
    assert told(feed(e, 10, level=90)) == [("m", "raised", 10)]
    assert told(feed(e, 5, flow=0)) == [("m", "ended", 10)]


def test_occurrences_of_one_instant_have_names_of_their_own() -> None:
    e = engine(m=message((over(),)))
    events = e.feed(batch_of(1, [1, 1, 1], 7 * S, [90, 10, 90])).events
    assert told(events) == [("m", "raised", 7), ("m", "ended", 7), ("m", "raised", 7)]
    assert len({event.id for event in events}) == 3


def test_bad_quality_neither_raises_nor_ends() -> None:
    e = engine(m=message((over(),)))
    assert feed(e, 0, Quality.BAD_TIMEOUT, level=90) == []
    assert told(feed(e, 1, level=90)) == [("m", "raised", 1)]
    assert feed(e, 2, Quality.BAD_NO_COMMUNICATION, level=10) == []
    assert feed(e, 3, level=math.nan) == []
    (ended,) = feed(e, 4, Quality.UNCERTAIN_OUT_OF_RANGE, level=10)  # uncertain is usable
    assert (ended.kind, ended.quality) == ("ended", Quality.UNCERTAIN_OUT_OF_RANGE)


def test_a_delay_runs_on_while_the_reading_is_bad_and_the_event_says_so() -> None:
    e = engine(m=message((over(),), on=2))
    feed(e, 0, level=90)
    feed(e, 1, Quality.BAD_TIMEOUT, level=math.nan)
    (raised,) = e.tick(5 * S)
    assert (raised.time_us, raised.value, raised.quality) == (2 * S, 90.0, Quality.BAD_TIMEOUT)


def test_quality_is_good_again_without_a_quality_column() -> None:
    e = engine(m=message((over(),)))
    feed(e, 0, Quality.UNCERTAIN, level=10)
    assert e.feed(batch_of(1, [1], S, [90])).events[0].quality == Quality.GOOD


def test_acknowledging() -> None:
    e = engine(m=message((over(),)), quiet=message((over(),), acknowledge=False))
    feed(e, 1, level=90)
    assert e.standing() == [Standing("m", S, True, False), Standing("quiet", S, True, True)]
    assert e.acknowledge("m", 2 * S, 3 * S, "anna") == []  # another occurrence
    assert e.acknowledge("nobody", S, 3 * S, "anna") == []
    assert e.acknowledge("quiet", S, 3 * S, "anna") == []
    (event,) = e.acknowledge("m", S, 3 * S, "anna", "valve cleaned")
    assert (event.kind, event.time_us, event.occurrence_us, event.actor) == ("acknowledged", 3 * S, S, "anna")
    assert event.comment == "valve cleaned"
    assert event.id == "m/1000000/acknowledged"
    assert e.acknowledge("m", S, 4 * S, "bert") == []
    assert told(feed(e, 5, level=10)) == [("m", "ended", 5), ("quiet", "ended", 5)]
    assert e.standing() == []
    assert e.acknowledge("m", S, 6 * S, "anna") == []


def test_over_but_not_acknowledged_still_stands() -> None:
    e = engine(m=message((over(),)))
    feed(e, 1, level=90)
    feed(e, 2, level=10)
    assert e.standing() == [Standing("m", S, False, False)]
    assert len(e.acknowledge("m", S, 3 * S, "anna")) == 1
    assert e.standing() == []


def test_raised_again_it_stands_with_the_new_occurrence() -> None:
    e = engine(m=message((over(),)))
    for t, v in ((1, 90), (2, 10), (3, 90)):
        feed(e, t, level=v)
    assert e.standing() == [Standing("m", 3 * S, True, False)]
    assert e.acknowledge("m", 1 * S, 4 * S, "anna") == []
    assert len(e.acknowledge("m", 3 * S, 4 * S, "anna")) == 1


def test_signals_nobody_reads_and_unknown_numbers_are_ignored() -> None:
    e = engine(m=message((over(),)))
    assert e.feed(batch_of(1, [4, 77, -5, 2**31 - 1], 0, [1, 2, 3, 4])) == ([], None)
    assert told(e.feed(batch_of(1, [77, 1, -5], 0, [1, 90, 3])).events) == [("m", "raised", 0)]


def test_a_signal_without_a_number_leaves_its_condition_waiting() -> None:
    e = Engine({"m": message((Condition("ghost", ">", 1.0),), (over(),))}, NUMBERS)
    assert told(feed(e, 0, level=90)) == [("m", "raised", 0)]


def test_an_engine_without_messages_takes_anything() -> None:
    e = Engine({}, {"level": 1})
    assert e.feed(batch_of(1, [1], 0, [1.0])) == ([], None)
    assert e.tick(5) == []
    assert e.standing() == []
    e.restore(e.snapshot())


def test_a_batch_that_names_no_signals_is_refused() -> None:
    with pytest.raises(ValueError, match="does not name its signals"):
        engine().feed(batch_of(1, None, 0, [1.0]))


def test_an_instant_of_two_signals_is_judged_at_once_among_others() -> None:
    """Limit and value move together in the middle of an event batch: no alarm in between."""
    e = engine(m=message((over("set"),)))
    feed(e, 0, level=50, set=60, flow=0)
    judged = e.feed(batch_of(1, [2, 1, 3, 2], [S, 2 * S, 2 * S, 3 * S], [1, 70, 80, 2]))
    assert judged == ([], None)
    apart = e.feed(batch_of(1, [2, 1, 3, 2], [4 * S, 5 * S, 6 * S, 7 * S], [1, 90, 95, 2]))
    assert told(apart.events) == [("m", "raised", 5), ("m", "ended", 6)]
    assert apart.flipped is not None
    assert apart.flipped.tolist() == [1, 2]


def test_a_flapping_condition_does_not_fill_the_memory() -> None:
    waits = message((Condition("flow", ">", 1.0),), on=1)  # due first: the old dues of m stay behind it
    e = engine(m=message((over(),), on=3600), waits=waits)
    feed(e, 0, flow=9)
    for t in range(3000):
        assert feed(e, t, level=90 if t % 2 else 10) == []
    assert len(e._machine._heap) < 200


# --- Saved and taken up again ----------------------------------------------------------------


def test_a_restart_goes_on_with_delays_and_what_stands() -> None:
    messages = {
        "a": message((over(80.0, 70.0),)),
        "b": message((over(),), on=10),
        "c": message((over(99.0),)),
    }
    first = Engine(messages, NUMBERS)
    feed(first, 1, level=90)
    feed(first, 2, level=85)
    second = Engine(
        messages, {uid: number + 100 for uid, number in NUMBERS.items()}
    )  # another store's numbers
    second.restore(first.snapshot())
    assert second.standing() == first.standing() == [Standing("a", S, True, False)]
    assert second.next_tick() == 11 * S
    assert told(second.tick(20 * S)) == [("b", "raised", 11)]
    held = second.feed(batch_of(1, [101], 21 * S, [75])).events
    assert told(held) == [("b", "ended", 21)]  # a holds above 70


def test_messages_may_be_added_removed_and_reordered_between() -> None:
    a, b, c = (message((over(limit),)) for limit in (80.0, 85.0, 1000.0))
    first = Engine({"a": a, "c": c, "b": b}, NUMBERS)
    feed(first, 1, level=90)
    second = Engine({"new": message((over(10.0),)), "b": b, "a": a}, NUMBERS)
    second.restore(first.snapshot())
    assert second.standing() == [Standing("b", S, True, False), Standing("a", S, True, False)]
    assert told(feed(second, 2, level=90)) == [("new", "raised", 2)]
    assert told(feed(second, 3, level=5)) == [("new", "ended", 3), ("b", "ended", 3), ("a", "ended", 3)]


def test_a_changed_message_ends_what_stood_and_starts_fresh() -> None:
    first = engine(m=message((over(),)))
    feed(first, 1, level=90)
    second = engine(m=message((over(85.0),)))
    second.restore(first.snapshot())
    assert second.standing() == [Standing("m", S, True, False)]
    assert second.next_tick() == S  # at once
    (ended,) = second.tick(5 * S)
    assert (ended.kind, ended.time_us, ended.occurrence_us, ended.signal) == ("ended", 5 * S, S, "level")
    assert second.standing() == [Standing("m", S, False, False)]
    assert second.next_tick() is None
    assert told(feed(second, 6, level=90)) == [("m", "raised", 6)]
    assert second.standing() == [Standing("m", S, False, False), Standing("m", 6 * S, True, False)]
    (seen,) = second.acknowledge("m", S, 7 * S, "anna", "an old one")
    assert (seen.kind, seen.time_us, seen.comment) == ("acknowledged", 7 * S, "an old one")
    assert second.standing() == [Standing("m", 6 * S, True, False)]


def test_a_removed_message_ends_with_the_next_reading_and_waits_for_its_operator() -> None:
    first = engine(gone=message((over(),)), acknowledged=message((over(),)), kept=message((over(),)))
    feed(first, 1, level=90)
    first.acknowledge("acknowledged", S, 2 * S, "anna")
    second = engine(kept=message((over(),)))
    second.restore(first.snapshot())
    third = engine(kept=message((over(),)))
    third.restore(second.snapshot())  # nothing is lost by a second restart
    assert told(feed(third, 5, level=91)) == [("gone", "ended", 5), ("acknowledged", "ended", 5)]
    assert third.standing() == [Standing("gone", S, False, False), Standing("kept", S, True, False)]
    assert len(third.acknowledge("gone", S, 6 * S, "anna")) == 1
    assert third.standing() == [Standing("kept", S, True, False)]
    assert third.acknowledge("gone", S, 6 * S, "anna") == []


def test_a_delay_that_runs_towards_the_end_survives_a_restart() -> None:
    messages = {"m": message((over(),), on=1, off=5, acknowledge=False)}
    first = Engine(messages, NUMBERS)
    feed(first, 0, level=90)
    second = Engine(messages, NUMBERS)
    second.restore(first.snapshot())
    assert told(second.tick(2 * S)) == [("m", "raised", 1)]
    feed(second, 3, level=10)
    third = Engine(messages, NUMBERS)
    third.restore(second.snapshot())
    assert told(third.tick(60 * S)) == [("m", "ended", 8)]


def test_messages_are_told_in_their_order() -> None:
    numbers = {f"s{i}": i for i in range(64)}
    e = Engine({f"m{i}": message((Condition(f"s{i}", ">", 1.0),)) for i in range(64)}, numbers)
    events = e.feed(batch_of(1, [33, 40, 8, 1, 16], S, [5] * 5)).events
    assert [event.message for event in events] == ["m1", "m8", "m16", "m33", "m40"]


def test_new_words_for_a_message_change_nothing() -> None:
    first = engine(m=message((over(),)))
    feed(first, 1, level=90)
    second = engine(m=Message(number=9, text="other words", any_of=((over(),),), priority=1, area="north"))
    second.restore(first.snapshot())
    assert second.tick(2 * S) == []
    assert second.standing() == [Standing("m", S, True, False)]


@pytest.mark.parametrize(
    "other",
    [
        message((over(81.0),)),
        message((over(80.0, 70.0),)),
        message((over(), over())),
        message((over(),), on=1),
        message((over(),), off=1),
        message((over(),), acknowledge=False),
    ],
)
def test_another_judgement_is_another_message(other: Message) -> None:
    first = engine(m=message((over(),)))
    feed(first, 1, level=90)
    second = engine(m=other)
    second.restore(first.snapshot())
    assert told(second.tick(2 * S)) == [("m", "ended", 2)]


def test_a_used_engine_forgets_when_it_is_restored() -> None:
    e = engine(m=message((over(),)))
    empty = e.snapshot()
    feed(e, 10, level=90)
    e.restore(empty)
    assert e.standing() == []
    assert told(feed(e, 5, level=90)) == [("m", "raised", 5)]


def test_a_damaged_snapshot_is_refused_whole() -> None:
    e = engine(m=message((over(),), on=5))
    feed(e, 1, level=90)
    saved = e.snapshot()
    for bit in range(len(saved) * 8):
        damaged = bytearray(saved)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            unpack(bytes(damaged))
        except SnapshotError:
            continue
        assert unpack(bytes(damaged)) == unpack(saved)  # a bit of the frame that means nothing
    with pytest.raises(SnapshotError):
        e.restore(saved[:-1])
    assert e.standing() == []
    for junk in (b"", b"\0" * 64):
        with pytest.raises(SnapshotError):
            unpack(junk)


def test_a_younger_snapshot_is_refused() -> None:
    saved = unpack(engine(m=message((over(),))).snapshot())
    younger = type(saved)(**{**{f: getattr(saved, f) for f in saved.__struct_fields__}, "version": 2})
    with pytest.raises(SnapshotError, match="version 2"):
        unpack(pack(younger))
