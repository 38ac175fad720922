"""States of an alarm and every transition between them, as a table.

Names follow ISA-18.2; its letters stand beside them. What makes an alarm rise or end is
`contract.alarm.machine`; this module only says what follows.
"""

from enum import IntEnum
from typing import Final, NamedTuple

from contract.wire.records import EventKind


class State(IntEnum):
    """Where an alarm stands."""

    NORMAL = 0  # A: nothing stands
    UNACKNOWLEDGED = 1  # B: active, nobody has acknowledged it
    ACKNOWLEDGED = 2  # C: active, and acknowledged or never in need of it
    RETURNED = 3  # D: over, still to be acknowledged


class Happening(IntEnum):
    """What can happen to an alarm."""

    RAISE = 0
    END = 1
    ACKNOWLEDGE = 2


class Transition(NamedTuple):
    """Next state, and the event that tells of it; no event: nothing changed."""

    state: State
    event: EventKind | None


_RAISED, _ENDED, _ACKNOWLEDGED = EventKind.RAISED, EventKind.ENDED, EventKind.ACKNOWLEDGED

TRANSITIONS: Final[dict[tuple[bool, State, Happening], Transition]] = {
    # (must be acknowledged, state, happening)
    (True, State.NORMAL, Happening.RAISE): Transition(State.UNACKNOWLEDGED, _RAISED),
    (True, State.NORMAL, Happening.END): Transition(State.NORMAL, None),
    (True, State.NORMAL, Happening.ACKNOWLEDGE): Transition(State.NORMAL, None),
    (True, State.UNACKNOWLEDGED, Happening.RAISE): Transition(State.UNACKNOWLEDGED, None),
    (True, State.UNACKNOWLEDGED, Happening.END): Transition(State.RETURNED, _ENDED),
    (True, State.UNACKNOWLEDGED, Happening.ACKNOWLEDGE): Transition(State.ACKNOWLEDGED, _ACKNOWLEDGED),
    (True, State.ACKNOWLEDGED, Happening.RAISE): Transition(State.ACKNOWLEDGED, None),
    (True, State.ACKNOWLEDGED, Happening.END): Transition(State.NORMAL, _ENDED),
    (True, State.ACKNOWLEDGED, Happening.ACKNOWLEDGE): Transition(State.ACKNOWLEDGED, None),
    (True, State.RETURNED, Happening.RAISE): Transition(State.UNACKNOWLEDGED, _RAISED),
    (True, State.RETURNED, Happening.END): Transition(State.RETURNED, None),
    (True, State.RETURNED, Happening.ACKNOWLEDGE): Transition(State.NORMAL, _ACKNOWLEDGED),
    # Without a duty to acknowledge an alarm is as good as acknowledged from the start.
    (False, State.NORMAL, Happening.RAISE): Transition(State.ACKNOWLEDGED, _RAISED),
    (False, State.NORMAL, Happening.END): Transition(State.NORMAL, None),
    (False, State.NORMAL, Happening.ACKNOWLEDGE): Transition(State.NORMAL, None),
    (False, State.ACKNOWLEDGED, Happening.RAISE): Transition(State.ACKNOWLEDGED, None),
    (False, State.ACKNOWLEDGED, Happening.END): Transition(State.NORMAL, _ENDED),
    (False, State.ACKNOWLEDGED, Happening.ACKNOWLEDGE): Transition(State.ACKNOWLEDGED, None),
}
"""Every pair that can occur; a pair that is not here is a fault of the program."""


def is_active(state: int) -> bool:
    """True while the alarm's condition stands, delays included."""
    return state in {State.UNACKNOWLEDGED, State.ACKNOWLEDGED}


def needs_acknowledgement(state: int) -> bool:
    """True while an operator still has to acknowledge it."""
    return state in {State.UNACKNOWLEDGED, State.RETURNED}
