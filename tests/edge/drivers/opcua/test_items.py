"""What is told of a node, and as of when."""

import pytest

from contract.model.quality import Quality
from contract.model.signal import DataType
from edge.drivers.driver import Point
from edge.drivers.inbox import Inbox
from edge.drivers.opcua.items import Item
from edge.drivers.opcua.settings import Address

GOOD, LOST = Quality.GOOD, Quality.BAD_NO_COMMUNICATION
T0 = 1_795_262_400_000_000
"""The session begins, µs UTC."""
S = 1_000_000


class Told:
    def __init__(self) -> None:
        self.inbox = Inbox(1)
        self.item = Item(Point(5, "s", DataType.FLOAT, Address("i=1")), self.inbox, T0)

    def rows(self) -> list[tuple[int, float, int]]:
        """(seconds after T0, value, quality) of what was told since the last time."""
        batch = self.inbox.drain()
        if batch is None:
            return []
        quality = [0] * len(batch) if batch.quality is None else batch.quality.tolist()
        return [
            ((t - T0) // S, -1.0 if v != v else v, q)  # noqa: PLR0124  # NaN
            for t, v, q in zip(batch.times().tolist(), batch.value.tolist(), quality, strict=True)
        ]


@pytest.fixture
def told() -> Told:
    return Told()


def test_an_old_value_stands_as_of_the_moment_the_server_said_so(told: Told) -> None:
    told.item.stands(3.0, GOOD, T0 - 86400 * S, T0 + 1 * S, T0 + 2 * S)
    assert told.rows() == [(1, 3.0, GOOD)]


def test_a_value_that_changed_since_the_session_began_has_its_own_time(told: Told) -> None:
    told.item.stands(3.0, GOOD, T0 + 1 * S, T0 + 4 * S, T0 + 5 * S)
    told.item.changed(4.0, GOOD, T0 + 6 * S, T0 + 8 * S)
    assert told.rows() == [(1, 3.0, GOOD), (6, 4.0, GOOD)]


def test_no_stamp_lies_ahead_of_the_gateway(told: Told) -> None:
    told.item.stands(3.0, GOOD, T0 + 99 * S, T0 + 99 * S, T0 + 2 * S)
    told.item.changed(4.0, GOOD, T0 + 99 * S, T0 + 3 * S)
    assert told.rows() == [(2, 3.0, GOOD), (3, 4.0, GOOD)]


@pytest.mark.parametrize("source_us", [None, 0, 631_152_000_000_000])  # none; 1970; 1990, a clock never set
def test_a_value_without_a_credible_stamp_is_of_now(told: Told, source_us: int | None) -> None:
    told.item.changed(4.0, GOOD, source_us, T0 + 3 * S)
    assert told.rows() == [(3, 4.0, GOOD)]


def test_bad_is_told_once_until_it_is_good_or_bad_for_another_reason(told: Told) -> None:
    told.item.bad(Quality.BAD_ADDRESS, T0 + 1 * S)
    told.item.bad(Quality.BAD_ADDRESS, T0 + 2 * S)
    told.item.changed(9.0, Quality.BAD_SENSOR_FAILURE, T0 + 3 * S, T0 + 3 * S)
    told.item.changed(4.0, GOOD, T0 + 4 * S, T0 + 4 * S)
    told.item.bad(Quality.BAD_ADDRESS, T0 + 5 * S)
    assert told.rows() == [
        (1, -1.0, Quality.BAD_ADDRESS),
        (3, -1.0, Quality.BAD_SENSOR_FAILURE),
        (4, 4.0, GOOD),
        (5, -1.0, Quality.BAD_ADDRESS),
    ]


def test_the_same_value_of_the_same_time_is_told_once(told: Told) -> None:
    told.item.changed(4.0, GOOD, T0 + 1 * S, T0 + 1 * S)
    told.item.changed(4.0, GOOD, T0 + 1 * S, T0 + 2 * S)
    told.item.changed(4.0, GOOD, T0 + 2 * S, T0 + 2 * S)
    assert told.rows() == [(1, 4.0, GOOD), (2, 4.0, GOOD)]


def test_what_did_not_change_during_a_break_stands_again_afterwards(told: Told) -> None:
    told.item.changed(4.0, GOOD, T0 + 1 * S, T0 + 1 * S)
    told.item.away(T0 + 10 * S)
    told.item.away(T0 + 11 * S)
    waits = told.item.is_waiting
    told.item.stands(4.0, GOOD, T0 + 1 * S, None, T0 + 15 * S)
    assert (waits, told.item.is_waiting) == (True, False)
    assert told.rows() == [(1, 4.0, GOOD), (10, -1.0, LOST), (15, 4.0, GOOD)]


def test_what_changed_before_the_break_was_noticed_comes_late_and_does_not_end_it(told: Told) -> None:
    told.item.changed(4.0, GOOD, T0 + 1 * S, T0 + 1 * S)
    told.item.away(T0 + 10 * S)
    told.item.changed(5.0, GOOD, T0 + 8 * S, T0 + 15 * S)
    assert told.item.is_waiting
    told.item.stands(5.0, GOOD, T0 + 8 * S, None, T0 + 16 * S)
    assert told.rows() == [(1, 4.0, GOOD), (10, -1.0, LOST), (8, 5.0, GOOD), (16, 5.0, GOOD)]


def test_what_changed_after_it_was_noticed_ends_it(told: Told) -> None:
    told.item.changed(4.0, GOOD, T0 + 1 * S, T0 + 1 * S)
    told.item.away(T0 + 10 * S)
    told.item.changed(5.0, GOOD, T0 + 12 * S, T0 + 15 * S)
    assert not told.item.is_waiting
    told.item.changed(5.0, GOOD, T0 + 12 * S, T0 + 16 * S)
    assert told.rows() == [(1, 4.0, GOOD), (10, -1.0, LOST), (12, 5.0, GOOD)]


def test_what_was_bad_before_the_break_stays_as_it_was(told: Told) -> None:
    told.item.bad(Quality.BAD_ADDRESS, T0 + 1 * S)
    told.item.away(T0 + 10 * S)
    told.item.begin(T0 + 12 * S)
    told.item.bad(Quality.BAD_ADDRESS, T0 + 12 * S)
    assert told.rows() == [(1, -1.0, Quality.BAD_ADDRESS)]


def test_a_new_session_tells_how_it_stands_after_the_break(told: Told) -> None:
    told.item.changed(4.0, GOOD, T0 + 1 * S, T0 + 1 * S)
    told.item.away(T0 + 10 * S)
    told.item.begin(T0 + 20 * S)
    told.item.stands(4.0, GOOD, T0 + 1 * S, T0 + 21 * S, T0 + 22 * S)
    assert told.rows() == [(1, 4.0, GOOD), (10, -1.0, LOST), (21, 4.0, GOOD)]
