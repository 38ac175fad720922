"""Opening a head: checksum, types, bounds, and whether its numbers can be. decode.py goes on from there."""

import zlib
from itertools import accumulate
from operator import add, mul
from typing import NamedTuple

import msgspec

from contract.segment.digest import MASK
from contract.segment.frames import unframe
from contract.segment.layout import (
    MAGIC,
    PACKED_MAX,
    PREAMBLE,
    QUALITIES,
    SIGNAL_MAX,
    TIME_MAX_US,
    UNPACKED_MAX,
    VERSION,
    Codec,
    Damaged,
    Figures,
    Shape,
    Unsupported,
    unpacked_size,
)

_PCODEC = frozenset((Codec.PCO, Codec.PCOI))
_shape = msgspec.msgpack.Decoder(Shape)
_figures = msgspec.msgpack.Decoder(Figures)


class Head(NamedTuple):
    """A head that has been found sound: checksum, shape, signal numbers, and the statistics still packed."""

    crc: int
    shape: Shape
    signals: tuple[int, ...]
    figures_frame: bytes


def read_head(head: bytes) -> Head:
    """Open a head.

    Raises:
        Damaged: a wrong length or checksum, or numbers that cannot be.
        Unsupported: another version.
    """
    crc, shape_frame, figures_frame = _split(head)
    try:
        shape = _shape.decode(unframe(shape_frame, -1, "head"))
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as err:
        raise Damaged(f"head: {err}") from err
    _check_shape(shape)
    signals = tuple(accumulate(shape.columns.signal_step))
    if min(signals) < 0 or max(signals) >= SIGNAL_MAX:
        raise Damaged("head: a signal's number cannot be")
    return Head(crc, shape, signals, figures_frame)


def read_figures(frame: bytes) -> Figures:
    """Open the statistics' record of a head, or raise Damaged."""
    try:
        return _figures.decode(unframe(frame, -1, "statistics"))
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as err:
        raise Damaged(f"statistics: {err}") from err


def head_size(blob: bytes) -> int:
    """Length of the head at the start of a message."""
    if len(blob) < PREAMBLE.size:
        raise Damaged(f"head: {len(blob)} bytes are no segment")
    magic, version, _, shape_size, figures_size = PREAMBLE.unpack_from(blob)
    if magic != MAGIC:
        raise Damaged("head: does not start as a segment does")
    if version != VERSION:
        raise Unsupported(f"head: version {version}, this program knows {VERSION}")
    size = int(PREAMBLE.size + shape_size + figures_size)
    if len(blob) < size:
        raise Damaged(f"head: {len(blob)} bytes, expected {size}")
    return size


def _split(head: bytes) -> tuple[int, bytes, bytes]:
    """Checksum of the head after it has been found right, and its two frames."""
    if len(head) != head_size(head):
        raise Damaged(f"head: {len(head)} bytes, expected {head_size(head)}")
    crc, shape_size = PREAMBLE.unpack_from(head)[2:4]
    if zlib.crc32(head[8:], zlib.crc32(head[:4])) != crc:
        raise Damaged("head: wrong checksum")
    middle = PREAMBLE.size + shape_size
    return crc, head[PREAMBLE.size : middle], head[middle:]


def _check_shape(shape: Shape) -> None:
    """Refuse a head whose numbers do not fit together, before anything is allocated by them."""
    axes, columns, series, extras = shape.axes, shape.columns, shape.series, shape.extras
    for name, lists, length in (
        ("axes", (axes.rows, axes.start, axes.span, axes.cycle_us), len(axes.rows)),
        ("columns", (columns.signal_step, columns.kind, columns.axis), len(columns.axis)),
        (
            "series",
            (series.codec, series.scale, series.base, series.length, series.block),
            len(axes.rows) + len(columns.axis),
        ),
        (
            "extras",
            (extras.column, extras.what, extras.parameter, extras.length, extras.block),
            len(extras.column),
        ),
    ):
        if any(len(part) != length for part in lists):
            raise Damaged(f"head: lists of {name} are not equally long")
    if not axes.rows or not columns.axis:
        raise Damaged("head: no axis or no column")
    if max(columns.axis) >= len(axes.rows):
        raise Damaged("head: a column on an axis that is not there")
    if max(*series.block, *extras.block) >= len(shape.blocks):
        raise Damaged("head: a part in a block that is not there")
    alone = [block for codec, block in zip(series.codec, series.block, strict=True) if codec in _PCODEC]
    if len(set(alone)) != len(alone):
        raise Damaged("head: two columns in one block of pcodec")
    if extras.column and max(extras.column) >= len(columns.axis):
        raise Damaged("head: an extra of a column that is not there")
    rows = list(map(axes.rows.__getitem__, columns.axis))
    quality = rest = 0
    for column, what, length in zip(extras.column, extras.what, extras.length, strict=True):
        if what in QUALITIES:
            quality += rows[column]
        else:
            rest += length
    if (
        unpacked_size(sum(axes.rows), sum(rows), quality, rest) > UNPACKED_MAX
        or sum(series.length) + sum(extras.length) > UNPACKED_MAX
        or sum(shape.blocks) > PACKED_MAX
    ):
        raise Damaged(f"head: would unpack to more than {UNPACKED_MAX} bytes")
    unit_us = shape.unit_us
    if (
        unit_us not in (1, 1000)
        or min(axes.start) * unit_us != shape.t_min_us
        or max(map(add, axes.start, axes.span)) * unit_us != shape.t_max_us
        or max(map(mul, axes.cycle_us, axes.rows)) >= TIME_MAX_US
        or not 0 <= shape.digest <= MASK
        or sum(rows) != shape.count
    ):
        raise Damaged("head: count, times or digest cannot be")
