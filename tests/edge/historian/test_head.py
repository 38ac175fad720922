"""Bytes of the head: round trips, and that no damage is ever taken for a record."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.model.batch import Batch
from edge.historian.head import FILE_HEADER_BYTES, TEXT_MAX, clean_exact, decode, encode, file_header

STORE = 0x1234_5678_9ABC_DEF0


def same(a: Batch, b: Batch) -> bool:
    """Equal to the bit; NaN payloads and -0.0 count."""
    return (
        a.group == b.group
        and (a.signal is None) == (b.signal is None)
        and (a.signal is None or b.signal is None or a.signal.tolist() == b.signal.tolist())
        and isinstance(a.time, int) == isinstance(b.time, int)
        and a.times().tolist() == b.times().tolist()
        and a.value.tobytes() == b.value.tobytes()
        and (a.quality is None) == (b.quality is None)
        and (a.quality is None or b.quality is None or a.quality.tolist() == b.quality.tolist())
        and a.exact == b.exact
    )


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    rows = draw(st.integers(0, 40))
    bits = draw(st.lists(st.integers(0, 2**64 - 1), min_size=rows, max_size=rows))
    times = st.integers(-(2**63), 2**63 - 1)
    numbers = st.lists(st.integers(0, 2**31 - 1), min_size=rows, max_size=rows)
    signal = draw(st.none() | numbers)
    time = draw(times | st.lists(times, min_size=rows, max_size=rows))
    quality = draw(st.none() | st.lists(st.integers(0, 255), min_size=rows, max_size=rows))
    values = st.text(max_size=20) | st.integers(-(2**63), 2**63 - 1)
    exact = draw(st.lists(st.tuples(st.integers(0, max(0, rows - 1)), values), max_size=rows))
    return Batch(
        draw(st.integers(0, 2**31 - 1)),
        None if signal is None else np.array(signal, np.int32),
        time if isinstance(time, int) else np.array(time, np.int64),
        np.array(bits, np.uint64).view(np.float64),
        None if quality is None else np.array(quality, np.uint8),
        tuple(exact),
    )


@given(st.lists(batches(), max_size=5))
def test_what_is_written_is_read(written: list[Batch]) -> None:
    data = file_header(STORE, 1)
    for i, batch in enumerate(written):
        data += encode(STORE, i + 1, i + 7, batch)
    contents = decode(data, STORE)
    assert [(r.position, r.epoch) for r in contents.records] == [(i + 1, i + 7) for i in range(len(written))]
    assert all(same(r.batch, batch) for r, batch in zip(contents.records, written, strict=True))
    assert contents.damaged == []


def small_file() -> tuple[bytes, list[bytes]]:
    """A file of four records, and the records' bytes."""
    batches = [
        Batch(3, None, 1_790_000_000_000_000, np.array([1.5, -0.0, np.nan])),
        Batch(
            3, np.array([9], np.int32), 1_790_000_001_000_000, np.array([np.inf]), np.array([129], np.uint8)
        ),
        Batch(3, np.array([9, 9], np.int32), np.array([5, 6]), np.array([1e-310, 2.0]), None, ((0, "x"),)),
        Batch(4, None, 1_790_000_003_000_000, np.arange(60.0)),
    ]
    records = [encode(STORE, 10 + i, 1, batch) for i, batch in enumerate(batches)]
    return file_header(STORE, 10) + b"".join(records), records


def test_every_flipped_bit_costs_one_record_at_most_and_is_seen() -> None:
    data, parts = small_file()
    whole = decode(data, STORE).records
    ends = np.cumsum([FILE_HEADER_BYTES, *map(len, parts)])
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        contents = decode(bytes(damaged), STORE)
        hit = int(np.searchsorted(ends, bit // 8, "right"))  # 0: the header, i: record i
        expected = [r for i, r in enumerate(whole, 1) if i != hit]
        assert [r.position for r in contents.records] == [r.position for r in expected], bit
        assert all(same(a.batch, b.batch) for a, b in zip(contents.records, expected, strict=True)), bit
        assert contents.damaged, bit


def test_a_file_cut_anywhere_keeps_all_records_before_the_cut() -> None:
    data, parts = small_file()
    ends = np.cumsum([FILE_HEADER_BYTES, *map(len, parts)]).tolist()
    for cut in range(len(data)):
        contents = decode(data[:cut], STORE)
        whole = sum(end <= cut for end in ends[1:])
        assert [r.position for r in contents.records] == [10 + i for i in range(whole)]
        assert bool(contents.damaged) == (cut not in (0, *ends))


def test_the_head_of_another_store_is_no_head() -> None:
    data, _ = small_file()
    contents = decode(data, STORE + 1)
    assert contents.records == []
    assert sum(span.end - span.start for span in contents.damaged) == len(data)


@pytest.mark.parametrize("junk", [b"", b"\xf7REC", b"\xf7REC" * 50, bytes(1000), b"\xff" * 1000])
def test_junk_is_no_record(junk: bytes) -> None:
    assert decode(junk, STORE).records == []
    assert decode(file_header(STORE, 1) + junk, STORE).records == []


def test_a_plain_16_bit_register_costs_about_three_bytes() -> None:
    values = np.random.default_rng(1).integers(-32768, 32767, 1000).astype(np.float64)
    assert len(encode(STORE, 1, 1, Batch(1, None, 1, values))) < 3000


def test_what_the_side_lane_cannot_keep_is_left_to_the_double() -> None:
    exact = ((0, 2**63), (1, -(2**63)), (2, "half \ud800 a pair"), (3, "x" * (TEXT_MAX + 1)))
    assert clean_exact(exact) == ((1, -(2**63)), (2, "half ? a pair"), (3, "x" * TEXT_MAX))
