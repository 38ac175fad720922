"""One series of numbers to bytes: which codec, which width. Used by encode.py; the reader follows the head.

Slow columns (a change in less than CHANGING of the rows) go as differences or offsets through zstd, the
rest through pcodec. A float column counts as decimal only if every value comes back to the bit.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import zstandard
from pcodec import ChunkConfig, DeltaSpec, standalone

from contract.segment.frames import byte_planes
from contract.segment.layout import DECIMALS_MAX, RAW, Bools, Codec, Float64s, Int64s

CHANGING = 0.55
OWN_FRAME = 500
"""Packed bytes above which a series gets its own frame: unlike columns in one share one entropy table."""
FEW_ROWS = 512
"""Below, pcodec's fixed cost of some 26 bytes is worth a comparison."""
LEVEL, LEVEL_THOROUGH = 6, 19
_ZSTD_MAGIC_SIZE = 4
_PCO_DIFFERENCES = ChunkConfig(compression_level=6, delta_spec=DeltaSpec.try_consecutive(1))
_PCO_AS_IS = ChunkConfig(compression_level=6, delta_spec=DeltaSpec.no_op())
_PCO_THOROUGH = (
    ChunkConfig(compression_level=8),
    ChunkConfig(compression_level=8, delta_spec=DeltaSpec.try_consecutive(1)),
    ChunkConfig(compression_level=8, delta_spec=DeltaSpec.no_op()),
)
_EXACT = 2.0**53
_POWERS = 10.0 ** np.arange(DECIMALS_MAX + 1)
_NEGATIVE_ZERO = np.uint64(1 << 63)


class Packed(NamedTuple):
    """A series as bytes. Either a stream, to be laid into a pack, or a block, or neither (CONST, REF)."""

    codec: Codec
    scale: int = 0
    base: int = 0
    length: int = 0
    stream: bytes = b""
    block: bytes = b""

    def cost(self) -> int:
        """Bytes as a block of its own."""
        return len(self.block)


def unsigned_width(largest: int) -> int:
    """Bytes of the smallest unsigned integer that holds `largest`."""
    return 1 if largest < 1 << 8 else 2 if largest < 1 << 16 else 4 if largest < 1 << 32 else 8


def specials(floats: Float64s) -> Bools:
    """Where a value is no decimal by nature: NaN, infinity, -0.0."""
    return np.asarray(~np.isfinite(floats) | (floats.view(np.uint64) == _NEGATIVE_ZERO))


