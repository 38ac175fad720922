"""Damaged and hostile bytes: refused with SegmentError, before anything large is allocated; never a guess."""

import random
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
import zstandard
from pcodec import ChunkConfig, standalone

from contract.segment.decode import Segment
from contract.segment.encode import Encoded, encode
from contract.segment.layout import (
    CRC,
    MAGIC,
    PACKED_MAX,
    PREAMBLE,
    VERSION,
    Axis,
    Codec,
    Column,
    Damaged,
    Extra,
    Kind,
    SegmentError,
    Unsupported,
)

# Places in the shape record, docs/segment-format.md section 3.
GROUP, COUNT, DIGEST, T_MAX, UNIT, AXES, COLUMNS, SERIES, EXTRAS, BLOCKS = 0, 2, 3, 5, 6, 7, 8, 9, 10, 11
ROWS, START, SPAN, CYCLE = 0, 1, 2, 3
CODEC, SCALE, BASE, LENGTH, BLOCK = 0, 1, 2, 3, 4


def small(seed: int = 0, rows: int = 40) -> Encoded:
    """A segment of few bytes that uses every codec but PCO, quality, patches and texts."""
    rng = np.random.default_rng(seed)
    time = (
        1_700_000_000_000_000 + np.arange(rows, dtype=np.int64) * 1_000_000 + rng.integers(0, 9, rows) * 1000
    )
    slow = np.repeat(rng.integers(0, 9, rows), 10)[:rows] / 10
    holed = slow.copy()
    holed[3:6] = np.nan
    quality = np.where(np.isnan(holed), 0x81, 0).astype(np.uint8)
    columns = [
        Column(1, Kind.FLOAT64, 0, slow, None),
        Column(2, Kind.FLOAT64, 0, holed, quality),
        Column(3, Kind.FLOAT64, 0, slow.copy(), rng.integers(0, 255, rows).astype(np.uint8)),
        Column(4, Kind.INT64, 0, rng.integers(0, 9, rows) + 2**60, None),
        Column(5, Kind.BOOL, 0, np.arange(rows) % 7 > 3, None),
        Column(6, Kind.TEXT, 0, [("läuft", "steht", "")[i // 9 % 3] for i in range(rows)], None),
    ]
    return encode([Axis(time, 1_000_000)], columns, group=9, epoch=2)


def wide() -> Encoded:
    """A segment with pcodec blocks of both sorts and packs."""
    rng = np.random.default_rng(2)
    rows = 600
    columns = [Column(i, Kind.FLOAT64, 0, np.round(rng.normal(0, 50, rows), 1), None) for i in range(3)]
    columns.append(Column(7, Kind.FLOAT64, 0, rng.normal(0, 1, rows), None))
    columns += [Column(i, Kind.INT64, 0, np.repeat(rng.integers(0, 9, 30), 20), None) for i in range(10, 14)]
    return encode([Axis(np.arange(rows, dtype=np.int64) * 1000, 1000)], columns, group=1, epoch=1)


def frame(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)[4:]


def seal(shape: bytes, figures: bytes, blocks: list[bytes], version: int = VERSION) -> bytes:
    """A segment with right checksums around whatever is given; shape and figures are frames."""
    start = PREAMBLE.pack(MAGIC, version, 0, len(shape), len(figures))
    crc = zlib.crc32(start[8:] + shape + figures, zlib.crc32(start[:4]))
    head = PREAMBLE.pack(MAGIC, version, crc, len(shape), len(figures)) + shape + figures
    return head + b"".join(block + CRC.pack(zlib.crc32(block, crc)) for block in blocks)


def open_up(packed: Encoded) -> tuple[list[Any], list[Any], list[bytes]]:
    """Shape, figures and blocks as plain lists, to be changed and sealed again."""
    _, _, _, shape_size, figures_size = PREAMBLE.unpack_from(packed.head)
    frames = (
        packed.head[16 : 16 + shape_size],
        packed.head[16 + shape_size : 16 + shape_size + figures_size],
    )
    shape, figures = (
        msgspec.msgpack.decode(zstandard.ZstdDecompressor().decompress(zstandard.FRAME_HEADER + part))
        for part in frames
    )
    blocks, at = [], 0
    for size in shape[BLOCKS]:
        blocks.append(packed.body[at : at + size])
        at += size + 4
    return shape, figures, blocks


def close(shape: list[Any], figures: list[Any], blocks: list[bytes]) -> bytes:
    return seal(frame(msgspec.msgpack.encode(shape)), frame(msgspec.msgpack.encode(figures)), blocks)


def forged(
    change: Callable[[list[Any], list[Any], list[bytes]], Any], packed: Encoded | None = None
) -> bytes:
    parts = open_up(packed or small())
    change(*parts)
    return close(*parts)


def read_all(blob: bytes) -> None:
    segment = Segment.parse(blob)
    segment.check(deep=True)


def test_forging_nothing_is_accepted() -> None:
    read_all(forged(lambda *_: None))
    read_all(forged(lambda *_: None, wide()))


def test_every_flipped_bit_is_noticed() -> None:
    packed = small()
    blob = packed.head + packed.body
    assert len(packed.body) > 100
    assert len(blob) * 8 > 3000
    for bit in range(len(blob) * 8):
        flipped = bytearray(blob)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(SegmentError):
            Segment.parse(bytes(flipped)).check(deep=False)


def test_every_truncation_and_every_addition_is_noticed() -> None:
    packed = small()
    blob = packed.head + packed.body
    for size in range(len(blob)):
        with pytest.raises(Damaged):
            Segment.parse(blob[:size])
    with pytest.raises(Damaged):
        Segment.parse(blob + b"\0")
    with pytest.raises(Damaged, match="head"):
        Segment(packed.head + b"\0", packed.body)
    with pytest.raises(Damaged, match="body"):
        Segment(packed.head, packed.body[:-1])


def test_two_bodies_swapped_are_noticed_even_when_equally_long() -> None:
    one, other = small(1), small(1)
    assert one == other
    parts = open_up(small(1))
    parts[0][GROUP] += 1
    blob = close(*parts)
    head, body = blob[: -len(one.body)], blob[-len(one.body) :]
    assert [b"".join(parts[2])] == [b"".join(open_up(one)[2])]
    Segment(head, body).check(deep=True)
    with pytest.raises(Damaged, match="another head"):
        Segment(head, one.body).check(deep=False)
    with pytest.raises(Damaged, match="another head"):
        Segment(one.head, body).values(4)


def test_a_slice_reader_that_gives_too_little_is_noticed() -> None:
    packed = small()
    with pytest.raises(Damaged, match="cut short"):
        Segment(packed.head, lambda offset, size: packed.body[offset : offset + size - 1]).values(0)


def test_a_dropped_body_leaves_statistics_and_says_so_for_the_rest() -> None:
    packed = small()
    segment = Segment(packed.head, None)
    assert not segment.has_body
    assert segment.statistics.good.tolist() == Segment.parse(packed.blob).statistics.good.tolist()
    for ask in (segment.values, segment.quality, segment.times):
        with pytest.raises(SegmentError, match="dropped"):
            ask(1 if ask != segment.times else 0)


def test_an_unknown_version_is_refused_and_named() -> None:
    shape, figures, blocks = open_up(small())
    blob = seal(
        frame(msgspec.msgpack.encode(shape)), frame(msgspec.msgpack.encode(figures)), blocks, VERSION + 1
    )
    with pytest.raises(Unsupported, match=f"version {VERSION + 1}"):
        Segment.parse(blob)


@pytest.mark.parametrize("entry", [1, 4, 5, 6])
def test_an_unknown_codec_refuses_that_column_only(entry: int) -> None:
    def change(shape: list[Any], *_: Any) -> None:
        shape[SERIES][CODEC][entry] = 99

    segment = Segment.parse(forged(change))
    whole = Segment.parse(forged(lambda *_: None))
    for i in range(len(segment.signals)):
        refers = entry == 1 and whole._shape.series.codec[1 + i] == Codec.REF
        if i == entry - 1 or refers:
            with pytest.raises(Unsupported, match="codec 99"):
                segment.values(i)
        else:
            assert (
                np.array_equal(np.array(segment.values(i), object), np.array(whole.values(i), object))
                or i == 1
            )


@pytest.mark.parametrize("record", ["kind", "extra", "scale"])
def test_other_unknown_things_refuse_that_column_only(record: str) -> None:
    def change(shape: list[Any], *_: Any) -> None:
        if record == "kind":
            shape[COLUMNS][1][1] = 9
        elif record == "scale":
            shape[SERIES][SCALE][2] = 16
        else:
            for e, column in enumerate(shape[EXTRAS][0]):
                if column == 1:
                    shape[EXTRAS][1][e] = 77

    segment = Segment.parse(forged(change))
    with pytest.raises(Unsupported):
        segment.values(1)
    segment.values(0)
    segment.values(4)


def set_shape(*path: Any) -> Callable[..., None]:
    """A forgery: the last of `path` is written where the others lead."""

    def change(shape: list[Any], *_: Any) -> None:
        place: Any = shape
        for step in path[:-2]:
            place = place[step]
        place[path[-2]] = path[-1]

    return change


ABSURD = [
    set_shape(AXES, ROWS, 0, 2**40),
    set_shape(AXES, ROWS, 0, 2**62),
    set_shape(AXES, ROWS, 0, 0),
    set_shape(AXES, ROWS, 0, -1),
    set_shape(AXES, ROWS, 0, 41),
    set_shape(AXES, ROWS, [40, 40]),
    set_shape(AXES, SPAN, 0, -1),
    set_shape(AXES, CYCLE, 0, 2**61),
    set_shape(AXES, START, 0, 2**63 - 1),
    set_shape(AXES, [[], [], [], []]),
    set_shape(COLUMNS, [[], [], []]),
    set_shape(COLUMNS, 2, 0, 1),
    set_shape(COLUMNS, 2, 0, -1),
    set_shape(COLUMNS, 0, 0, -1),
    set_shape(COLUMNS, 0, 0, 2**53),
    set_shape(SERIES, LENGTH, 1, 2**40),
    set_shape(SERIES, LENGTH, 1, -8),
    set_shape(SERIES, BLOCK, 1, 1000),
    set_shape(SERIES, BLOCK, 1, -2),
    set_shape(SERIES, BASE, 1, 2**64 - 1),
    set_shape(EXTRAS, 0, 0, 6),
    set_shape(EXTRAS, LENGTH, 0, 2**40),
    set_shape(EXTRAS, BLOCK, 0, 50),
    set_shape(BLOCKS, 0, -5),
    set_shape(BLOCKS, 0, 2**40),
    set_shape(BLOCKS, [PACKED_MAX, PACKED_MAX]),
    set_shape(UNIT, 10),
    set_shape(COUNT, 241),
    set_shape(T_MAX, 0),
    set_shape(DIGEST, -1),
    set_shape(GROUP, "x"),
    set_shape(GROUP, 2**53),
    set_shape(AXES, None),
]


@pytest.mark.parametrize("change", ABSURD)
def test_a_head_with_absurd_numbers_is_refused_without_allocating(change: Callable[..., None]) -> None:
    blob = forged(change)
    tracemalloc.start()
    try:
        with pytest.raises(Damaged, match="head"):
            Segment.parse(blob)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_many_columns_on_a_long_constant_axis_cannot_exceed_the_limit() -> None:
    def change(shape: list[Any], *_: Any) -> None:
        shape[AXES][ROWS][0] = 4_000_000
        shape[COUNT] = 24_000_000

    with pytest.raises(Damaged, match="more than"):
        Segment.parse(forged(change))


def test_a_bomb_in_the_head_is_refused_before_it_is_unpacked() -> None:
    for bomb in (frame(b"\0" * 50_000_000), frame(b"\x91" * 1_000_000), b"", b"\0", frame(b"")):
        tracemalloc.start()
        try:
            with pytest.raises(Damaged, match="head"):
                Segment.parse(seal(bomb, b"", []))
            assert tracemalloc.get_traced_memory()[1] < 3_000_000
        finally:
            tracemalloc.stop()
    shape, _, blocks = open_up(small())
    segment = Segment.parse(seal(frame(msgspec.msgpack.encode(shape)), frame(b"\0" * 50_000_000), blocks))
    with pytest.raises(Damaged, match="statistics"):
        _ = segment.statistics


def test_a_bomb_in_the_body_is_refused_before_it_is_unpacked() -> None:
    def change(shape: list[Any], _: list[Any], blocks: list[bytes]) -> None:
        for block in range(len(blocks)):
            blocks[block] = frame(b"\0" * 50_000_000)
            shape[BLOCKS][block] = len(blocks[block])

    segment = Segment.parse(forged(change))
    tracemalloc.start()
    try:
        for i in range(6):
            with pytest.raises(Damaged, match=r"would unpack|pco"):
                segment.values(i)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def rewrite(part: int, place: int, change: Callable[[bytearray], Any]) -> bytes:
    """A small segment with one stream changed; `part` is SERIES or EXTRAS, `place` the entry there."""
    shape, figures, blocks = open_up(small())
    block = shape[part][BLOCK][place]
    streams = list(
        zip(
            shape[SERIES][BLOCK] + shape[EXTRAS][BLOCK],
            shape[SERIES][LENGTH] + shape[EXTRAS][LENGTH],
            strict=True,
        )
    )
    if part == EXTRAS:
        place += len(shape[SERIES][BLOCK])
    start = sum(length for other, length in streams[:place] if other == block)
    content = bytearray(zstandard.ZstdDecompressor().decompress(zstandard.FRAME_HEADER + blocks[block]))
    stream = content[start : start + streams[place][1]]
    change(stream)
    blocks[block] = frame(bytes(content[:start] + stream + content[start + streams[place][1] :]))
    shape[BLOCKS][block] = len(blocks[block])
    return close(shape, figures, blocks)


def extra_of(column: int, what: Extra) -> int:
    extras = open_up(small())[0][EXTRAS]
    return next(e for e, pair in enumerate(zip(extras[0], extras[1], strict=True)) if pair == (column, what))


def at(place: int, value: int) -> Callable[[bytearray], Any]:
    return lambda stream: stream.__setitem__(place, value)


# Column 1 has 3 patches and 3 runs of quality, column 5 three texts; see `small` and the format, 4.3.
@pytest.mark.parametrize(
    ("column", "what", "change", "says"),
    [
        (1, Extra.PATCHES, at(0, 38), "beyond the axis"),  # rows 38, 39, 40 of 40
        (1, Extra.PATCHES, at(1, 0), "beyond the axis"),  # the same row twice
        (1, Extra.QUALITY_RUNS, at(0, 4), "as long as the axis"),
        (1, Extra.QUALITY_RUNS, at(0, 2), "as long as the axis"),
        (5, Extra.TEXTS, at(0, 5), "add up"),
        (5, Extra.TEXTS, at(0, 7), "add up"),
        (5, Extra.TEXTS, at(12, 0xFF), "UTF-8"),
    ],
)
def test_extras_that_cannot_be_are_refused(column: int, what: Extra, change: Any, says: str) -> None:
    segment = Segment.parse(rewrite(EXTRAS, extra_of(column, what), change))
    with pytest.raises(Damaged, match=says):
        segment.quality(column) if what == Extra.QUALITY_RUNS else segment.values(column)


def test_the_last_row_may_be_patched() -> None:
    segment = Segment.parse(rewrite(EXTRAS, extra_of(1, Extra.PATCHES), at(0, 37)))
    values = segment.values(1)
    assert isinstance(values, np.ndarray)
    assert np.isnan(values[37:]).all()


@pytest.mark.parametrize("number", [-1, 3, 2**40])
def test_a_text_beyond_the_dictionary_is_refused(number: int) -> None:
    def change(shape: list[Any], *_: Any) -> None:
        shape[SERIES][CODEC][6], shape[SERIES][BASE][6] = Codec.CONST, number

    with pytest.raises(Damaged, match="beyond the dictionary"):
        Segment.parse(forged(change)).values(5)


def test_a_column_does_not_refer_to_one_that_refers_itself() -> None:
    def change(shape: list[Any], *_: Any) -> None:
        for entry, other in ((2, 0), (3, 1)):
            shape[SERIES][CODEC][entry], shape[SERIES][BASE][entry] = Codec.REF, other

    with pytest.raises(Damaged, match="same as column"):
        Segment.parse(forged(change)).values(2)


def test_a_pack_of_another_length_is_refused() -> None:
    for change in (lambda stream: stream.append(0), lambda stream: stream.pop()):
        segment = Segment.parse(rewrite(SERIES, 1, change))
        with pytest.raises(Damaged, match="would unpack"):
            segment.values(0)


def test_times_that_decrease_on_the_way_are_refused() -> None:
    rows = 40
    steps = np.where(np.arange(rows) % 2 == 0, 1000, 3000)
    packed = encode(
        [Axis(np.cumsum(steps), 0)], [Column(1, Kind.BOOL, 0, steps > 2000, None)], group=1, epoch=1
    )
    shape, figures, blocks = open_up(packed)
    forged_steps = np.array([0, *[3, 1] * 20][:rows], np.int8)
    forged_steps[[5, 6, 7, 8]] = [9, -5, 3, 1]
    shape[AXES][SPAN][0] = int(forged_steps.sum())
    shape[T_MAX] = (shape[AXES][START][0] + shape[AXES][SPAN][0]) * 1000
    for part, value in zip(shape[SERIES], (Codec.DELTA, 0, 0, rows, len(blocks)), strict=True):
        part[0] = value
    blocks.append(frame(forged_steps.tobytes()))
    shape[BLOCKS].append(len(blocks[-1]))
    with pytest.raises(Damaged, match="decrease"):
        Segment.parse(close(shape, figures, blocks)).times(0)


@pytest.mark.parametrize("rows", [0, 1, 599, 601])
def test_a_pcodec_stream_holds_exactly_the_rows_of_the_axis(rows: int) -> None:
    entries = [i for i, codec in enumerate(open_up(wide())[0][SERIES][CODEC]) if codec == Codec.PCOI]

    def change(shape: list[Any], _: list[Any], blocks: list[bytes]) -> None:
        block = shape[SERIES][BLOCK][entries[0]]
        blocks[block] = standalone.simple_compress(np.zeros(rows, np.int16), ChunkConfig())
        shape[BLOCKS][block] = len(blocks[block])

    with pytest.raises(Damaged, match="column 0"):
        Segment.parse(forged(change, wide())).values(entries[0] - 1)


def test_one_block_of_pcodec_serves_one_column() -> None:
    def change(shape: list[Any], *_: Any) -> None:
        entries = [i for i, codec in enumerate(shape[SERIES][CODEC]) if codec == Codec.PCOI]
        shape[SERIES][BLOCK][entries[0]] = shape[SERIES][BLOCK][entries[1]]

    with pytest.raises(Damaged, match="pcodec"):
        Segment.parse(forged(change, wide()))


def test_a_column_with_many_extras_is_refused() -> None:
    def change(shape: list[Any], *_: Any) -> None:
        for part, value in zip(shape[EXTRAS], (3, 0, 5, 0, -1), strict=True):
            part.extend([value] * 1000)

    with pytest.raises(Damaged, match="extras"):
        Segment.parse(forged(change)).quality(3)


@pytest.mark.parametrize("other", [2, 3, 5, -1, 2**40])
def test_a_column_refers_only_to_an_earlier_one_of_its_own_sort(other: int) -> None:
    def change(shape: list[Any], *_: Any) -> None:
        shape[SERIES][CODEC][3] = Codec.REF
        shape[SERIES][BASE][3] = other

    with pytest.raises(Damaged, match="same as column"):
        Segment.parse(forged(change)).values(2)


def test_the_deep_check_finds_what_checksums_cannot() -> None:
    def wrong_digest(shape: list[Any], *_: Any) -> None:
        shape[DIGEST] ^= 1

    with pytest.raises(Damaged, match="digest"):
        read_all(forged(wrong_digest))
    for field in range(9):

        def wrong_figure(_: Any, figures: list[Any], __: Any, field: int = field) -> None:
            figures[field][0] += 1

        with pytest.raises(Damaged, match="statistics"):
            read_all(forged(wrong_figure))

    def wrong_times(shape: list[Any], *_: Any) -> None:
        shape[AXES][START][0] += 1
        shape[AXES][SPAN][0] -= 1
        shape[4] += 1000

    with pytest.raises(Damaged, match="axis 0"):
        read_all(forged(wrong_times))


def mutated(rng: random.Random, value: Any) -> Any:
    """A nested list with one number somewhere changed."""
    if isinstance(value, list) and value:
        i = rng.randrange(len(value))
        return [*value[:i], mutated(rng, value[i]), *value[i + 1 :]]
    if isinstance(value, int):
        return rng.choice(
            [0, 1, -1, value + 1, value - 1, value ^ (1 << rng.randrange(62)), 2**63 - 1, 255, 1024]
        )
    return value


@pytest.mark.parametrize("seed", range(8))
def test_forged_segments_are_read_or_refused_but_never_crash(seed: int) -> None:
    rng = random.Random(seed)
    originals = [open_up(small()), open_up(wide())]
    refused = 0
    for _ in range(400):
        shape, figures, blocks = originals[rng.randrange(2)]
        blocks = blocks.copy()
        what = rng.randrange(4)
        if what == 0:
            shape = mutated(rng, shape)
        elif what == 1:
            figures = mutated(rng, figures)
        else:
            b = rng.randrange(len(blocks))
            raw = bytearray(blocks[b])
            for _ in range(rng.choice([1, 1, 4, 40])):
                raw[rng.randrange(len(raw))] = rng.randrange(256)
            blocks[b] = bytes(raw)
        try:
            read_all(close(shape, figures, blocks))
        except SegmentError:
            refused += 1
    assert refused > 300
