import math
from typing import Any

import pytest
from fakes.centre import document
from hypothesis import given
from hypothesis import strategies as st

from aggregator.live.rules import (
    SIGNALS_MAX,
    Group,
    Link,
    Presence,
    Reading,
    Refused,
    State,
    Station,
    checked_value,
    intervals,
    quiet_after_s,
    shown,
    state_of,
)
from contract.model.batch import batch_of
from contract.model.config import parse
from contract.model.quality import Quality
from contract.wire.records import pack_tail, unpack_tail
from contract.wire.status import Health, Status

NOW = 1_795_262_400_000_000
S = 1_000_000


def heard(group: Group, rows: list[tuple[int, int, float | int | str]], now_us: int = NOW) -> set[int]:
    batch = batch_of(1, [r[0] for r in rows], [r[1] for r in rows], [r[2] for r in rows])
    return group.take(unpack_tail(pack_tail(1, 1, 1, 1, batch)), now_us, 0.0)


def test_the_newest_reading_of_each_signal_is_kept() -> None:
    group = Group(77)
    assert heard(group, [(1, NOW - 2 * S, 5.0), (2, NOW - S, 7.0), (1, NOW - S, 6.0)]) == {1, 2}
    assert group.readings == {1: Reading(6.0, 0, NOW - S), 2: Reading(7.0, 0, NOW - S)}


def test_the_later_of_two_readings_of_one_instant_counts() -> None:
    group = Group(77)
    heard(group, [(1, NOW, 5.0), (1, NOW, 6.0)])
    assert group.readings[1].value == 6.0
    heard(group, [(1, NOW, 7.0)])
    assert group.readings[1].value == 7.0


def test_what_is_restated_after_an_outage_does_not_turn_back_time() -> None:
    group = Group(77)
    heard(group, [(1, NOW, 5.0)])
    assert heard(group, [(1, NOW - S, 4.0)]) == set()
    assert group.readings[1].value == 5.0


def test_a_clock_that_was_ahead_does_not_freeze_the_page_when_it_is_set_right() -> None:
    group = Group(77)
    heard(group, [(1, NOW + 3600 * S, 5.0)])
    assert heard(group, [(1, NOW, 4.0)]) == {1}
    assert group.readings[1].value == 4.0


def test_texts_and_wide_integers_come_as_they_were() -> None:
    group = Group(77)
    heard(group, [(1, NOW, "Störung"), (2, NOW, 2**60 + 1), (3, NOW, math.nan)])
    assert [group.readings[i].value for i in (1, 2, 3)] == ["Störung", 2**60 + 1, None]


@given(
    st.lists(st.tuples(st.integers(1, 4), st.integers(-50, 50), st.floats(-1e6, 1e6)), max_size=60),
    st.integers(1, 7),
)
def test_however_it_is_cut_into_messages_the_newest_by_time_is_shown(
    rows: list[tuple[int, int, float]], cut: int
) -> None:
    group = Group(77)
    for i in range(0, len(rows), cut):
        heard(group, [(n, NOW - 60 * S + t * S, v) for n, t, v in rows[i : i + cut]], NOW)
    for number in {n for n, _, _ in rows}:
        newest = max(t for n, t, _ in rows if n == number)
        assert group.readings[number].time_us == NOW - 60 * S + newest * S
        assert group.readings[number].value == [v for n, t, v in rows if (n, t) == (number, newest)][-1]


def test_a_gateway_that_invents_numbers_does_not_fill_our_memory() -> None:
    group = Group(77)
    step = 50_000
    for first in range(0, SIGNALS_MAX + step, step):
        heard(group, [(first + i, NOW, 1.0) for i in range(step)])
    assert len(group.readings) == SIGNALS_MAX


def status(*, online: bool = True, time_us: int = NOW, **health: Any) -> Status:
    return Status(gateway="g", online=online, time_us=time_us, health=Health(**health))


