"""The digest against its definition, computed in plain integers."""

import hashlib
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.segment.digest import digest

M = 2**64


def splitmix(x: int) -> int:
    """The finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014; constants of David Stafford's Mix13)."""
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) % M
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) % M
    return x ^ (x >> 31)


def bits(value: Any) -> int:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, float):
        return int.from_bytes(struct.pack("<d", value), "little")
    if isinstance(value, int):
        return value % M
    return int.from_bytes(hashlib.blake2b(value.encode(), digest_size=8).digest(), "little")


def oracle(signal: int, time_us: Sequence[int], values: Sequence[Any], quality: Sequence[int]) -> int:
    total = 0
    for t, v, q in zip(time_us, values, quality, strict=True):
        x = bits(v) ^ (q * 0xD6E8FEB86659FD93) % M
        x = (x + splitmix((t * 0x9E3779B97F4A7C15) % M)) % M
        total += splitmix(x ^ splitmix(((signal + 1) * 0x9E3779B97F4A7C15) % M))
    return total % M


def test_the_mixer_is_splitmix64() -> None:
    # First output of SplitMix64 with seed 0, from the authors' reference code.
    assert splitmix(0x9E3779B97F4A7C15) == 0xE220A8397B1DCDAF


KINDS: dict[str, tuple[Any, Any]] = {
    "float": (st.floats(width=64), np.float64),
    "int": (st.integers(-(2**63), 2**63 - 1), np.int64),
    "bool": (st.booleans(), np.bool_),
    "text": (st.text(), None),
}


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_digest_is_its_definition(kind: str, data: st.DataObject) -> None:
    element, dtype = KINDS[kind]
    rows = data.draw(st.integers(0, 20))
    values = data.draw(st.lists(element, min_size=rows, max_size=rows))
    time_us = data.draw(st.lists(st.integers(-(2**62), 2**62), min_size=rows, max_size=rows))
    quality = data.draw(st.lists(st.integers(0, 255), min_size=rows, max_size=rows))
    signal = data.draw(st.integers(0, 2**53 - 1))
    got = digest(
        signal,
        np.array(time_us, np.int64),
        values if dtype is None else np.array(values, dtype),
        np.array(quality, np.uint8),
    )
    assert got == oracle(signal, time_us, values, quality)
    if not any(quality):
        assert got == digest(
            signal, np.array(time_us, np.int64), np.array(values, dtype) if dtype else values, None
        )


def test_cutting_and_reordering_change_nothing_but_everything_else_does() -> None:
    rng = np.random.default_rng(3)
    time = np.sort(rng.integers(0, 10**12, 500))
    values = rng.normal(0, 1, 500)
    quality = rng.integers(0, 2, 500).astype(np.uint8)
    whole = digest(4, time, values, quality)
    parts = sum(
        digest(4, time[a : a + 100], values[a : a + 100], quality[a : a + 100]) for a in range(0, 500, 100)
    )
    assert parts % M == whole
    order = rng.permutation(500)
    assert digest(4, time[order], values[order], quality[order]) == whole
    assert digest(5, time, values, quality) != whole
    swapped = values.copy()
    swapped[[10, 11]] = swapped[[11, 10]]
    assert digest(4, time, swapped, quality) != whole
    assert digest(4, time + (np.arange(500) == 7), values, quality) != whole
    assert digest(4, time, values, quality ^ (np.arange(500) == 7)) != whole
    assert digest(4, time, -values * 0, None) != digest(4, time, values * 0, None)


def test_the_arrays_given_stay_as_they_are() -> None:
    time, values = np.arange(5), np.arange(5.0)
    digest(1, time, values, None)
    assert time.tolist() == [0, 1, 2, 3, 4]
    assert values.tolist() == [0, 1, 2, 3, 4]
