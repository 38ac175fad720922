"""Events as they travel: of older gateways, to older centres."""

import msgspec

from contract.wire.envelope import pack, unpack
from contract.wire.records import EventKind, EventRecord

ACKNOWLEDGED = EventRecord(
    store=7,
    seq=3,
    id="hot/5/acknowledged",
    kind=EventKind.ACKNOWLEDGED,
    time_us=9,
    occurrence_us=5,
    message="hot",
    actor="anna",
    comment="Fühler getauscht",
)


class OldEventRecord(msgspec.Struct):
    """What a program of before reads of an event: as much as this test needs of it."""

    store: int
    seq: int
    id: str
    kind: str
    time_us: int
    occurrence_us: int
    message: str
    actor: str


def test_the_comment_travels() -> None:
    assert unpack(pack(ACKNOWLEDGED), EventRecord) == ACKNOWLEDGED


def test_an_event_without_a_comment_is_one_with_none() -> None:
    old = OldEventRecord(7, 3, "hot/5/acknowledged", "acknowledged", 9, 5, "hot", "anna")
    assert unpack(pack(old), EventRecord) == msgspec.structs.replace(ACKNOWLEDGED, comment="")


def test_a_program_of_before_reads_what_it_knows() -> None:
    assert unpack(pack(ACKNOWLEDGED), OldEventRecord).actor == "anna"
