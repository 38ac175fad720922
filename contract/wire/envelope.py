"""Envelope: how a Struct travels. Version, checksum, MessagePack body.

    0  version u8 (1)
    1  crc32(body) u32, big-endian
    5  body: MessagePack map

Unknown fields of a younger sender are ignored, missing ones take their defaults, so wire
Structs may only ever gain fields with defaults. Sizes are checked before anything is unpacked.
"""

from typing import Final, TypeVar
from zlib import crc32

import msgspec

VERSION: Final = 1
MESSAGE_MAX: Final = 4 * 1024 * 1024 + 64 * 1024
"""Largest message on the wire, bytes: a segment of 4 MiB and its record."""

_HEADER: Final = 5
_encoder = msgspec.msgpack.Encoder()
_decoders: dict[type, msgspec.msgpack.Decoder[object]] = {}

T = TypeVar("T", bound=msgspec.Struct)


class EnvelopeError(ValueError):
    """Not a message of ours: too large, unknown version, damaged, or of another shape."""


def pack(message: msgspec.Struct) -> bytes:
    """Bytes of one message; EnvelopeError if it would pass MESSAGE_MAX."""
    body = _encoder.encode(message)
    if len(body) + _HEADER > MESSAGE_MAX:
        name = type(message).__name__
        raise EnvelopeError(f"{name} of {len(body)} bytes is beyond {MESSAGE_MAX}; send less at once")
    return bytes([VERSION]) + crc32(body).to_bytes(4, "big") + body


def unpack(data: bytes, model: type[T]) -> T:
    """The message in `data`.

    Raises:
        EnvelopeError: the sender is at fault; the caller quarantines and goes on.
    """
    if len(data) > MESSAGE_MAX:
        raise EnvelopeError(f"message of {len(data)} bytes is beyond {MESSAGE_MAX}")
    if len(data) <= _HEADER:
        raise EnvelopeError(f"message of {len(data)} bytes is no envelope")
    if data[0] != VERSION:
        raise EnvelopeError(f"envelope version {data[0]} is unknown here, which speaks {VERSION}")
    body = memoryview(data)[_HEADER:]
    if crc32(body) != int.from_bytes(data[1:_HEADER], "big"):
        raise EnvelopeError("checksum of the envelope is wrong")
    decoder = _decoders.get(model)
    if decoder is None:
        decoder = _decoders[model] = msgspec.msgpack.Decoder(model)
    try:
        return decoder.decode(body)  # type: ignore[return-value]  # one decoder per model
    except (msgspec.DecodeError, RecursionError) as error:
        raise EnvelopeError(f"body is no {model.__name__}: {error}") from error