def test_a_gateway_comes_goes_and_falls_silent() -> None:
    station = Station()
    assert station.presence(0) is Presence.UNKNOWN
    station.take_status(status(), NOW, 10.0, retained=False)
    assert (station.presence(35.0), station.since_us) == (Presence.ONLINE, NOW)
    assert station.presence(35.1) is Presence.SILENT
    station.take_status(status(online=False), NOW + 9 * S, 40.0, retained=False)
    assert (station.presence(40.0), station.since_us) == (Presence.LOST, NOW + 9 * S)


def test_a_retained_message_tells_the_state_but_not_since_when() -> None:
    station = Station()
    station.take_status(status(online=False), NOW, 0, retained=True)
    assert (station.presence(0), station.since_us) == (Presence.LOST, None)


def test_the_last_will_does_not_wipe_out_how_the_gateway_fared() -> None:
    station = Station()
    station.take_status(status(unsent_segments=4), NOW, 0, retained=False)
    station.take_status(status(online=False), NOW, 1, retained=False)
    assert station.health().unsent_segments == 4


def test_a_delayed_heartbeat_does_not_make_a_clock_look_late() -> None:
    station = Station()
    for sent, came in ((0, 20_000), (10 * S, 14 * S), (20 * S, 20 * S + 30_000)):
        station.take_status(status(time_us=NOW + sent), NOW + came, came / S, retained=False)
    assert station.pulse().clock_offset_us == -20_000


def test_a_clock_that_is_set_back_is_noticed_after_three_heartbeats() -> None:
    station = Station()
    station.take_status(status(time_us=NOW), NOW, 0, retained=False)
    for i in range(1, 4):
        station.take_status(status(time_us=NOW + (10 * i - 60) * S), NOW + 10 * i * S, 10 * i, retained=False)
    assert station.pulse().clock_offset_us == -60 * S


def test_a_retained_heartbeat_tells_nothing_about_the_clock() -> None:
    station = Station()
    station.take_status(status(time_us=NOW - 3600 * S), NOW, 0, retained=True)
    assert station.pulse().clock_offset_us is None
    assert station.pulse().health == Health()


def test_what_the_daemon_takes_of_a_core_is_told_between_two_heartbeats_of_one_run() -> None:
    station = Station()
    station.take_status(status(time_us=NOW, cpu_s=5.0), NOW, 0, retained=True)
    station.take_status(status(time_us=NOW + 10 * S, cpu_s=5.4), NOW + 10 * S, 10, retained=False)
    assert station.pulse().cpu_share == pytest.approx(0.04)
    station.take_status(status(time_us=NOW + 20 * S, cpu_s=0.1), NOW + 20 * S, 20, retained=False)
    assert station.pulse().cpu_share is None  # begun anew
    other = Status(gateway="g", online=True, boot="b", time_us=NOW + 30 * S, health=Health(cpu_s=9.0))
    station.take_status(other, NOW + 30 * S, 30, retained=False)
    assert station.pulse().cpu_share is None  # another boot


def test_readings_of_a_store_that_was_replaced_are_of_the_past() -> None:
    station = Station()
    tail = pack_tail(1, 1, 1, 1, batch_of(1, [4], [NOW], [1.0]))
    station.take_tail(tail, unpack_tail(tail), NOW, 0)
    assert station.group_of(1, 4) is not None
    station.forget_other_stores(2)
    assert station.group_of(1, 4) is None


def test_ingest_is_silent_when_something_came_and_no_note_followed() -> None:
    link = Link(NOW)
    link.up()
    assert link.ingest_lost_us(100.0) is None
    link.noted(NOW + S)
    link.brought(10.0)
    link.brought(11.0)
    assert link.ingest_lost_us(11.4) is None
    assert link.ingest_lost_us(11.5) == NOW + S
    link.noted(NOW + 20 * S)
    assert link.ingest_lost_us(99.0) is None


def test_a_lost_broker_is_told_since_the_first_moment_and_says_nothing_about_ingest() -> None:
    link = Link(NOW)
    link.up()
    link.brought(1.0)
    link.down(NOW + 5)
    link.down(NOW + 9)
    assert link.broker_lost_us == NOW + 5
    assert link.ingest_lost_us(99.0) is None


