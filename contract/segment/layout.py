"""The segment's layout: constants, records of the head, errors, and what may be packed at most.

Here is what writer and reader share. The bytes are drawn in docs/segment-format.md. Packing is in encode.py,
reading in decode.py, the digest in digest.py.

    SegmentError            refused; the message names the part
    ├── Damaged             truncated, a wrong checksum or a broken bound: fetch it again, or quarantine
    ├── Unsupported         a version or codec this program does not know: never guessed
    └── TooLarge            would pass a limit: seal fewer rows
"""

import enum
import struct
from collections.abc import Sequence
from typing import Annotated, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

Int64s = npt.NDArray[np.int64]
UInt64s = npt.NDArray[np.uint64]
Float64s = npt.NDArray[np.float64]
UInt8s = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]
Values = Float64s | Int64s | Bools | Sequence[str]

MAGIC = b"FWS"
VERSION = 1
PREAMBLE = struct.Struct("<3sBIII")
"""Magic, version, CRC-32 of the head, packed length of the shape, packed length of the statistics."""
CRC = struct.Struct("<I")

PACKED_MAX = 4 * 1024 * 1024
"""Bytes of head and body together."""
UNPACKED_MAX = 64 * 1024 * 1024
"""Bytes a reader may need for everything in one segment, see `unpacked_size`."""
HEAD_MAX = 1024 * 1024
"""Bytes of each of the head's two records, unpacked."""
PACK_MAX = 16 * 1024
"""Unpacked bytes at which a shared pack is closed: what one column costs at most beside its own bytes."""
TIME_MAX_US = 2**62
"""Largest distance of a time from 1970, and of an axis' cycle times its length."""

GOOD_BELOW = 64
"""Qualities below are of the good family, see contract.model.quality."""
SIGNAL_MAX = 2**53
"""Signal, group and epoch numbers are below."""
DECIMALS_MAX = 15
RAW = -1
"""Scale of values that are not decimal: the integers are the values' own bits, the figures are float64."""
NONE = -2
"""Scale of figures that are not there: texts, and columns without one good sample."""


class Kind(enum.IntEnum):
    """What the values of a column are."""

    FLOAT64 = 0
    INT64 = 1
    BOOL = 2
    TEXT = 3


class Codec(enum.IntEnum):
    """How a series became bytes."""

    CONST = 0
    REF = 1
    PCO = 2
    PCOI = 3
    DELTA = 4
    OFFSET = 5
    BITS = 6


class Extra(enum.IntEnum):
    """What a column carries beside its series."""

    QUALITY_CONST = 0
    QUALITY_RUNS = 1
    QUALITY_PLAIN = 2
    PATCHES = 3
    TEXTS = 4


QUALITIES = frozenset((Extra.QUALITY_CONST, Extra.QUALITY_RUNS, Extra.QUALITY_PLAIN))


class SegmentError(ValueError):
    """Refused; the message names the part."""


class Damaged(SegmentError):
    """Truncated, a wrong checksum or a broken bound."""


class Unsupported(SegmentError):
    """A version or codec this program does not know."""


class TooLarge(SegmentError):
    """Would pass a limit; fewer rows or columns may fit."""


class Axis(NamedTuple):
    """Instants shared by columns: µs since 1970 UTC, never decreasing; cycle 0 = event-driven."""

    time_us: Int64s
    cycle_us: int


class Column(NamedTuple):
    """One signal's values on an axis; quality None = all good (0)."""

    signal: int
    kind: Kind
    axis: int
    values: Values
    quality: UInt8s | None


class Statistics(NamedTuple):
    """Figures per column, in the order of the columns; NaN where nothing was good, and for text.

    A sample counts as good if its quality is of the good family and its value is not NaN. `area` is value
    times seconds and `held_us` the time it was gathered over: each good sample holds until the next sample
    of its axis, good or bad, the last one for nothing. So area * 1e6 / held_us is the time-weighted mean.
    Values of int64 columns are rounded to float64.
    """

    good: Int64s
    minimum: Float64s
    maximum: Float64s
    first: Float64s
    last: Float64s
    sum: Float64s
    area: Float64s
    held_us: Int64s


