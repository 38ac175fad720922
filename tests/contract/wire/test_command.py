"""Commands and answers as they travel, and what a gateway says of itself."""

import msgspec
import pytest

from contract.model.batch import Value
from contract.model.config import parse
from contract.model.message import Source
from contract.wire.command import (
    Acknowledge,
    Acknowledged,
    Answer,
    Command,
    Digests,
    Outcome,
    SegmentDigest,
    Write,
)
from contract.wire.envelope import EnvelopeError, pack, unpack
from contract.wire.records import Lane
from contract.wire.status import (
    Applied,
    Birth,
    DeviceHealth,
    GroupEpoch,
    Health,
    LaneRange,
    SignalNumber,
    Status,
)


class Raw(msgspec.Struct):
    """A command's frame around anything."""

    body: object


def write(value: Value) -> Command:
    return Command(Write(id="c1", actor="anna", time_us=1, deadline_us=2, signal="t1", value=value))


@pytest.mark.parametrize("value", [True, False, 0, 1, -(2**63), 2**60 + 1, 1.0, 21.5, "on", ""])
def test_a_value_to_write_keeps_its_type(value: Value) -> None:
    command = unpack(pack(write(value)), Command)
    assert command == write(value)
    assert isinstance(command.body, Write)
    assert type(command.body.value) is type(value)


@pytest.mark.parametrize(
    "body",
    [
        Acknowledge(id="c2", actor="anna", time_us=1, message="m", occurrence_us=5, comment="seen"),
        Digests(id="c3", actor="_web", time_us=1, store=7, first=1, last=9),
    ],
)
def test_the_kind_of_a_command_travels_with_it(body: Acknowledge | Digests) -> None:
    assert unpack(pack(Command(body)), Command).body == body


@pytest.mark.parametrize(
    "wrong",
    [
        {"type": "reboot"},
        {"id": ""},
        {"id": "x" * 65},
        {"actor": "x" * 201},
        {"value": None},
        {"value": [1]},
        {"deadline_us": "soon"},
    ],
)
def test_a_command_out_of_form_is_refused(wrong: dict[str, object]) -> None:
    body = {**msgspec.to_builtins(write(5).body), **wrong}
    with pytest.raises(EnvelopeError):
        unpack(pack(Raw(body)), Command)


def test_a_write_without_a_deadline_is_refused() -> None:
    body = msgspec.to_builtins(write(5).body)
    del body["deadline_us"]
    with pytest.raises(EnvelopeError):
        unpack(pack(Raw(body)), Command)


def test_an_answer_comes_back() -> None:
    digests = (SegmentDigest(1, 2, 2**64 - 1), SegmentDigest(2, 3, 4, 1))
    answer = Answer(id="c1", outcome=Outcome.EXPIRED, text="too late", time_us=9, digests=digests)
    assert unpack(pack(answer), Answer) == answer


def test_an_answer_says_who_was_first() -> None:
    first = Acknowledged(actor="anna", time_us=2**62, comment="Fühler getauscht")
    answer = Answer(id="c1", outcome=Outcome.REFUSED, text="already", time_us=9, first=first)
    assert unpack(pack(answer), Answer) == answer


class OldAcknowledge(msgspec.Struct, tag="acknowledge"):
    """As it was before comments came with their source."""

    id: str
    actor: str
    time_us: int
    message: str
    occurrence_us: int
    comment: str = ""


def test_programs_of_before_and_after_understand_each_other() -> None:
    old = OldAcknowledge("c2", "anna", 1, "m", 5)
    new = Acknowledge(id="c2", actor="anna", time_us=1, message="m", occurrence_us=5)
    assert unpack(pack(Raw(old)), Command).body == new
    named = msgspec.structs.replace(new, source=Source.SYSTEM, number=996210)
    assert msgspec.convert(msgspec.to_builtins(named), OldAcknowledge) == old


def test_a_birth_comes_back() -> None:
    birth = Birth(
        gateway="gw",
        store=2**63 - 1,
        session=5,
        boot="b",
        time_us=1,
        lanes={Lane.EVENT: LaneRange(1, 5), Lane.SEGMENT: LaneRange()},
        signals=(SignalNumber(1, "t1"),),
        groups=(GroupEpoch(1, "fast", 3),),
    )
    assert unpack(pack(birth), Birth) == birth


def test_a_status_comes_back_and_a_will_is_short() -> None:
    health = Health(devices=(DeviceHealth(uid="plc", connected=True, since_us=3),))
    status = Status(gateway="gw", online=True, time_us=5, health=health)
    assert unpack(pack(status), Status) == status
    assert not unpack(pack(Status(gateway="gw", online=False)), Status).online


def test_the_applied_configuration_comes_back_whole_and_in_order() -> None:
    condition = {"signal": "z", "operator": ">", "limit": "e"}
    document = {
        "format": 1,
        "gateway": {"id": "gw"},
        "devices": {"plc": {"driver": "modbus", "settings": {"host": "192.0.2.1", "ports": [1, 2]}}},
        "groups": {"g": {"device": "plc"}},
        "signals": {uid: {"group": "g", "address": {"register": i}} for i, uid in enumerate("zebra")},
        "messages": {"m": {"number": 1, "text": "t", "any_of": [[condition]]}},
    }
    applied = Applied(gateway="gw", time_us=1, digest="d", configuration=parse(document), faults=("a", "b"))
    back = unpack(pack(applied), Applied)
    assert back == applied
    assert list(back.configuration.signals) == list("zebra")
