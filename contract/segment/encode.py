"""Packing a segment: axes and columns in, head and body out. docs/segment-format.md draws the bytes.

Columns of one kind and axis go through numpy together, in slices, so that memory stays bounded however
wide the group. Which codec a column gets is decided in series.py; the reader follows what the head says.
"""

import zlib
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from contract.segment.digest import MASK, bits_of_texts, key_of_signal, key_of_times, sums
from contract.segment.frames import byte_planes
from contract.segment.layout import (
    CRC,
    GOOD_BELOW,
    HEAD_MAX,
    MAGIC,
    NONE,
    PACK_MAX,
    PACKED_MAX,
    PREAMBLE,
    QUALITIES,
    RAW,
    SIGNAL_MAX,
    TIME_MAX_US,
    UNPACKED_MAX,
    VERSION,
    Axes,
    Axis,
    Bools,
    Codec,
    Column,
    Columns,
    Extra,
    Extras,
    Int64s,
    Kind,
    SegmentError,
    Series,
    Shape,
    TooLarge,
    UInt8s,
    UInt64s,
    unpacked_size,
    width_of_row,
)
from contract.segment.series import Packed, Packer, decimals, specials
from contract.segment.statistics import blank_figures, enter, numbers, sums_are_exact

SLICE_VALUES = 32 * 1024
"""Values that go through numpy together: a few scratch arrays of 256 KiB."""
_DTYPES: dict[Kind, type[Any]] = {Kind.FLOAT64: np.float64, Kind.INT64: np.int64, Kind.BOOL: np.bool_}


class Encoded(NamedTuple):
    """A packed segment: head and body are kept apart and sent as one message, `blob`."""

    head: bytes
    body: bytes
    count: int  # type: ignore[assignment] # hides tuple.count, which nobody wants of a segment
    digest: int
    t_min_us: int
    t_max_us: int

    @property
    def blob(self) -> bytes:
        """Head and body as one message."""
        return self.head + self.body


class _Ruler(NamedTuple):
    """What the columns of one axis share; step and span in the segment's unit."""

    rows: int
    step: Int64s
    span: int
    keys: UInt64s


class _Extra(NamedTuple):
    """Quality, patches or texts of a column, before they have a place in the body."""

    what: Extra
    parameter: int
    stream: bytes = b""


def encode(
    axes: Sequence[Axis], columns: Sequence[Column], *, group: int, epoch: int, thorough: bool = False
) -> Encoded:
    """Pack one segment.

    Steps: 1. check sizes and shapes; 2. pack the axes; 3. pack the columns slice by slice, summing digest and
    statistics; 4. lay streams into packs; 5. write head, body and checksums.

    Args:
        axes: at least one, none empty, times never decreasing.
        columns: at least one; each as long as its axis.
        group: number of the acquisition group.
        epoch: number of the group's make-up (members, units, scaling).
        thorough: search longer for fewer bytes, for compaction. The layout is the same.

    Raises:
        TooLarge: would pass PACKED_MAX, UNPACKED_MAX or HEAD_MAX; seal fewer rows, see `layout.fits`.
        SegmentError: the arguments are no segment; the message names the axis or column.
    """
    _check(axes, columns, group, epoch)
    work = _Work(axes, columns, thorough)
    work.pack()
    return work.write(group, epoch)


