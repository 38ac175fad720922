"""A line of the alarm list: what names it, and how far its acknowledgement has come. Pure.

A line of the alarm list is one occurrence, known by gateway, source, message and the time of its
raise. What a system message has no uid for, `line_of` names.
"""

from enum import StrEnum
from typing import Final, NamedTuple
from zlib import crc32

from contract.model.batch import Value
from contract.model.message import Source
from contract.model.signal import DataType
from contract.wire.records import EventKind, EventRecord

SAFE_INTEGER: Final = 2**53 - 1
"""Largest integer that a browser's numbers hold exactly."""


class State(StrEnum):
    """How far the acknowledgement of an alarm has come."""

    NONE = "none"
    WAITING = "waiting"
    """An operator has acknowledged; the gateway has not heard of it yet."""
    TAKEN = "taken"
    """The gateway has it; its event is on the way."""
    DONE = "done"


class Wish(StrEnum):
    """State of an operator's acknowledgement, as it is stored."""

    WAITING = "waiting"
    TAKEN = "taken"
    REFUSED = "refused"


class WhyNot(StrEnum):
    """Why an alarm cannot be acknowledged."""

    NOT_NEEDED = "not_needed"
    ALREADY = "already"
    NO_RIGHT = "no_right"


class Line(NamedTuple):
    """One occurrence: a line of the alarm list."""

    gateway: str
    source: Source
    message: str
    occurrence_us: int

    def columns(self) -> dict[str, object]:
        """What names it, as columns hold it."""
        return self._asdict() | {"source": self.source.value}


def is_alarm(record: EventRecord) -> bool:
    """Whether an event belongs to the alarm list: of alarms all, of the others system messages only."""
    if record.kind is EventKind.SYSTEM:
        return record.source is Source.SYSTEM and record.number > 0
    return record.kind in {EventKind.RAISED, EventKind.ENDED, EventKind.ACKNOWLEDGED}


def line_of(gateway: str, record: EventRecord) -> Line:
    """The line an event belongs to.

    A system message has no uid; said again with the same words it is the same message, raised again.
    """
    message = record.message
    if record.kind is EventKind.SYSTEM and not message:
        message = f"{record.number}-{crc32(record.text.encode()):08x}"
    return Line(gateway, record.source, message, record.occurrence_us or record.time_us)


def carried(value: Value | None, kind: str) -> Value | None:
    """The value at the raise as JSON may carry it: truths by the signal's type, wide integers as text."""
    if kind == DataType.BOOLEAN and value in {0, 1}:
        return bool(value)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > SAFE_INTEGER:
        return str(value)
    return value