@pytest.mark.parametrize(
    ("quality", "current", "state"),
    [
        (Quality.GOOD, True, State.GOOD),
        (Quality.GOOD_LOCAL_OVERRIDE, True, State.GOOD),
        (Quality.UNCERTAIN, True, State.UNCERTAIN),
        (Quality.UNCERTAIN_TIME, True, State.UNCERTAIN),
        (Quality.BAD, True, State.BAD),
        (Quality.BAD_TIMEOUT, False, State.BAD),
        (Quality.GOOD, False, State.STALE),
        (Quality.UNCERTAIN, False, State.STALE),
    ],
)
def test_only_a_good_and_current_value_looks_good(quality: int, current: bool, state: State) -> None:
    assert state_of(Reading(1.0, quality, NOW), is_current=current) is state


@given(st.integers(0, 255), st.booleans())
def test_nothing_bad_or_old_ever_looks_good(quality: int, current: bool) -> None:
    state = state_of(Reading(1.0, quality, NOW), is_current=current)
    assert (state is State.GOOD) == (quality < 64 and current)


def test_without_a_reading_or_a_number_there_is_nothing_to_look_good() -> None:
    assert state_of(None, is_current=True) is State.NONE
    assert state_of(Reading(None, 0, NOW), is_current=True) is State.NONE


def test_only_signals_that_speak_by_themselves_can_fall_silent() -> None:
    said = document()
    said["signals"]["roof.target"]["archive"]["max_interval_s"] = 60.0
    assert intervals(parse(said)) == {
        "roof.collector": 1.0,
        "roof.flow": 1.0,
        "roof.pump": 1.0,
        "roof.counter": 1.0,
        "roof.target": 65.0,
    }


def test_a_metered_link_speaks_once_a_minute() -> None:
    said = document() | {"uplinks": [{"host": "h", "thinned": True}]}
    assert intervals(parse(said))["roof.collector"] == 60.0


def test_a_signal_of_one_second_is_old_within_three() -> None:
    assert quiet_after_s(1.0) + 0.5 <= 3.0
    assert quiet_after_s(60.0) > 60.0


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (math.nan, "float", None),
        (math.inf, "float", None),
        (1.0, "boolean", True),
        (0.0, "boolean", False),
        (2.0, "boolean", 2.0),
        (7.0, "integer", 7),
        (7.5, "integer", 7.5),
        (2**53, "integer", "9007199254740992"),
        (2**53 - 1, "integer", 2**53 - 1),
        (-(2**60), "integer", str(-(2**60))),
        (True, "boolean", True),
        ("x", "text", "x"),
    ],
)
def test_a_browser_gets_what_its_numbers_hold(value: Any, kind: str, expected: object) -> None:
    found = shown(value, kind)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("value", "kind", "taken"),
    [
        (20, "float", 20),
        (90.0, "float", 90.0),
        (21.0, "integer", 21),
        (True, "boolean", True),
        ("x", "text", "x"),
    ],
)
def test_a_value_within_the_limits_is_taken(value: object, kind: str, taken: object) -> None:
    low, high = (20.0, 90.0) if kind in {"float", "integer"} else (None, None)
    found = checked_value(value, kind, low, high, writable=True)
    assert found == taken
    assert type(found) is type(taken)


@pytest.mark.parametrize(
    ("value", "kind", "why"),
    [
        (19.9, "float", "below the lowest value, 20"),
        (90.1, "float", "above the highest value, 90"),
        (math.nan, "float", "no number that can be written"),
        (math.inf, "float", "no number that can be written"),
        (True, "float", "no number"),
        ("50", "float", "no number"),
        (50.5, "integer", "no whole number"),
        (1, "boolean", "neither true nor false"),
        (1, "text", "no text"),
        (None, "float", "no number"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_with_the_reason(value: object, kind: str, why: str) -> None:
    with pytest.raises(Refused, match=why):
        checked_value(value, kind, 20.0, 90.0, writable=True)


def test_a_signal_that_nobody_made_writable_takes_nothing() -> None:
    with pytest.raises(Refused, match="not writable"):
        checked_value(50.0, "float", None, None, writable=False)
