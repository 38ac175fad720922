"""The plan of a group against a plain-Python account of what is kept, and the operator's example."""

import math
from random import Random

import numpy as np
import pytest

from contract.alarm.engine import AlarmEvent, Engine
from contract.model.batch import Batch, Value, batch_of
from contract.model.message import Condition, Message
from contract.model.signal import Archive, DataType, Signal
from edge.signals.plan import Member, Plan


def plan(*archives: Archive, types: tuple[DataType, ...] = ()) -> Plan:
    kinds = types or (DataType.FLOAT,) * len(archives)
    signals = [Signal(group="g", type=t, archive=a) for t, a in zip(kinds, archives, strict=True)]
    return Plan(7, [Member(10 * (i + 1), f"s{i}", s) for i, s in enumerate(signals)])


def rows(batch: Batch | None) -> list[tuple[int, int, Value]]:
    """(signal, time, value) of each row."""
    if batch is None:
        return []
    assert batch.signal is not None
    exact = dict(batch.exact)
    values = [exact.get(i, v) for i, v in enumerate(batch.value.tolist())]
    return list(zip(batch.signal.tolist(), batch.times().tolist(), values, strict=True))


DELTA = Archive("delta", deadband=5)


def test_the_sample_that_raises_an_alarm_is_stored_inside_the_deadband() -> None:
    """Deadband 5, limit 80, ramp 79, 80.5, 79: one alarm, and the samples that made and ended it."""
    p = plan(DELTA)
    message = Message(number=1, text="Too hot", any_of=((Condition("s0", ">", 80.0),),))
    engine = Engine({"hot": message}, {"s0": 10})
    events: list[AlarmEvent] = []
    kept: list[float] = []
    for second, value in enumerate([79.0, 79.5, 80.0, 80.5, 80.7, 79.0, 78.0]):
        scaled = p.scale(batch_of(7, None, second * 1_000_000, [value]))
        judged = engine.feed(p.named(scaled))
        events += judged.events
        stored = p.keep(scaled, judged.flipped)
        kept += [] if stored is None else stored.value.tolist()
    assert [(e.kind, e.time_us, e.value) for e in events] == [
        ("raised", 3_000_000, 80.5),
        ("ended", 5_000_000, 79.0),
    ]
    assert kept == [79.0, 80.5, 79.0]


def test_without_the_alarm_the_same_ramp_leaves_one_sample() -> None:
    p = plan(DELTA)
    kept = [p.keep(batch_of(7, None, t, [v]), None) for t, v in enumerate([79.0, 80.5, 79.0])]
    assert [b is not None for b in kept] == [True, False, False]


def test_a_change_of_exactly_the_deadband_is_not_kept() -> None:
    p = plan(DELTA)
    assert p.keep(batch_of(7, None, 0, [10.0]), None)
    assert p.keep(batch_of(7, None, 1, [15.0]), None) is None
    assert p.keep(batch_of(7, None, 2, [15.000001]), None)


def test_creeping_is_measured_from_the_last_kept_value() -> None:
    p = plan(DELTA)
    kept = [t for t in range(20) if p.keep(batch_of(7, None, t, [float(t)]), None)]
    assert kept == [0, 6, 12, 18]


def test_a_full_poll_kept_whole_comes_back_as_it_is() -> None:
    p = plan(Archive(), DELTA)
    batch = batch_of(7, None, 0, [1.0, 2.0])
    assert p.keep(batch, None) is batch
    assert rows(p.keep(batch_of(7, None, 1, [1.0, 2.0]), None)) == [(10, 1, 1.0)]


def test_off_is_never_stored_not_even_by_an_alarm() -> None:
    p = plan(Archive("off"), Archive())
    flipped = np.array([0, 1])
    assert rows(p.keep(batch_of(7, None, 0, [1.0, 2.0]), flipped)) == [(20, 0, 2.0)]
    assert rows(p.keep(batch_of(7, [10], 0, [1.0]), np.array([0]))) == []
    mixed = plan(Archive("off"), DELTA)
    assert rows(mixed.keep(batch_of(7, None, 0, [1.0, 2.0]), flipped)) == [(20, 0, 2.0)]
    assert plan(Archive("off")).keep(batch_of(7, None, 0, [1.0]), None) is None


def test_the_fixed_part_of_a_poll_is_named_by_the_same_array_each_time() -> None:
    p = plan(Archive("off"), Archive())
    first, second = (p.keep(batch_of(7, None, t, [1.0, 2.0]), None) for t in (0, 1))
    assert first is not None
    assert second is not None
    assert first.signal is second.signal
    assert p.named(batch_of(7, None, 0, [1.0, 2.0])).signal is p.members


def test_a_quality_that_changes_is_kept_and_so_is_its_return() -> None:
    p = plan(DELTA)
    qualities = [0, 0, 0x81, 0x81, 0x40, 0, 0]
    kept = [
        t
        for t, q in enumerate(qualities)
        if p.keep(batch_of(7, None, t, [math.nan if q == 0x81 else 3.0], [q]), None)
    ]
    assert kept == [0, 2, 4, 5]


def test_the_first_reading_is_kept_even_without_a_value() -> None:
    p = plan(DELTA)
    assert p.keep(batch_of(7, None, 0, [math.nan]), None)
    assert p.keep(batch_of(7, None, 1, [math.nan]), None) is None
    assert p.keep(batch_of(7, None, 2, [1.0]), None)


