"""Reading a segment: the head at once, the rest only when asked. docs/segment-format.md draws the bytes.

Whatever the bytes are, the only exception is SegmentError, and nothing is unpacked before its size
is known to be within the limits and its checksum is right.
"""

import zlib
from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from typing import Self

import numpy as np

from contract.segment.digest import MASK, digest
from contract.segment.frames import from_planes, unframe, unpcodec
from contract.segment.head import head_size, read_figures, read_head
from contract.segment.layout import (
    CRC,
    DECIMALS_MAX,
    GOOD_BELOW,
    PACKED_MAX,
    RAW,
    Bools,
    Codec,
    Damaged,
    Extra,
    Figures,
    Float64s,
    Int64s,
    Kind,
    SegmentError,
    Statistics,
    UInt8s,
    Unsupported,
    width_of_row,
)
from contract.segment.statistics import Extent, check_length, extent_from, numbers, statistics_from

ReadSlice = Callable[[int, int], bytes]
"""Gives `length` bytes of the body from `offset`: (offset, length)."""

_KINDS = {int(kind): kind for kind in Kind}
_EXTRAS = frozenset(Extra)
_EXTRAS_MAX = 2  # a quality, and either patches or texts


class Segment:
    """A packed segment, opened. Columns and axes are numbered from 0 in the order of the head.

    It remembers what it has unpacked and shared; one thread at a time may use it.

    Args:
        head: as stored.
        body: as stored; or a function that gives slices of it; or None after it has been dropped. Then head,
            statistics and all properties still answer.

    Raises:
        Damaged: the head, or the body's length.
        Unsupported: a version of the layout this program does not know.
    """

    def __init__(self, head: bytes, body: bytes | ReadSlice | None) -> None:
        self._crc, shape, self.signals, self._figures_frame = read_head(head)
        self._shape = shape
        self.group, self.epoch = shape.group, shape.epoch
        self.count, self.digest = shape.count, shape.digest
        self.t_min_us, self.t_max_us = shape.t_min_us, shape.t_max_us
        self._offsets = [0, *accumulate(length + CRC.size for length in shape.blocks)]
        if isinstance(body, bytes | bytearray | memoryview) and len(body) != self._offsets[-1]:
            raise Damaged(f"body: {len(body)} bytes, expected {self._offsets[-1]}")
        self._body = body
        self._times: dict[int, Int64s] = {}
        self._streams: tuple[list[int], list[int], list[int], list[int]] | None = None
        self._unpacked: dict[int, bytes] = {}
        self._extras: dict[int, list[int]] | None = None
        self._figures: Figures | None = None
        self._statistics: Statistics | None = None

    @classmethod
    def parse(cls, blob: bytes) -> Self:
        """Open head and body that came as one message."""
        if len(blob) > PACKED_MAX:
            raise Damaged(f"{len(blob)} bytes, a segment has at most {PACKED_MAX}")
        size = head_size(blob)
        return cls(blob[:size], blob[size:])

    @property
    def has_body(self) -> bool:
        """False once the body has been dropped: then only head and statistics answer."""
        return self._body is not None

    @property
    def axes(self) -> int:
        """Number of axes."""
        return len(self._shape.axes.rows)

    def kind(self, i: int) -> Kind:
        """What the values of column `i` are."""
        kind = _KINDS.get(self._shape.columns.kind[i])
        if kind is None:
            raise Unsupported(f"column {i}: kind {self._shape.columns.kind[i]} is unknown")
        return kind

    def axis_of(self, i: int) -> int:
        """Axis of column `i`."""
        if i < 0:  # a list would count from its end, the series of the axes lie there
            raise IndexError(f"column {i}")
        return self._shape.columns.axis[i]

    def rows(self, axis: int) -> int:
        """Length of an axis, known without the body."""
        return self._shape.axes.rows[axis]

    def cycle(self, axis: int) -> int:
        """Cycle of an axis in µs; 0 = event-driven."""
        return self._shape.axes.cycle_us[axis]

    def ends(self, axis: int) -> tuple[int, int]:
        """First and last time of an axis in µs, known without the body."""
        axes, unit_us = self._shape.axes, self._shape.unit_us
        first = axes.start[axis]
        return first * unit_us, (first + axes.span[axis]) * unit_us

    def times(self, axis: int) -> Int64s:
        """Times of an axis in µs since 1970 UTC, never decreasing. Read-only: columns share it."""
        if axis not in self._times:
            axes, unit_us = self._shape.axes, self._shape.unit_us
            rows = axes.rows[axis]
            beat = np.arange(rows, dtype=np.int64) * axes.cycle_us[axis] // unit_us
            time = self._numbers(axis, rows, f"axis {axis}") + beat + axes.start[axis]
            ends = (axes.start[axis], axes.start[axis] + axes.span[axis])
            if (int(time[0]), int(time[-1])) != ends or (time[1:] < time[:-1]).any():
                raise Damaged(f"axis {axis}: times decrease or are not those of the head")
            time *= unit_us
            time.setflags(write=False)
            self._times[axis] = time
        return self._times[axis]

    def values(self, i: int) -> Float64s | Int64s | Bools | list[str]:
        """Values of column `i`, to the bit as they were."""
        part = f"column {i}"
        series = self._shape.series
        entry = self.axes + i
        kind, rows = self.kind(i), self.rows(self.axis_of(i))
        codec = series.codec[entry]
        if codec == Codec.REF:
            return self._values_of_other(i, series.base[entry])
        if kind == Kind.BOOL:
            return self._bools(entry, rows, part)
        if kind == Kind.TEXT:
            return self._texts(i, self._numbers(entry, rows, part))
        if kind == Kind.INT64:
            return self._numbers(entry, rows, part)
        floats: Float64s
        scale = series.scale[entry]
        if codec == Codec.PCO:
            floats = np.empty(rows, np.float64)
            unpcodec(self._block(series.block[entry], part), floats, part)
        elif scale == RAW:
            floats = self._numbers(entry, rows, part).view(np.float64)
        elif 0 <= scale <= DECIMALS_MAX:
            if codec == Codec.CONST:
                floats = np.full(rows, float(series.base[entry]) / 10.0**scale)
            else:
                floats = self._numbers(entry, rows, part).astype(np.float64)
                floats /= 10.0**scale
        else:
            raise Unsupported(f"{part}: scale {scale} is unknown")
        if self._extras_of(i):
            self._patch(i, floats)
        return floats

    def quality(self, i: int) -> UInt8s | None:
        """Quality of each row of column `i`; None = all good (0)."""
        extras, rows, part = self._shape.extras, self.rows(self.axis_of(i)), f"column {i}: quality"
        for e in self._extras_of(i):
            what, runs = extras.what[e], extras.parameter[e]
            if what == Extra.QUALITY_CONST:
                return np.full(rows, runs & 0xFF, np.uint8)
            if what == Extra.QUALITY_PLAIN:
                if extras.length[e] != rows:
                    raise Damaged(f"{part} is not as long as the axis")
                return np.frombuffer(self._extra_stream(e, part), np.uint8).copy()
            if what == Extra.QUALITY_RUNS:
                kind = width_of_row(rows)
                width = np.dtype(kind).itemsize
                if not 0 < runs <= rows or extras.length[e] != runs * (width + 1):
                    raise Damaged(f"{part} has {runs} runs in {extras.length[e]} bytes")
                stream = self._extra_stream(e, part)
                lengths = from_planes(stream[: runs * width], runs, kind).astype(np.int64)
                if int(lengths.sum()) != rows:
                    raise Damaged(f"{part} runs are not as long as the axis")
                return np.repeat(np.frombuffer(stream[runs * width :], np.uint8), lengths)
        return None

    @property
    def statistics(self) -> Statistics:
        """Figures per column, from the head."""
        if self._statistics is None:
            record = self._read_figures()
            axes, axis = self._shape.axes, self._shape.columns.axis
            rows = np.array([axes.rows[a] for a in axis], np.int64)
            span = np.array([axes.span[a] for a in axis], np.int64)
            self._statistics = statistics_from(record, rows, span, self._shape.unit_us)
        return self._statistics

    def extent(self, i: int) -> Extent:
        """First, lowest, highest and last good value of column `i`, as in `statistics`."""
        return extent_from(self._read_figures(), i, self.rows(self.axis_of(i)))

    def _read_figures(self) -> Figures:
        if self._figures is None:
            record = read_figures(self._figures_frame)
            check_length(record, len(self.signals))
            self._figures = record
        return self._figures

    def check(self, *, deep: bool) -> None:
        """Verify every checksum; with `deep` also unpack everything and compute digest and statistics anew.

        Raises:
            SegmentError: the first fault; the message names the part.
        """
        for block in range(len(self._shape.blocks)):
            self._block(block, "body")
        if not deep:
            return
        stated = self.statistics
        total = 0
        for axis in range(self.axes):
            self.times(axis)
        for i, signal in enumerate(self.signals):
            time, values, quality = self.times(self.axis_of(i)), self.values(i), self.quality(i)
            total += digest(signal, time, values, quality)
            _check_figures(i, stated, time, values, quality)
        if total & MASK != self.digest:
            raise Damaged("digest: the samples are not those the head was written for")

    def _numbers(self, entry: int, rows: int, part: str) -> Int64s:
        """The integers of a series, before its scale."""
        series = self._shape.series
        codec, base, length = series.codec[entry], series.base[entry], series.length[entry]
        if codec == Codec.CONST:
            return np.full(rows, base, np.int64)
        width = length // rows
        if codec in (Codec.DELTA, Codec.OFFSET, Codec.PCOI) and (
            length != width * rows or width not in (1, 2, 4, 8)
        ):
            raise Damaged(f"{part}: {length} bytes for {rows} rows")
        if codec == Codec.PCOI:
            if width == 1:
                raise Damaged(f"{part}: pcodec has no integers of 1 byte")
            narrow = np.empty(rows, f"i{width}")
            unpcodec(self._block(series.block[entry], part), narrow, part)
            return narrow.astype(np.int64) + np.int64(base)
        if codec in (Codec.DELTA, Codec.OFFSET):
            stream = self._stream(entry, part)
            if codec == Codec.OFFSET:
                result = from_planes(stream, rows, f"<u{width}").astype(np.int64)
                result += np.int64(base)
                return result
            result = np.add.accumulate(from_planes(stream, rows, f"<i{width}"), dtype=np.int64)
            result += np.int64(base)
            return result
        raise Unsupported(f"{part}: codec {codec} is unknown here")

    def _bools(self, entry: int, rows: int, part: str) -> Bools:
        series = self._shape.series
        codec, first = series.codec[entry], series.base[entry]
        if first not in (0, 1):
            raise Damaged(f"{part}: starts with {first}, neither 0 nor 1")
        if codec == Codec.CONST:
            return np.full(rows, bool(first))
        if codec != Codec.BITS:
            raise Unsupported(f"{part}: codec {codec} is unknown here")
        if series.length[entry] != (rows + 7) // 8:
            raise Damaged(f"{part}: {series.length[entry]} bytes for {rows} bits")
        flips = np.unpackbits(np.frombuffer(self._stream(entry, part), np.uint8), count=rows)
        return np.asarray((np.cumsum(flips, dtype=np.int64) + first) % 2 == 1)

    def _texts(self, i: int, numbers_of_text: Int64s) -> list[str]:
        extras, part = self._shape.extras, f"column {i}: texts"
        found = [e for e in self._extras_of(i) if extras.what[e] == Extra.TEXTS]
        if len(found) != 1:
            raise Damaged(f"{part}: {len(found)} dictionaries")
        entries, length = extras.parameter[found[0]], extras.length[found[0]]
        if not 0 < entries <= len(numbers_of_text) or length < 4 * entries:
            raise Damaged(f"{part}: {entries} entries in {length} bytes")
        stream = self._extra_stream(found[0], part)
        ends = np.cumsum(from_planes(stream[: 4 * entries], entries, "<u4").astype(np.int64)) + 4 * entries
        if int(ends[-1]) != length:
            raise Damaged(f"{part}: lengths do not add up")
        if int(numbers_of_text.min()) < 0 or int(numbers_of_text.max()) >= entries:
            raise Damaged(f"{part}: an entry beyond the dictionary")
        places = [4 * entries, *ends.tolist()]
        try:
            texts = [str(stream[a:b], "utf-8") for a, b in pairwise(places)]
        except UnicodeDecodeError as err:
            raise Damaged(f"{part}: not UTF-8") from err
        return [texts[number] for number in numbers_of_text.tolist()]

    def _values_of_other(self, i: int, other: int) -> Float64s | Int64s | Bools | list[str]:
        columns, series = self._shape.columns, self._shape.series
        if (
            not 0 <= other < i
            or columns.axis[other] != columns.axis[i]
            or columns.kind[other] != columns.kind[i]
            or series.codec[self.axes + other] == Codec.REF
        ):
            raise Damaged(f"column {i}: cannot be the same as column {other}")
        return self.values(other)

    def _patch(self, i: int, floats: Float64s) -> None:
        """Put back the values that are no decimals by nature."""
        extras, part = self._shape.extras, f"column {i}: patches"
        for e in self._extras_of(i):
            if extras.what[e] != Extra.PATCHES:
                continue
            kind = width_of_row(len(floats))
            width = np.dtype(kind).itemsize
            patches = extras.parameter[e]
            if not 0 < patches <= len(floats) or extras.length[e] != patches * (width + 8):
                raise Damaged(f"{part}: {patches} in {extras.length[e]} bytes")
            stream = self._extra_stream(e, part)
            at = np.cumsum(from_planes(stream[: patches * width], patches, kind).astype(np.int64))
            if int(at[-1]) >= len(floats) or (at[1:] == at[:-1]).any():
                raise Damaged(f"{part}: rows beyond the axis")
            floats[at] = from_planes(stream[patches * width :], patches, "<u8").view(np.float64)

    def _extras_of(self, i: int) -> list[int]:
        """Places in the list of extras that belong to column `i`."""
        if self._extras is None:
            self._extras = {}
            for e, column in enumerate(self._shape.extras.column):
                self._extras.setdefault(column, []).append(e)
        found = self._extras.get(i)
        if found is None:
            return []
        if len(found) > _EXTRAS_MAX:
            raise Damaged(f"column {i}: {len(found)} extras")
        for e in found:
            if self._shape.extras.what[e] not in _EXTRAS:
                raise Unsupported(f"column {i}: extra {self._shape.extras.what[e]} is unknown")
        return found

    def _stream(self, entry: int, part: str) -> memoryview:
        """A series' stream out of its pack."""
        offset = self._layout()[0][entry]
        block = self._shape.series.block[entry]
        return memoryview(self._pack(block, part))[offset : offset + self._shape.series.length[entry]]

    def _extra_stream(self, e: int, part: str) -> memoryview:
        offset = self._layout()[1][e]
        block = self._shape.extras.block[e]
        return memoryview(self._pack(block, part))[offset : offset + self._shape.extras.length[e]]

    def _layout(self) -> tuple[list[int], list[int], list[int], list[int]]:
        """Offset of each series' and each extra's stream in its block; size and number of streams per block.

        Streams of one block lie in the order of the series, then of the extras.
        """
        if self._streams is None:
            shape = self._shape
            sizes = [0] * (len(shape.blocks) + 1)  # the last one is -1: no block
            streams = sizes.copy()
            offsets: list[int] = []
            for block, length in zip(
                shape.series.block + shape.extras.block,
                shape.series.length + shape.extras.length,
                strict=True,
            ):
                offsets.append(sizes[block])
                sizes[block] += length
                streams[block] += 1
            middle = len(shape.series.block)
            self._streams = (offsets[:middle], offsets[middle:], sizes, streams)
        return self._streams

    def _pack(self, block: int, part: str) -> bytes:
        """Content of a zstd block; kept where several columns share it."""
        if block in self._unpacked:
            return self._unpacked[block]
        _, _, sizes, streams = self._layout()
        content = unframe(self._block(block, part), sizes[block], part)
        if streams[block] > 1:
            self._unpacked[block] = content
        return content

    def _block(self, block: int, part: str) -> bytes:
        """Bytes of a block, after its checksum has been found right."""
        if self._body is None:
            raise SegmentError(f"{part}: the body has been dropped")
        if block < 0:
            raise Damaged(f"{part}: has no block")
        start, size = self._offsets[block], self._shape.blocks[block]
        if callable(self._body):
            raw = self._body(start, size + CRC.size)
        else:
            raw = self._body[start : start + size + CRC.size]
        if len(raw) != size + CRC.size:
            raise Damaged(f"{part}: block {block} is cut short")
        content = bytes(raw[:size])
        if zlib.crc32(content, self._crc) != CRC.unpack(raw[size:])[0]:
            raise Damaged(f"{part}: block {block} has a wrong checksum, or belongs to another head")
        return content


