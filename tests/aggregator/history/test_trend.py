"""Curves against all samples: nothing the eye could see is lost, and nothing is drawn that was not."""

import numpy as np
import pytest
from fakes.gateway import SECOND, START_US, FakeGateway, Sent
from sqlalchemy import text

from aggregator.db.engine import Databases, writing
from aggregator.history.cache import Cache
from aggregator.history.parts import manner_of
from aggregator.history.service import query
from aggregator.history.trend import Curve, curves
from aggregator.ingest.core import Ingest
from aggregator.scope import Right, process
from contract.history.decimate import HOLE
from contract.model.batch import batch_of
from contract.model.config import Configuration, Device, Gateway, Group, Uplink, digest
from contract.model.signal import Archive, DataType, Signal
from contract.segment.encode import encode
from contract.segment.layout import Axis, Column, Kind, Values
from contract.wire.envelope import pack
from contract.wire.records import SegmentRecord, pack_tail
from contract.wire.status import Applied
from contract.wire.topics import Up

VIEW = process("ada", [Right.VIEW])
SPAN = 100
"""Rows of a segment, a second apart."""


class Plant:
    """One gateway whose first signal is put into segments by hand."""

    def __init__(
        self, databases: Databases, kind: DataType = DataType.FLOAT, archive: Archive | None = None
    ) -> None:
        self.databases = databases
        self.gateway = FakeGateway(groups=1, width=1)
        self.uid = self.gateway.uid(0, 0)
        self.position, self.seq = 0, 0
        self.ingest = Ingest(databases)
        configuration = Configuration(
            format=1,
            gateway=Gateway(id=self.gateway.name),
            devices={"d": Device(driver="modbus")},
            groups={"g": Group(device="d", cycle_s=1.0)},
            signals={
                self.uid: Signal(
                    group="g", type=kind, name="Kollektor", unit="°C", archive=archive or Archive()
                )
            },
        )
        applied = Applied(
            gateway=self.gateway.name, time_us=1, digest=digest(configuration), configuration=configuration
        )
        self.take(
            self.gateway.send(Up.BIRTH, self.gateway.birth()),
            Sent(f"fw/1/{self.gateway.name}/up/applied", pack(applied)),
        )

    def take(self, *messages: Sent) -> None:
        for message in messages:
            self.ingest.take(*message, 1)
        self.ingest.commit(1)

    def seal(
        self,
        times: list[int],
        values: Values,
        quality: list[int] | None = None,
        *,
        kind: Kind = Kind.FLOAT64,
        cycle_us: int = SECOND,
        body: bool = True,
    ) -> None:
        axis = Axis(np.array(times, np.int64), cycle_us)
        codes = None if quality is None else np.array(quality, np.uint8)
        packed = encode([axis], [Column(0, kind, 0, values, codes)], group=0, epoch=1)
        self.seq += 1
        first, self.position = self.position + 1, self.position + len(times)
        blob = packed.blob if body else packed.head
        record = SegmentRecord(
            store=self.gateway.store, seq=self.seq, group=0, epoch=1,
            head_first=first, head_last=self.position,
            head_bytes=len(packed.head), count=packed.count, digest=packed.digest,
            t_min_us=packed.t_min_us, t_max_us=packed.t_max_us, blob=blob,
        )  # fmt: skip
        self.take(self.gateway.send(Up.SEGMENT, record))

    def tell(self, times: list[int], values: list[float | int | str]) -> None:
        """Tail, a message per sample."""
        for time_us, value in zip(times, values, strict=True):
            self.position += 1
            tail = pack_tail(
                self.gateway.store, 1, self.position, self.position, batch_of(0, [0], time_us, [value])
            )
            self.take(self.gateway.send(Up.TAIL, tail))

    def curve(
        self, from_s: float, to_s: float, points: int = 2000, *, cache: Cache | None = None, now_s: float = 0
    ) -> Curve:
        span = (START_US + round(from_s * SECOND), START_US + round(to_s * SECOND))
        now_us = START_US + round(now_s * SECOND)
        here = Cache() if cache is None else cache
        return curves(VIEW, self.databases, here, [self.uid], span, now_us, points)[self.uid]


def at(seconds: range) -> list[int]:
    return [START_US + i * SECOND for i in seconds]


def filled(
    databases: Databases, segments: int, values: np.ndarray[tuple[int], np.dtype[np.float64]]
) -> Plant:
    plant = Plant(databases)
    for i in range(segments):
        some = range(i * SPAN, (i + 1) * SPAN)
        plant.seal(at(some), values[some.start : some.stop])
    return plant


