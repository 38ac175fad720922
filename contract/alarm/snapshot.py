"""Bytes of an engine's state: keyed by uid, so that a changed configuration finds its own again.

One zstd frame with a checksum around a MessagePack array. Messages at rest are not in it.
Columns stand side by side, like beside like; times are int64 µs, little-endian.
"""

from typing import Final

import msgspec
import zstandard

VERSION: Final = 1
SNAPSHOT_MAX: Final = 256 * 1024 * 1024
"""Most bytes a snapshot may unpack to; 100 000 messages take a tenth of it."""


class SnapshotError(ValueError):
    """Damaged, or written by a younger program. The caller starts the engine fresh."""


class SavedLeft(msgspec.Struct, frozen=True, array_like=True):
    """An occurrence whose message was changed or removed while it stood."""

    message: str
    occurrence_us: int
    last_us: int
    signal: str
    active: bool
    acknowledged: bool


class Saved(msgspec.Struct, frozen=True, array_like=True):
    """All that an engine has to remember.

    Args:
        signals: uids of the signals that have had a value; `value` f64, `time` i64, `quality` u8.
        messages: uids of the messages that ever did anything; `occurrence` and `last` i64.
        live: i32 each, index into `messages` of those not at rest; the columns below are by live.
        digest: 8 bytes each: what the message's judgement depends on.
        state: u8 each; `due` i64 each, NEVER where no delay runs.
        cause: i32 each, index into `signals` of the signal its events name, -1 for none.
        conditions: i32 each, how many the message has; `truths` one byte each, all in a row.
        left: what stood under messages that were changed or removed.
    """

    version: int
    signals: list[str]
    value: bytes
    time: bytes
    quality: bytes
    messages: list[str]
    occurrence: bytes
    last: bytes
    live: bytes
    digest: bytes
    state: bytes
    due: bytes
    cause: bytes
    conditions: bytes
    truths: bytes
    left: list[SavedLeft]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Saved)
_compress = zstandard.ZstdCompressor(level=3, write_checksum=True, write_content_size=True)
_decompress = zstandard.ZstdDecompressor()


def pack(saved: Saved) -> bytes:
    """Bytes to store."""
    return _compress.compress(_encoder.encode(saved))


def unpack(data: bytes) -> Saved:
    """What `pack` was given.

    Raises:
        SnapshotError: damaged, of another version, or its columns do not fit each other.
    """
    try:
        size = zstandard.get_frame_parameters(data).content_size
        if not 0 < size <= SNAPSHOT_MAX:
            raise SnapshotError(f"alarm snapshot unpacks to {size} bytes, beyond {SNAPSHOT_MAX}")
        saved = _decoder.decode(_decompress.decompress(data, max_output_size=size))
    except (zstandard.ZstdError, msgspec.DecodeError) as error:
        raise SnapshotError(f"alarm snapshot is damaged: {error}") from error
    if saved.version != VERSION:
        raise SnapshotError(f"alarm snapshot has version {saved.version}, this program knows {VERSION}")
    n, m, live = len(saved.signals), len(saved.messages), len(saved.state)
    columns = [
        (saved.value, 8 * n),
        (saved.time, 8 * n),
        (saved.quality, n),
        (saved.occurrence, 8 * m),
        (saved.last, 8 * m),
        (saved.live, 4 * live),
        (saved.digest, 8 * live),
        (saved.due, 8 * live),
        (saved.cause, 4 * live),
        (saved.conditions, 4 * live),
    ]
    if any(len(column) != size for column, size in columns):
        raise SnapshotError("alarm snapshot is damaged: its columns differ in length")
    return saved
