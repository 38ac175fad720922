"""What a line of the list is, and what it is called."""

import pytest

from aggregator.alarms.line import Line, carried, is_alarm, line_of
from contract.model.batch import Value
from contract.model.message import Source
from contract.wire.records import EventKind, EventRecord


def record(kind: EventKind, **more: object) -> EventRecord:
    return EventRecord(store=1, seq=1, id="x", kind=kind, time_us=5, **more)  # type: ignore[arg-type]  # built by name


def system(text: str, number: int = 996210, **more: object) -> EventRecord:
    return record(EventKind.SYSTEM, source=Source.SYSTEM, number=number, text=text, **more)


@pytest.mark.parametrize(
    ("event", "is_line"),
    [
        (record(EventKind.RAISED, message="hot"), True),
        (record(EventKind.ENDED, message="hot"), True),
        (record(EventKind.ACKNOWLEDGED, message="hot"), True),
        (system("modbus plc: no answer"), True),
        (system("modbus plc: answers again", 0), False),
        (record(EventKind.WRITTEN, source=Source.SYSTEM), False),
        (record(EventKind.APPLIED, source=Source.SYSTEM), False),
    ],
)
def test_alarms_and_numbered_system_messages_are_lines(event: EventRecord, is_line: bool) -> None:
    assert is_alarm(event) is is_line


def test_a_system_message_is_known_by_its_words() -> None:
    """CRC-32 of the text, computed elsewhere: it names stored rows and may never change."""
    assert line_of("gw", system("123456789")) == Line("gw", Source.SYSTEM, "996210-cbf43926", 5)
    assert line_of("gw", system("a")).message != line_of("gw", system("b")).message
    assert line_of("gw", system("a", 1)).message != line_of("gw", system("a", 2)).message


def test_its_acknowledgement_belongs_to_the_same_line() -> None:
    line = line_of("gw", system("a"))
    acknowledged = record(
        EventKind.ACKNOWLEDGED, source=Source.SYSTEM, message=line.message, occurrence_us=line.occurrence_us
    )
    assert line_of("gw", acknowledged) == line


@pytest.mark.parametrize(
    ("value", "kind", "said"),
    [
        (1.0, "boolean", True),
        (0.0, "boolean", False),
        (2.0, "boolean", 2.0),
        (1.0, "float", 1.0),
        (2**53 + 1, "integer", "9007199254740993"),
        (7, "integer", 7),
        (None, "", None),
        ("heiß", "text", "heiß"),
    ],
)
def test_a_value_is_carried_as_a_browser_takes_it(value: Value | None, kind: str, said: Value | None) -> None:
    assert carried(value, kind) == said
    assert type(carried(value, kind)) is type(said)
