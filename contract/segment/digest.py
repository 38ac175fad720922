"""The digest: a 64-bit sum over samples by which two stores prove that they hold the same.

Additive mod 2**64: independent of order and of how samples are cut into segments, so ranges are
compared by adding. It finds errors, not forgers. The formula is in docs/segment-format.md section 6.
"""

import hashlib
from collections.abc import Sequence

import numpy as np

from contract.segment.layout import Int64s, UInt8s, UInt64s, Values

MASK = 2**64 - 1
_STEP = 0x9E3779B97F4A7C15
_FIRST = 0xBF58476D1CE4E5B9
_SECOND = 0x94D049BB133111EB
_QUALITY = 0xD6E8FEB86659FD93


def mix(x: UInt64s) -> UInt64s:
    """Scramble each number in place so that every bit depends on every bit; gives the same array back."""
    x ^= x >> np.uint64(30)
    x *= np.uint64(_FIRST)
    x ^= x >> np.uint64(27)
    x *= np.uint64(_SECOND)
    x ^= x >> np.uint64(31)
    return x


def key_of_signal(signal: int) -> int:
    """A signal's constant in the sum: `mix` of its number times the step, in plain integers."""
    x = ((signal + 1) * _STEP) & MASK
    x = ((x ^ (x >> 30)) * _FIRST) & MASK
    x = ((x ^ (x >> 27)) * _SECOND) & MASK
    return x ^ (x >> 31)


def key_of_times(time_us: Int64s) -> UInt64s:
    """A constant per instant; columns that share an axis share these."""
    keys = time_us.view(np.uint64) * np.uint64(_STEP)
    return mix(keys)


def bits_of_texts(texts: Sequence[str]) -> UInt64s:
    """Value bits of texts: 8 bytes of BLAKE2b over UTF-8, little-endian."""
    known: dict[str, int] = {}
    for text in texts:
        if text not in known:
            known[text] = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
    return np.fromiter(map(known.__getitem__, texts), np.uint64, len(texts))


def bits_of(values: Values) -> UInt64s:
    """Value bits: those of a float64 or int64, 0 or 1 for a bool, a hash for a text; may share memory."""
    if isinstance(values, np.ndarray):
        if values.dtype == np.bool_:
            return values.astype(np.uint64)
        return np.ascontiguousarray(values).view(np.uint64)
    return bits_of_texts(values)


def sums(signal_keys: UInt64s, time_keys: UInt64s, bits: UInt64s, quality: UInt8s | None) -> int:
    """Digest of columns that share an axis.

    Args:
        signal_keys: [columns]; time_keys: [rows]; bits: [columns, rows], overwritten.
        quality: [columns, rows], or None where all are good.
    """
    if quality is not None:
        bits ^= quality.astype(np.uint64) * np.uint64(_QUALITY)
    bits += time_keys
    bits ^= signal_keys[:, None]
    return int(mix(bits).sum(dtype=np.uint64))


def digest(signal: int, time_us: Int64s, values: Values, quality: UInt8s | None) -> int:
    """Digest of one signal's samples; add those of several mod 2**64.

    Args:
        signal: the store's number of the signal, not negative.
        time_us: µs since 1970 UTC, as long as the values.
        values: float64, int64, bool or texts; NaN payloads and -0.0 count as they are.
        quality: a byte per sample; None = all good (0).
    """
    bits = bits_of(values).copy().reshape(1, -1)
    times = key_of_times(np.ascontiguousarray(time_us, np.int64))
    return sums(np.array([key_of_signal(signal)], np.uint64), times, bits, quality)
