"""The state table against ISA-18.2, and no way out of it."""

from itertools import product

import pytest

from contract.alarm.state import TRANSITIONS, Happening, State, is_active, needs_acknowledgement
from contract.wire.records import EventKind

A, B, C, D = State.NORMAL, State.UNACKNOWLEDGED, State.ACKNOWLEDGED, State.RETURNED
RAISE, END, ACKNOWLEDGE = Happening

# ISA-18.2-2016 figure 3, the part without latching, shelving and suppression: (state, happening, next).
STANDARD = [
    (A, RAISE, B),
    (B, ACKNOWLEDGE, C),
    (B, END, D),
    (C, END, A),
    (D, ACKNOWLEDGE, A),
    (D, RAISE, B),
]


@pytest.mark.parametrize(("state", "happening", "following"), STANDARD)
def test_the_arrows_of_the_standard_are_told(state: State, happening: Happening, following: State) -> None:
    transition = TRANSITIONS[True, state, happening]
    assert transition.state is following
    assert transition.event == {RAISE: "raised", END: "ended", ACKNOWLEDGE: "acknowledged"}[happening]


def test_whatever_else_happens_changes_nothing_and_tells_nothing() -> None:
    arrows = {(state, happening) for state, happening, _ in STANDARD}
    for state, happening in set(product(State, Happening)) - arrows:
        assert TRANSITIONS[True, state, happening] == (state, None)


def test_without_a_duty_to_acknowledge_an_alarm_comes_and_goes() -> None:
    assert TRANSITIONS[False, A, RAISE] == (C, EventKind.RAISED)
    assert TRANSITIONS[False, C, END] == (A, EventKind.ENDED)
    told = {key for key, t in TRANSITIONS.items() if not key[0] and t.event is not None}
    assert told == {(False, A, RAISE), (False, C, END)}


@pytest.mark.parametrize("acknowledge", [True, False])
def test_no_sequence_leaves_the_table(acknowledge: bool) -> None:
    reached, new = set(), {A}
    while new:
        reached |= new
        new = {TRANSITIONS[acknowledge, s, h].state for s in new for h in Happening} - reached
    assert reached == ({A, B, C, D} if acknowledge else {A, C})


def test_what_the_states_mean() -> None:
    assert [is_active(s) for s in (A, B, C, D)] == [False, True, True, False]
    assert [needs_acknowledgement(s) for s in (A, B, C, D)] == [False, True, False, True]