def _check_figures(
    i: int,
    stated: Statistics,
    time: Int64s,
    values: Float64s | Int64s | Bools | Sequence[str],
    quality: UInt8s | None,
) -> None:
    """Compute the statistics of one column anew; sums may differ by the order of addition."""
    text = not isinstance(values, np.ndarray)
    floats = np.zeros(len(values)) if text else np.asarray(values, np.float64)
    good = ~np.isnan(floats)
    if quality is not None:
        good &= quality < GOOD_BELOW
    step = np.diff(time)
    found = numbers(floats[None], good[None], step)
    same = found.good[0] == stated.good[i] and found.held[0] == stated.held_us[i]
    if text or not found.good[0]:
        same = same and bool(np.isnan([part[i] for part in stated[1:7]]).all())
    else:
        with np.errstate(invalid="ignore", over="ignore"):
            size = np.abs(np.where(good, floats, 0.0))
            sizes = (size.sum(), (size[:-1] * step).sum() / 1e6)
        exact = (found.minimum, found.maximum, found.first, found.last)
        same = same and all(a[0] == b[i] for a, b in zip(exact, stated[1:5], strict=True))
        for a, b, scale in zip(
            (found.sum[0], found.area[0] / 1e6), (stated.sum[i], stated.area[i]), sizes, strict=True
        ):
            same = same and (a == b or not np.isfinite(scale) or abs(a - b) <= 1e-9 * scale)
    if not same:
        raise Damaged(f"column {i}: statistics are not those of the values")