def decimals(floats: Float64s, candidates: Bools) -> tuple[list[int], Int64s]:
    """Scale k per column and the integers i with i / 10**k the value to the bit; RAW and the bits otherwise.

    Args:
        floats: [columns, rows].
        candidates: columns to try; they hold no specials.
    """
    columns, rows = floats.shape
    integers = floats.view(np.int64).copy()
    scale = np.full(columns, RAW)
    with np.errstate(invalid="ignore", over="ignore"):
        few = floats[:, :: max(1, rows // 16)]
        tens = _POWERS[:, None, None]
        peak = np.abs(floats).max(axis=1)
        scaled = np.rint(few * tens)
        likely = ((scaled / tens == few) & (np.abs(scaled) < _EXACT)).all(axis=2)
        likely &= candidates
        for k in np.flatnonzero(likely.any(axis=1)).tolist():
            open_ = np.flatnonzero(likely[k] & (scale == RAW))
            if not len(open_):
                continue
            wanted = floats[open_] if len(open_) < columns else floats
            scaled = np.rint(wanted * _POWERS[k])
            same = (scaled / _POWERS[k]).view(np.uint64) == wanted.view(np.uint64)
            exact = same.all(axis=1) & (peak[open_] * _POWERS[k] < _EXACT)
            found = open_[exact]
            scale[found] = k
            integers[found] = scaled[exact].astype(np.int64)
    return scale.tolist(), integers


class Packer:
    """Packs series; one per call of `encode`, as compressors are not shared between threads."""

    def __init__(self, thorough: bool) -> None:
        self._thorough = thorough
        level = LEVEL_THOROUGH if thorough else LEVEL
        self._zstd = zstandard.ZstdCompressor(level=level, write_checksum=False, write_content_size=True)

    def frame(self, data: bytes) -> bytes:
        """A zstd frame with its content size, without its magic number."""
        return self._zstd.compress(data)[_ZSTD_MAGIC_SIZE:]

    def bits(self, flags: Bools) -> Packed:
        """A bool column, as the places where it flips."""
        flips = np.zeros(len(flags), np.bool_)
        np.not_equal(flags[1:], flags[:-1], out=flips[1:])
        if not flips.any():
            return Packed(Codec.CONST, base=int(flags[0]))
        stream = np.packbits(flips).tobytes()
        return self._place(Packed(Codec.BITS, base=int(flags[0]), length=len(stream), stream=stream))

    def numbers(self, integers: Int64s, scale: Sequence[int], is_float: bool) -> list[Packed]:
        """Each row of `integers` [columns, rows] as a series.

        Args:
            integers: at 10^-scale; the bits of float64 values where scale is RAW.
            scale: per column. is_float: RAW bits may go through pcodec as float64.
        """
        rows = integers.shape[1]
        steps = np.zeros_like(integers)
        np.subtract(integers[:, 1:], integers[:, :-1], out=steps[:, 1:])
        changes = np.count_nonzero(steps, axis=1).tolist()
        down, up = steps.min(axis=1).tolist(), steps.max(axis=1).tolist()
        low, high = integers.min(axis=1).tolist(), integers.max(axis=1).tolist()
        result = []
        for row, k in enumerate(scale):
            series = integers[row]
            if not changes[row]:
                result.append(Packed(Codec.CONST, k, int(series[0])))
                continue
            choices = []
            slow = changes[row] < CHANGING * rows
            if slow or rows < FEW_ROWS or self._thorough:
                choices.append(self._delta(steps[row], k, int(series[0]), max(-1 - down[row], up[row])))
                choices.append(self._offset(series, k, low[row], high[row]))
            if not slow or self._thorough:
                if k != RAW or not is_float:
                    choices.append(self._integers(series, k, low[row], high[row]))
                else:
                    choices.append(self._floats(series))
            result.append(min(choices, key=Packed.cost))
        return [self._place(packed) for packed in result]

    def _delta(self, steps: Int64s, scale: int, first: int, largest: int) -> Packed:
        return self._framed(Codec.DELTA, scale, first, steps.astype(f"<i{unsigned_width(2 * largest)}"))

    def _offset(self, series: Int64s, scale: int, low: int, high: int) -> Packed:
        offsets = (series - np.int64(low)).view(np.uint64).astype(f"<u{unsigned_width(high - low)}")
        return self._framed(Codec.OFFSET, scale, low, offsets)

    def _framed(self, codec: Codec, scale: int, base: int, numbers: npt.NDArray[Any]) -> Packed:
        stream = byte_planes(numbers)
        return Packed(codec, scale, base, len(stream), stream, self.frame(stream))

    def _integers(self, series: Int64s, scale: int, low: int, high: int) -> Packed:
        """Through pcodec in the narrowest of its integers, around a base if only that makes it narrow."""
        width, base = 8, 0
        for narrow in (2, 4):
            half = 1 << (8 * narrow - 1)
            if -half <= low and high < half:
                width = narrow
                break
            if high - low < 2 * half:
                width, base = narrow, low + half
                break
        values = (series - np.int64(base)).astype(f"i{width}")
        return self._pcodec(Codec.PCOI, scale, base, values)

    def _floats(self, bits: Int64s) -> Packed:
        return self._pcodec(Codec.PCO, RAW, 0, bits.view(np.float64))

    def _pcodec(self, codec: Codec, scale: int, base: int, values: npt.NDArray[Any]) -> Packed:
        if self._thorough:
            block = min((standalone.simple_compress(values, config) for config in _PCO_THOROUGH), key=len)
        else:
            # pcodec's own search for differences costs as much as the packing; this guess is as good.
            with np.errstate(invalid="ignore", over="ignore"):
                floats = values.astype(np.float64)
                floats -= floats.mean()
                steps = floats[1:] - floats[:-1]
                calm = bool(steps @ steps < floats @ floats)
            block = standalone.simple_compress(values, _PCO_DIFFERENCES if calm else _PCO_AS_IS)
        return Packed(codec, scale, base, values.nbytes, b"", block)

    @staticmethod
    def _place(packed: Packed) -> Packed:
        """Drop the frame of what shall go into a pack, the stream of what is worth its own block."""
        if not packed.stream:
            return packed
        if len(packed.block) > OWN_FRAME:
            return packed._replace(stream=b"")
        return packed._replace(block=b"")
