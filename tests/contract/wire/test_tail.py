"""Tail messages: there and back to the bit; whatever does not fit its own statement is refused."""

import math

import msgspec
import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from contract.model.batch import Batch, batch_of
from contract.wire.envelope import EnvelopeError, pack, unpack
from contract.wire.records import TAIL_ROWS_MAX, Tail, TailError, pack_tail, unpack_tail

INT32 = st.integers(-(2**31), 2**31 - 1)
INT64 = st.integers(-(2**63), 2**63 - 1)
Row = tuple[int, int, float, int]
ROWS = st.lists(st.tuples(INT32, INT64, st.floats(), st.integers(0, 255)), max_size=50)
EXACT = st.one_of(st.text(max_size=20), st.integers(-(2**63), 2**64 - 1))


def bits(values: object) -> bytes:
    return np.asarray(values, np.float64).tobytes()


@given(ROWS, st.data(), st.booleans())
def test_a_batch_comes_back_to_the_bit(rows: list[Row], data: st.DataObject, good: bool) -> None:
    exact = data.draw(st.lists(st.tuples(st.integers(0, len(rows) - 1), EXACT), max_size=5)) if rows else []
    signals, times, values, quality = ([r[i] for r in rows] for i in range(4))
    batch = Batch(
        3,
        np.array(signals, np.int32),
        np.array(times, np.int64),
        np.array(values, np.float64),
        None if good else np.array(quality, np.uint8),
        tuple(exact),
    )
    sent = pack_tail(store=1, epoch=2, first=10, last=11, batch=batch)
    tail = unpack(pack(sent), Tail)
    assert (tail.store, tail.epoch, tail.first, tail.last, tail.group, tail.rows) == (
        1,
        2,
        10,
        11,
        3,
        len(rows),
    )
    back = unpack_tail(tail)
    assert back.group == 3
    assert back.signal is not None
    assert back.signal.tolist() == signals
    assert back.times().tolist() == times
    assert bits(back.value) == bits(values)  # a NaN's payload and the sign of zero included
    assert ([0] * len(rows) if back.quality is None else back.quality.tolist()) == (
        [0] * len(rows) if good else quality
    )
    assert back.exact == tuple(exact)


def test_one_time_becomes_a_time_per_row() -> None:
    back = unpack_tail(pack_tail(1, 1, 1, 1, batch_of(3, [5, 6], 17, [1.0, "on"])))
    assert back.times().tolist() == [17, 17]
    assert math.isnan(back.value[1])
    assert back.exact == ((1, "on"),)
    assert back.quality is None
    assert back.value.dtype == np.float64
    assert back.times().dtype == np.int64
    assert back.signal is not None
    assert back.signal.dtype == np.int32


def test_a_tail_names_its_signals() -> None:
    with pytest.raises(TailError, match="names its signals"):
        pack_tail(1, 1, 1, 1, batch_of(3, None, 0, [1.0]))


def test_the_longest_tail_passes_and_one_more_row_does_not() -> None:
    def rows(n: int) -> Batch:
        return Batch(3, np.ones(n, np.int32), 0, np.zeros(n))

    longest = pack_tail(1, 1, 1, 1, rows(TAIL_ROWS_MAX))
    assert len(unpack_tail(unpack(pack(longest), Tail))) == TAIL_ROWS_MAX
    with pytest.raises(TailError, match="beyond"):
        pack_tail(1, 1, 1, 1, rows(TAIL_ROWS_MAX + 1))
    with pytest.raises(EnvelopeError):
        unpack(pack(msgspec.structs.replace(longest, rows=TAIL_ROWS_MAX + 1)), Tail)


def tail(rows: int, columns: bytes, exact: tuple[tuple[int, int | str], ...] = ()) -> Tail:
    return Tail(store=1, group=1, epoch=1, first=1, last=1, rows=rows, columns=columns, exact=exact)


ROW_BYTES = 4 + 8 + 8 + 1


@pytest.mark.parametrize("size", [0, 1, ROW_BYTES * 3 - 1, ROW_BYTES * 3 + 1, 10_000_000])
def test_columns_of_another_size_are_refused_before_they_are_unpacked(size: int) -> None:
    with pytest.raises(TailError):
        unpack_tail(tail(3, zstandard.compress(b"\0" * size)))


def test_a_frame_that_does_not_say_its_size_is_refused() -> None:
    silent = zstandard.ZstdCompressor(write_content_size=False).compress(b"\0" * ROW_BYTES * 3)
    with pytest.raises(TailError):
        unpack_tail(tail(3, silent))


def test_a_bomb_that_lies_about_its_size_is_refused() -> None:
    """The frame's header says 63 bytes, its blocks hold a megabyte."""
    honest = zstandard.ZstdCompressor(write_content_size=True).compress(b"\0" * 1_000_000)
    frame = zstandard.get_frame_parameters(honest)
    assert frame.content_size == 1_000_000
    place = honest.index((1_000_000).to_bytes(4, "little"))
    lying = bytearray(honest)
    lying[place : place + 4] = (ROW_BYTES * 3).to_bytes(4, "little")
    with pytest.raises(TailError):
        unpack_tail(tail(3, bytes(lying)))


@pytest.mark.parametrize("columns", [b"", b"\0", b"no frame at all", zstandard.compress(b"\0" * 63)[:-1]])
def test_what_is_no_frame_is_refused(columns: bytes) -> None:
    with pytest.raises(TailError):
        unpack_tail(tail(3, columns))


@pytest.mark.parametrize("row", [-1, 1, 2**40])
def test_an_exact_value_belongs_to_a_row(row: int) -> None:
    sound = pack_tail(1, 1, 1, 1, batch_of(3, [5], 0, ["on"]))
    with pytest.raises(TailError, match="no row"):
        unpack_tail(msgspec.structs.replace(sound, exact=((row, "on"),)))


def test_an_empty_tail() -> None:
    back = unpack_tail(pack_tail(1, 1, 1, 1, batch_of(3, [], [], [])))
    assert len(back) == 0
    assert back.exact == ()


def test_a_poll_of_a_thousand_is_small() -> None:
    values = [float(i % 40) / 10 for i in range(1000)]
    packed = pack(pack_tail(1, 1, 1, 1, batch_of(3, list(range(1, 1001)), 10**15, values)))
    assert len(packed) < 1000