def _check(axes: Sequence[Axis], columns: Sequence[Column], group: int, epoch: int) -> None:
    """Refuse what is no segment, before anything is copied."""
    if not axes or not columns:
        raise SegmentError("a segment has at least one axis and one column")
    if not (0 <= group < SIGNAL_MAX and 0 <= epoch < SIGNAL_MAX):
        raise SegmentError(f"group {group} or epoch {epoch} is not within 0…2**53")
    for a, (time, cycle_us) in enumerate(axes):
        rows = len(time)
        if time.dtype != np.int64 or time.ndim != 1 or not rows:
            raise SegmentError(f"axis {a}: times are a non-empty int64[n]")
        if (time[1:] < time[:-1]).any():
            raise SegmentError(f"axis {a}: times decrease")
        if not (max(-int(time[0]), int(time[-1])) < TIME_MAX_US and 0 <= cycle_us * rows < TIME_MAX_US):
            raise SegmentError(f"axis {a}: times or cycle beyond ±2**62 µs")
    for c, column in enumerate(columns):
        if not 0 <= column.axis < len(axes):
            raise SegmentError(f"column {c}: there is no axis {column.axis}")
        rows = len(axes[column.axis].time_us)
        if not 0 <= column.signal < SIGNAL_MAX:
            raise SegmentError(f"column {c}: signal {column.signal} is not within 0…2**53")
        if len(column.values) != rows:
            raise SegmentError(f"column {c}: {len(column.values)} values on an axis of {rows}")
        if column.kind != Kind.TEXT and getattr(column.values, "dtype", None) != _DTYPES[Kind(column.kind)]:
            raise SegmentError(f"column {c}: values are not {Kind(column.kind).name}")
        if column.quality is not None and (column.quality.dtype != np.uint8 or len(column.quality) != rows):
            raise SegmentError(f"column {c}: quality is not uint8[{rows}]")
    lengths = [len(axis.time_us) for axis in axes]
    size = unpacked_size(
        sum(lengths),
        sum(lengths[column.axis] for column in columns),
        sum(lengths[column.axis] for column in columns if column.quality is not None),
        0,
    )
    if size > UNPACKED_MAX:
        raise TooLarge(
            f"{len(columns)} columns unpack to {size} bytes, more than {UNPACKED_MAX}; seal fewer rows"
        )


