"""What is taken and what is refused: from bytes to checked messages, pure.

Sizes are bounded before anything is unpacked. Whatever a valid certificate sends ends either in a
checked message or in `Refused`, whose text says what is wrong. Where a record can still say who it
is, `Refused.record` does, so that it can be receipted and the gateway goes on.
"""

import re
from typing import Final, NamedTuple, TypeVar

import msgspec
import numpy as np

from contract.segment.decode import Segment
from contract.segment.layout import PACKED_MAX, SegmentError
from contract.wire import envelope
from contract.wire.envelope import EnvelopeError
from contract.wire.records import EventRecord, SegmentRecord, Tail, TailError, unpack_tail
from contract.wire.status import CONTRACT_VERSION, Birth, LaneRange

INT64_MAX: Final = 2**63 - 1
NAME_MAX: Final = 400
TEXT_MAX: Final = 64 * 1024
SMALL_MAX: Final = 1024 * 1024
"""Largest message that is neither segment nor tail nor configuration, bytes."""

_GATEWAY: Final = re.compile(r"[a-z0-9-]{1,64}")

T = TypeVar("T", bound=msgspec.Struct)


class Refused(ValueError):
    """Cannot be taken; `record` is (store, seq) where the message could be read that far."""

    def __init__(self, reason: str, record: tuple[int, int] | None = None) -> None:
        super().__init__(reason)
        self.record = record


class CheckedSegment(NamedTuple):
    """A record whose blob says the same as the record, split into head and body."""

    record: SegmentRecord
    head: bytes
    body: bytes | None
    signals: tuple[int, ...]


class CheckedTail(NamedTuple):
    """A tail message that can be unpacked; times in µs. `rows` may be 0."""

    tail: Tail
    t_min_us: int
    t_max_us: int
    signals: tuple[int, ...]


def read(payload: bytes, model: type[T], size_max: int = envelope.MESSAGE_MAX) -> T:
    """The message in an envelope, its integers within 64 bit and its texts storable."""
    if len(payload) > size_max:
        raise Refused(f"{len(payload)} bytes are more than a {model.__name__} may have, {size_max}")
    try:
        return envelope.unpack(payload, model)
    except EnvelopeError as error:
        raise Refused(str(error)) from error


def read_event(payload: bytes) -> EventRecord:
    """One event that fits its row."""
    event = read(payload, EventRecord, SMALL_MAX)
    key = _key(event.store, event.seq)
    _within(event, ("time_us", "occurrence_us", "number", "priority", "quality"), key)
    for name in ("id", "message", "signal", "actor"):
        _storable(name, getattr(event, name), NAME_MAX, key)
    for name in ("text", "comment"):
        _storable(name, getattr(event, name), TEXT_MAX, key)
    if isinstance(event.value, str):
        _storable("value", event.value, TEXT_MAX, key)
    return event


def read_segment(payload: bytes) -> CheckedSegment:
    """One segment that is sound and is what its record says. Samples are not unpacked."""
    record = read(payload, SegmentRecord)
    key = _key(record.store, record.seq)
    _within(record, ("group", "epoch", "head_first", "head_last", "count", "t_min_us", "t_max_us"), key)
    blob = record.blob
    if record.head_first > record.head_last:
        raise Refused(f"head positions {record.head_first}…{record.head_last} are no range", key)
    if not 0 < record.head_bytes <= len(blob) <= PACKED_MAX:
        raise Refused(f"head of {record.head_bytes} bytes in {len(blob)}, at most {PACKED_MAX}", key)
    head = blob[: record.head_bytes]
    body: bytes | None = blob[record.head_bytes :]
    try:
        try:
            segment = Segment(head, body)
            segment.check(deep=False)
        except SegmentError:
            if body:
                raise
            body, segment = None, Segment(head, None)  # the gateway let the body go
    except SegmentError as error:
        raise Refused(f"segment: {error}", key) from error
    for name in ("group", "epoch", "count", "digest", "t_min_us", "t_max_us"):
        said, found = getattr(record, name), getattr(segment, name)
        if said != found:
            raise Refused(f"record says {name} {said}, its segment {found}", key)
    return CheckedSegment(record, head, body, segment.signals)


def read_tail(payload: bytes) -> CheckedTail:
    """One tail message that can be unpacked."""
    tail = read(payload, Tail)
    _within(tail, ("group", "epoch", "first", "last"))
    if tail.first > tail.last:
        raise Refused(f"head positions {tail.first}…{tail.last} are no range")
    try:
        batch = unpack_tail(tail)
    except TailError as error:
        raise Refused(f"tail: {error}") from error
    if not len(batch) or batch.signal is None:
        return CheckedTail(tail, 0, -1, ())
    times, signals = batch.times(), np.unique(batch.signal).tolist()
    return CheckedTail(tail, int(np.min(times)), int(np.max(times)), tuple(signals))


def read_birth(payload: bytes, gateway: str) -> Birth:
    """The birth of the gateway whose certificate published it."""
    birth = read(payload, Birth)
    same_gateway(birth.gateway, gateway)
    if not CONTRACT_VERSION - 1 <= birth.contract <= CONTRACT_VERSION:
        raise Refused(
            f"gateway speaks contract {birth.contract}, this server {CONTRACT_VERSION}"
            " and the one before; update the older of the two"
        )
    _within(birth, ("time_us",))
    for lane, span in birth.lanes.items():
        if not span.oldest <= span.next <= INT64_MAX:
            raise Refused(f"{lane} lane: oldest {span.oldest}, next {span.next}")
    for lane, unreadable in birth.unreadable.items():
        end = birth.lanes.get(lane, LaneRange()).next
        for first, last in unreadable:
            if not 1 <= first <= last < end:
                raise Refused(f"{lane} lane: {first}…{last} unreadable, next {end}")
    for signal in birth.signals:
        _within(signal, ("number",))
        _storable("uid", signal.uid, 128)
    for group in birth.groups:
        _within(group, ("number", "epoch"))
        _storable("uid", group.uid, 128)
    _distinct("signal", [s.number for s in birth.signals])
    _distinct("group", [g.number for g in birth.groups])
    _storable("boot", birth.boot, 200)
    _storable("program", birth.program, 200)
    return birth


def is_gateway(name: str) -> bool:
    """Whether a topic's second level may name a gateway at all."""
    return _GATEWAY.fullmatch(name) is not None


def same_gateway(said: str, gateway: str) -> None:
    """Refused if a message speaks for another gateway than its topic, which the broker proved."""
    if said != gateway:
        raise Refused(f"speaks for gateway {said[:64]!r} on the topic of {gateway!r}")


def _key(store: int, seq: int) -> tuple[int, int]:
    if seq > INT64_MAX:
        raise Refused(f"sequence number {seq} is beyond 64 bit")
    return store, seq


def _within(message: msgspec.Struct, fields: tuple[str, ...], key: tuple[int, int] | None = None) -> None:
    for name in fields:
        value = getattr(message, name)
        if not -INT64_MAX <= value <= INT64_MAX:
            raise Refused(f"{name} {value} is beyond 64 bit", key)


def _storable(name: str, text: str, longest: int, key: tuple[int, int] | None = None) -> None:
    if len(text) > longest:
        raise Refused(f"{name} of {len(text)} characters, at most {longest}", key)
    if "\0" in text:
        raise Refused(f"{name} holds a NUL character", key)  # PostgreSQL cannot keep one


def _distinct(what: str, numbers: list[int]) -> None:
    if len(set(numbers)) != len(numbers):
        raise Refused(f"a {what} number is given twice")