def test_infinity_is_a_value() -> None:
    p = plan(DELTA)
    values = [math.inf, math.inf, -math.inf, 0.0]
    assert [p.keep(batch_of(7, None, t, [v]), None) is not None for t, v in enumerate(values)] == [
        True,
        False,
        True,
        True,
    ]


def test_silence_ends_after_the_longest_interval() -> None:
    p = plan(Archive("delta", 5, max_interval_s=3), DELTA)
    kept = [t for t in range(8) if p.keep(batch_of(7, None, t * 1_000_000, [1.0, 1.0]), None)]
    assert kept == [0, 3, 6]


def test_texts_and_large_counters_are_compared_exactly() -> None:
    p = plan(Archive("delta"), Archive("delta"), types=(DataType.TEXT, DataType.INTEGER))
    big = 2**53

    def kept(time: int, text: str, number: int) -> list[Value]:
        batch = p.keep(batch_of(7, None, time, [text, number]), None)
        return [v for _, _, v in rows(p.named(batch))] if batch else []

    assert kept(0, "run", big + 1) == ["run", big + 1]
    assert kept(1, "run", big + 1) == []
    assert kept(2, "stop", big + 1) == ["stop"]
    assert kept(3, "stop", big + 2) == [big + 2]
    assert kept(4, "stop", big + 3) == [big + 3]
    assert kept(5, "stop", big) == [float(big)]
    assert kept(6, "", big + 1) == ["", big + 1]


def test_a_wide_deadband_holds_for_large_counters_too() -> None:
    p = plan(Archive("delta", deadband=2), types=(DataType.INTEGER,))
    big = 2**62
    values = [big, big + 2, big + 3, big + 1]
    assert [p.keep(batch_of(7, None, t, [v]), None) is not None for t, v in enumerate(values)] == [
        True,
        False,
        True,
        False,
    ]


def test_foreign_names_are_refused_where_rows_are_counted() -> None:
    with pytest.raises(ValueError, match="scale it first"):
        plan(DELTA).keep(batch_of(7, [99], 0, [1.0]), None)


class Account:
    """What is kept, told in plain Python."""

    def __init__(self, archives: list[Archive]) -> None:
        self.archives = archives
        self.last: dict[int, tuple[int, Value, int]] = {}

    def keeps(self, member: int, time: int, value: Value, quality: int, flipped: bool) -> bool:
        archive = self.archives[member]
        if archive.mode != "delta":
            return archive.mode == "every"
        last = self.last.get(member)
        keep = flipped or last is None or last[2] != quality
        if not keep and last is not None:
            before = last[1]
            if isinstance(value, str) or isinstance(before, str):
                keep = value != before
            elif math.isnan(value) or math.isnan(before):
                keep = math.isnan(value) != math.isnan(before)
            else:
                keep = abs(value - before) > archive.deadband
            if archive.max_interval_s is not None:
                keep = keep or time - last[0] >= archive.max_interval_s * 1e6
        if keep:
            self.last[member] = time, value, quality
        return keep


@pytest.mark.parametrize("seed", range(150))
def test_what_is_kept_agrees_with_the_account(seed: int) -> None:
    r = Random(seed)
    n = r.randint(1, 6)
    archives = [
        Archive(
            r.choice(["every", "delta", "delta", "delta", "off"] if seed % 3 else ["delta"]),
            deadband=r.choice([0, 0, 1, 2]),
            max_interval_s=r.choice([None, None, 2, 5]),
        )
        for _ in range(n)
    ]
    types = tuple(
        r.choice([DataType.FLOAT, DataType.FLOAT, DataType.INTEGER, DataType.TEXT]) for _ in range(n)
    )
    p, account = plan(*archives, types=types), Account(archives)
    now = 10**15

    def value(member: int) -> Value:
        if types[member] is DataType.TEXT:
            return r.choice(["on", "off", ""])
        if types[member] is DataType.INTEGER:
            return r.choice([0, 1, 3]) + r.choice([0, 2**60])
        return r.choice([0.0, 1.0, 2.0, 2.5, 4.0, -1.0])

    for _ in range(60):
        now += r.choice([0, 500_000, 1_000_000])
        polled = r.random() < 0.5
        members = list(range(n)) if polled else r.choices(range(n), k=r.randint(1, 8))
        values = [value(m) for m in members]
        qualities = [r.choice([0x81, 0x43]) if r.random() < 0.1 else 0 for _ in members]
        times = [now if polled else now + i * r.choice([0, 1, 300_000]) for i in range(len(members))]
        flipped = [i for i in range(len(members)) if r.random() < 0.1]
        batch = batch_of(
            7,
            None if polled else [10 * (m + 1) for m in members],
            now if polled else times,
            values,
            qualities if any(qualities) or r.random() < 0.2 else None,
        )
        expected = [
            (10 * (m + 1), t, v, q)
            for i, (m, t, v, q) in enumerate(zip(members, times, values, qualities, strict=True))
            if account.keeps(m, t, v, q, i in flipped)
        ]
        kept = p.keep(batch, np.array(flipped, np.int64) if flipped else None)
        if kept is None:
            assert not expected
        else:
            quality = [0] * len(kept) if kept.quality is None else kept.quality.tolist()
            assert [(*row, q) for row, q in zip(rows(p.named(kept)), quality, strict=True)] == expected