class _Work:
    """One call of `encode`: what has been packed so far, and figures and digest on the way."""

    def __init__(self, axes: Sequence[Axis], columns: Sequence[Column], thorough: bool) -> None:
        self.axes = axes
        self.columns = columns
        self.packer = Packer(thorough)
        self.unit_us = 1 if any((axis.time_us % 1000).any() for axis in axes) else 1000
        self.axis_series: list[Packed] = []
        self.series: list[Packed] = [Packed(Codec.CONST)] * len(columns)
        self.extras: list[list[_Extra]] = [[] for _ in columns]
        self.figures = blank_figures(len(columns))
        self.digest = 0
        self.seen: dict[tuple[int, Kind, int], int] = {}

    def pack(self) -> None:
        """Axes first, then columns of one axis and kind together, a slice at a time."""
        alike: dict[tuple[int, Kind], list[int]] = {}
        for place, column in enumerate(self.columns):
            alike.setdefault((column.axis, Kind(column.kind)), []).append(place)
        for number, axis in enumerate(self.axes):
            time = np.ascontiguousarray(axis.time_us) // self.unit_us
            beat = np.arange(len(time), dtype=np.int64) * axis.cycle_us // self.unit_us
            rest = (time - time[0] - beat).reshape(1, -1)
            self.axis_series += self.packer.numbers(rest, [0], is_float=False)
            step = np.diff(time)
            ruler = _Ruler(len(time), step, int(step.sum()), key_of_times(np.ascontiguousarray(axis.time_us)))
            width = max(1, SLICE_VALUES // len(time))
            for kind in Kind:
                places = alike.get((number, kind), [])
                for start in range(0, len(places), width):
                    self._slice(kind, places[start : start + width], ruler)

    def _slice(self, kind: Kind, places: list[int], ruler: _Ruler) -> None:
        """Columns of one kind and axis: quality, values, statistics, digest."""
        quality = self._quality(places, ruler.rows)
        good = None if quality is None else quality < GOOD_BELOW
        scale = [0] * len(places)
        repeats: list[bool] = [False] * len(places)
        countable: npt.NDArray[Any]
        if kind == Kind.TEXT:
            bits, integers = self._texts(places)
            countable = integers
            figures_scale = [NONE] * len(places)
        else:
            countable = np.stack([np.asarray(self.columns[place].values) for place in places])
            bits = countable.astype(np.uint64) if kind == Kind.BOOL else countable.copy().view(np.uint64)
            repeats = self._repeats(kind, places, bits)
            if kind == Kind.FLOAT64:
                if np.isnan(countable).any():
                    good = ~np.isnan(countable) if good is None else good & ~np.isnan(countable)
                scale, integers, figures_scale = self._decimals(places, repeats, countable, good)
            else:
                integers = countable.astype(np.int64)
                figures_scale = scale
        self._pack_rows(
            kind, [row for row, again in enumerate(repeats) if not again], places, scale, integers
        )
        self._sum_up(places, figures_scale, countable, integers, good, ruler)
        keys = np.array([key_of_signal(self.columns[place].signal) for place in places], np.uint64)
        self.digest += sums(keys, ruler.keys, bits, quality)

    def _quality(self, places: list[int], rows: int) -> UInt8s | None:
        """Qualities [columns, rows] of a slice, None if all are 0; notes what each column has to store."""
        given = [(row, self.columns[place].quality) for row, place in enumerate(places)]
        bad = [(row, quality) for row, quality in given if quality is not None and quality.any()]
        if not bad:
            return None
        result = np.zeros((len(places), rows), np.uint8)
        for row, quality in bad:
            result[row] = quality
            edges = (np.flatnonzero(quality[1:] != quality[:-1]) + 1).tolist()
            runs = len(edges) + 1
            if runs == 1:
                extra = _Extra(Extra.QUALITY_CONST, int(quality[0]))
            elif 3 * runs < rows:
                starts = [0, *edges]
                lengths = np.array([b - a for a, b in pairwise([*starts, rows])], width_of_row(rows))
                extra = _Extra(Extra.QUALITY_RUNS, runs, byte_planes(lengths) + quality[starts].tobytes())
            else:
                extra = _Extra(Extra.QUALITY_PLAIN, 0, quality.tobytes())
            self.extras[places[row]].append(extra)
        return result

    def _texts(self, places: list[int]) -> tuple[UInt64s, Int64s]:
        """Digest bits and places in the column's own dictionary, [columns, rows]; notes the dictionaries."""
        bits, numbers_of_text = [], []
        for place in places:
            texts = self.columns[place].values
            dictionary: dict[Any, int] = {}
            numbers_of_text.append([dictionary.setdefault(text, len(dictionary)) for text in texts])
            try:
                encoded = [text.encode() for text in dictionary]
                bits.append(bits_of_texts(list(texts)))
            except (UnicodeEncodeError, AttributeError) as err:
                raise SegmentError(f"column {place}: a value is no text that UTF-8 can hold") from err
            lengths = np.array([len(text) for text in encoded], "<u4")
            stream = byte_planes(lengths) + b"".join(encoded)
            self.extras[place].append(_Extra(Extra.TEXTS, len(encoded), stream))
        return np.stack(bits), np.array(numbers_of_text, np.int64)

    def _repeats(self, kind: Kind, places: list[int], bits: UInt64s) -> list[bool]:
        """Which columns hold the same values, to the bit, as an earlier one on their axis: a REF each."""
        weights = np.arange(1, 2 * bits.shape[1], 2, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        sketches = (bits * weights).sum(axis=1, dtype=np.uint64).tolist()
        result = []
        for place, sketch, own in zip(places, sketches, bits, strict=True):
            column = self.columns[place]
            first = self.seen.setdefault((column.axis, kind, sketch), place)
            other = np.asarray(self.columns[first].values)
            same = first != place and np.array_equal(
                other.astype(np.uint64) if kind == Kind.BOOL else other.view(np.uint64), own
            )
            if same:
                self.series[place] = Packed(Codec.REF, base=first)
            result.append(same)
        return result

    def _decimals(
        self, places: list[int], repeats: list[bool], values: npt.NDArray[np.float64], good: Bools | None
    ) -> tuple[list[int], Int64s, list[int]]:
        """Scale and integers of float columns, and the scale of their figures; notes patches.

        A decimal column keeps its integers where single values are no decimals by nature (a NaN while
        the device was away): those are filled with the value before and patched.
        """
        rows = values.shape[1]
        odd = specials(values)
        patched = np.flatnonzero(odd.any(axis=1)).tolist()
        candidates = 2 * np.count_nonzero(odd, axis=1) <= rows
        filled = values.copy() if patched else values
        for row in patched:
            sound = np.flatnonzero(~odd[row])
            if candidates[row]:
                filled[row] = values[
                    row, sound[np.maximum(np.searchsorted(sound, np.arange(rows), "right") - 1, 0)]
                ]
        scale, integers = decimals(filled, candidates)
        figures_scale = scale.copy()
        for row in patched:
            if scale[row] == RAW:
                integers[row] = values[row].view(np.int64)
                continue
            at = np.flatnonzero(odd[row])
            if good is None or good[row, at].any():
                figures_scale[row] = RAW
            if not repeats[row]:
                gaps = np.diff(at, prepend=0).astype(width_of_row(rows))
                stream = byte_planes(gaps) + byte_planes(values[row, at].view(np.uint64))
                self.extras[places[row]].append(_Extra(Extra.PATCHES, len(at), stream))
        return scale, integers, figures_scale

    def _pack_rows(
        self, kind: Kind, rows: list[int], places: list[int], scale: list[int], integers: Int64s
    ) -> None:
        """Series of the rows that are not repeats."""
        if not rows:
            return
        if kind == Kind.BOOL:
            packed = [self.packer.bits(integers[row] != 0) for row in rows]
        else:
            chosen = integers if len(rows) == len(places) else integers[rows]
            packed = self.packer.numbers(chosen, [scale[row] for row in rows], is_float=kind == Kind.FLOAT64)
        for row, series in zip(rows, packed, strict=True):
            self.series[places[row]] = series

    def _sum_up(
        self,
        places: list[int],
        scale: list[int],
        values: npt.NDArray[Any],
        integers: Int64s,
        good: Bools | None,
        ruler: _Ruler,
    ) -> None:
        """Statistics of a slice: exact integers where the sums stay small enough, float64 elsewhere."""
        whole = (np.array(scale) != RAW) & sums_are_exact(integers, ruler.step)
        clean = np.ones(len(places), np.bool_) if good is None else good.all(axis=1)
        for is_whole in (True, False):
            for is_clean in (True, False):
                rows = np.flatnonzero((whole == is_whole) & (clean == is_clean))
                if not len(rows):
                    continue
                part = integers[rows] if is_whole else values[rows].astype(np.float64)
                found = numbers(part, None if is_clean or good is None else good[rows], ruler.step)
                chosen = rows.tolist()
                scales = [scale[row] if is_whole else RAW for row in chosen]
                enter(self.figures, [places[row] for row in chosen], scales, (ruler.rows, ruler.span), found)

    def write(self, group: int, epoch: int) -> Encoded:
        """Head and body of what has been packed."""
        layout = _Body(self.packer)
        every = self.axis_series + self.series
        series_blocks = [layout.put(packed.stream, packed.block) for packed in every]
        extras = [(place, extra) for place, found in enumerate(self.extras) for extra in found]
        extra_blocks = [layout.put(extra.stream, b"") for _, extra in extras]
        blocks = layout.blocks()
        lengths = [len(axis.time_us) for axis in self.axes]
        signals = [column.signal for column in self.columns]
        size = unpacked_size(
            sum(lengths),
            sum(lengths[column.axis] for column in self.columns),
            sum(lengths[self.columns[place].axis] for place, extra in extras if extra.what in QUALITIES),
            sum(len(extra.stream) for _, extra in extras if extra.what not in QUALITIES),
        )
        if size > UNPACKED_MAX:
            raise TooLarge(f"the segment unpacks to {size} bytes, more than {UNPACKED_MAX}; seal fewer rows")
        shape = Shape(
            group,
            epoch,
            sum(lengths[column.axis] for column in self.columns),
            self.digest & MASK,
            min(int(axis.time_us[0]) for axis in self.axes),
            max(int(axis.time_us[-1]) for axis in self.axes),
            self.unit_us,
            Axes(
                lengths,
                [int(axis.time_us[0]) // self.unit_us for axis in self.axes],
                [int(axis.time_us[-1] - axis.time_us[0]) // self.unit_us for axis in self.axes],
                [int(axis.cycle_us) for axis in self.axes],
            ),
            Columns(
                [after - before for before, after in zip([0, *signals], signals, strict=False)],
                [int(column.kind) for column in self.columns],
                [column.axis for column in self.columns],
            ),
            Series(
                [packed.codec for packed in every],
                [packed.scale for packed in every],
                [packed.base for packed in every],
                [packed.length for packed in every],
                series_blocks,
            ),
            Extras(
                [place for place, _ in extras],
                [extra.what for _, extra in extras],
                [extra.parameter for _, extra in extras],
                [len(extra.stream) for _, extra in extras],
                extra_blocks,
            ),
            [len(block) for block in blocks],
        )
        return self._seal(shape, blocks)

    def _seal(self, shape: Shape, blocks: list[bytes]) -> Encoded:
        """Checksums, and the last look at the limits."""
        records = [msgspec.msgpack.encode(shape), msgspec.msgpack.encode(self.figures)]
        if max(map(len, records)) > HEAD_MAX:
            raise TooLarge(f"{len(self.columns)} columns are too many for one head")
        shape_frame, figures_frame = (self.packer.frame(record) for record in records)
        crc = zlib.crc32(PREAMBLE.pack(MAGIC, VERSION, 0, 0, 0)[:4])
        covered = PREAMBLE.pack(MAGIC, VERSION, 0, len(shape_frame), len(figures_frame))[8:]
        crc = zlib.crc32(covered + shape_frame + figures_frame, crc)
        head = (
            PREAMBLE.pack(MAGIC, VERSION, crc, len(shape_frame), len(figures_frame))
            + shape_frame
            + figures_frame
        )
        body = b"".join(block + CRC.pack(zlib.crc32(block, crc)) for block in blocks)
        if len(head) + len(body) > PACKED_MAX:
            raise TooLarge(
                f"the segment packs to {len(head) + len(body)} bytes, more than {PACKED_MAX}; seal fewer rows"
            )
        return Encoded(head, body, shape.count, shape.digest, shape.t_min_us, shape.t_max_us)


class _Body:
    """Lays streams into packs, and packs and ready blocks into a row."""

    def __init__(self, packer: Packer) -> None:
        self._packer = packer
        self._blocks: list[bytes | list[bytes]] = []
        self._open: list[bytes] = []
        self._open_block = -1
        self._open_size = PACK_MAX + 1

    def put(self, stream: bytes, block: bytes) -> int:
        """Number of the block that holds the stream or is the block; -1 where there is neither."""
        if block:
            self._blocks.append(block)
            return len(self._blocks) - 1
        if not stream:
            return -1
        if self._open_size + len(stream) > PACK_MAX:
            self._open, self._open_size, self._open_block = [], 0, len(self._blocks)
            self._blocks.append(self._open)
        self._open.append(stream)
        self._open_size += len(stream)
        return self._open_block

    def blocks(self) -> list[bytes]:
        """All blocks, packs through zstd."""
        return [
            block if isinstance(block, bytes) else self._packer.frame(b"".join(block))
            for block in self._blocks
        ]
