"""Golden segments: whatever later versions become, these files keep their meaning.

Each `tests/contract/golden/*.fws` has a JSON file beside it that says what it holds: floats as hexadecimal
of their 64 bits, columns as the BLAKE2b of their little-endian values (bools one byte each, texts joined
by NUL).
"""

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contract.segment.decode import Segment
from contract.segment.layout import Codec, Extra, Statistics

GOLDEN = Path(__file__).parent.parent / "golden"
NAMES = ["poll", "events", "single"]


def read(name: str) -> tuple[Segment, dict[str, Any]]:
    document = json.loads((GOLDEN / f"{name}.json").read_text("utf-8"))
    return Segment.parse((GOLDEN / f"{name}.fws").read_bytes()), document


def blake(raw: bytes) -> str:
    return hashlib.blake2b(raw, digest_size=16).hexdigest()


@pytest.mark.parametrize("name", NAMES)
def test_a_golden_segment_reads_as_it_always_did(name: str) -> None:
    segment, said = read(name)
    segment.check(deep=True)
    assert (segment.group, segment.epoch, segment.count) == (said["group"], said["epoch"], said["count"])
    assert f"{segment.digest:016x}" == said["digest"]
    assert (segment.t_min_us, segment.t_max_us) == (said["t_min_us"], said["t_max_us"])
    for a, axis in enumerate(said["axes"]):
        time = segment.times(a)
        assert (len(time), segment.cycle(a), time[:4].tolist()) == (
            axis["rows"],
            axis["cycle_us"],
            axis["first"],
        )
        assert blake(time.astype("<i8").tobytes()) == axis["blake2b"]
    assert segment.signals == tuple(column["signal"] for column in said["columns"])
    for i, column in enumerate(said["columns"]):
        assert (segment.kind(i).name, segment.axis_of(i)) == (column["kind"], column["axis"])
        values = segment.values(i)
        if isinstance(values, list):
            first: list[Any] = values[:4]
            raw = b"\0".join(text.encode() for text in values)
        elif values.dtype == np.float64:
            first = [f"{int(bits):016x}" for bits in values[:4].view(np.uint64)]
            raw = values.astype("<f8").tobytes()
        elif values.dtype == np.int64:
            first = [str(number) for number in values[:4].tolist()]
            raw = values.astype("<i8").tobytes()
        else:
            first = values[:4].tolist()
            raw = values.tobytes()
        assert first == column["first"]
        assert blake(raw) == column["values_blake2b"]
        quality = segment.quality(i)
        if quality is None:
            quality = np.zeros(len(values), np.uint8)
        assert blake(quality.tobytes()) == column["quality_blake2b"]


@pytest.mark.parametrize("name", NAMES)
def test_golden_statistics_need_no_body(name: str) -> None:
    _, said = read(name)
    head = (GOLDEN / f"{name}.fws").read_bytes()[: said["head"]]
    statistics = Segment(head, None).statistics
    for i, column in enumerate(said["columns"]):
        for field in Statistics._fields:
            got, want = getattr(statistics, field)[i], column["statistics"][field]
            assert math.isnan(got) if want is None else float(got) == float(want), (i, field)


def test_the_poll_is_what_its_formulas_say() -> None:
    segment, _ = read("poll")
    i = np.arange(600)
    assert np.array_equal(segment.times(0), 1_700_000_000_000_000 + i * 1_000_000 + (i * 7919 % 5) * 1000)
    assert np.array_equal(segment.values(1), (i * i * 31 + i * 17) % 997 / 10)
    assert np.array_equal(segment.values(4), (i * 0.6180339887498949) % 1.0)
    assert np.array_equal(segment.values(6), 2**60 + i * (i % 3))
    assert np.array_equal(segment.values(9), i // 97 % 2 == 1)
    texts = segment.values(11)
    assert texts[0] == texts[49] == "läuft"
    assert texts[100] == ""
    assert texts[599] == "Störung 🔥"


def test_the_golden_segments_hold_every_codec_and_extra() -> None:
    shapes = [read(name)[0]._shape for name in NAMES]
    assert {codec for shape in shapes for codec in shape.series.codec} == set(Codec)
    assert {what for shape in shapes for what in shape.extras.what} == set(Extra)
    assert {shape.unit_us for shape in shapes} == {1, 1000}