# Bounds of the head's numbers; what lies beyond is refused while it is parsed.
Number = Annotated[int, Meta(ge=0, lt=SIGNAL_MAX)]
Step = Annotated[int, Meta(gt=-SIGNAL_MAX, lt=SIGNAL_MAX)]
Rows = Annotated[int, Meta(ge=1, le=UNPACKED_MAX)]
Time = Annotated[int, Meta(gt=-TIME_MAX_US, lt=TIME_MAX_US)]
Span = Annotated[int, Meta(ge=0, lt=2 * TIME_MAX_US - 1)]
Cycle = Annotated[int, Meta(ge=0, lt=TIME_MAX_US)]
Small = Annotated[int, Meta(ge=-128, le=127)]
Base = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Length = Annotated[int, Meta(ge=0, le=UNPACKED_MAX)]
Place = Annotated[int, Meta(ge=0, le=HEAD_MAX)]
Block = Annotated[int, Meta(ge=-1, le=HEAD_MAX)]


class Axes(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """Per axis: rows, first time and last minus first time in the segment's unit, cycle in µs."""

    rows: list[Rows]
    start: list[Time]
    span: list[Span]
    cycle_us: list[Cycle]


class Columns(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """Per column: signal minus the signal before (the first: itself), kind, axis."""

    signal_step: list[Step]
    kind: list[Small]
    axis: list[Place]


class Series(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """Axes, then columns: how its numbers are packed; `length` is unpacked bytes, 0 without a block."""

    codec: list[Small]
    scale: list[Small]
    base: list[Base]
    length: list[Length]
    block: list[Block]


class Extras(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """Quality, patches and texts of the columns that have some; `parameter` depends on `what`."""

    column: list[Place]
    what: list[Small]
    parameter: list[Length]
    length: list[Length]
    block: list[Block]


class Shape(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """First record of the head: everything but the statistics."""

    group: Number
    epoch: Number
    count: int
    digest: int
    t_min_us: Time
    t_max_us: Time
    unit_us: int
    axes: Axes
    columns: Columns
    series: Series
    extras: Extras
    blocks: list[Length]


class Figures(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """Second record of the head: statistics per column, as docs/segment-format.md section 5 says."""

    scale: list[Small]
    missing: list[Length]
    minimum: list[int | float]
    maximum: list[int | float]
    first: list[int | float]
    last: list[int | float]
    sum: list[int | float]
    area: list[int | float]
    unheld: list[Span]


def width_of_row(rows: int) -> str:
    """Numpy type of row numbers and row counts on an axis of so many rows: 2 bytes up to 65535, else 4."""
    return "<u2" if rows <= 0xFFFF else "<u4"


def unpacked_size(axis_rows: int, column_rows: int, quality_rows: int, text_bytes: int) -> int:
    """Bytes a reader needs for everything: 8 per time and value, 1 per quality, texts as they are."""
    return 8 * (axis_rows + column_rows) + quality_rows + text_bytes


def fits(columns: int, *, axes: int = 1, text_bytes: int = 0, certain: bool = False) -> int:
    """Rows a group of so many columns may have at most in one segment.

    Args:
        columns: columns of the segment, each with a quality, each as long as its axis.
        axes: axes of that length; as many as columns where each signal has its own.
        text_bytes: UTF-8 bytes of all texts together.
        certain: False gives the limit of the unpacked size; real values pack far below the packed limit,
            and if they do not, `encode` raises TooLarge: halve the rows. True gives the rows that fit
            whatever the values are.

    Returns 0 if not even one row fits.
    """
    rows = (UNPACKED_MAX - text_bytes) // (9 * columns + 8 * axes)
    if certain:
        # Incompressible: 8 bytes per value and time, 1 per quality, 2 % and 256 B per column of framing.
        rows = min(
            rows,
            (PACKED_MAX - 4096 - text_bytes - 256 * (columns + axes)) * 50 // 51 // (9 * columns + 8 * axes),
        )
    return max(0, rows)
