"""The envelope: what arrives is what was sent, or it is refused."""

from zlib import crc32

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.wire.envelope import MESSAGE_MAX, VERSION, EnvelopeError, pack, unpack
from contract.wire.receipt import Held, Receipt
from contract.wire.records import EventKind, EventRecord, Lane, SegmentRecord


class Today(msgspec.Struct, frozen=True):
    number: int
    text: str = "nothing said"


class Tomorrow(msgspec.Struct, frozen=True):
    number: int
    text: str = ""
    gained: tuple[int, ...] = (1, 2)


def event() -> EventRecord:
    return EventRecord(store=7, seq=3, id="m/5/raised", kind=EventKind.RAISED, time_us=5, value=80.5)


def sealed(body: bytes, version: int = VERSION) -> bytes:
    """An envelope made by hand: version, CRC-32 of the body, body."""
    return bytes([version]) + crc32(body).to_bytes(4, "big") + body


def test_the_bytes_are_as_drawn() -> None:
    data = pack(Today(5, "x"))
    body = b"\x82\xa6number\x05\xa4text\xa1x"  # MessagePack: map of 2
    assert data == b"\x01" + crc32(body).to_bytes(4, "big") + body


def test_a_record_comes_back() -> None:
    assert unpack(pack(event()), EventRecord) == event()


def test_every_flipped_bit_is_refused() -> None:
    data = pack(event())
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(EnvelopeError):
            unpack(bytes(damaged), EventRecord)


def test_every_shorter_message_is_refused() -> None:
    data = pack(event())
    for length in range(len(data)):
        with pytest.raises(EnvelopeError):
            unpack(data[:length], EventRecord)
    with pytest.raises(EnvelopeError):
        unpack(data + b"\0", EventRecord)


def test_a_younger_sender_may_say_more() -> None:
    assert unpack(pack(Tomorrow(5, "x", (9,))), Today) == Today(5, "x")


def test_an_older_sender_may_say_less() -> None:
    assert unpack(pack(Today(5, "x")), Tomorrow) == Tomorrow(5, "x", (1, 2))
    assert unpack(sealed(msgspec.msgpack.encode({"number": 5})), Today).text == "nothing said"


@pytest.mark.parametrize(
    "body", [{"text": "x"}, {"number": "5"}, {"number": 5, "text": None}, [5, "x"], 5, None, "", {5: 5}]
)
def test_another_shape_is_refused_and_named(body: object) -> None:
    with pytest.raises(EnvelopeError, match="body is no Today"):
        unpack(sealed(msgspec.msgpack.encode(body)), Today)


def test_two_bodies_are_one_too_many() -> None:
    with pytest.raises(EnvelopeError):
        unpack(sealed(msgspec.msgpack.encode({"number": 5}) * 2), Today)


def test_a_body_nested_without_end_is_refused() -> None:
    with pytest.raises(EnvelopeError):
        unpack(sealed(b"\x82\xa6number\x05\xa4more" + b"\x91" * 1_000_000), Today)


def test_a_body_that_promises_more_than_it_holds_is_refused() -> None:
    with pytest.raises(EnvelopeError):
        unpack(sealed(b"\xdf\xff\xff\xff\xff"), Today)
    with pytest.raises(EnvelopeError):
        unpack(sealed(b"\x81\xa4text\xdb\xff\xff\xff\xff"), Today)


def test_another_version_is_refused_by_its_number() -> None:
    with pytest.raises(EnvelopeError, match="version 2 is unknown here, which speaks 1"):
        unpack(sealed(b"\x80", version=2), Today)


def test_the_largest_message_passes_and_one_more_byte_does_not() -> None:
    def record(size: int) -> SegmentRecord:
        return SegmentRecord(
            store=1,
            seq=1,
            group=1,
            epoch=1,
            head_first=1,
            head_last=1,
            head_bytes=0,
            count=0,
            digest=0,
            t_min_us=0,
            t_max_us=0,
            blob=b"x" * size,
        )

    overhead = len(pack(record(70_000))) - 70_000
    largest = pack(record(MESSAGE_MAX - overhead))
    assert len(largest) == MESSAGE_MAX
    assert len(unpack(largest, SegmentRecord).blob) == MESSAGE_MAX - overhead
    with pytest.raises(EnvelopeError, match="beyond"):
        pack(record(MESSAGE_MAX - overhead + 1))
    with pytest.raises(EnvelopeError, match="beyond"):
        unpack(largest + b"x", SegmentRecord)


def test_limits_of_the_fields_hold_on_the_wire() -> None:
    for wrong in ({"store": -1}, {"store": 2**63}, {"seq": 0}, {"id": "x" * 201}, {"kind": "exploded"}):
        body = {**msgspec.to_builtins(event()), **wrong}
        with pytest.raises(EnvelopeError):
            unpack(sealed(msgspec.msgpack.encode(body)), EventRecord)


@given(st.binary(max_size=200))
def test_noise_is_refused(noise: bytes) -> None:
    with pytest.raises(EnvelopeError):
        unpack(noise, Receipt)
    with pytest.raises(EnvelopeError):
        unpack(sealed(noise), Receipt)


def test_a_dictionary_by_lane_comes_back() -> None:
    receipt = Receipt(ingest=1, store=2, held={Lane.EVENT: Held(5, ((7, 9),)), Lane.SEGMENT: Held()})
    assert unpack(pack(receipt), Receipt) == receipt