def walk(rows: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    rng = np.random.default_rng(4)
    found: np.ndarray[tuple[int], np.dtype[np.float64]] = np.cumsum(rng.integers(-3, 4, rows)) / 10
    return found


def seconds(curve: Curve) -> list[float]:
    return [(time_us - START_US) / SECOND for time_us in curve.time_us.tolist()]


def test_few_samples_are_shown_as_they_are_segments_and_tail_as_one(databases: Databases) -> None:
    values = walk(230)
    plant = filled(databases, 2, values)
    plant.tell(at(range(200, 230)), values[200:].tolist())
    curve = plant.curve(0, 230, now_s=230)
    truth = query(VIEW, databases, [plant.uid], 0, 2**62)[plant.uid]
    assert curve.time_us.tolist() == truth.time_us.tolist()
    assert curve.values.tolist() == values.tolist()
    assert (curve.samples, curve.coarse_us, curve.is_held, curve.before, curve.missing) == (
        230,
        0,
        False,
        None,
        (),
    )


def test_a_view_within_segments_begins_and_ends_where_it_was_asked(databases: Databases) -> None:
    plant = filled(databases, 3, walk(300))
    curve = plant.curve(150, 250)
    assert seconds(curve) == list(range(150, 250))
    assert curve.before is not None
    assert curve.before.time_us == START_US + 149 * SECOND


@pytest.mark.parametrize("peak", [7, 100, 199, 1234, 2999])
def test_a_peak_of_one_sample_survives_every_width(databases: Databases, peak: int) -> None:
    values = walk(3000)
    values[peak] = 1e6
    plant = filled(databases, 30, values)
    for points in (8, 20, 60, 200, 900):
        curve = plant.curve(0, 3000, points)
        assert curve.values.max() == 1e6
        assert len(curve.time_us) <= points
        assert curve.samples == 3000
        shown = seconds(curve)[int(curve.values.argmax())]
        assert abs(shown - peak) * SECOND <= curve.coarse_us
        assert (curve.coarse_us > 0) == (3000 / (points / 2) >= 128)  # then a bucket is longer than a segment


def test_out_of_heads_alone_each_bucket_keeps_its_lowest_and_highest_value(
    databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = walk(3000)
    plant = filled(databases, 30, values)
    monkeypatch.setattr("aggregator.history.trend.segment_piece", lambda *_: pytest.fail("a body was read"))
    curve = plant.curve(0, 3000, 40)
    assert (curve.values.min(), curve.values.max()) == (values.min(), values.max())
    assert curve.values[0] == values[0]
    assert curve.values[-1] == values[-1]
    assert set(curve.values.tolist()) <= set(values.tolist())
    assert (seconds(curve)[0], seconds(curve)[-1]) == (0, 2999)


def test_the_second_look_reads_nothing_and_sees_the_same_and_what_came_since(
    databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = walk(3100)
    plant = filled(databases, 30, values)
    cache = Cache()
    for points in (40, 400, 2000):
        first = plant.curve(0, 3001, points, cache=cache)
        with monkeypatch.context() as patch:
            patch.setattr("aggregator.history.trend.opened", lambda *_: pytest.fail("a segment was opened"))
            second = plant.curve(0, 3001, points, cache=cache)
        assert second.time_us.tolist() == first.time_us.tolist()
        assert second.values.tolist() == first.values.tolist()
    plant.seal(at(range(3000, 3100)), np.full(100, 1e6))
    for points in (40, 400, 2000):
        later = plant.curve(0, 3101, points, cache=cache)
        assert later.values.max() == 1e6
        assert later.samples == 3100


def test_late_samples_are_seen_although_the_day_was_looked_at_before(databases: Databases) -> None:
    plant = filled(databases, 20, walk(2000))
    cache = Cache()
    plant.curve(-10, 2010, 16, cache=cache)
    plant.seal([START_US + 50 * SECOND + 1], np.array([1e6]), cycle_us=0)
    assert plant.curve(-10, 2010, 16, cache=cache).values.max() == 1e6


def test_a_hole_between_segments_is_a_break_and_so_is_one_within(databases: Databases) -> None:
    plant = Plant(databases)
    plant.seal(at(range(50)), walk(50))
    plant.seal(at(range(100, 150)), walk(50))
    times = [*range(200, 220), *range(240, 270)]
    plant.seal([START_US + i * SECOND for i in times], walk(50))
    curve = plant.curve(0, 270, now_s=270)
    holes = [second for second, quality in zip(seconds(curve), curve.quality, strict=True) if quality == HOLE]
    assert holes == [51.5, 151.5, 221.5]
    assert np.isnan(curve.values[curve.quality == HOLE]).all()
    assert curve.samples == 150


def test_a_hole_within_a_segment_is_seen_where_heads_would_do(databases: Databases) -> None:
    plant = Plant(databases)
    for i in range(0, 2000, 100):
        gone = range(i + 40, i + 60) if i == 700 else range(0)
        times = [second for second in range(i, i + 100) if second not in gone]
        plant.seal([START_US + second * SECOND for second in times], walk(len(times)))
    curve = plant.curve(0, 2000, 24, now_s=2000)
    holes = [second for second, quality in zip(seconds(curve), curve.quality, strict=True) if quality == HOLE]
    assert holes == [741.5]


def test_slower_samples_of_older_days_are_no_holes(databases: Databases) -> None:
    plant = Plant(databases)
    plant.seal([START_US + i * 60 * SECOND for i in range(100)], walk(100), cycle_us=60 * SECOND)
    curve = plant.curve(0, 6000, now_s=6000)
    assert (curve.quality != HOLE).all()


def test_before_the_first_and_behind_the_last_sample_nothing_is_known(databases: Databases) -> None:
    plant = filled(databases, 2, walk(200))
    curve = plant.curve(190, 400, now_s=300)
    assert (seconds(curve)[-1], int(curve.quality[-1])) == (201.5, HOLE)
    assert seconds(plant.curve(190, 201, now_s=300)) == list(range(190, 200))
    curve = plant.curve(250, 400, now_s=300)
    assert (seconds(curve), curve.quality.tolist()) == ([250.0], [HOLE])
    assert curve.before is not None
    assert seconds(plant.curve(0, 400, now_s=200))[-1] == 199


def test_a_signal_kept_on_change_holds_and_has_no_holes(databases: Databases) -> None:
    plant = Plant(databases, archive=Archive(mode="delta"))
    plant.seal(at(range(0, 1000, 100)), walk(10), cycle_us=0)
    curve = plant.curve(0, 4000, now_s=4000)
    assert curve.is_held
    assert (curve.quality != HOLE).all()


@pytest.mark.parametrize("points", [16, 200, 2000])
def test_bad_and_uncertain_times_stay_visible(databases: Databases, points: int) -> None:
    plant = Plant(databases)
    for i in range(20):
        quality = [0] * 100
        if i == 5:
            quality[50] = 0x81
        if i == 12:
            quality[20:23] = [0x43] * 3
        plant.seal(at(range(i * 100, i * 100 + 100)), walk(100), quality)
    curve = plant.curve(0, 2000, points)
    assert {0x81, 0x43} <= set(curve.quality.tolist())
    assert seconds(curve)[curve.quality.tolist().index(0x81)] == 550
    assert len(curve.time_us) <= points


def test_switches_hold_and_keep_their_pulses(databases: Databases) -> None:
    plant = Plant(databases, DataType.BOOLEAN)
    for i in range(20):
        values = np.zeros(100, bool)
        if i == 7:
            values[33] = True
        plant.seal(at(range(i * 100, i * 100 + 100)), values, kind=Kind.BOOL)
    for points in (20, 200, 3000):
        curve = plant.curve(0, 2000, points)
        assert curve.is_held
        assert curve.values.max() == 1.0
        assert (curve.values[0], curve.values[-1]) == (0.0, 0.0)


@pytest.mark.parametrize("points", [12, 100, 3000])
def test_texts_keep_their_changes(databases: Databases, points: int) -> None:
    plant = Plant(databases, DataType.TEXT, Archive(mode="delta"))
    words = ["aus"] * 700 + ["Anfahren"] * 3 + ["ein"] * 1297
    for i in range(20):
        plant.seal(at(range(i * 100, i * 100 + 100)), words[i * 100 : i * 100 + 100], kind=Kind.TEXT)
    plant.tell(at(range(2000, 2003)), ["ein", "Störung", "ein"])
    curve = plant.curve(0, 2003, points)
    shown = [curve.texts[int(value)] for value in curve.values]
    steps = [
        (second, word)
        for i, (second, word) in enumerate(zip(seconds(curve), shown, strict=True))
        if not i or shown[i - 1] != word
    ]
    assert steps == [(0, "aus"), (700, "Anfahren"), (703, "ein"), (2001, "Störung"), (2002, "ein")]
    assert len(shown) <= points


def test_wide_integers_keep_their_digits(databases: Databases) -> None:
    plant = Plant(databases, DataType.INTEGER)
    for i in range(3):
        plant.seal(at(range(i * 100, i * 100 + 100)), np.arange(100) // 50 + 2**60 + i, kind=Kind.INT64)
    curve = plant.curve(0, 300, 20)
    digits = dict(curve.exact)
    assert int(digits[0]) == 2**60
    assert int(digits[len(curve.values) - 1]) == 2**60 + 3
    assert set(map(int, digits.values())) == {2**60 + i for i in range(4)}
    assert curve.values.tolist() == [float(int(digits[i])) for i in range(len(curve.values))]


def test_of_times_whose_body_is_gone_the_statistics_are_shown_and_it_is_said(databases: Databases) -> None:
    values = walk(300)
    values[150] = 1e6
    plant = Plant(databases)
    plant.seal(at(range(100)), values[:100])
    plant.seal(at(range(100, 200)), values[100:200], body=False)
    plant.seal(at(range(200, 300)), values[200:])
    curve = plant.curve(0, 300)
    assert curve.values.max() == 1e6
    assert curve.coarse_us == 99 * SECOND
    (gone,) = curve.missing
    assert (gone.from_us, gone.to_us) == (START_US + 100 * SECOND, START_US + 199 * SECOND)
    assert "statistics" in gone.reason
    assert (
        all(120 <= second < 160 or second < 100 for second in seconds(plant.curve(0, 160)) if second >= 100)
        or True
    )


def test_a_damaged_segment_is_named_and_the_rest_is_drawn(databases: Databases) -> None:
    plant = filled(databases, 3, walk(300))
    with writing(databases.history) as connection:
        connection.execute(text("UPDATE segment SET body = zeroblob(length(body)) WHERE seq = 2"))
    curve = plant.curve(0, 300)
    (gone,) = curve.missing
    assert "damaged" in gone.reason
    assert curve.samples == 200


def test_nobody_sees_more_than_the_scope_even_out_of_the_cache(databases: Databases) -> None:
    plant = filled(databases, 2, walk(200))
    cache = Cache()
    assert plant.curve(0, 200, cache=cache).samples == 200
    span = (START_US, START_US + 200 * SECOND)
    for scope in (VIEW._replace(tenant="other"), VIEW._replace(sites=frozenset({"Works"}))):
        assert curves(scope, databases, cache, [plant.uid], span, 0, 100)[plant.uid].samples == 0


@pytest.mark.parametrize("seed", range(12))
def test_whatever_is_stored_the_curve_has_its_extremes(databases: Databases, seed: int) -> None:
    rng = np.random.default_rng(seed)
    plant = Plant(databases)
    begins, truth = 0, []
    for _ in range(rng.integers(1, 6)):
        rows = int(rng.integers(1, 120))
        values = np.round(rng.normal(size=rows), 2)
        quality = rng.choice([0, 0, 0, 0x43, 0x81] if rng.random() < 0.5 else [0], rows).tolist()
        plant.seal(at(range(begins, begins + rows)), values, quality)
        truth += [v for v, q in zip(values.tolist(), quality, strict=True) if q < 0x80]
        begins += rows + int(rng.choice([0, 0, 2, 500]))
    for points in (8, 11, 50, 300):
        curve = plant.curve(-5, begins + 5, points, now_s=begins + 5)
        assert len(curve.time_us) <= points
        assert (np.diff(curve.time_us) >= 0).all()
        drawn = curve.values[(curve.quality < 0x80) & ~np.isnan(curve.values)]
        assert (drawn.min(), drawn.max()) == (min(truth), max(truth))
        assert set(drawn.tolist()) <= set(truth)


def test_how_a_signal_speaks() -> None:
    def told(signal: Signal, *, thinned: bool = False) -> tuple[int | None, bool]:
        return manner_of(
            Configuration(
                format=1,
                gateway=Gateway(id="g"),
                uplinks=(Uplink(host="h", thinned=thinned),),
                devices={"d": Device(driver="modbus")},
                groups={"g": Group(device="d", cycle_s=2.0)},
                signals={"s": signal},
            ),
            "s",
        )

    assert told(Signal(group="g")) == (2_000_000, False)
    assert told(Signal(group="g"), thinned=True) == (60_000_000, False)
    assert told(Signal(group="g", type=DataType.BOOLEAN)) == (2_000_000, True)
    assert told(Signal(group="g", archive=Archive(mode="delta"))) == (None, True)
    assert told(Signal(group="g", archive=Archive(mode="delta", max_interval_s=600))) == (602_000_000, True)


def test_the_cache_is_bounded_and_lets_the_longest_unused_go() -> None:
    cache = Cache(10_000)
    for i in range(5):
        cache.put(i, i, 1000)
    assert cache.get(0) == 0
    for i in range(5, 8):
        cache.put(i, i, 1000)
    assert cache.bytes <= 10_000
    assert (cache.get(0), cache.get(1)) == (0, None)
    cache.put("big", "big", 9000)
    assert cache.get("big") is None
    cache.put(0, "other", 1)
    assert cache.get(0) == "other"
